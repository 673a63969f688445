//! Factors leave a network the function that it was.

use super::*;
use pinhole_graph::pass;

fn conv() -> Op {
    Op::Conv2d {
        stride: [1; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups: 1,
        activation: Activation::None,
    }
}

fn unary(function: Unary) -> Op {
    Op::Unary { function }
}

/// Numbers between -1 and 1.
fn wave(index: usize) -> f32 {
    ((index * 37 + 11) % 19) as f32 / 9.0 - 1.0
}

/// (n, 1, 1, k), the rows of very different sizes where they are `spread`.
fn weight(n: usize, k: usize, spread: bool) -> Tensor {
    let size = |index: usize| match spread {
        true => 2f32.powi((index / k) as i32 * 3 - 4),
        false => 1.0,
    };
    let numbers = (0..n * k).map(|index| wave(index) * size(index));
    Tensor::f32(&[n, 1, 1, k], numbers.collect())
}

/// A product, GELU, a gate of the mean, another product; channels of very different ranges.
fn gated() -> Graph {
    let mut graph = Graph::empty("gated");
    let x = graph.add_value("x", &[1, 2, 2, 3]);
    graph.inputs.push(x);
    let first = graph.add_constant("first", weight(4, 3, true));
    let y = graph.add_node("conv", conv(), &[x, first], &[1, 2, 2, 4]);
    let y = graph.add_node("gelu", unary(Unary::Gelu), &[y], &[1, 2, 2, 4]);
    let mean = graph.add_node("mean", Op::GlobalAvgPool, &[y], &[1, 1, 1, 4]);
    let second = graph.add_constant("second", weight(4, 4, false));
    let gate = graph.add_node("squeeze", conv(), &[mean, second], &[1, 1, 1, 4]);
    let gate = graph.add_node("sigmoid", unary(Unary::Sigmoid), &[gate], &[1, 1, 1, 4]);
    let product = Op::Binary {
        function: Binary::Mul,
        activation: Activation::None,
    };
    let y = graph.add_node("gated", product, &[gate, y], &[1, 2, 2, 4]);
    let third = graph.add_constant("third", weight(2, 4, false));
    let y = graph.add_node("out", conv(), &[y, third], &[1, 2, 2, 2]);
    graph.outputs.push(y);
    graph
}

/// What calibration saw: unequal channels of the outputs of `unequal`, equal ones of all else.
fn channels(graph: &Graph, unequal: &[&str]) -> Vec<Channels> {
    let seen = |absmax: Vec<f32>| Channels {
        mean_square: absmax.iter().map(|a| a * a / 9.0).collect(),
        min: absmax.iter().map(|a| -a).collect(),
        max: absmax,
    };
    let width = |value: &pinhole_graph::Value| *value.shape.last().unwrap_or(&1);
    let values = graph.values.iter();
    let mut channels: Vec<Channels> = values.map(|value| seen(vec![1.0; width(value)])).collect();
    for node in graph.nodes.iter().filter(|n| unequal.contains(&&*n.name)) {
        channels[node.output] = seen(vec![0.1, 0.9, 7.0, 60.0]);
    }
    channels
}

#[track_caller]
fn same_function(before: &Graph, after: &Graph) {
    let input = (0..12).map(|i| i as f32 / 3.0 - 1.5).collect();
    let input = Tensor::f32(&[1, 2, 2, 3], input);
    let run = |graph: &Graph| {
        let outputs = pass::evaluate(graph, std::slice::from_ref(&input)).unwrap();
        outputs[0].as_f32().unwrap().to_vec()
    };
    let (expected, found) = (run(before), run(after));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
    assert!(
        expected.iter().zip(&found).all(near),
        "{expected:?} {found:?}"
    );
}

#[test]
fn channels_around_a_function_get_one_range_and_nothing_else_changes() {
    let graph = gated();
    let channels = channels(&graph, &["conv", "gelu", "mean", "gated"]);
    let equalized = equalize(&graph, &channels, &BTreeSet::new());
    pass::validate(&equalized).unwrap();
    let gelu = &equalized.nodes[1];
    assert_eq!(
        gelu.op,
        Op::ChannelUnary {
            function: Unary::Gelu
        }
    );
    let factors = |input: usize| {
        let constant = equalized.values[gelu.inputs[input]].constant.as_ref();
        constant.unwrap().as_f32().unwrap().to_vec()
    };
    // Few channels have a table each: nothing is rounded to powers of two.
    let expected = [1.0 / 64.0, 1.0 / 64.0, 7.0 / 60.0, 1.0];
    let before = factors(1);
    let near = |(a, b): (&f32, &f32)| (a / b - 1.0).abs() < 1e-5;
    assert!(before.iter().zip(&expected).all(near), "{before:?}");
    let after = factors(2);
    assert!(
        after.is_sorted_by(|a, b| a >= b) && after[0] > after[3],
        "{after:?}"
    );
    same_function(&graph, &equalized);
}

/// Two branches through the same two weights.
fn branches() -> Graph {
    let mut graph = Graph::empty("branches");
    let x = graph.add_value("x", &[1, 2, 2, 3]);
    graph.inputs.push(x);
    let turned = graph.add_constant("turn", weight(3, 3, false));
    let turned = graph.add_node("turned", conv(), &[x, turned], &[1, 2, 2, 3]);
    let first = graph.add_constant("first", weight(4, 3, true));
    let second = graph.add_constant("second", weight(2, 4, false));
    let ends = [(x, 'a'), (turned, 'b')].map(|(x, branch)| {
        let mut step = |part: &str, op: Op, inputs: &[ValueId], channels: usize| {
            graph.add_node(format!("{part}.{branch}"), op, inputs, &[1, 2, 2, channels])
        };
        let y = step("conv", conv(), &[x, first], 4);
        let y = step("gelu", unary(Unary::Gelu), &[y], 4);
        step("out", conv(), &[y, second], 2)
    });
    let sum = Op::Binary {
        function: Binary::Add,
        activation: Activation::None,
    };
    let y = graph.add_node("sum", sum, &ends, &[1, 2, 2, 2]);
    graph.outputs.push(y);
    graph
}

#[test]
fn branches_through_the_same_weights_share_their_factors() {
    let graph = branches();
    let channels = channels(&graph, &["conv.a", "gelu.a", "conv.b"]);
    let equalized = equalize(&graph, &channels, &BTreeSet::new());
    pass::validate(&equalized).unwrap();
    let functions = equalized.nodes.iter().filter(|node| has_table(node));
    let factors: Vec<[&[f32]; 2]> = functions
        .map(|node| {
            let factors = |place: usize| equalized.values[node.inputs[place]].constant.as_ref();
            [1, 2].map(|place| factors(place).unwrap().as_f32().unwrap())
        })
        .collect();
    assert_eq!(factors[0], factors[1]);
    assert!(factors[0][0].iter().any(|factor| *factor != 1.0));
    same_function(&graph, &equalized);
}
