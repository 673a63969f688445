//! Passes over small graphs: what they find, and that a rewrite computes what the graph computed.

mod refused;
mod spelled_out;

use super::*;
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Node, Op, Tensor, ValueId};

/// A graph over one input `x`.
struct Small {
    graph: Graph,
}

impl Small {
    fn new(shape: &[usize]) -> (Self, ValueId) {
        let mut graph = Graph::empty("small");
        let x = graph.add_value("x", shape);
        graph.inputs.push(x);
        (Self { graph }, x)
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = format!("n{}", self.graph.nodes.len());
        self.graph.add_node(name, op, inputs, &[])
    }

    fn unary(&mut self, function: Unary, x: ValueId) -> ValueId {
        self.node(Op::Unary { function }, &[x])
    }

    fn binary(&mut self, function: Binary, a: ValueId, b: ValueId) -> ValueId {
        self.node(
            Op::Binary {
                function,
                activation: Activation::None,
            },
            &[a, b],
        )
    }

    fn number(&mut self, value: f32) -> ValueId {
        self.tensor(&[], vec![value])
    }

    fn tensor(&mut self, shape: &[usize], data: Vec<f32>) -> ValueId {
        let name = format!("c{}", self.graph.values.len());
        self.graph.add_constant(name, Tensor::f32(shape, data))
    }

    fn end(mut self, output: ValueId) -> Graph {
        self.graph.outputs.push(output);
        infer_shapes(&mut self.graph).expect("shapes fit");
        validate(&self.graph).expect("sound");
        self.graph
    }
}

/// Numbers in [−2, 2].
fn data(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 7919 + 13) % 401) as f32 / 100.0 - 2.0)
        .collect()
}

fn run(graph: &Graph) -> Vec<f32> {
    let shape = &graph.values[graph.inputs[0]].shape;
    let x = Tensor::f32(shape, data(shape.iter().product()));
    evaluate(graph, &[x]).expect("runs")[0]
        .as_f32()
        .expect("floats")
        .to_vec()
}

/// Runs before and behind, and asks that nothing changed beyond rounding.
fn same_after(graph: &Graph, rewrite: impl Fn(&mut Graph)) -> Graph {
    let mut rewritten = graph.clone();
    rewrite(&mut rewritten);
    infer_shapes(&mut rewritten).expect("shapes fit");
    validate(&rewritten).expect("sound");
    for (before, after) in run(graph).iter().zip(run(&rewritten)) {
        assert!(
            (before - after).abs() <= 1e-5 * before.abs().max(1.0),
            "{before} became {after}"
        );
    }
    rewritten
}

fn conv_op() -> Op {
    Op::Conv2d {
        stride: [2, 1],
        padding: [0, 1, 1, 1],
        dilation: [1, 1],
        groups: 1,
        activation: Activation::None,
    }
}

/// conv → batch norm → clip, optionally with the convolution as a second output.
fn conv_bn_clip(shared: bool) -> Graph {
    let (mut small, x) = Small::new(&[1, 5, 4, 3]);
    let weight = small.tensor(&[2, 3, 3, 3], data(54));
    let y = small.node(conv_op(), &[x, weight]);
    let parameters: Vec<ValueId> = [[1.5, -0.5], [0.1, 0.2], [0.3, -0.4], [0.5, 2.0]]
        .into_iter()
        .map(|values| small.tensor(&[2], values.to_vec()))
        .collect();
    let norm = small.node(
        Op::BatchNorm { epsilon: 1e-3 },
        &[
            y,
            parameters[0],
            parameters[1],
            parameters[2],
            parameters[3],
        ],
    );
    let z = small.unary(Unary::Clip { min: 0.0, max: 6.0 }, norm);
    if shared {
        small.graph.outputs.push(y);
    }
    small.end(z)
}

