//! Files that are cut, flipped, foreign, newer or missing, and arguments that make no sense: exit code 2, what was found,
//! what was expected, and what to type next.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pinhole_runtime::bank::{BankSpec, ClassSpec};
use pinhole_runtime::interpreter::AlignedBytes;

use crate::{BANK, CAT, GRAPH, IMAGE, Sandbox, TEXT, bytes, run};

/// `whole` in four wrong forms: a name, the bytes, and what the message must say.
fn damaged(
    whole: &[u8],
    version_at: usize,
    cut: &'static str,
) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 0x10;
    let mut newer = whole.to_vec();
    newer[version_at] = 9;
    vec![
        ("truncated", whole[..whole.len() / 2].to_vec(), cut),
        ("flipped", flipped, "checksum"),
        (
            "foreign",
            b"hello, this is a letter to a friend".to_vec(),
            "unknown kind",
        ),
        ("empty", Vec::new(), "an empty file"),
        ("picture", bytes(CAT), "a picture"),
        ("newer", newer, "version 9, expected version 1"),
    ]
}

#[test]
fn a_damaged_foreign_or_newer_model_is_refused_by_every_verb_that_reads_one() {
    let sandbox = Sandbox::new();
    for (kind, bytes, said) in damaged(&bytes(IMAGE), 4, "of the whole model") {
        let model = sandbox.file(&format!("{kind}.phm"), bytes);
        let said = [&model, "found", "expected", said];
        run(["classify", "--model", &model, "--bank", BANK, CAT]).refused(&said);
        run(["bench", "--model", &model]).refused(&said);
        if kind != "foreign" && kind != "empty" && kind != "picture" {
            run(["inspect", &model]).refused(&said);
        }
    }
    run(["classify", "--model", BANK, "--bank", BANK, CAT]).refused(&[
        BANK,
        "found a class bank",
        "expected a packed model",
    ]);
    run(["classify", "--model", TEXT, "--bank", BANK, CAT]).refused(&[
        TEXT,
        "found a text encoder",
        "expected an image encoder",
    ]);
}

#[test]
fn a_damaged_foreign_or_newer_bank_is_refused() {
    let sandbox = Sandbox::new();
    for (kind, bytes, said) in damaged(&bytes(BANK), 4, "of the whole class bank") {
        let bank = sandbox.file(&format!("{kind}.phc"), bytes);
        run(["classify", "--model", IMAGE, "--bank", &bank, CAT])
            .refused(&[&bank, "found", "expected", said]);
    }
    run(["classify", "--model", IMAGE, "--bank", IMAGE, CAT]).refused(&[
        IMAGE,
        "found a packed model",
        "expected a class bank",
    ]);
}

#[test]
fn a_bank_of_another_encoder_is_refused_with_both_spaces() {
    let embedding = [1.0f32; 256];
    let spec = BankSpec {
        embedding_space_id: [7; 16],
        dim: 256,
        classes: &[ClassSpec {
            name: "cat",
            embedding: &embedding,
        }],
        logit_scale: 100.0,
        logit_bias: 0.0,
        temperature: 1.0,
        reject_threshold: f32::INFINITY,
        templates: "",
        page_bytes: 4096,
        spare_slots: 0,
    };
    let mut bytes = AlignedBytes::zeroed(spec.bytes_len().expect("a length"));
    spec.write_into(&mut bytes).expect("a bank");
    let sandbox = Sandbox::new();
    let bank = sandbox.file("other.phc", &bytes[..]);
    run(["classify", "--model", IMAGE, "--bank", &bank, CAT]).refused(&[
        "found embedding space 07070707",
        "expected ",
        "pinhole embed",
    ]);
}

