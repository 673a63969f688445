//! Products that are taken apart into a coarse and a fine one, where single inputs go beyond what the others show.

#[path = "support/random.rs"]
mod random;

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{Graph, Op, QuantDType, Tensor, ValueId, pass::evaluate};
use pinhole_pack::{PackOptions, lower::lower};
use pinhole_quantize::{Input, Options, Quantized, Rounding, quantize, report::report};
use random::Random;

const TOKENS: usize = 8;
const WIDTH: usize = 16;
const HIDDEN: usize = 48;
/// Features that few inputs have, each with a hidden unit of its own.
const RARE: usize = 8;

/// A perceptron beside a residual stream, and the normalisation of their sum. Hidden unit `i < RARE` reads feature `i`.
fn network() -> Graph {
    let mut random = Random(1);
    let mut graph = Graph::empty("perceptron");
    let tokens = graph.add_value("tokens", &[TOKENS, WIDTH]);
    graph.inputs.push(tokens);
    let mut constant = |graph: &mut Graph, name: &str, shape: &[usize], scale: f32| -> ValueId {
        let mut data = random.numbers(shape.iter().product(), scale);
        if name == "up" {
            let rare = data.chunks_mut(WIDTH).take(RARE).enumerate();
            rare.for_each(|(unit, row)| row[unit] = 1.0);
        }
        graph.add_constant(name, Tensor::f32(shape, data))
    };
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let weights = [
        constant(&mut graph, "up", &[HIDDEN, WIDTH], 0.1),
        constant(&mut graph, "up.bias", &[HIDDEN], 0.1),
        constant(&mut graph, "down", &[WIDTH, HIDDEN], 0.4),
        constant(&mut graph, "down.bias", &[WIDTH], 0.1),
    ];
    let (hidden, shape) = ([TOKENS, HIDDEN], [TOKENS, WIDTH]);
    let inputs = [tokens, weights[0], weights[1]];
    let x = graph.add_node("fc1".to_owned(), linear.clone(), &inputs, &hidden);
    let function = Unary::Gelu;
    let x = graph.add_node("gelu".to_owned(), Op::Unary { function }, &[x], &hidden);
    let inputs = [x, weights[2], weights[3]];
    let x = graph.add_node("fc2".to_owned(), linear, &inputs, &shape);
    let sum = Op::Binary {
        function: Binary::Add,
        activation: Activation::None,
    };
    let x = graph.add_node("sum".to_owned(), sum, &[x, tokens], &shape);
    let [gamma, beta] = [("gamma", 1.0), ("beta", 0.0)]
        .map(|(name, value)| graph.add_constant(name, Tensor::f32(&[WIDTH], vec![value; WIDTH])));
    let norm = Op::LayerNorm { epsilon: 1e-5 };
    let x = graph.add_node("norm".to_owned(), norm, &[x, gamma, beta], &shape);
    graph.outputs.push(x);
    graph
}

/// Small numbers, and one rare feature in those inputs that `rare` gives one.
fn inputs(count: usize, seed: u64, rare: impl Fn(usize) -> Option<usize>) -> Vec<Input> {
    let mut random = Random(seed);
    let mut input = |index: usize| {
        let common = |at: usize| at % WIDTH >= RARE;
        let number = |at| if common(at) { random.next() } else { 0.0 };
        let mut reals: Vec<f32> = (0..TOKENS * WIDTH).map(number).collect();
        if let Some(feature) = rare(index) {
            let row = index % TOKENS * WIDTH;
            reals[row + feature] = 6.0;
        }
        reals.into()
    };
    (0..count).map(&mut input).collect()
}

fn quantized(graph: &Graph, calibration: &[Input], wide: bool) -> Quantized {
    let options = Options {
        weights: Some(Rounding::Nearest),
        wide,
        ..Options::default()
    };
    quantize(graph, calibration, &options, &|_| ()).unwrap()
}

/// One input in eight has a rare feature, and no two the same: what is set apart has some that nothing else showed.
fn surprising() -> Vec<Input> {
    inputs(32, 2, |index| (index % 8 == 3).then_some(index / 8))
}