#[test]
fn batch_norm_and_activation_vanish_into_the_convolution() {
    let graph = same_after(&conv_bn_clip(false), |graph| {
        standard(graph).expect("sound")
    });
    assert_eq!(graph.nodes.len(), 1);
    assert!(matches!(
        graph.nodes[0].op,
        Op::Conv2d {
            activation: Activation::Relu6,
            ..
        }
    ));
    assert_eq!(graph.nodes[0].inputs.len(), 3);
}

#[test]
fn batch_norm_behind_a_shared_convolution_becomes_product_and_sum() {
    let graph = same_after(&conv_bn_clip(true), |graph| standard(graph).expect("sound"));
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(names, ["Conv2d", "Binary", "Binary"]);
    assert!(matches!(
        graph.nodes[2].op,
        Op::Binary {
            activation: Activation::Relu6,
            ..
        }
    ));
}

#[test]
fn batch_norm_folds_into_a_linear_layer_with_a_bias() {
    let (mut small, x) = Small::new(&[2, 3]);
    let (weight, bias) = (
        small.tensor(&[2, 3], data(6)),
        small.tensor(&[2], vec![0.5, -1.0]),
    );
    let y = small.node(
        Op::Linear {
            activation: Activation::None,
        },
        &[x, weight, bias],
    );
    let p: Vec<ValueId> = (0..4)
        .map(|i| small.tensor(&[2], vec![0.5 + i as f32, 1.5]))
        .collect();
    let z = small.node(
        Op::BatchNorm { epsilon: 1e-5 },
        &[y, p[0], p[1], p[2], p[3]],
    );
    let graph = same_after(&small.end(z), fold_batch_norm);
    assert_eq!(graph.nodes.len(), 1);
}

#[test]
fn an_activation_is_not_fused_when_its_input_is_read_elsewhere() {
    let (mut small, x) = Small::new(&[2, 3]);
    let sum = small.binary(Binary::Add, x, x);
    let relu = small.unary(
        Unary::Clip {
            min: 0.0,
            max: f32::INFINITY,
        },
        sum,
    );
    let out = small.binary(Binary::Mul, relu, sum);
    let graph = same_after(&small.end(out), fuse_activations);
    assert_eq!(graph.nodes.len(), 3);
}

#[test]
fn two_activations_in_a_row_are_not_lost() {
    let (mut small, x) = Small::new(&[2, 3]);
    let sum = small.binary(Binary::Add, x, x);
    let six = small.unary(Unary::Clip { min: 0.0, max: 6.0 }, sum);
    let relu = small.unary(
        Unary::Clip {
            min: 0.0,
            max: f32::INFINITY,
        },
        six,
    );
    let graph = same_after(&small.end(relu), fuse_activations);
    assert_eq!(graph.nodes.len(), 2);
}

#[test]
fn what_depends_on_constants_alone_is_computed() {
    let (mut small, x) = Small::new(&[2, 3]);
    let (a, b) = (small.tensor(&[3, 2], data(6)), small.number(2.0));
    let product = small.binary(Binary::Mul, a, b);
    let turned = small.node(
        Op::Transpose {
            permutation: vec![1, 0],
        },
        &[product],
    );
    let out = small.binary(Binary::Add, x, turned);
    let graph = same_after(&small.end(out), fold_constants);
    assert_eq!(graph.nodes.len(), 1);
    assert_eq!(
        graph
            .values
            .iter()
            .filter(|value| value.constant.is_some())
            .count(),
        1
    );
}

#[test]
fn identities_and_dead_nodes_go() {
    let (mut small, x) = Small::new(&[2, 3]);
    let same = small.node(
        Op::Transpose {
            permutation: vec![0, 1],
        },
        &[x],
    );
    let padded = small.node(
        Op::Pad {
            before: vec![0, 0],
            after: vec![0, 0],
            value: 1.0,
        },
        &[same],
    );
    let affine = small.unary(
        Unary::Affine {
            alpha: 1.0,
            beta: 0.0,
        },
        padded,
    );
    small.unary(Unary::Exp, affine);
    let out = small.unary(Unary::Tanh, affine);
    let graph = same_after(&small.end(out), remove_identities);
    assert_eq!(graph.nodes.len(), 1);
    assert_eq!(graph.nodes[0].inputs, graph.inputs);
    assert_eq!(graph.values.len(), 2);
}

