//! Synthetic checkpoints, whole, damaged and hostile.

use std::io::Write;
use std::path::Path;

use super::*;
use crate::Tensor;

/// One tensor of a synthetic state dict.
struct Entry<'a> {
    key: &'a str,
    storage_type: &'a str,
    storage: &'a str,
    len: u16,
    offset: u8,
    shape: &'a [u8],
    strides: &'a [u8],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            key: "w",
            storage_type: "FloatStorage",
            storage: "0",
            len: 6,
            offset: 0,
            shape: &[2, 3],
            strides: &[3, 1],
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.extend(format!("c{module}\n{name}\n").as_bytes());
}

fn sizes(out: &mut Vec<u8>, sizes: &[u8]) {
    out.push(b'(');
    sizes.iter().for_each(|&size| out.extend([b'K', size]));
    out.push(b't');
}

/// The pickle that `torch.save` writes for an ordered dict of tensors.
fn state_dict(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    global(&mut out, "collections", "OrderedDict");
    out.extend(b")R(");
    for entry in entries {
        text(&mut out, entry.key);
        global(&mut out, "torch._utils", "_rebuild_tensor_v2");
        out.extend(b"((");
        text(&mut out, "storage");
        global(&mut out, "torch", entry.storage_type);
        text(&mut out, entry.storage);
        text(&mut out, "cpu");
        out.push(b'M');
        out.extend(entry.len.to_le_bytes());
        out.extend(b"tQ");
        out.extend([b'K', entry.offset]);
        sizes(&mut out, entry.shape);
        sizes(&mut out, entry.strides);
        out.push(0x89);
        global(&mut out, "collections", "OrderedDict");
        out.extend(b")RtR");
    }
    out.extend(b"u.");
    out
}

fn zip_of(files: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, data) in files {
        writer.start_file(*name, options).expect("starts");
        writer.write_all(data).expect("writes");
    }
    writer.finish().expect("finishes").into_inner()
}

