//! One operator a graph: what comes back from the exported file computes the same.

use crate::export::onnx;
use crate::import::onnx::{Options, load};
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Op, Tensor, pass};

/// Numbers in [−1, 1) of no order.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// A graph of one operator; inputs of shapes, then constants of shapes, in [0.5, 2.5) so that they serve as variances too.
fn graph_of(op: Op, inputs: &[&[usize]], constants: &[&[usize]], output: &[usize]) -> Graph {
    let mut graph = Graph::empty("one");
    let mut ids = Vec::new();
    for (index, shape) in inputs.iter().enumerate() {
        let name = format!("x{index}");
        let listed = [shape.iter().product()];
        // An import wants one picture or one sequence, so other inputs arrive as a list.
        let given = if shape[0] == 1 { *shape } else { &listed };
        let mut id = graph.add_value(&name, given);
        graph.inputs.push(id);
        if shape[0] != 1 {
            id = graph.add_node(format!("{name}.shaped"), Op::Reshape, &[id], shape);
        }
        ids.push(id);
    }
    for (index, shape) in constants.iter().enumerate() {
        let data = numbers(shape.iter().product())
            .iter()
            .map(|v| v + 1.5)
            .collect();
        ids.push(graph.add_constant(format!("c{index}"), Tensor::f32(shape, data)));
    }
    let output = graph.add_node("node", op, &ids, output);
    graph.outputs.push(output);
    pass::infer_shapes(&mut graph).expect("shapes");
    graph
}

/// Pictures are of three channels and eight pixels or more a side, which an import takes for (1, H, W, C).
#[track_caller]
fn assert_comes_back(graph: &Graph) {
    let op = &graph.nodes[graph.nodes.len() - 1].op;
    let what = op.name();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("one.onnx");
    std::fs::write(&path, onnx(graph).expect(what)).expect("writes");
    let again = load(&path, &Options::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let inputs: Vec<Tensor> = graph
        .inputs
        .iter()
        .map(|&id| {
            let shape = &graph.values[id].shape;
            Tensor::f32(shape, numbers(shape.iter().product()))
        })
        .collect();
    let [a, b] = [graph, &again].map(|graph| pass::evaluate(graph, &inputs).expect(what).remove(0));
    assert_eq!(a.shape, b.shape, "{what}");
    let pairs = a
        .as_f32()
        .expect("floats")
        .iter()
        .zip(b.as_f32().expect("floats"));
    for (a, b) in pairs {
        let same = (a - b).abs() <= 1e-5 + 1e-5 * a.abs() || a.is_nan() && b.is_nan();
        assert!(same, "{what} {:?}: {a} and {b}", op);
    }
}

#[test]
fn functions_of_one_input_come_back() {
    let limits = Unary::Clip {
        min: -0.5,
        max: 0.25,
    };
    let functions = [
        limits,
        Unary::HardSwish,
        Unary::HardSigmoid {
            alpha: 0.3,
            beta: 0.4,
        },
        Unary::Sigmoid,
        Unary::Silu,
        Unary::Tanh,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::QuickGelu,
        Unary::Erf,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Reciprocal,
        Unary::Neg,
        Unary::Abs,
        Unary::LeakyRelu { alpha: 0.2 },
        Unary::Square,
        Unary::Affine {
            alpha: 2.0,
            beta: -0.5,
        },
    ];
    for function in functions {
        assert_comes_back(&graph_of(Op::Unary { function }, &[&[5, 6]], &[], &[]));
        let channels = Op::ChannelUnary { function };
        assert_comes_back(&graph_of(channels, &[&[5, 6]], &[&[6], &[6]], &[]));
    }
}

#[test]
fn functions_of_two_inputs_come_back() {
    let functions = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
    ];
    for function in functions {
        for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
            let op = Op::Binary {
                function,
                activation,
            };
            assert_comes_back(&graph_of(op.clone(), &[&[5, 6], &[1, 6]], &[], &[]));
            assert_comes_back(&graph_of(op, &[&[5, 6]], &[&[6]], &[]));
        }
    }
    let (function, activation) = (Binary::Pow, Activation::None);
    assert_comes_back(&graph_of(
        Op::Binary {
            function,
            activation,
        },
        &[&[5, 6]],
        &[&[6]],
        &[],
    ));
}