#[test]
fn a_product_whose_inputs_surprise_is_taken_apart_and_nearer_to_floats() {
    let graph = network();
    let [narrow, result] = [false, true].map(|wide| quantized(&graph, &surprising(), wide));
    let kinds: Vec<&str> = lower(&result.quantized, &PackOptions::default())
        .unwrap()
        .ops
        .iter()
        .map(|op| op.kind.name())
        .collect();
    let expected = [
        "gemm_s8",
        "lut_s16",
        "lut_s16",
        "add_s16",
        "gemm_s8",
        "gemm_s8",
        "add_s16",
        "add_s16",
        "layer_norm_s16",
    ];
    assert_eq!(kinds[..expected.len()], expected);
    let test = inputs(64, 3, |index| Some(index % RARE));
    let [before, after] = [&narrow, &result].map(|result| {
        let report = report(&result.prepared, &result.quantized, &test, &|_| ());
        1.0 - report.unwrap().output_cosine_mean
    });
    println!("1 - cosine {before:.6}, taken apart {after:.6}");
    assert!(after < 0.5 * before, "{before} became {after}");
}

#[test]
fn a_product_taken_apart_is_the_same_function_in_floats() {
    let graph = network();
    let result = quantized(&graph, &surprising(), true);
    assert!(result.prepared.nodes.len() > graph.nodes.len());
    let Input::Reals(reals) = inputs(1, 5, |_| Some(2)).remove(0) else {
        panic!("numbers");
    };
    let input = Tensor::f32(&[TOKENS, WIDTH], reals);
    let [before, after] = [&graph, &result.prepared].map(|graph| {
        let found = evaluate(graph, std::slice::from_ref(&input)).unwrap();
        found[0].as_f32().unwrap().to_vec()
    });
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() < 1e-5, "{a} is {b}");
    }
}

#[test]
fn both_parts_share_weights_and_steps() {
    let result = quantized(&network(), &surprising(), true);
    let graph = &result.quantized;
    let node = |name: &str| graph.nodes.iter().find(|node| node.name == name).unwrap();
    let quant = |value: ValueId| graph.values[value].quant.clone().unwrap();
    let [coarse, fine] = ["fc2.coarse", "fc2.fine"].map(node);
    assert_eq!(coarse.inputs[1], fine.inputs[1]);
    assert_eq!(quant(coarse.output), quant(fine.output));
    let [coarse, fine] = [coarse, fine].map(|node| quant(node.inputs[0]));
    assert_eq!([coarse.dtype, fine.dtype], [QuantDType::I8; 2]);
    assert!(fine.scales[0] < coarse.scales[0] / 200.0);
}

#[test]
fn a_report_has_the_product_and_not_its_parts() {
    let result = quantized(&network(), &surprising(), true);
    let test = inputs(8, 3, |index| Some(index % RARE));
    let report = report(&result.prepared, &result.quantized, &test, &|_| ()).unwrap();
    let names: Vec<&str> = report.layers.iter().map(|layer| &layer.node[..]).collect();
    assert_eq!(names, ["fc1", "gelu", "fc2", "sum", "norm"]);
    assert!(report.layers.iter().all(|layer| layer.sqnr_db > 20.0));
    let share: f64 = report.layers.iter().map(|layer| layer.share).sum();
    assert!((share - 1.0).abs() < 1e-9, "{share}");
}

#[test]
fn any_of_the_parts_may_stay_in_floats() {
    let whole = quantized(&network(), &surprising(), true);
    let test = inputs(16, 3, |index| Some(index % RARE));
    for node in &whole.quantized.nodes {
        let options = Options {
            weights: Some(Rounding::Nearest),
            float_nodes: [node.name.clone()].into(),
            ..Options::default()
        };
        let mixed = quantize(&network(), &surprising(), &options, &|_| ()).unwrap();
        let report = report(&mixed.prepared, &mixed.quantized, &test, &|_| ()).unwrap();
        let cosine = report.output_cosine_mean;
        assert!(cosine > 0.98, "{} in floats: {cosine}", node.name);
    }
}

#[test]
fn four_surprises_among_many_quiet_inputs_are_enough_and_one_is_not() {
    let apart = |surprises: usize| {
        let rare = |index| (index % 64 == 3 && index / 64 < surprises).then_some(index / 64);
        let result = quantized(&network(), &inputs(256, 2, rare), true);
        let found = |node: &pinhole_graph::Node| node.name == "fc2.coarse";
        result.quantized.nodes.iter().any(found)
    };
    assert!(apart(4));
    assert!(!apart(1));
}

#[test]
fn products_of_what_calibration_knows_stay_whole() {
    // Four inputs in a row have one feature, and the last of them is set apart.
    let calibration = inputs(32, 2, |index| Some(index / 4 % RARE));
    let result = quantized(&network(), &calibration, true);
    let whole = |name: &str| result.quantized.nodes.iter().any(|node| node.name == name);
    assert!(whole("fc2") && !whole("fc2.coarse"));
}