#[test]
fn a_damaged_foreign_or_newer_graph_is_refused_and_nothing_is_written() {
    let whole = bytes(GRAPH);
    let version = whole
        .windows(14)
        .position(|window| window == br#"{\"version\":1"#)
        .expect("a version")
        + 13;
    let mut newer = whole.clone();
    newer[version] = b'9';
    let mut flipped = whole.clone();
    flipped[version + 40] ^= 0x80;
    let cases = [
        (
            "truncated",
            whole[..whole.len() / 2].to_vec(),
            "no graph file",
        ),
        ("flipped", flipped, "no graph file"),
        (
            "foreign",
            bytes("tests/golden/float_parity.safetensors"),
            "expected a graph",
        ),
        ("model", bytes(IMAGE), "found a packed model"),
        ("newer", newer, "version 9, expected at most 2"),
    ];
    let sandbox = Sandbox::new();
    for (kind, bytes, said) in cases {
        let graph = sandbox.file("bad.phg", bytes);
        let out = sandbox.path("out.phm");
        println!("{kind}");
        // `pack` takes a model too, for another golden embedding.
        if kind != "model" {
            run(["pack", &graph, "--out", &out]).refused(&[&graph, said]);
        }
        run([
            "quantize",
            &graph,
            "--calibrate",
            "models/demo",
            "--out",
            &out,
        ])
        .refused(&[&graph, said]);
        assert_eq!(sandbox.names(), ["bad.phg"]);
    }
}

#[test]
fn a_damaged_or_foreign_checkpoint_is_refused_and_nothing_is_written() {
    let whole = bytes("tests/golden/torch_zip.pth");
    let sandbox = Sandbox::new();
    let out = sandbox.path("out.phg");
    for (kind, bytes) in [
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("foreign", b"hello, this is a letter to a friend".to_vec()),
        ("empty", Vec::new()),
        ("picture", bytes(CAT)),
        ("of no known architecture", whole),
    ] {
        let checkpoint = sandbox.file("bad.pth", bytes);
        println!("{kind}");
        run(["import", &checkpoint, "--out", &out]).refused(&[&checkpoint]);
        run([
            "convert",
            &checkpoint,
            "--calibrate",
            "models/demo",
            "--out",
            &out,
        ])
        .refused(&[&checkpoint]);
        assert_eq!(sandbox.names(), ["bad.pth"]);
    }
}

/// A BERT of one layer that is 32 wide and knows six words.
fn small_bert() -> Vec<u8> {
    use safetensors::{Dtype, tensor::TensorView};
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![6, 32]),
        (
            "embeddings.position_embeddings.weight".to_owned(),
            vec![64, 32],
        ),
        (
            "embeddings.token_type_embeddings.weight".to_owned(),
            vec![2, 32],
        ),
    ];
    let layer = "encoder.layer.0";
    for (name, rows, columns) in [
        ("attention.self.query", 32, 32),
        ("attention.self.key", 32, 32),
        ("attention.self.value", 32, 32),
        ("attention.output.dense", 32, 32),
        ("intermediate.dense", 64, 32),
        ("output.dense", 32, 64),
    ] {
        shapes.push((format!("{layer}.{name}.weight"), vec![rows, columns]));
        shapes.push((format!("{layer}.{name}.bias"), vec![rows]));
    }
    for name in [
        "embeddings.LayerNorm",
        "encoder.layer.0.attention.output.LayerNorm",
        "encoder.layer.0.output.LayerNorm",
    ] {
        shapes.push((format!("{name}.weight"), vec![32]));
        shapes.push((format!("{name}.bias"), vec![32]));
    }
    let data = vec![0u8; 64 * 64 * 4];
    let views = shapes.iter().map(|(name, shape)| {
        let bytes = &data[..shape.iter().product::<usize>() * 4];
        (
            name.as_str(),
            TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"),
        )
    });
    safetensors::serialize(views, None).expect("a file")
}

