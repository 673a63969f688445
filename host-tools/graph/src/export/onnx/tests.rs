//! One operator a graph: what comes back from the exported file computes the same.

use crate::export::onnx;
use crate::import::onnx::{Options, load};
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Node, Op, QuantDType, QuantParams, Tensor, pass};

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

fn quant(dtype: QuantDType, scales: &[f32], zero_point: i32) -> Option<QuantParams> {
    Some(QuantParams {
        dtype,
        scales: scales.to_vec(),
        zero_point,
    })
}

/// A convolution with 16 bits behind it, a function with factors for each channel, a sum, and a linear layer.
fn quantised_graph() -> Graph {
    let mut graph = Graph::empty("quantised");
    let eight = |scale, zero_point| quant(QuantDType::I8, &[scale], zero_point);
    let x = graph.add_value("x", &[1, 8, 8, 3]);
    graph.values[x].quant = eight(1.0 / 64.0, -3);
    graph.inputs.push(x);
    let mut constant = |name: &str, shape: &[usize], scales: &[f32]| {
        let tensor = Tensor::f32(shape, numbers(shape.iter().product()));
        let id = graph.add_constant(name, tensor);
        if !scales.is_empty() {
            graph.values[id].quant = quant(QuantDType::I8, scales, 0);
        }
        id
    };
    let steps: Vec<f32> = (1..=4).map(|n| n as f32 / 254.0).collect();
    let weight = constant("weight", &[4, 3, 3, 3], &steps);
    let bias = constant("bias", &[4], &[]);
    let [before, after] = ["before", "after"].map(|name| constant(name, &[4], &[]));
    let matrix = constant("matrix", &[6, 4], &[1.0 / 127.0]);
    let offset = constant("offset", &[6], &[]);
    let mut node = |name: &str, op: Op, inputs: &[usize], quant: Option<QuantParams>| {
        let id = graph.add_node(name, op, inputs, &[]);
        graph.values[id].quant = quant;
        id
    };
    let conv = Op::Conv2d {
        stride: [2, 2],
        padding: [0, 0, 1, 1],
        dilation: [1, 1],
        groups: 1,
        activation: Activation::Relu6,
    };
    let y = node("conv", conv, &[x, weight, bias], eight(6.0 / 255.0, -128));
    let scaled = Op::ChannelUnary {
        function: Unary::HardSwish,
    };
    let z = node("scaled", scaled, &[y, before, after], eight(0.05, 4));
    let sum = Op::Binary {
        function: Binary::Add,
        activation: Activation::None,
    };
    let sum = node("sum", sum, &[y, z], quant(QuantDType::I16, &[0.001], 0));
    let mean = node("mean", Op::GlobalAvgPool, &[sum], eight(0.05, 0));
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let rows = graph.add_node("rows", Op::Reshape, &[mean], &[1, 4]);
    graph.values[rows].quant = eight(0.05, 0);
    let output = graph.add_node("linear", linear, &[rows, matrix, offset], &[]);
    graph.values[output].quant = eight(0.1, 7);
    graph.outputs.push(output);
    pass::infer_shapes(&mut graph).expect("shapes");
    graph
}

/// The weights of a layer in steps of their scales.
fn steps(graph: &Graph, id: usize) -> Vec<i8> {
    let value = &graph.values[id];
    let (constant, quant) = (value.constant.as_ref(), value.quant.as_ref());
    let steps = super::qdq::steps(constant.expect("weights"), quant.expect("scales"));
    steps.as_i8().expect("bytes").to_vec()
}

#[test]
fn quantised_graphs_come_back_with_every_parameter() {
    let graph = quantised_graph();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("quantised.onnx");
    std::fs::write(&path, onnx(&graph).expect("writes")).expect("writes");
    let again = load(&path, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    // The import reshapes where it is needed.
    let described = |graph: &Graph| -> Vec<(Op, Option<QuantParams>)> {
        let nodes = graph.nodes.iter().filter(|node| node.op != Op::Reshape);
        let nodes = nodes.map(|node| (node.op.clone(), graph.values[node.output].quant.clone()));
        nodes.collect()
    };
    let (expected, mut found) = (described(&graph), described(&again));
    assert_eq!(found.pop().map(|last| last.0), Some(Op::NormalizeEmbedding));
    assert_eq!(found, expected);
    let input = |graph: &Graph| graph.values[graph.inputs[0]].quant.clone();
    assert_eq!(input(&again), input(&graph));
    let layers = |graph: &Graph| -> Vec<Node> {
        let layer = |node: &&Node| matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. });
        graph.nodes.iter().filter(layer).cloned().collect()
    };
    for (a, b) in layers(&graph).iter().zip(&layers(&again)) {
        let [one, other] = [(&graph, a), (&again, b)].map(|(graph, node)| {
            let scales = graph.values[node.inputs[1]].quant.clone();
            (steps(graph, node.inputs[1]), scales)
        });
        assert_eq!(one, other, "{}", a.name);
        let biases = |graph: &Graph, node: &Node| -> Vec<f64> {
            let [input, weight] = [0, 1].map(|i: usize| graph.values[node.inputs[i]].quant.clone());
            let (input, weight) = (input.expect("input").scales[0], weight.expect("weights"));
            let constant = graph.values[node.inputs[2]].constant.as_ref();
            let data = constant.and_then(Tensor::as_f32).expect("biases").iter();
            let unit = |channel: usize| {
                let scale = weight.scales[channel.min(weight.scales.len() - 1)];
                f64::from(input) * f64::from(scale)
            };
            data.enumerate()
                .map(|(channel, &bias)| (f64::from(bias) / unit(channel)).round())
                .collect()
        };
        assert_eq!(biases(&graph, a), biases(&again, b), "{}", a.name);
    }
}

#[test]
fn a_layer_between_integers_that_stays_in_floats_comes_back_so() {
    let mut graph = quantised_graph();
    let conv = graph.nodes[0].clone();
    graph.values[conv.inputs[1]].quant = None;
    graph.meta.float_nodes.insert(conv.name);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mixed.onnx");
    std::fs::write(&path, onnx(&graph).expect("writes")).expect("writes");
    let again = load(&path, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let layer = |node: &&Node| matches!(node.op, Op::Conv2d { .. });
    let conv = again.nodes.iter().find(layer).expect("a convolution");
    assert!(again.values[conv.inputs[0]].quant.is_some());
    assert!(again.values[conv.output].quant.is_some());
    assert!(again.values[conv.inputs[1]].quant.is_none());
    assert_eq!(
        again.meta.float_nodes.iter().collect::<Vec<_>>(),
        [&conv.name]
    );
}

#[test]
fn a_quantised_graph_in_f32_has_no_parameters() {
    let real = crate::export::real(&quantised_graph());
    assert!(!real.is_quantized());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("real.onnx");
    std::fs::write(&path, onnx(&real).expect("writes")).expect("writes");
    let again = load(&path, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(!again.is_quantized());
}
