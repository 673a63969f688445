//! TFLite files that are damaged or ask for what the graph does not have.

use std::path::Path;

use pinhole_graph::import::ImportError;
use pinhole_graph::import::tflite::{Options, Output, parse};
use pinhole_graph::{Graph, pass};

const FILES: [&str; 2] = ["tflite_int8.tflite", "tflite_float.tflite"];

fn golden(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");
    std::fs::read(format!("{folder}{name}")).expect(name)
}

fn import(bytes: &[u8]) -> Result<Graph, ImportError> {
    parse(Path::new("model.tflite"), bytes, &Options::default())
}

/// The text of a refusal.
fn refusal(bytes: &[u8], output: Output) -> String {
    let options = Options {
        output,
        ..Options::default()
    };
    match parse(Path::new("model.tflite"), bytes, &options) {
        Ok(graph) => panic!("was imported: {}", graph.summary()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_prefix_is_refused_or_sound() {
    for name in FILES {
        let bytes = golden(name);
        assert!(import(&bytes).is_ok(), "{name}");
        let mut refused = 0;
        for length in 0..bytes.len() {
            match import(&bytes[..length]) {
                Ok(graph) => pass::validate(&graph).expect("an imported graph is sound"),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("model.tflite"), "{error}");
                }
            }
        }
        // What is missing at the very end may be padding.
        assert!(
            refused + 16 >= bytes.len(),
            "{name}: {refused} of {}",
            bytes.len()
        );
    }
}

#[test]
fn flipped_bytes_make_errors_and_sound_graphs_only() {
    for name in FILES {
        let mut bytes = golden(name);
        let mut refused = 0;
        for at in 0..bytes.len() {
            for flip in [0x01, 0xFF] {
                bytes[at] ^= flip;
                match import(&bytes) {
                    Ok(graph) => pass::validate(&graph).expect("an imported graph is sound"),
                    Err(_) => refused += 1,
                }
                bytes[at] ^= flip;
            }
        }
        assert!(refused > bytes.len() / 4, "{name}: {refused} refused");
    }
}

#[test]
fn words_of_extreme_numbers_make_errors_and_sound_graphs_only() {
    for name in FILES {
        let bytes = golden(name);
        for at in (0..bytes.len() - 4).step_by(4) {
            for word in [0, u32::MAX, i32::MAX as u32, 1 << 31, bytes.len() as u32] {
                let mut damaged = bytes.clone();
                damaged[at..at + 4].copy_from_slice(&word.to_le_bytes());
                if let Ok(graph) = import(&damaged) {
                    pass::validate(&graph).expect("an imported graph is sound");
                }
            }
        }
    }
}

#[test]
fn another_file_is_said_to_be_none() {
    let found = refusal(b"\x20\0\0\0GGUF\0\0\0\0", Output::Whole);
    assert!(found.contains("\"GGUF\", expected \"TFL3\""), "{found}");
}

#[test]
fn a_file_that_would_grow_many_times_over_is_refused() {
    let bytes = golden("tflite_shared.tflite");
    assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
    let found = refusal(&bytes, Output::Whole);
    assert!(
        found.contains("many times the bytes of the file"),
        "{found}"
    );
    let options = Options {
        output: Output::Tensor("layer7".into()),
        ..Options::default()
    };
    assert!(parse(Path::new("model.tflite"), &bytes, &options).is_ok());
}

#[test]
fn an_unknown_tensor_is_answered_with_those_that_there_are() {
    let found = refusal(&golden(FILES[0]), Output::Tensor("embedding".into()));
    assert!(
        found.contains("no operator computes a tensor embedding"),
        "{found}"
    );
    assert!(found.contains("finer, odds"), "{found}");
}

#[test]
fn all_operators_without_an_equivalent_are_named_at_once() {
    let found = refusal(&golden("tflite_foreign.tflite"), Output::Whole);
    for expected in [
        "6 operators are not supported",
        "ceil (CEIL): the graph has no such operator",
        "double (DEPTHWISE_CONV_2D): makes 6 channels of 3",
        "bounded (CONV_2D): its fused activation is RELU_N1_TO_1",
        "tanh (TANH): it has no integer form here",
        "erf (CUSTOM): it is Erf of TensorFlow, which TFLite runs by its Flex delegate; convert the model again",
        "own (CUSTOM): it is the custom operator Sharpen, expected one of TFLite's own",
    ] {
        assert!(found.contains(expected), "{expected} in {found}");
    }
}

#[test]
fn what_lies_behind_the_chosen_output_is_not_asked_for() {
    let options = Options {
        output: Output::Tensor("plain".into()),
        ..Options::default()
    };
    let bytes = golden("tflite_foreign.tflite");
    let graph = parse(Path::new("model.tflite"), &bytes, &options);
    let graph = graph.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(graph.nodes.len(), 1);
}