#[test]
fn a_damaged_or_foreign_tokenizer_is_refused_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    let checkpoint = sandbox.file("bert.safetensors", small_bert());
    let out = sandbox.path("text.phg");
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\ndog\n";
    sandbox.file("vocab.txt", vocabulary);
    run(["import", &checkpoint, "--out", &out]).done();
    std::fs::remove_file(&out).expect("it was written");
    for (kind, text) in [
        ("not UTF-8", &b"[PAD]\n\xff\xfe\n"[..]),
        ("without its special tokens", b"cat\ndog\n"),
        ("empty", b""),
    ] {
        println!("vocab.txt {kind}");
        sandbox.file("vocab.txt", text);
        run(["import", &checkpoint, "--out", &out]).refused(&["vocab"]);
        assert_eq!(sandbox.names(), ["bert.safetensors", "vocab.txt"]);
    }
    std::fs::remove_file(sandbox.path("vocab.txt")).expect("it is there");
    for (kind, text) in [
        ("cut", r#"{"model": {"vocab": {"[PAD]": 0, "#),
        (
            "of another kind",
            r#"{"model": {"type": "BPE", "merges": []}}"#,
        ),
    ] {
        println!("tokenizer.json {kind}");
        sandbox.file("tokenizer.json", text);
        run(["import", &checkpoint, "--out", &out]).refused(&["tokenizer.json"]);
        assert_eq!(sandbox.names(), ["bert.safetensors", "tokenizer.json"]);
    }
}

#[test]
fn halves_with_weights_in_another_type_are_refused_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    let out = sandbox.path("half.phm");
    let half = ["--precision", "f16", "--weights"];
    for weights in ["i8", "f32"] {
        let said = [
            "--precision f16",
            &format!("--weights {weights}"),
            "expected",
        ];
        let pack = ["pack", GRAPH, "--out", &out];
        run([&pack[..], &half, &[weights]].concat()).refused(&said);
        let convert = [
            "convert",
            GRAPH,
            "--calibrate",
            "models/demo",
            "--out",
            &out,
        ];
        run([&convert[..], &half, &[weights]].concat()).refused(&said);
    }
    assert!(sandbox.names().is_empty());
    let pack = ["pack", GRAPH, "--out", &out];
    run([&pack[..], &half, &["f16"]].concat()).done();
}

/// A PNG file of `row` repeated, of a colour type and depth.
fn png(width: u32, height: u32, depth: u8, color: u8, row: &[u8]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        let length = (data.len() as u32).to_be_bytes();
        [&length, &kind[..], data, &crc.sum().to_be_bytes()].concat()
    };
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..height {
        encoder.write_all(&[0]).expect("memory");
        encoder.write_all(row).expect("memory");
    }
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[depth, color, 0, 0, 0],
    ]
    .concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"IDAT", &encoder.finish().expect("memory")),
        chunk(b"IEND", b""),
    ]
    .concat()
}

#[test]
fn a_damaged_foreign_or_missing_picture_is_refused_and_the_others_are_still_named() {
    let sandbox = Sandbox::new();
    let jpeg = bytes(CAT);
    let small = png(40, 40, 8, 2, &[90; 120]);
    let mut flipped = small.clone();
    flipped[50] ^= 4;
    for (kind, bytes, said) in [
        ("cut.jpg", jpeg[..jpeg.len() / 2].to_vec(), "cut off after"),
        ("cut.png", small[..60].to_vec(), "a broken or cut Png file"),
        ("flipped.png", flipped, "a broken or cut Png file"),
        (
            "letter.jpg",
            b"hello, this is a letter".to_vec(),
            "text that begins with",
        ),
        (
            "new.avif",
            b"\0\0\0\x20ftypavif\0\0\0\0avifmif1".to_vec(),
            "Avif",
        ),
        ("empty.png", Vec::new(), "an empty file"),
    ] {
        let picture = sandbox.file(kind, bytes);
        run(["classify", "--model", IMAGE, "--bank", BANK, &picture])
            .refused(&[&picture, said, "expected"]);
    }
    let missing = sandbox.path("missing.jpg");
    let ran = run(["classify", "--model", IMAGE, "--bank", BANK, &missing, CAT]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stdout.starts_with("models/demo/cat.jpg  cat  "),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("1 of 2 pictures failed") && ran.stderr.contains(&missing),
        "{ran:?}"
    );
}

