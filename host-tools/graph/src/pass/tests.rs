//! Passes over small graphs: what they find, and that a rewrite computes what the graph computed.

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

/// The one unary function that a graph was recognised as.
fn recognised(graph: &Graph) -> Option<Unary> {
    let graph = same_after(graph, |graph| assert_ne!(recognise(graph), 0));
    match graph.nodes.as_slice() {
        [
            Node {
                op: Op::Unary { function },
                ..
            },
        ] => Some(*function),
        _ => None,
    }
}

#[test]
fn spelled_out_gelu_is_recognised() {
    for halved_first in [false, true] {
        let (mut small, x) = Small::new(&[2, 3]);
        let (root, one, half) = (
            small.number(std::f32::consts::SQRT_2),
            small.number(1.0),
            small.number(0.5),
        );
        let scaled = small.binary(Binary::Div, x, root);
        let erf = small.unary(Unary::Erf, scaled);
        let gate = small.binary(Binary::Add, erf, one);
        let out = if halved_first {
            let halved = small.binary(Binary::Mul, half, x);
            small.binary(Binary::Mul, halved, gate)
        } else {
            let product = small.binary(Binary::Mul, x, gate);
            small.binary(Binary::Mul, product, half)
        };
        assert_eq!(recognised(&small.end(out)), Some(Unary::Gelu));
    }
}

#[test]
fn spelled_out_tanh_gelu_is_recognised() {
    let (mut small, x) = Small::new(&[2, 3]);
    let three = small.number(3.0);
    let cube = small.binary(Binary::Pow, x, three);
    let small_factor = small.number(0.044715);
    let cubic = small.binary(Binary::Mul, cube, small_factor);
    let sum = small.binary(Binary::Add, x, cubic);
    let root = small.number(0.797_884_6);
    let argument = small.binary(Binary::Mul, sum, root);
    let tanh = small.unary(Unary::Tanh, argument);
    let one = small.number(1.0);
    let gate = small.binary(Binary::Add, tanh, one);
    let half = small.number(0.5);
    let halved = small.binary(Binary::Mul, x, half);
    let out = small.binary(Binary::Mul, halved, gate);
    assert_eq!(recognised(&small.end(out)), Some(Unary::GeluTanh));
}

#[test]
fn gates_are_recognised() {
    let (mut small, x) = Small::new(&[2, 3]);
    let gate = small.unary(Unary::Sigmoid, x);
    let out = small.binary(Binary::Mul, gate, x);
    assert_eq!(recognised(&small.end(out)), Some(Unary::Silu));

    let (mut small, x) = Small::new(&[2, 3]);
    let factor = small.number(1.702);
    let scaled = small.binary(Binary::Mul, x, factor);
    let gate = small.unary(Unary::Sigmoid, scaled);
    let out = small.binary(Binary::Mul, x, gate);
    assert_eq!(recognised(&small.end(out)), Some(Unary::QuickGelu));

    for form in 0..3 {
        let (mut small, x) = Small::new(&[2, 3]);
        let (three, six) = (small.number(3.0), small.number(6.0));
        let shifted = small.binary(Binary::Add, x, three);
        let clipped = small.unary(Unary::Clip { min: 0.0, max: 6.0 }, shifted);
        let out = match form {
            0 => {
                let gate = small.binary(Binary::Div, clipped, six);
                small.binary(Binary::Mul, x, gate)
            }
            1 => {
                let product = small.binary(Binary::Mul, x, clipped);
                small.binary(Binary::Div, product, six)
            }
            _ => {
                let gate = small.unary(
                    Unary::HardSigmoid {
                        alpha: 1.0 / 6.0,
                        beta: 0.5,
                    },
                    x,
                );
                small.binary(Binary::Mul, x, gate)
            }
        };
        assert_eq!(
            recognised(&small.end(out)),
            Some(Unary::HardSwish),
            "form {form}"
        );
    }
}

