//! Convolution, function and depthwise convolution with 16 bits between them: where that pays, and what operators it
//! makes.

#[path = "support/random.rs"]
mod random;

use pinhole_graph::op::{Activation, Unary};
use pinhole_graph::{Graph, Op, QuantDType, Tensor, ValueId};
use pinhole_pack::{PackOptions, lower::lower};
use pinhole_quantize::sources::{Source, sources, table};
use pinhole_quantize::{Input, Options, Quantized, Rounding, quantize, report::report};
use random::Random;

const SIDE: usize = 32;
const CHANNELS: usize = 8;

fn convolution(stride: usize, groups: usize, activation: Activation) -> Op {
    Op::Conv2d {
        stride: [stride; 2],
        padding: [1; 4],
        dilation: [1; 2],
        groups,
        activation,
    }
}

/// A stem that sees edges: filters without a mean, so that an even part gives small numbers and an edge large ones;
/// behind `function`, large numbers end at 6.
fn network(function: Option<Unary>, first: Activation) -> Graph {
    let mut random = Random(1);
    let mut graph = Graph::empty("edges");
    let constant = |graph: &mut Graph, name: &str, shape: &[usize], data: Vec<f32>| -> ValueId {
        graph.add_constant(name, Tensor::f32(shape, data))
    };
    let picture = graph.add_value("picture", &[1, SIDE, SIDE, 3]);
    graph.inputs.push(picture);
    let mut filters = random.numbers(CHANNELS * 27, 0.3);
    for filter in filters.chunks_mut(27) {
        let mean = filter.iter().sum::<f32>() / 27.0;
        filter.iter_mut().for_each(|weight| *weight -= mean);
    }
    let weight = constant(&mut graph, "filters", &[CHANNELS, 3, 3, 3], filters);
    let bias = constant(
        &mut graph,
        "offsets",
        &[CHANNELS],
        random.numbers(CHANNELS, 0.02),
    );
    let shape = [1, SIDE / 2, SIDE / 2, CHANNELS];
    let op = convolution(2, 1, first);
    let mut x = graph.add_node("stem".to_owned(), op, &[picture, weight, bias], &shape);
    if let Some(function) = function {
        x = graph.add_node("curve".to_owned(), Op::Unary { function }, &[x], &shape);
    }
    let weights = random.numbers(CHANNELS * 9, 40.0);
    let weight = constant(&mut graph, "taps", &[CHANNELS, 3, 3, 1], weights);
    let shape = [1, SIDE / 4, SIDE / 4, CHANNELS];
    let op = convolution(2, CHANNELS, Activation::Relu6);
    x = graph.add_node("depthwise".to_owned(), op, &[x, weight], &shape);
    let flat = shape.iter().product::<usize>();
    x = graph.add_node("flat".to_owned(), Op::Reshape, &[x], &[1, flat]);
    let weight = constant(
        &mut graph,
        "matrix",
        &[16, flat],
        random.numbers(16 * flat, 0.05),
    );
    let op = Op::Linear {
        activation: Activation::None,
    };
    x = graph.add_node("head".to_owned(), op, &[x, weight], &[1, 16]);
    graph.outputs.push(x);
    graph
}

/// Two halves, bright and dark, with a little noise.
fn pictures(count: usize, seed: u64) -> Vec<Input> {
    let mut random = Random(seed);
    let mut picture = || {
        let edge = (random.next() * 0.4 + 0.5) * SIDE as f32;
        let bright = |index: usize| index / 3 % SIDE < edge as usize;
        let level = |index: usize| if bright(index) { 0.8 } else { -0.8 };
        let pixels = (0..SIDE * SIDE * 3).map(|index| level(index) + 0.1 * random.next());
        pixels.collect::<Vec<f32>>().into()
    };
    (0..count).map(|_| picture()).collect()
}

fn quantized(graph: &Graph, wide: bool) -> Quantized {
    let options = Options {
        weights: Some(Rounding::Nearest),
        wide,
        ..Options::default()
    };
    quantize(graph, &pictures(16, 2), &options, &|_| ()).unwrap()
}

/// Values with 16 bits, by the node that writes them.
fn wide(quantized: &Graph) -> Vec<&str> {
    let is_wide = |value: ValueId| {
        let quant = quantized.values[value].quant.as_ref();
        quant.is_some_and(|quant| quant.dtype == QuantDType::I16)
    };
    let nodes = quantized.nodes.iter().filter(|node| is_wide(node.output));
    nodes.map(|node| node.name.as_str()).collect()
}

fn kinds(quantized: &Graph) -> Vec<&'static str> {
    let lowered = lower(quantized, &PackOptions::default()).unwrap();
    lowered.ops.iter().map(|op| op.kind.name()).collect()
}

fn cosine(result: &Quantized) -> f64 {
    let report = report(
        &result.prepared,
        &result.quantized,
        &pictures(16, 3),
        &|_| (),
    );
    report.unwrap().output_cosine_mean
}

#[test]
fn a_stem_of_many_small_numbers_gets_16_bits() {
    for function in [Unary::HardSwish, Unary::Silu, Unary::Gelu] {
        let graph = network(Some(function), Activation::None);
        let [narrow, result] = [false, true].map(|wide| quantized(&graph, wide));
        assert_eq!(wide(&narrow.quantized), [""; 0], "{function:?}");
        assert_eq!(wide(&result.quantized), ["stem", "curve"], "{function:?}");
        let expected = [
            "conv_s8",
            "lut_channels_s16",
            "depthwise_conv_s16",
            "gemm_s8",
        ];
        assert_eq!(kinds(&result.quantized), expected, "{function:?}");
        let [before, after] = [&narrow, &result].map(|result| 1.0 - cosine(result));
        println!("{function:?}: 1 - cosine {before:.6}, with 16 bits {after:.6}");
        assert!(
            after < 0.8 * before,
            "{function:?}: {before} became {after}"
        );
    }
}

#[test]
fn the_parts_of_the_error_stand_beside_the_packed_model() {
    let graph = network(Some(Unary::HardSwish), Activation::None);
    for wide in [false, true] {
        let result = quantized(&graph, wide);
        let found = sources(&result, &pictures(16, 3), true).unwrap();
        let part = |name: &str| -> &Source {
            let found = found.iter().find(|source| source.part == name);
            found.unwrap_or_else(|| panic!("no {name}"))
        };
        let (packed, all) = (part("the packed model"), part("all of these"));
        assert!((packed.alone - (1.0 - cosine(&result))).abs() < 1e-6);
        assert!((packed.without, all.without) == (None, None));
        // 16 bits count as exact, and arithmetic in integers rounds a little otherwise.
        let ratio = packed.alone / all.alone;
        assert!(
            (0.8..1.25).contains(&ratio),
            "{wide}: {ratio}\n{}",
            table(&found)
        );
        let (weights, activations) = (part("weights"), part("activations"));
        assert_eq!(weights.values + activations.values, all.values);
        assert_eq!(weights.without, Some(activations.alone));
        assert_eq!(activations.without, Some(weights.alone));
        for name in ["filters", "taps", "matrix", "input"] {
            assert_eq!(part(name).values, 1, "{name}");
        }
    }
}

#[test]
fn without_a_function_nothing_has_16_bits() {
    for first in [Activation::None, Activation::Relu6] {
        assert_eq!(
            wide(&quantized(&network(None, first), true).quantized),
            [""; 0]
        );
    }
    // What ends at 6 has too few bits nowhere.
    let graph = network(Some(Unary::HardSwish), Activation::Relu6);
    assert_eq!(wide(&quantized(&graph, true).quantized), [""; 0]);
}