#[test]
fn a_picture_of_one_pixel_is_classified() {
    let sandbox = Sandbox::new();
    let picture = sandbox.file("pixel.png", png(1, 1, 8, 2, &[200, 30, 30]));
    let line = run([
        "classify", "--model", IMAGE, "--bank", BANK, "--json", &picture,
    ])
    .done();
    assert!(line.contains(r#""label":"#), "{line}");
}

/// 1.2 GB of pixels; the limit on the address space would end the process if it held them twice.
#[cfg(unix)]
#[test]
fn a_picture_of_20000_by_20000_is_classified_in_bounded_memory_and_a_larger_one_is_refused() {
    let sandbox = Sandbox::new();
    let picture = sandbox.file("large.png", png(20_000, 20_000, 8, 2, &[120; 60_000]));
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -v 2200000; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_pinhole"),
        ])
        .args(["classify", "--model", IMAGE, "--bank", BANK, &picture])
        .current_dir(crate::root())
        .output()
        .expect("sh starts");
    crate::Ran::from(output).done();
    for (width, height, depth, said) in [
        (20_001, 1, 8, "20001 x 1 pixels"),
        (4_000_000_000, 4_000_000_000, 8, "pixels"),
        (20_000, 20_000, 16, "at most 2147483648 bytes"),
    ] {
        // The header is enough to refuse it.
        let picture = sandbox.file("larger.png", png(width, height.min(1), depth, 2, &[]));
        let mut bytes = std::fs::read(&picture).expect("just written");
        bytes[20..24].copy_from_slice(&u32::to_be_bytes(height));
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let picture = sandbox.file("larger.png", bytes);
        run(["classify", "--model", IMAGE, "--bank", BANK, &picture]).refused(&[
            &picture,
            said,
            "20,000 pixels a side",
        ]);
    }
}

#[test]
fn missing_files_are_named() {
    let sandbox = Sandbox::new();
    let missing = sandbox.path("missing");
    let out = sandbox.path("out");
    let said = [missing.as_str(), "found no such file"];
    run(["classify", "--model", &missing, "--bank", BANK, CAT]).refused(&said);
    run(["classify", "--model", IMAGE, "--bank", &missing, CAT]).refused(&said);
    run([
        "classify",
        "--model",
        IMAGE,
        "--classes",
        "cat",
        "--text-encoder",
        &missing,
        CAT,
    ])
    .refused(&said);
    run([
        "embed",
        "--text-encoder",
        &missing,
        "--classes",
        "cat",
        "--out",
        &out,
    ])
    .refused(&said);
    run(["bench", "--model", &missing]).refused(&said);
    run(["inspect", &missing]).refused(&said);
    run(["import", &missing, "--out", &out]).refused(&said);
    run(["pack", &missing, "--out", &out]).refused(&said);
    run([
        "quantize",
        &missing,
        "--calibrate",
        "models/demo",
        "--out",
        &out,
    ])
    .refused(&said);
    run([
        "convert",
        &missing,
        "--calibrate",
        "models/demo",
        "--out",
        &out,
    ])
    .refused(&said);
    assert_eq!(sandbox.names(), [""; 0]);
}

#[test]
fn a_class_list_that_is_empty_or_has_a_name_twice_is_refused() {
    let sandbox = Sandbox::new();
    let empty = sandbox.file("empty.txt", "# no class yet\n\n");
    let twice = sandbox.file("twice.txt", "cat\ndog\ncat\n");
    let missing = sandbox.path("missing.txt");
    for (list, said) in [
        ("", "found no class, expected at least one name"),
        (" , ", "found a blank name"),
        (&empty, "found no class, expected at least one name"),
        (
            "cat,dog,cat",
            "found the class \"cat\" again, expected each once",
        ),
        (
            &twice,
            "line 3: found the class \"cat\" again, expected each once; line 1 has it",
        ),
        (&missing, "found no such file"),
    ] {
        let out = sandbox.path("bank.phc");
        run(["classify", "--model", IMAGE, "--classes", list, CAT]).refused(&[said]);
        run([
            "embed",
            "--text-encoder",
            TEXT,
            "--classes",
            list,
            "--out",
            &out,
        ])
        .refused(&[said]);
    }
    assert_eq!(sandbox.names(), ["empty.txt", "twice.txt"]);
}