#[test]
fn what_only_looks_like_a_gelu_stays() {
    let (mut small, x) = Small::new(&[2, 3]);
    let (root, one, half) = (small.number(1.5), small.number(1.0), small.number(0.5));
    let scaled = small.binary(Binary::Div, x, root);
    let erf = small.unary(Unary::Erf, scaled);
    let gate = small.binary(Binary::Add, erf, one);
    let product = small.binary(Binary::Mul, x, gate);
    let out = small.binary(Binary::Mul, product, half);
    let graph = small.end(out);
    assert_eq!(recognise(&mut graph.clone()), 0);
}

/// The spelled-out layer normalisation over the dimension `axis`.
fn decomposed_layer_norm(axis: usize) -> Graph {
    let (mut small, x) = Small::new(&[4, 4]);
    let mean_op = || Op::Reduce {
        function: Reduce::Mean,
        axes: vec![axis],
        keep_dims: true,
    };
    let mean = small.node(mean_op(), &[x]);
    let centred = small.binary(Binary::Sub, x, mean);
    let two = small.number(2.0);
    let squared = small.binary(Binary::Pow, centred, two);
    let variance = small.node(mean_op(), &[squared]);
    let epsilon = small.number(1e-5);
    let sum = small.binary(Binary::Add, variance, epsilon);
    let deviation = small.unary(Unary::Sqrt, sum);
    let normalised = small.binary(Binary::Div, centred, deviation);
    let (gamma, beta) = (
        small.tensor(&[4], data(4)),
        small.tensor(&[4], vec![0.1, 0.2, 0.3, 0.4]),
    );
    let scaled = small.binary(Binary::Mul, normalised, gamma);
    let out = small.binary(Binary::Add, scaled, beta);
    small.end(out)
}

#[test]
fn spelled_out_layer_norm_is_recognised() {
    let graph = same_after(&decomposed_layer_norm(1), |graph| {
        assert!(recognise(graph) > 0)
    });
    assert_eq!(graph.nodes.len(), 1);
    assert_eq!(graph.nodes[0].op, Op::LayerNorm { epsilon: 1e-5 });
    let other = same_after(&decomposed_layer_norm(0), |graph| {
        assert!(recognise(graph) > 0)
    });
    assert!(
        !other
            .nodes
            .iter()
            .any(|node| matches!(node.op, Op::LayerNorm { .. }))
    );
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

#[test]
fn faults_of_shapes_name_the_node_and_both_shapes() {
    let (mut small, x) = Small::new(&[1, 5, 4, 3]);
    let weight = small.tensor(&[2, 3, 3, 4], data(72));
    let y = small.node(conv_op(), &[x, weight]);
    small.graph.outputs.push(y);
    let text = infer_shapes(&mut small.graph)
        .expect_err("does not fit")
        .to_string();
    assert!(
        text.starts_with("n0: weight has shape [2, 3, 3, 4] for 3 channels"),
        "{text}"
    );
}

#[test]
fn every_structural_fault_is_found_at_once() {
    let mut graph = conv_bn_clip(false);
    graph.nodes.swap(0, 1);
    graph.nodes[2].name = graph.nodes[1].name.clone();
    graph.values[1].name = "x".to_owned();
    let faults = validate(&graph).expect_err("is refused").0;
    let text: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.at, fault.what))
        .collect();
    assert!(
        text.iter()
            .any(|line| line.contains("n1: reads n0 before it is computed")),
        "{text:?}"
    );
    assert!(
        text.iter()
            .any(|line| line.contains("two nodes have this name")),
        "{text:?}"
    );
    assert!(
        text.iter()
            .any(|line| line.contains("x: two values have this name")),
        "{text:?}"
    );
}