#[test]
fn counted_padding_of_average_pooling_becomes_a_pad() {
    let (mut small, x) = Small::new(&[1, 5, 4, 3]);
    let y = small.node(
        Op::AvgPool {
            kernel: [3, 3],
            stride: [2, 1],
            padding: [1, 0, 1, 1],
            count_include_pad: true,
        },
        &[x],
    );
    let graph = same_after(&small.end(y), resolve_avg_pool);
    assert_eq!(graph.nodes.len(), 2);
    assert!(matches!(
        graph.nodes[1].op,
        Op::AvgPool {
            padding: [0, 0, 0, 0],
            count_include_pad: false,
            ..
        }
    ));
}

/// Attention of 2 heads over 3 windows of 4 tokens as exporters spell it, the scale at queries and keys, with `bias`.
fn windows_spelled_out(bias: &[usize]) -> Graph {
    let (mut small, x) = Small::new(&[3, 4, 2, 8]);
    let scaled = Unary::Affine {
        alpha: 0.5,
        beta: 0.0,
    };
    let turn = || Op::Transpose {
        permutation: vec![0, 2, 1, 3],
    };
    let q = small.unary(scaled, x);
    let q = small.node(turn(), &[q]);
    let k = small.unary(
        Unary::Affine {
            alpha: 0.7,
            beta: 0.0,
        },
        x,
    );
    let k = small.node(turn(), &[k]);
    let v = small.node(turn(), &[x]);
    let scores = small.node(Op::MatMul { transpose_b: true }, &[q, k]);
    let bias = small.tensor(bias, data(bias.iter().product()));
    let scores = small.binary(Binary::Add, scores, bias);
    let weights = small.node(Op::Softmax { axis: 3 }, &[scores]);
    let mixed = small.node(Op::MatMul { transpose_b: false }, &[weights, v]);
    let mixed = small.node(turn(), &[mixed]);
    small.end(mixed)
}

#[test]
fn attention_in_windows_with_a_bias_is_fused() {
    for shape in [&[1, 2, 4, 4][..], &[2, 4, 4], &[2, 1, 4], &[4, 4], &[4]] {
        let fused = same_after(&windows_spelled_out(shape), fuse_attention);
        let found = fused.nodes.iter().find_map(|node| match node.op {
            Op::Attention {
                num_heads, windows, ..
            } => Some((num_heads, windows, node.inputs.len())),
            _ => None,
        });
        assert_eq!(found, Some((2, 3, 4)), "{shape:?}");
    }
}

#[test]
fn attention_whose_bias_differs_between_windows_stays() {
    let fused = same_after(&windows_spelled_out(&[3, 2, 4, 4]), fuse_attention);
    let softmax = |node: &Node| matches!(node.op, Op::Softmax { .. });
    assert!(fused.nodes.iter().any(softmax));
}

#[test]
fn a_factor_a_channel_folds_into_the_layer_before_it() {
    let (mut small, x) = Small::new(&[5, 3]);
    let (weight, bias) = (small.tensor(&[4, 3], data(12)), small.tensor(&[4], data(4)));
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let y = small.node(linear, &[x, weight, bias]);
    let factors = small.tensor(&[1, 4], data(4));
    let y = small.binary(Binary::Mul, factors, y);
    let offsets = small.tensor(&[4], data(4));
    let y = small.binary(Binary::Add, y, offsets);
    let y = small.binary(Binary::Mul, y, y);
    let folded = same_after(&small.end(y), fold_batch_norm);
    assert_eq!(folded.nodes.len(), 2);
}