#[test]
fn a_wrong_data_spec_or_an_empty_data_set_is_refused() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("");
    for (spec, said) in [
        (format!("cifar100:{folder}"), "found kind `cifar100`"),
        (
            "photos".to_owned(),
            "expected cifar10:DIR, imagefolder:DIR, stamps:DIR or csv:FILE",
        ),
        (
            "imagefolder:/no/such/folder".to_owned(),
            "found no /no/such/folder",
        ),
        (format!("imagefolder:{folder}"), "found no class folder"),
        (format!("stamps:{folder}"), "found"),
        (format!("cifar10:{folder}"), "test_batch.png"),
    ] {
        run([
            "eval",
            "--model",
            IMAGE,
            "--text-encoder",
            TEXT,
            "--data",
            &spec,
        ])
        .refused(&[said, "expected"]);
    }
    let out = sandbox.path("out.phm");
    run(["convert", GRAPH, "--calibrate", &folder, "--out", &out])
        .refused(&["found no picture", "expected"]);
}

#[test]
fn arguments_that_make_no_sense_are_refused_by_name() {
    let said = |args: &[&str], parts: &[&str]| {
        let ran = run(args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for part in parts {
            assert!(
                ran.stderr.contains(part),
                "`{part}` is not in: {}",
                ran.stderr
            );
        }
    };
    said(
        &["clasify"],
        &["unrecognized subcommand 'clasify'", "'classify'"],
    );
    said(&["classify", "--modle", "x"], &["--modle", "--model"]);
    said(&["classify", CAT], &["--model <FILE>"]);
    #[cfg(feature = "train")]
    said(
        &["quantize", GRAPH, "--repair", "2", "--max-flash", "1MB"],
        &["--repair <STEPS>", "--max-flash <BYTES>"],
    );
    said(
        &["bench", "--model", IMAGE, "--runs", "0"],
        &["--runs <N>", "at least 1"],
    );
    said(
        &["bench", "--model", IMAGE, "--threads", "0"],
        &["--threads <N>", "from 1 to 256"],
    );
    said(
        &[
            "eval",
            "--model",
            IMAGE,
            "--text-encoder",
            TEXT,
            "--data",
            "stamps:.",
            "--limit",
            "0",
        ],
        &["--limit <N>", "at least 1"],
    );
    said(
        &[
            "classify", "--model", IMAGE, "--bank", BANK, "--top", "0", CAT,
        ],
        &["--top <N>", "at least 1"],
    );
    said(
        &["data", "get", "imagenet"],
        &["`imagenet`", "cifar10", "stamps", "photos"],
    );
    said(
        &["bench", "--model", IMAGE, "--target", "toaster"],
        &["toaster", "host", "qemu-aarch64:max"],
    );
    said(
        &["bench", "--model", IMAGE, "--compare", CAT],
        &[CAT, "found no result of a bench", "--json"],
    );
    said(
        &[
            "board", "run", "--board", "qemu-500", "--model", IMAGE, "--bank", BANK, CAT,
        ],
        &["qemu-500", "qemu-an547", "the nearest name is qemu-an500"],
    );
    for set in run(["bench", "--list-kernels"]).done().lines() {
        said(
            &[
                "classify",
                "--model",
                IMAGE,
                "--bank",
                BANK,
                "--kernels",
                "magic",
                CAT,
            ],
            &["magic", set],
        );
    }
    said(&[], &["Usage: pinhole <COMMAND>"]);
}

#[test]
fn a_target_that_this_machine_cannot_emulate_says_what_to_install() {
    let ran: crate::Ran = crate::command()
        .args(["bench", "--model", IMAGE, "--target", "qemu-aarch64"])
        .env("PATH", "/nowhere")
        .output()
        .expect("the command runs")
        .into();
    ran.refused(&["qemu-aarch64 is missing", "apt install qemu-user"]);
}

#[test]
fn results_of_an_emulator_and_of_the_host_are_not_compared() {
    let sandbox = Sandbox::new();
    let counted = r#"{"median_us":null,"instructions":9,"ops":[]}"#;
    let before = sandbox.file("counted.json", counted);
    run([
        "bench",
        "--model",
        IMAGE,
        "--runs",
        "1",
        "--compare",
        &before,
    ])
    .refused(&["found a result in instructions", "expected microseconds"]);
}