#[test]
fn windows_over_pictures_come_back() {
    let (stride, padding, activation) = ([2, 1], [1, 0, 0, 1], Activation::Relu6);
    let conv = |groups| Op::Conv2d {
        stride,
        padding,
        dilation: [1, 2],
        groups,
        activation,
    };
    assert_comes_back(&graph_of(
        conv(1),
        &[&[1, 9, 8, 3]],
        &[&[4, 3, 2, 3], &[4]],
        &[],
    ));
    assert_comes_back(&graph_of(conv(3), &[&[1, 9, 8, 3]], &[&[3, 3, 3, 1]], &[]));
    let kernel = [3, 2];
    assert_comes_back(&graph_of(
        Op::MaxPool {
            kernel,
            stride,
            padding,
        },
        &[&[1, 9, 8, 3]],
        &[],
        &[],
    ));
    for count_include_pad in [false, true] {
        let op = Op::AvgPool {
            kernel,
            stride,
            padding,
            count_include_pad,
        };
        assert_comes_back(&graph_of(op, &[&[1, 9, 8, 3]], &[], &[]));
    }
    assert_comes_back(&graph_of(Op::GlobalAvgPool, &[&[1, 9, 8, 3]], &[], &[]));
    let norm = Op::BatchNorm { epsilon: 1e-3 };
    assert_comes_back(&graph_of(
        norm,
        &[&[1, 9, 8, 3]],
        &[&[3], &[3], &[3], &[3]],
        &[],
    ));
}

#[test]
fn products_and_norms_come_back() {
    for activation in [Activation::None, Activation::Relu] {
        let op = Op::Linear { activation };
        assert_comes_back(&graph_of(op.clone(), &[&[5, 6]], &[&[4, 6], &[4]], &[]));
        assert_comes_back(&graph_of(op, &[&[2, 5, 6][1..]], &[&[4, 6]], &[]));
    }
    assert_comes_back(&graph_of(
        Op::MatMul { transpose_b: true },
        &[&[5, 6], &[4, 6]],
        &[],
        &[],
    ));
    assert_comes_back(&graph_of(
        Op::MatMul { transpose_b: false },
        &[&[5, 6], &[6, 4]],
        &[],
        &[],
    ));
    assert_comes_back(&graph_of(
        Op::LayerNorm { epsilon: 1e-5 },
        &[&[5, 6]],
        &[&[6], &[6]],
        &[],
    ));
    assert_comes_back(&graph_of(Op::L2Normalize, &[&[5, 6]], &[], &[]));
    assert_comes_back(&graph_of(Op::NormalizeEmbedding, &[&[1, 6]], &[], &[]));
    for axis in [0, 1] {
        assert_comes_back(&graph_of(Op::Softmax { axis }, &[&[5, 6]], &[], &[]));
    }
    for function in [Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::L2] {
        let op = Op::Reduce {
            function,
            axes: vec![1],
            keep_dims: false,
        };
        assert_comes_back(&graph_of(op, &[&[5, 6]], &[], &[]));
    }
}

#[test]
fn attention_comes_back() {
    let shapes: [&[usize]; 3] = [&[8, 6]; 3];
    for (windows, causal) in [(1, false), (2, false), (1, true), (2, true)] {
        let op = Op::Attention {
            num_heads: 2,
            scale: 0.5,
            windows,
            causal,
        };
        assert_comes_back(&graph_of(op.clone(), &shapes, &[], &[]));
        let tokens = 8 / windows;
        assert_comes_back(&graph_of(op, &shapes, &[&[2, tokens, tokens]], &[]));
    }
}

#[test]
fn moves_come_back() {
    assert_comes_back(&graph_of(Op::Reshape, &[&[1, 9, 8, 3]], &[], &[27, 8]));
    let permutation = vec![1, 0];
    assert_comes_back(&graph_of(
        Op::Transpose { permutation },
        &[&[5, 6]],
        &[],
        &[],
    ));
    let (starts, steps) = (vec![1, 0], vec![2, 1]);
    assert_comes_back(&graph_of(
        Op::Slice { starts, steps },
        &[&[5, 6]],
        &[],
        &[2, 6],
    ));
    assert_comes_back(&graph_of(
        Op::Concat { axis: 1 },
        &[&[5, 6], &[5, 2]],
        &[&[5, 1]],
        &[],
    ));
    let (before, after, value) = (vec![0, 1], vec![2, 0], 0.5);
    assert_comes_back(&graph_of(
        Op::Pad {
            before,
            after,
            value,
        },
        &[&[5, 6]],
        &[],
        &[],
    ));
}
