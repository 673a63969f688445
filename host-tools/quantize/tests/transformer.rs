//! A small vision transformer from f32 to integers: nothing stays in f32, and the direction of the embedding stays.

#[path = "support/vit.rs"]
mod vit;

use pinhole_graph::pass::evaluate;
use pinhole_graph::{QuantDType, Tensor};
use pinhole_pack::{PackOptions, lower::lower, pack};
use pinhole_quantize::{
    Goal, Input, Memory, Options, Progress, Sensitivity, quantize, quantize_mixed, report::report,
};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::available;
use pinhole_runtime::model::Model;
use vit::{Weights, random_weights, vit};

fn pictures(weights: &Weights, name: &str) -> Vec<Input> {
    let tensor = &weights[name];
    let size: usize = tensor.shape[1..].iter().product();
    tensor
        .as_f32()
        .unwrap()
        .chunks_exact(size)
        .map(|picture| picture.to_vec().into())
        .collect()
}

fn silent(_: Progress) {}

#[test]
fn a_vision_transformer_runs_wholly_in_integers() {
    let weights = random_weights(48, 3, 8, 32);
    let graph = vit(&weights, 3).unwrap();
    let (calibration, test) = (
        pictures(&weights, "calibration"),
        pictures(&weights, "test"),
    );
    let quantized = quantize(&graph, &calibration, &Options::default(), &silent).unwrap();

    let lowered = lower(&quantized.quantized, &PackOptions::default()).unwrap();
    let floats: Vec<&str> = lowered
        .ops
        .iter()
        .map(|op| op.kind.name())
        .filter(|name| name.ends_with("_f32") || name.starts_with("dequantize"))
        .collect();
    assert!(floats.is_empty(), "{floats:?}");
    let sums: Vec<_> = quantized
        .quantized
        .nodes
        .iter()
        .filter(|node| node.op.name() == "Binary")
        .map(|node| {
            quantized.quantized.values[node.output]
                .quant
                .as_ref()
                .unwrap()
                .dtype
        })
        .collect();
    assert_eq!(sums, [QuantDType::I16; 7]);

    let report = report(&quantized.prepared, &quantized.quantized, &test, &silent).unwrap();
    println!(
        "cosine {:.5}, {:.5} at least",
        report.output_cosine_mean, report.output_cosine_min
    );
    assert!(
        report.output_cosine_min > 0.98,
        "{}",
        report.output_cosine_min
    );
}

#[test]
fn preparing_a_graph_changes_nothing_in_f32() {
    let weights = random_weights(48, 2, 8, 16);
    let graph = vit(&weights, 3).unwrap();
    let calibration = pictures(&weights, "calibration");
    let options = Options {
        correct_biases: false,
        ..Options::default()
    };
    let prepared = quantize(&graph, &calibration, &options, &silent)
        .unwrap()
        .prepared;
    assert!(prepared.nodes.len() > graph.nodes.len());
    let shape = &graph.values[graph.inputs[0]].shape;
    let Input::Reals(picture) = calibration[0].clone() else {
        panic!("a picture");
    };
    let input = Tensor::f32(shape, picture);
    let [a, b] =
        [&graph, &prepared].map(|graph| evaluate(graph, std::slice::from_ref(&input)).unwrap());
    let (a, b) = (a[0].as_f32().unwrap(), b[0].as_f32().unwrap());
    let largest = a.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-3 * largest, "{a}, {b}");
    }
}

#[test]
fn every_kernel_set_gives_the_same_embedding() {
    let weights = random_weights(32, 2, 8, 24);
    let graph = vit(&weights, 2).unwrap();
    let calibration = pictures(&weights, "calibration");
    let quantized = quantize(&graph, &calibration, &Options::default(), &silent).unwrap();
    let packed = pack(&quantized.quantized, &PackOptions::default()).unwrap();
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).unwrap();
    let embeddings: Vec<(&str, Vec<i8>)> = available()
        .map(|kernels| {
            let mut arena = AlignedBytes::zeroed(model.arena_bytes());
            let mut interpreter = Interpreter::new(&model, &mut arena, kernels).unwrap();
            for (index, x) in interpreter.input_s8_mut(0).unwrap().iter_mut().enumerate() {
                *x = (index * 37 % 251) as u8 as i8;
            }
            interpreter.run();
            (kernels.name(), interpreter.output_s8(0).unwrap().to_vec())
        })
        .collect();
    println!(
        "kernel sets covered: {:?}",
        embeddings.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    assert!(embeddings[0].1.iter().any(|&x| x != 0));
    for (name, embedding) in &embeddings[1..] {
        assert_eq!(embedding, &embeddings[0].1, "{name}");
    }
}

#[test]
fn a_mix_reaches_what_int8_alone_does_not() {
    let weights = random_weights(48, 2, 8, 16);
    let graph = vit(&weights, 3).unwrap();
    let inputs = pictures(&weights, "calibration");
    let check = pictures(&weights, "test");
    let options = Options::default();
    let mut known = Sensitivity::new();
    let search = |goal: &Goal, known: &Sensitivity, learn: &mut dyn FnMut(&str, f64)| {
        let memory = Memory {
            known: known.clone(),
            learn,
        };
        quantize_mixed(&graph, &inputs, &check, &options, goal, memory, &silent).unwrap()
    };
    let goal = |cosine| Goal {
        cosine,
        ..Goal::default()
    };
    let int8 = search(&goal(0.0), &known, &mut |_, _| panic!("nothing to search"));
    assert!(int8.reached && int8.choices.is_empty() && int8.cosine == int8.int8_cosine);

    let wanted = goal(int8.cosine.midpoint(1.0));
    let empty = known.clone();
    let mixed = search(&wanted, &empty, &mut |node, error| {
        known.insert(node.to_owned(), error);
    });
    println!(
        "int8 {:.5}, mixed {:.5} with {} of {} layers in floats",
        mixed.int8_cosine,
        mixed.cosine,
        mixed.choices.len(),
        mixed.candidates
    );
    assert!(mixed.reached && mixed.cosine >= wanted.cosine);
    assert!((1..mixed.candidates).contains(&mixed.choices.len()));
    assert_eq!(known.len(), mixed.candidates);
    let kept = &mixed.quantized.quantized.meta.float_nodes;
    assert!(
        mixed
            .choices
            .iter()
            .all(|choice| kept.contains(&choice.node))
    );
    assert!(
        mixed
            .choices
            .is_sorted_by(|a, b| a.error_alone >= b.error_alone)
    );

    // What an interrupted search has measured is not measured again and leads to the same choice.
    let again = search(&wanted, &known, &mut |_, _| panic!("known already"));
    assert_eq!(again.choices, mixed.choices);
    let tight = Goal {
        flash_bytes: Some(1),
        ..wanted.clone()
    };
    let refused = search(&tight, &known, &mut |_, _| panic!("known already"));
    assert!(!refused.reached && refused.choices.is_empty());
    let easy_but_tight = Goal {
        flash_bytes: Some(1),
        ..goal(0.0)
    };
    let refused = search(&easy_but_tight, &known, &mut |_, _| {
        panic!("int8 is too large already")
    });
    assert!(!refused.reached);
}
