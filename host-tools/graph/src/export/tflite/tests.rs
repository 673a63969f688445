//! What is written comes back from the import: files of the test data whole, with every parameter.

use std::path::Path;

use crate::export::tflite;
use crate::import::tflite::{Options, parse};
use crate::op::{Activation, Binary, Unary};
use crate::{Graph, Op, QuantDType, QuantParams, Tensor, ValueId, pass};

fn golden(name: &str) -> Graph {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/");
    let bytes = std::fs::read(format!("{folder}{name}")).expect(name);
    read(&bytes)
}

fn read(bytes: &[u8]) -> Graph {
    parse(Path::new("written.tflite"), bytes, &Options::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// What a graph says of an operator, apart from names.
type Described = (
    Op,
    Vec<(Vec<usize>, Option<Tensor>, Option<QuantParams>)>,
    Option<QuantParams>,
);

fn described(graph: &Graph) -> Vec<Described> {
    let value = |id: usize| {
        let value = &graph.values[id];
        (
            value.shape.clone(),
            value.constant.clone(),
            value.quant.clone(),
        )
    };
    let nodes = graph.nodes.iter();
    nodes
        .map(|node| {
            let inputs = node.inputs.iter().map(|&id| value(id)).collect();
            (node.op.clone(), inputs, value(node.output).2)
        })
        .collect()
}

#[test]
fn files_come_back_with_every_parameter() {
    for name in ["tflite_int8.tflite", "tflite_float.tflite"] {
        let graph = golden(name);
        let written = tflite(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(written.float_nodes.is_empty(), "{:?}", written.float_nodes);
        let again = read(&written.bytes);
        assert_eq!(again.nodes.len(), graph.nodes.len(), "{name}");
        for (a, b) in described(&graph).iter().zip(&described(&again)) {
            assert_eq!(a, b, "{name}");
        }
        let outputs = |graph: &Graph| -> Vec<String> {
            let values = graph.outputs.iter().map(|&id| &graph.values[id]);
            values.map(|value| value.name.clone()).collect()
        };
        assert_eq!(outputs(&graph), outputs(&again), "{name}");
        assert_eq!(graph.meta.integer_rules, again.meta.integer_rules);
        assert_eq!(tflite(&again).map(|file| file.bytes), Ok(written.bytes));
    }
}

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

fn eight(scale: f32, zero_point: i32) -> Option<QuantParams> {
    Some(QuantParams {
        dtype: QuantDType::I8,
        scales: vec![scale],
        zero_point,
    })
}

fn sixteen(scale: f32) -> Option<QuantParams> {
    Some(QuantParams {
        dtype: QuantDType::I16,
        scales: vec![scale],
        zero_point: 0,
    })
}

/// A graph that reads one value.
struct Maker {
    graph: Graph,
}

impl Maker {
    fn new(shape: &[usize], quant: Option<QuantParams>) -> (Self, ValueId) {
        let mut graph = Graph::empty("made");
        let input = graph.add_value("x", shape);
        graph.values[input].quant = quant;
        graph.inputs.push(input);
        (Self { graph }, input)
    }

    fn constant(&mut self, shape: &[usize], quant: Option<QuantParams>) -> ValueId {
        let name = format!("c{}", self.graph.values.len());
        let tensor = Tensor::f32(shape, numbers(shape.iter().product()));
        let id = self.graph.add_constant(name, tensor);
        self.graph.values[id].quant = quant;
        id
    }

    fn node(&mut self, op: Op, inputs: &[ValueId], quant: Option<QuantParams>) -> ValueId {
        let name = format!("n{}", self.graph.values.len());
        let output = self.graph.add_node(name, op, inputs, &[]);
        self.graph.values[output].quant = quant;
        output
    }

    fn finish(mut self, output: ValueId) -> Graph {
        self.graph.outputs.push(output);
        pass::infer_shapes(&mut self.graph).expect("shapes");
        self.graph
    }
}

fn conv(stride: usize, padding: usize, groups: usize) -> Op {
    Op::Conv2d {
        stride: [stride; 2],
        padding: [padding; 4],
        dilation: [1, 1],
        groups,
        activation: Activation::Relu,
    }
}

fn weights(scales: &[f32]) -> Option<QuantParams> {
    Some(QuantParams {
        dtype: QuantDType::I8,
        scales: scales.to_vec(),
        zero_point: 0,
    })
}

#[test]
fn floats_are_rounded_as_packing_rounds_them() {
    let (mut made, x) = Maker::new(&[1, 6, 6, 3], eight(0.5, 3));
    let scales = [1.0 / 127.0, 1.0 / 64.0];
    let weight = made.constant(&[2, 1, 1, 3], weights(&scales));
    let bias = made.constant(&[2], None);
    let y = made.node(conv(1, 0, 1), &[x, weight, bias], eight(0.1, -128));
    let graph = made.finish(y);
    let again = read(&tflite(&graph).expect("writes").bytes);
    let inputs = &again.nodes[0].inputs;
    let real = graph.values[weight].constant.as_ref().unwrap();
    let steps = real.as_f32().unwrap().iter().enumerate();
    let expected: Vec<i8> = steps
        .map(|(i, w)| (w / scales[i / 3]).round().clamp(-127.0, 127.0) as i8)
        .collect();
    let [found, biases] = [1, 2].map(|i| again.values[inputs[i]].constant.clone().unwrap());
    assert_eq!(found.as_i8(), Some(&expected[..]));
    assert_eq!(again.values[inputs[1]].quant, weights(&scales));
    let real = graph.values[bias].constant.as_ref().unwrap();
    let steps = real.as_f32().unwrap().iter().zip(scales);
    let expected: Vec<i32> = steps
        .map(|(&b, scale)| (f64::from(b) / (0.5 * f64::from(scale))).round() as i32)
        .collect();
    assert_eq!(biases.as_i32(), Some(&expected[..]));
}

#[test]
fn padding_that_is_not_same_is_written_apart() {
    let (mut made, x) = Maker::new(&[1, 8, 8, 4], eight(0.5, 3));
    let weight = made.constant(&[4, 3, 3, 1], weights(&[0.01; 4]));
    let y = made.node(conv(2, 1, 4), &[x, weight], eight(0.1, -3));
    let pooled = made.node(
        Op::MaxPool {
            kernel: [3, 3],
            stride: [2, 2],
            padding: [1; 4],
        },
        &[y],
        eight(0.1, -3),
    );
    let again = read(
        &tflite(&made.finish(pooled))
            .unwrap_or_else(|error| panic!("{error}"))
            .bytes,
    );
    let fill = |op: &Op| match op {
        Op::Pad { value, .. } => Some(*value),
        _ => None,
    };
    let names: Vec<&str> = again.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(names, ["Pad", "Conv2d", "Pad", "MaxPool"]);
    let found: Vec<f32> = again
        .nodes
        .iter()
        .filter_map(|node| fill(&node.op))
        .collect();
    assert_eq!(found, [0.0, 0.1 * -125.0], "zero, and the least of int8");
}

#[test]
fn an_embedding_of_16_bits_is_written_in_8() {
    let (mut made, x) = Maker::new(&[1, 4, 4, 8], eight(0.1, -128));
    let pooled = made.node(Op::GlobalAvgPool, &[x], sixteen(2.0 / 32767.0));
    let flat = made.node(Op::Reshape, &[pooled], sixteen(2.0 / 32767.0));
    made.graph.values[flat].shape = vec![1, 8];
    let embedding = made.node(Op::NormalizeEmbedding, &[flat], eight(1.0 / 127.0, 0));
    let graph = made.finish(embedding);
    let written = tflite(&graph).unwrap_or_else(|error| panic!("{error}"));
    assert!(written.float_nodes.is_empty());
    let again = read(&written.bytes);
    let output = &again.values[again.outputs[0]];
    assert_eq!(output.name, graph.values[embedding].name);
    assert_eq!(output.quant, eight(1.0 / 255.0, -128));
}

#[test]
fn every_node_that_tflite_lacks_is_named() {
    let (mut made, x) = Maker::new(&[5, 8], eight(0.1, 0));
    let [gamma, beta] = [8, 8].map(|size| made.constant(&[size], None));
    let y = made.node(Op::LayerNorm { epsilon: 1e-5 }, &[x, gamma, beta], None);
    let attention = Op::Attention {
        num_heads: 2,
        scale: 1.0,
        windows: 1,
        causal: false,
    };
    let z = made.node(attention, &[y, y, y], None);
    let sum = Op::Binary {
        function: Binary::Add,
        activation: Activation::None,
    };
    let wide = made.node(sum, &[z, x], sixteen(0.001));
    let error = tflite(&made.finish(wide)).unwrap_err().to_string();
    for expected in [
        "3 operators are not supported",
        "(LayerNorm): TFLite has no operator LayerNorm",
        "(Attention): TFLite has no operator Attention",
        "(Binary): its output has 16 bits",
        ".onnx",
    ] {
        assert!(error.contains(expected), "{expected} in {error}");
    }
}

/// A function of one input, in floats or between these parameters.
fn function_graph(function: Unary, quants: [Option<QuantParams>; 2]) -> Graph {
    let [input, output] = quants;
    let (mut made, x) = Maker::new(&[1, 4, 4, 6], input);
    let y = made.node(Op::Unary { function }, &[x], output);
    made.finish(y)
}

#[test]
fn functions_come_back_in_floats() {
    let (min, max) = (-0.5, 0.25);
    for function in [
        Unary::Clip {
            min: 0.0,
            max: f32::INFINITY,
        },
        Unary::Clip { min: 0.0, max: 6.0 },
        Unary::HardSwish,
        Unary::Sigmoid,
        Unary::Silu,
        Unary::QuickGelu,
        Unary::Tanh,
        Unary::Reciprocal,
        Unary::HardSigmoid {
            alpha: 0.3,
            beta: 0.4,
        },
        Unary::Affine {
            alpha: 2.0,
            beta: -0.5,
        },
    ] {
        let graph = function_graph(function, [None, None]);
        let again = read(&tflite(&graph).expect("writes").bytes);
        let input = Tensor::f32(&[1, 4, 4, 6], numbers(96));
        let [a, b] = [&graph, &again].map(|graph| {
            let outputs = pass::evaluate(graph, std::slice::from_ref(&input));
            outputs.expect("evaluates").remove(0)
        });
        for (a, b) in a.as_f32().unwrap().iter().zip(b.as_f32().unwrap()) {
            assert!(
                (a - b).abs() <= 1e-5 * a.abs().max(1.0),
                "{function:?}: {a}, {b}"
            );
        }
    }
    // The graph's import has none of these; they are written all the same.
    for function in [
        Unary::Clip { min, max },
        Unary::Gelu,
        Unary::Exp,
        Unary::LeakyRelu { alpha: 0.2 },
    ] {
        let written = tflite(&function_graph(function, [None, None])).expect("writes");
        let path = Path::new("written.tflite");
        let error = parse(path, &written.bytes, &Options::default()).unwrap_err();
        assert!(error.to_string().contains("the graph has no such operator"));
    }
    let error = tflite(&function_graph(Unary::Erf, [None, None])).unwrap_err();
    assert!(error.to_string().contains("no function Erf"), "{error}");
}

#[test]
fn functions_in_int8_have_the_parameters_that_tflite_asks_for() {
    let graph = function_graph(Unary::Sigmoid, [eight(0.1, 3), eight(1.0 / 200.0, -128)]);
    let again = read(&tflite(&graph).expect("writes").bytes);
    let outputs = again.nodes.iter().map(|node| node.output);
    let quants: Vec<Option<QuantParams>> =
        outputs.map(|id| again.values[id].quant.clone()).collect();
    assert_eq!(quants, [eight(1.0 / 256.0, -128), eight(1.0 / 200.0, -128)]);
    let hard = Unary::HardSigmoid {
        alpha: 1.0 / 6.0,
        beta: 0.5,
    };
    let graph = function_graph(hard, [eight(0.1, 3), eight(1.0 / 255.0, -128)]);
    let written = tflite(&graph).expect("writes");
    assert!(written.float_nodes.is_empty());
    let again = read(&written.bytes);
    let names: Vec<&str> = again.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(names, ["Binary", "Binary"]);
    let graph = function_graph(Unary::Exp, [eight(0.1, 3), eight(0.1, -128)]);
    assert_eq!(tflite(&graph).expect("writes").float_nodes, ["n1"]);
}

#[test]
fn what_a_graph_keeps_in_floats_is_written_in_floats() {
    let (mut maker, x) = Maker::new(&[1, 4, 4, 3], eight(0.1, 0));
    let sum = Op::Binary {
        function: Binary::Add,
        activation: Activation::None,
    };
    let y = maker.node(sum.clone(), &[x, x], eight(0.2, 1));
    let z = maker.node(sum, &[y, y], eight(0.4, 2));
    let mut graph = maker.finish(z);
    assert!(tflite(&graph).expect("writes").float_nodes.is_empty());
    let name = graph.nodes[0].name.clone();
    graph.meta.float_nodes.insert(name.clone());
    assert_eq!(tflite(&graph).expect("writes").float_nodes, [name]);
}

/// Both ends are rounded; what is between them is not, and is named.
#[test]
fn layers_with_16_bits_between_them_become_floats() {
    let function = Unary::HardSwish;
    for op in [Op::Unary { function }, Op::ChannelUnary { function }] {
        become_floats(op);
    }
}

fn become_floats(op: Op) {
    let (mut made, x) = Maker::new(&[1, 8, 8, 3], eight(0.1, 0));
    let weight = made.constant(&[4, 3, 3, 3], eight(0.01, 0));
    let stem = made.node(conv(2, 1, 1), &[x, weight], sixteen(0.001));
    let mut inputs = vec![stem];
    if matches!(op, Op::ChannelUnary { .. }) {
        inputs.extend([(); 2].map(|()| made.constant(&[4], None)));
    }
    let curve = made.node(op, &inputs, sixteen(0.001));
    let weight = made.constant(&[4, 3, 3, 1], eight(0.01, 0));
    let end = made.node(conv(1, 1, 4), &[curve, weight], eight(0.05, 0));
    let graph = made.finish(end);
    let written = tflite(&graph).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(written.float_nodes, names);
    let again = read(&written.bytes);
    let rounded = again
        .nodes
        .iter()
        .filter(|node| again.values[node.output].quant.is_some());
    let rounded: Vec<&Op> = rounded.map(|node| &node.op).collect();
    assert_eq!(rounded.len(), 1, "{rounded:?}");
    assert_eq!(again.values[again.outputs[0]].quant, eight(0.05, 0));
}