#[test]
fn ids_out_of_range_cycles_and_two_producers_are_refused() {
    let sound = conv_bn_clip(false);
    let edits: [fn(&mut Graph); 8] = [
        |graph| graph.nodes[0].inputs[0] = 1 << 40,
        |graph| graph.nodes[0].output = usize::MAX,
        |graph| graph.outputs = vec![99],
        |graph| graph.outputs.clear(),
        |graph| graph.nodes[0].inputs[0] = graph.nodes[2].output,
        |graph| graph.nodes[1].output = graph.nodes[0].output,
        |graph| drop(graph.nodes[0].inputs.drain(1..)),
        |graph| graph.nodes[2].output = graph.inputs[0],
    ];
    for (index, edit) in edits.into_iter().enumerate() {
        let mut graph = sound.clone();
        edit(&mut graph);
        assert!(validate(&graph).is_err(), "edit {index}");
        assert!(standard(&mut graph).is_err(), "edit {index}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused_with_their_node() {
    let leaky = |alpha| Unary::LeakyRelu { alpha };
    for function in [leaky(f32::NAN), leaky(f32::INFINITY)] {
        let mut graph = conv_bn_clip(false);
        graph.nodes[2].op = Op::Unary { function };
        let refused = standard(&mut graph).expect_err("is refused").to_string();
        assert!(refused.contains("n2: a number of Unary is"), "{refused}");
    }
    let mut graph = conv_bn_clip(false);
    let epsilon = f32::INFINITY;
    graph.nodes[1].op = Op::BatchNorm { epsilon };
    let refused = standard(&mut graph).expect_err("is refused").to_string();
    assert!(
        refused.contains("n1: a number of BatchNorm is inf"),
        "{refused}"
    );
}

#[test]
fn a_computed_weight_is_refused() {
    let (mut small, x) = Small::new(&[2, 2]);
    let y = small.node(
        Op::Linear {
            activation: Activation::None,
        },
        &[x, x],
    );
    small.graph.outputs.push(y);
    infer_shapes(&mut small.graph).expect("shapes fit");
    let text = validate(&small.graph).expect_err("is refused").to_string();
    assert!(
        text.contains("Linear input 1 is x, which is computed; expected a constant"),
        "{text}"
    );
}

#[test]
fn tokens_may_not_leave_the_first_dimension() {
    let ops = [
        Op::Transpose {
            permutation: vec![1, 0],
        },
        Op::Softmax { axis: 0 },
        Op::Concat { axis: 0 },
        Op::Pad {
            before: vec![1, 0],
            after: vec![0, 0],
            value: 0.0,
        },
    ];
    for op in ops {
        let (mut small, x) = Small::new(&[8, 4]);
        small.graph.values[x].dynamic = true;
        let y = small.node(op, &[x]);
        small.graph.outputs.push(y);
        let text = infer_shapes(&mut small.graph)
            .expect_err("is refused")
            .to_string();
        assert!(text.contains("dynamic"), "{text}");
    }
}

#[test]
fn huge_and_degenerate_shapes_are_refused_without_overflow() {
    let huge = usize::MAX / 2;
    let ops: Vec<(Vec<usize>, Op)> = vec![
        (vec![1, huge, huge, 3], Op::GlobalAvgPool),
        (
            vec![huge, huge],
            Op::Unary {
                function: Unary::Abs,
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [0, 1],
                stride: [1, 1],
                padding: [0; 4],
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [5, 1],
                stride: [1, 1],
                padding: [0; 4],
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [1, 1],
                stride: [0, 1],
                padding: [0; 4],
            },
        ),
        (
            vec![1, 4, 4, 1],
            Op::MaxPool {
                kernel: [1, 1],
                stride: [1, 1],
                padding: [usize::MAX; 4],
            },
        ),
        (
            vec![2, 2],
            Op::Pad {
                before: vec![usize::MAX, 1],
                after: vec![1, 1],
                value: 0.0,
            },
        ),
        (
            vec![2, 2],
            Op::Reduce {
                function: Reduce::Sum,
                axes: vec![2],
                keep_dims: true,
            },
        ),
        (
            vec![2, 2],
            Op::Reduce {
                function: Reduce::Sum,
                axes: vec![],
                keep_dims: true,
            },
        ),
        (
            vec![2, 2],
            Op::Transpose {
                permutation: vec![0, 0],
            },
        ),
        (
            vec![2, 2],
            Op::Slice {
                starts: vec![0],
                steps: vec![1],
            },
        ),
        (vec![2, 2], Op::Concat { axis: 9 }),
        (vec![2, 2], Op::Softmax { axis: 2 }),
    ];
    for (shape, op) in ops {
        let (mut small, x) = Small::new(&shape);
        let text = format!("{op:?}");
        let y = small.node(op, &[x]);
        small.graph.outputs.push(y);
        if shape != [1, huge, huge, 3] {
            assert!(infer_shapes(&mut small.graph).is_err(), "{text}");
        }
    }
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
