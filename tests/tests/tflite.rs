//! Imported TFLite files against LiteRT's reference kernels, with every kernel set of this CPU.
//!
//! `tests/golden/make_tflite.py` made the files and says what is in them. Whole networks are compared by the example
//! `tflite_equality`.

use std::collections::BTreeMap;

use pinhole_graph::import::tflite::{Options, Output, load};
use pinhole_graph::{Graph, IntegerRules, ModelKind, Op};
use pinhole_pack::{PackOptions, Packed, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;
use safetensors::SafeTensors;

/// Tensors that LiteRT rounds by rules that no operator of the runtime has: once, or with a smaller multiplier
/// (docs/numerics.md). They are a step apart at most.
const ROUNDED_OTHERWISE: [&str; 3] = ["logits", "odds", "rough"];
/// Largest difference of floats, which are about 1.
const FLOAT_TOLERANCE: f32 = 2e-5;

fn golden(name: &str) -> String {
    format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn import(name: &str, output: Output) -> Graph {
    let options = Options {
        output,
        ..Options::default()
    };
    load(golden(name), &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Inputs and expected outputs by name, a row for each input.
struct Expected {
    inputs: Vec<Vec<u8>>,
    outputs: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let content = std::fs::read(golden(name)).expect(name);
        let file = SafeTensors::deserialize(&content).expect(name);
        let mut expected = Self {
            inputs: Vec::new(),
            outputs: BTreeMap::new(),
        };
        for (name, view) in file.iter() {
            let count = view.shape()[0];
            let rows = view.data().chunks_exact(view.data().len() / count);
            let rows = rows.map(<[u8]>::to_vec).collect();
            match name.strip_prefix("output.") {
                Some(name) => {
                    expected.outputs.insert(name.to_owned(), rows);
                }
                None => expected.inputs = rows,
            }
        }
        assert!(!expected.inputs.is_empty() && !expected.outputs.is_empty());
        expected
    }
}

/// The bytes of the only output for one input.
fn run(packed: &Packed, set: &'static dyn Kernels, input: &[u8]) -> Vec<u8> {
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).expect("the packer loads what it writes");
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, set).expect("the arena is enough");
    let place = interpreter.input_bytes_mut(0).expect("one input");
    place.copy_from_slice(input);
    interpreter.run();
    interpreter.output_bytes(0).expect("one output").to_vec()
}

#[test]
fn integer_operators_give_the_bits_of_litert() {
    let expected = Expected::read("tflite_int8.safetensors");
    let mut exact = 0;
    for (name, rows) in &expected.outputs {
        let graph = import("tflite_int8.tflite", Output::Tensor(name.clone()));
        assert_eq!(graph.meta.integer_rules, IntegerRules::LiteRt);
        if graph.nodes.is_empty() {
            // The quantised picture itself, which is the input here.
            assert_eq!(name, "source");
            continue;
        }
        let packed =
            pack(&graph, &PackOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        for set in kernel::available() {
            for (input, row) in expected.inputs.iter().zip(rows) {
                let found = run(&packed, set, input);
                if ROUNDED_OTHERWISE.contains(&name.as_str()) {
                    let steps = |(&a, &b): (&u8, &u8)| (a as i8).abs_diff(b as i8);
                    let most = found.iter().zip(row).map(steps).max();
                    assert!(most <= Some(1), "{name} on {}: {most:?} steps", set.name());
                } else {
                    assert_eq!(found, *row, "{name} on {}", set.name());
                }
            }
        }
        exact += usize::from(!ROUNDED_OTHERWISE.contains(&name.as_str()));
    }
    let sets: Vec<&str> = kernel::available().map(|set| set.name()).collect();
    println!("{exact} tensors equal in every bit: {}", sets.join(", "));
    assert_eq!(exact, expected.outputs.len() - ROUNDED_OTHERWISE.len() - 1);
}

#[test]
fn float_operators_agree_with_litert() {
    let expected = Expected::read("tflite_float.safetensors");
    let floats = |bytes: &[u8]| -> Vec<f32> {
        let words = bytes.as_chunks::<4>().0;
        words.iter().map(|&word| f32::from_le_bytes(word)).collect()
    };
    for (name, rows) in &expected.outputs {
        let graph = import("tflite_float.tflite", Output::Tensor(name.clone()));
        assert!(!graph.is_quantized());
        let packed =
            pack(&graph, &PackOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        for set in kernel::available() {
            for (input, row) in expected.inputs.iter().zip(rows) {
                let (found, expected) = (floats(&run(&packed, set, input)), floats(row));
                assert_eq!(found.len(), expected.len(), "{name}");
                for (a, b) in found.iter().zip(&expected) {
                    let near = (a - b).abs() <= FLOAT_TOLERANCE * b.abs().max(1.0);
                    assert!(near, "{name} on {}: {a}, expected {b}", set.name());
                }
            }
        }
    }
}

#[test]
fn features_end_before_the_classifier() {
    for file in ["tflite_int8.tflite", "tflite_float.tflite"] {
        let graph = import(file, Output::Features);
        assert_eq!(graph.meta.kind, ModelKind::ImageEncoder, "{file}");
        let [output] = graph.outputs[..] else {
            panic!("{file} has {} outputs", graph.outputs.len());
        };
        let last = graph.nodes.last().expect("it has nodes");
        assert_eq!((last.output, &last.op), (output, &Op::NormalizeEmbedding));
        assert_eq!(graph.values[last.inputs[0]].name, "rows", "{file}");
        assert!(
            graph
                .nodes
                .iter()
                .all(|node| !matches!(node.op, Op::Linear { .. }))
        );
        pack(&graph, &PackOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_graph_file_keeps_integer_weights() {
    let name = || Output::Tensor("point".into());
    let graph = import("tflite_int8.tflite", name());
    let path = std::env::temp_dir().join(format!("pinhole-tflite-{}.phg", std::process::id()));
    graph
        .save(&path)
        .expect("the folder for temporary files takes a file");
    let read = Graph::load(&path);
    std::fs::remove_file(&path).expect("it was just written");
    let read = read.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read, graph);
    let [packed, again] = [&graph, &read].map(|graph| pack(graph, &PackOptions::default()));
    let [packed, again] = [packed, again].map(|packed| packed.expect("it packs").bytes);
    assert_eq!(packed, again);
}
