//! Files that are not what their names say, and files that are missing, as they come of downloads, clones and links.

use crate::{CAT, GRAPH, Sandbox, bytes, run};

const PAGE: &[u8] = b"\n<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>\n";
const POINTER: &[u8] =
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605247071\n";
const STORE: &[u8] = b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";

#[test]
fn what_a_server_or_git_left_instead_of_a_file_is_told_for_every_kind() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("out.phg");
    let cases = [
        (PAGE, "found a web page, expected a", "/resolve/"),
        (STORE, "found a web page, expected a", "/resolve/"),
        (POINTER, "found a pointer of Git LFS", "git lfs pull"),
        (b"", "found an empty file, expected a", "again"),
    ];
    for (content, found, help) in cases {
        for name in ["a.safetensors", "a.pth", "a.onnx", "a.tflite", "a.bin"] {
            let file = sandbox.file(name, content);
            run(["import", &file, "--out", &out]).refused(&[&file, found, help]);
            std::fs::remove_file(&file).expect("it was written");
        }
        let graph = sandbox.file("a.phg", content);
        let calibrate = ["--calibrate", "models/demo", "--out", &out];
        run([&["quantize", &graph][..], &calibrate].concat()).refused(&[&graph, found, help]);
        assert_eq!(sandbox.names(), ["a.phg"]);
    }
}

#[test]
fn a_cut_checkpoint_says_how_much_is_there() {
    let sandbox = Sandbox::new();
    let whole = bytes("tests/golden/clip_vit.safetensors");
    let cut = sandbox.file("cut.safetensors", &whole[..1000]);
    let out = sandbox.path("out.phg");
    let said = [&cut[..], "found 1000 bytes, expected ", "the file is cut"];
    run(["import", &cut, "--out", &out]).refused(&said);
}

#[test]
#[cfg(feature = "onnx")]
fn missing_weights_of_an_onnx_file_are_named() {
    // A model whose one tensor lies in `w.data`, as protocol buffer.
    let field =
        |number: u8, inside: &[u8]| [&[number << 3 | 2, inside.len() as u8], inside].concat();
    let entry = |key: &[u8], value: &[u8]| field(13, &[field(1, key), field(2, value)].concat());
    let tensor = [
        &[8, 2, 16, 1][..],
        &field(8, b"w"),
        &entry(b"location", b"w.data"),
        &[112, 1],
    ];
    let graph = [field(2, b"g"), field(5, &tensor.concat())].concat();
    let opset = field(8, &[16, 17]);
    let model = [&[8, 8][..], &field(7, &graph), &opset].concat();
    let sandbox = Sandbox::new();
    let (model, out) = (sandbox.file("m.onnx", model), sandbox.path("out.phg"));
    let said = [&model[..], "found no w.data beside the model", "copy both"];
    run(["import", &model, "--out", &out]).refused(&said);
}

#[test]
#[cfg(unix)]
fn links_that_lead_nowhere_or_around_are_no_end() {
    use std::os::unix::fs::symlink;
    let sandbox = Sandbox::new();
    let out = sandbox.path("out.phg");
    let (one, two) = (sandbox.path("one.onnx"), sandbox.path("two.onnx"));
    symlink(&one, &two).expect("a link");
    symlink(&two, &one).expect("a link");
    let said = [&one[..], "found ", "expected a file to read", "ls -l "];
    run(["import", &one, "--out", &out]).refused(&said);
    // Two links back to the folder, followed 16 times deep, would be many pictures.
    let photos = sandbox.path("photos");
    std::fs::create_dir(&photos).expect("a folder");
    for link in ["again", "and_again", "once_more"] {
        symlink(&photos, format!("{photos}/{link}")).expect("a link");
    }
    let quantize = ["quantize", GRAPH, "--calibrate", &photos, "--out", &out];
    run(quantize).refused(&[&photos, "found no picture"]);
    std::fs::write(format!("{photos}/cat.jpg"), bytes(CAT)).expect("a picture");
    let ran = run([
        &quantize[..],
        &["--observer", "min-max", "--rounding", "nearest"],
    ]
    .concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said = "only 1 calibration pictures";
    assert!(ran.stderr.contains(said), "{ran:?}");
}

#[test]
#[cfg(unix)]
fn a_device_and_an_empty_folder_are_refused() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("out.phg");
    run(["import", "/dev/null", "--out", &out]).refused(&["/dev/null", "an empty file"]);
    std::fs::create_dir(sandbox.path("empty")).expect("a folder");
    run(["import", &sandbox.path("empty"), "--out", &out])
        .refused(&["found a folder without weights", "model.safetensors"]);
}