fn checkpoint_zip(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = storages
        .iter()
        .map(|(key, _)| format!("x/data/{key}"))
        .collect();
    let mut files: Vec<(&str, &[u8])> = vec![("x/data.pkl", pickle), ("x/byteorder", b"little")];
    files.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(storages.iter().map(|(_, data)| *data)),
    );
    zip_of(&files, zip::CompressionMethod::Stored)
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn six() -> Vec<u8> {
    f32_bytes(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
}

/// The file that PyTorch wrote before 1.6.
fn legacy(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = vec![
        0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.',
    ];
    out.extend([0x80, 2, b'M', 0xe9, 3, b'.']);
    out.extend([0x80, 2, b'}']);
    text(&mut out, "little_endian");
    out.extend([0x88, b's', b'.']);
    out.extend(pickle);
    out.extend([0x80, 2, b']', b'(']);
    storages.iter().for_each(|(key, _)| text(&mut out, key));
    out.extend(b"e.");
    for (_, data) in storages {
        out.extend((data.len() as u64 / 4).to_le_bytes());
        out.extend(*data);
    }
    out
}

fn parse(bytes: &[u8]) -> Result<Checkpoint, ImportError> {
    Checkpoint::parse(Path::new("file.pth"), bytes)
}

fn message(bytes: &[u8]) -> String {
    parse(bytes).expect_err("is refused").to_string()
}

#[test]
fn both_containers_give_the_same_tensors() {
    let pickle = state_dict(&[Entry::default()]);
    let zip = parse(&checkpoint_zip(&pickle, &[("0", &six())])).expect("reads");
    let old = parse(&legacy(&pickle, &[("0", &six())])).expect("reads");
    assert_eq!(zip.tensors, old.tensors);
    assert_eq!(
        zip.tensors["w"],
        Tensor::f32(&[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    );
}

#[test]
fn strided_views_are_gathered_in_row_major_order() {
    let transposed = Entry {
        shape: &[3, 2],
        strides: &[1, 3],
        ..Entry::default()
    };
    let offset = Entry {
        key: "b",
        offset: 4,
        shape: &[2],
        strides: &[1],
        ..Entry::default()
    };
    let scalar = Entry {
        key: "s",
        offset: 5,
        shape: &[],
        strides: &[],
        ..Entry::default()
    };
    let read = parse(&checkpoint_zip(
        &state_dict(&[transposed, offset, scalar]),
        &[("0", &six())],
    ))
    .expect("reads");
    assert_eq!(
        read.tensors["w"].as_f32(),
        Some(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0][..])
    );
    assert_eq!(read.tensors["b"].as_f32(), Some(&[4.0, 5.0][..]));
    assert_eq!(read.tensors["s"], Tensor::f32(&[], vec![5.0]));
}

#[test]
fn every_storage_type_becomes_f32_or_i32() {
    let entry = |key, storage_type, len| Entry {
        key,
        storage_type,
        storage: key,
        len,
        shape: &[1],
        strides: &[1],
        ..Entry::default()
    };
    let entries = [
        entry("half", "HalfStorage", 1),
        entry("brain", "BFloat16Storage", 1),
        entry("double", "DoubleStorage", 1),
        entry("long", "LongStorage", 1),
        entry("bool", "BoolStorage", 1),
    ];
    let storages: [(&str, &[u8]); 5] = [
        ("half", &[0x00, 0x3e]),
        ("brain", &[0xc0, 0xbf]),
        ("double", &2.5_f64.to_le_bytes()),
        ("long", &(-7_i64).to_le_bytes()),
        ("bool", &[1]),
    ];
    let read = parse(&checkpoint_zip(&state_dict(&entries), &storages)).expect("reads");
    let float = |key: &str| read.tensors[key].as_f32().expect("floats")[0];
    assert_eq!(
        (float("half"), float("brain"), float("double")),
        (1.5, -1.5, 2.5)
    );
    assert_eq!(read.tensors["long"].as_i32(), Some(&[-7][..]));
    assert_eq!(read.tensors["bool"].as_i32(), Some(&[1][..]));
}

#[test]
fn wrappers_of_training_scripts_are_removed() {
    let entries = [
        Entry {
            key: "state_dict.module.a",
            ..Entry::default()
        },
        Entry {
            key: "state_dict.module.b",
            ..Entry::default()
        },
    ];
    let read = parse(&checkpoint_zip(&state_dict(&entries), &[("0", &six())])).expect("reads");
    assert_eq!(read.tensors.keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_pickle_that_calls_a_command_is_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
    ] {
        let mut pickle = vec![0x80, 2];
        global(&mut pickle, module, name);
        pickle.push(b'(');
        text(&mut pickle, "touch owned");
        pickle.extend(b"tR.");
        for bytes in [checkpoint_zip(&pickle, &[]), legacy(&pickle, &[])] {
            match parse(&bytes) {
                Err(ImportError::RefusedGlobal { global, .. }) => {
                    assert_eq!(global, format!("{module}.{name}"))
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_global_from_the_stack_is_refused_by_name() {
    let mut pickle = vec![0x80, 4];
    pickle.extend([0x8c, 2]);
    pickle.extend(b"os");
    pickle.extend([0x8c, 6]);
    pickle.extend(b"system");
    pickle.extend([0x93, b'.']);
    assert!(message(&checkpoint_zip(&pickle, &[])).contains("os.system"));
}

#[test]
fn opcodes_that_instantiate_are_refused() {
    for opcode in [b'i', b'o', 0x81, 0x92, b'P', b'I', b'V', 0x82, 0x97] {
        let pickle = [0x80, 2, b'(', opcode, b'\n', b'\n', b'.'];
        let found = message(&checkpoint_zip(&pickle, &[]));
        assert!(found.contains(&format!("opcode {opcode:#04x}")), "{found}");
    }
}

#[test]
fn views_outside_their_storage_are_refused() {
    let cases: [(u8, &[u8], &[u8]); 4] = [
        (1, &[2, 3], &[3, 1]),
        (0, &[2, 3], &[4, 1]),
        (0, &[7], &[1]),
        (0, &[255, 255, 255], &[255, 255, 255]),
    ];
    for (offset, shape, strides) in cases {
        let entry = Entry {
            offset,
            shape,
            strides,
            ..Entry::default()
        };
        let found = message(&checkpoint_zip(&state_dict(&[entry]), &[("0", &six())]));
        assert!(
            found.contains("leaves its storage of 6 elements"),
            "{found}"
        );
    }
}

#[test]
fn stretched_tensors_cannot_fill_the_memory() {
    let entry = Entry {
        shape: &[255, 255, 255, 255],
        strides: &[0, 0, 0, 0],
        ..Entry::default()
    };
    let found = message(&checkpoint_zip(&state_dict(&[entry]), &[("0", &six())]));
    assert!(found.contains("beyond the size of the file"), "{found}");
}

#[test]
fn compressed_entries_are_refused() {
    let pickle = state_dict(&[Entry::default()]);
    let bytes = zip_of(
        &[("x/data.pkl", &pickle), ("x/data/0", &six())],
        zip::CompressionMethod::Deflated,
    );
    assert!(message(&bytes).contains("expected stored"));
}

#[test]
fn a_missing_storage_and_a_big_endian_file_are_named() {
    let pickle = state_dict(&[Entry::default()]);
    assert!(message(&checkpoint_zip(&pickle, &[])).contains("x/data/0"));
    let big = zip_of(
        &[
            ("x/data.pkl", &pickle),
            ("x/byteorder", b"big"),
            ("x/data/0", &six()),
        ],
        zip::CompressionMethod::Stored,
    );
    assert!(message(&big).contains("byteorder"));
}

#[test]
fn deep_and_cyclic_objects_cost_no_stack() {
    let mut nested = vec![0x80, 2, b')'];
    nested.extend(std::iter::repeat_n(0x85, 2_000_000));
    nested.push(b'.');
    assert!(message(&checkpoint_zip(&nested, &[])).contains("holds no tensor"));
    // A dict that holds itself under "a".
    let mut cyclic = vec![0x80, 2, b'}', b'q', 0];
    text(&mut cyclic, "a");
    cyclic.extend([b'h', 0, b's', b'.']);
    assert!(message(&checkpoint_zip(&cyclic, &[])).contains("nested deeper"));
}

#[test]
fn dicts_that_double_at_every_level_are_stopped() {
    let mut pickle = vec![0x80, 2, b'}', b'q', 0];
    for level in 0..14_u8 {
        pickle.push(b'}');
        pickle.extend([b'q', level + 1, b'(']);
        for branch in 0..10 {
            text(&mut pickle, &branch.to_string());
            pickle.extend([b'h', level]);
        }
        pickle.push(b'u');
    }
    pickle.push(b'.');
    assert!(message(&checkpoint_zip(&pickle, &[])).contains("entries"));
}

#[test]
fn every_prefix_and_every_flipped_byte_is_survived() {
    let pickle = state_dict(&[
        Entry::default(),
        Entry {
            key: "b",
            shape: &[6],
            strides: &[1],
            ..Entry::default()
        },
    ]);
    let mut safetensors = 60_u64.to_le_bytes().to_vec();
    safetensors.extend(
        format!(
            "{:<60}",
            r#"{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}"#
        )
        .as_bytes(),
    );
    safetensors.extend(six());
    let files = [
        checkpoint_zip(&pickle, &[("0", &six())]),
        legacy(&pickle, &[("0", &six())]),
        safetensors,
    ];
    for (kind, file) in files.iter().enumerate() {
        parse(file).expect("the whole file reads");
        for end in 0..file.len() {
            // The list of a zip archive is at its end, and data of the other two ends with the file.
            assert!(
                parse(&file[..end]).is_err(),
                "kind {kind}, {end} of {} bytes",
                file.len()
            );
        }
        let mut damaged = file.clone();
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                damaged[at] ^= flip;
                // Flipped weights may read; whatever reads has to be whole.
                if let Ok(read) = parse(&damaged) {
                    assert!(read.tensors.values().all(|tensor| tensor.len() <= 64));
                }
                damaged[at] ^= flip;
            }
        }
    }
}

#[test]
fn a_flipped_weight_in_a_zip_is_noticed() {
    let bytes = checkpoint_zip(&state_dict(&[Entry::default()]), &[("0", &six())]);
    let needle = 5.0_f32.to_le_bytes();
    let at = bytes
        .windows(4)
        .position(|window| window == needle)
        .expect("the weight");
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    assert!(parse(&damaged).is_err());
}

#[test]
fn what_is_no_checkpoint_says_how_it_begins() {
    assert!(message(b"GIF89a....").contains("47 49 46 38"));
    assert!(message(b"").contains("no checkpoint"));
}

#[test]
fn all_keys_that_do_not_fit_are_listed_at_once() {
    let entries = [
        Entry {
            key: "a",
            ..Entry::default()
        },
        Entry {
            key: "beside",
            ..Entry::default()
        },
        Entry {
            key: "left_over",
            ..Entry::default()
        },
    ];
    let checkpoint =
        parse(&checkpoint_zip(&state_dict(&entries), &[("0", &six())])).expect("reads");
    let mut weights = checkpoint.weights("a net");
    weights.take("a", &[3, 2]);
    let width = weights.size("gone", 0);
    weights.take("gone", &[width]);
    weights.take("beside", &[width, 3]);
    weights.take("gone_too", &[1]);
    let faults = weights.finish(|_| false).expect_err("does not fit");
    assert_eq!(faults.missing, ["gone", "gone_too"]);
    assert_eq!(faults.unexpected, ["left_over"]);
    assert_eq!(
        faults.misshapen,
        [("a".to_owned(), "[2, 3]".to_owned(), "[3, 2]".to_owned())]
    );
    let text = faults.to_string();
    assert!(
        text.contains("2 missing, 1 unexpected, 1 of another shape")
            && text.contains("a is [2, 3], expected [3, 2]")
    );

    let mut weights = checkpoint.weights("a net");
    weights.take("a", &[0, 3]);
    let faults = weights.finish(|key| key != "a").expect_err("does not fit");
    assert_eq!(
        faults.misshapen,
        [("a".to_owned(), "[2, 3]".to_owned(), "[0, 3]".to_owned())]
    );
}

#[test]
fn a_thousand_keys_are_listed_too() {
    let checkpoint = parse(&checkpoint_zip(
        &state_dict(&[Entry::default()]),
        &[("0", &six())],
    ));
    let checkpoint = checkpoint.expect("reads");
    let mut weights = checkpoint.weights("a net");
    for key in 0..1000 {
        weights.take(&format!("gone{key}."), &[1]);
    }
    let text = weights
        .finish(|_| true)
        .expect_err("does not fit")
        .to_string();
    assert!((0..1000).all(|key| text.contains(&format!("missing gone{key}."))));
}
