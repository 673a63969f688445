//! Networks packed in IEEE half: near their f32 form, and mixed with int8 layers.

use pinhole_graph::op::{Activation, Binary, Reduce, Unary};
use pinhole_graph::{Graph, Op, QuantDType, QuantParams, Tensor, ValueId};
use pinhole_pack::{PackOptions, Packed, Precision, StemPatches, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::{Kernels, available};
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::DType;

/// Tokens, width and heads of the transformer's layer; 4 windows of 4 tokens.
const TOKENS: usize = 16;
const WIDTH: usize = 24;
const HEADS: usize = 3;

struct Network {
    graph: Graph,
    random: u64,
}

impl Network {
    fn number(&mut self) -> f32 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn constant(&mut self, shape: &[usize], size: f32) -> ValueId {
        let name = format!("constant {}", self.graph.values.len());
        let count = shape.iter().product();
        let data = (0..count).map(|_| self.number() * size).collect();
        self.graph.add_constant(name, Tensor::f32(shape, data))
    }

    fn node(&mut self, op: Op, inputs: &[ValueId], shape: &[usize]) -> ValueId {
        let name = format!("{} {}", op.name(), self.graph.nodes.len());
        self.graph.add_node(name, op, inputs, shape)
    }

    fn conv(&mut self, x: ValueId, [kernel, stride, n]: [usize; 3], depthwise: bool) -> ValueId {
        let [_, height, width, from] = self.graph.values[x].shape[..] else {
            panic!("a convolution takes a picture");
        };
        let side = |side: usize| (side - 1) / stride + 1;
        let shape = [1, side(height), side(width), n];
        let from = if depthwise { 1 } else { from };
        let size = 2.0 / ((kernel * kernel * from) as f32).sqrt();
        let weight = self.constant(&[n, kernel, kernel, from], size);
        let bias = self.constant(&[n], 0.5);
        let op = Op::Conv2d {
            stride: [stride; 2],
            padding: [kernel / 2; 4],
            dilation: [1; 2],
            groups: if depthwise { n } else { 1 },
            activation: Activation::None,
        };
        self.node(op, &[x, weight, bias], &shape)
    }

    fn linear(&mut self, x: ValueId, n: usize) -> ValueId {
        let mut shape = self.graph.values[x].shape.clone();
        let k = shape[shape.len() - 1];
        let weight = self.constant(&[n, k], 2.0 / (k as f32).sqrt());
        let bias = self.constant(&[n], 0.2);
        *shape.last_mut().expect("a dimension") = n;
        let activation = Activation::None;
        self.node(Op::Linear { activation }, &[x, weight, bias], &shape)
    }

    fn unary(&mut self, x: ValueId, function: Unary) -> ValueId {
        let shape = self.graph.values[x].shape.clone();
        self.node(Op::Unary { function }, &[x], &shape)
    }

    fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let shape = self.graph.values[a].shape.clone();
        let op = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        self.node(op, &[a, b], &shape)
    }
}

/// Convolutions with a border, a gate over channels and pooling, then attention with and without windows.
fn network() -> Graph {
    let mut net = Network {
        graph: Graph::empty("half"),
        random: 3,
    };
    let picture = net.graph.add_value("picture", &[1, 15, 15, 3]);
    net.graph.inputs.push(picture);
    let pad = Op::Pad {
        before: vec![0, 1, 0, 0],
        after: vec![0, 0, 1, 0],
        value: 0.25,
    };
    let x = net.node(pad, &[picture], &[1, 16, 16, 3]);
    let x = net.conv(x, [3, 2, 20], false);
    let x = net.unary(x, Unary::HardSwish);
    let x = net.conv(x, [5, 1, 20], true);
    let pooled = net.node(Op::GlobalAvgPool, &[x], &[1, 1, 1, 20]);
    let gate = net.unary(pooled, Unary::Sigmoid);
    let gated = Op::Binary {
        function: Binary::Mul,
        activation: Activation::None,
    };
    let x = net.node(gated, &[x, gate], &[1, 8, 8, 20]);
    let x = net.conv(x, [1, 1, WIDTH], false);
    let pool = Op::MaxPool {
        kernel: [2; 2],
        stride: [2; 2],
        padding: [0; 4],
    };
    let x = net.node(pool, &[x], &[1, 4, 4, WIDTH]);
    let x = net.node(Op::Reshape, &[x], &[TOKENS, WIDTH]);
    let positions = net.constant(&[TOKENS, WIDTH], 0.3);
    let x = net.add(x, positions);
    let x = layer(&mut net, x, 1);
    let x = layer(&mut net, x, 4);
    let mean = Op::Reduce {
        function: Reduce::Mean,
        axes: vec![0],
        keep_dims: true,
    };
    let x = net.node(mean, &[x], &[1, WIDTH]);
    let x = net.linear(x, 32);
    let embedding = net.node(Op::L2Normalize, &[x], &[1, 32]);
    net.graph.outputs.push(embedding);
    net.graph
}

/// Convolutions of a large picture, and its mean.
fn stem() -> Graph {
    let mut net = Network {
        graph: Graph::empty("stem"),
        random: 4,
    };
    let picture = net.graph.add_value("picture", &[1, 32, 32, 3]);
    net.graph.inputs.push(picture);
    let narrow = net.conv(picture, [3, 2, 8], false);
    let x = net.conv(narrow, [1, 1, 96], false);
    let x = net.unary(x, Unary::HardSwish);
    let x = net.conv(x, [5, 1, 96], true);
    let again = net.conv(x, [1, 1, 8], false);
    let x = net.add(narrow, again);
    let x = net.conv(x, [3, 2, 8], false);
    let pooled = net.node(Op::GlobalAvgPool, &[x], &[1, 1, 1, 8]);
    net.graph.outputs.push(pooled);
    net.graph
}

/// A layer of a transformer; with windows it has a bias.
fn layer(net: &mut Network, x: ValueId, windows: usize) -> ValueId {
    let shape = [TOKENS, WIDTH];
    let norm = |net: &mut Network, x| {
        let (gamma, beta) = (net.constant(&[WIDTH], 1.0), net.constant(&[WIDTH], 0.1));
        let epsilon = 1e-5;
        net.node(Op::LayerNorm { epsilon }, &[x, gamma, beta], &shape)
    };
    let normed = norm(net, x);
    let mut inputs = [0; 3].map(|_| net.linear(normed, WIDTH)).to_vec();
    let tokens = TOKENS / windows;
    if windows > 1 {
        inputs.push(net.constant(&[HEADS, tokens, tokens], 0.5));
    }
    let attention = Op::Attention {
        num_heads: HEADS,
        scale: 0.35,
        windows,
        causal: false,
    };
    let mixed = net.node(attention, &inputs, &shape);
    let mixed = net.linear(mixed, WIDTH);
    let x = net.add(x, mixed);
    let normed = norm(net, x);
    let wide = net.linear(normed, 2 * WIDTH);
    let active = net.unary(wide, Unary::Gelu);
    let narrow = net.linear(active, WIDTH);
    net.add(x, narrow)
}

fn packed(graph: &Graph, precision: Precision) -> Packed {
    let options = PackOptions {
        precision,
        ..PackOptions::default()
    };
    pack(graph, &options).expect("a network that packs")
}

fn dtypes(model: &Model<'_>) -> Vec<DType> {
    (0..model.ops().len())
        .map(|op| model.value(model.ops()[op].output.get().into()).dtype)
        .collect()
}

fn output(model: &Model<'_>, kernels: &'static dyn Kernels) -> Vec<f32> {
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(model, &mut arena, kernels).expect("an arena that fits");
    let input = interpreter.input_f32_mut(0).expect("an f32 input");
    for (index, number) in input.iter_mut().enumerate() {
        *number = (index as f32 * 0.37).sin();
    }
    interpreter.run();
    interpreter.output_f32(0).expect("an f32 output").to_vec()
}

/// Of two vectors of length 1.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f32>().sqrt()
}

#[test]
fn half_precision_stays_near_single_precision_on_every_set() {
    let graph = network();
    let (single, half) = (
        packed(&graph, Precision::F32),
        packed(&graph, Precision::F16),
    );
    let (single, half) = (
        AlignedBytes::from_slice(&single.bytes),
        AlignedBytes::from_slice(&half.bytes),
    );
    let (single, half) = (
        Model::load(&single).expect("an f32 model"),
        Model::load(&half).expect("an f16 model"),
    );
    assert!(dtypes(&single).iter().all(|&dtype| dtype == DType::F32));
    let found = dtypes(&half);
    let (last, halves) = found.split_last().expect("operators");
    assert!(halves.iter().all(|&dtype| dtype == DType::F16), "{found:?}");
    assert_eq!(*last, DType::F32);
    // The values of half of the width, but for the picture itself and the embedding.
    assert!(half.arena_bytes() < single.arena_bytes());

    for kernels in available() {
        let (expected, found) = (output(&single, kernels), output(&half, kernels));
        let apart = distance(&expected, &found);
        // 2⁻¹¹ is the rounding of one number; some forty operators follow each other.
        assert!(apart > 0.0 && apart < 0.01, "{}: {apart}", kernels.name());
    }
}

#[test]
fn int8_layers_and_layers_in_half_precision_follow_each_other() {
    let mut graph = network();
    for value in &mut graph.values {
        let computed = value.constant.is_none();
        let quant = |dtype, scales| QuantParams {
            dtype,
            scales,
            zero_point: 0,
        };
        // The convolutions of the picture in int8, the residual stream of the transformer between its layers in int16.
        value.quant = match &value.constant {
            Some(weights) if weights.shape.len() == 4 => {
                Some(quant(QuantDType::I8, vec![0.02; weights.shape[0]]))
            }
            _ if computed && value.shape.len() == 4 => Some(quant(QuantDType::I8, vec![0.05])),
            _ if computed && value.name.starts_with("Binary") => {
                Some(quant(QuantDType::I16, vec![0.0005]))
            }
            _ => None,
        };
    }
    let picture = graph.inputs[0];
    graph.values[picture].quant = None;
    let bytes = AlignedBytes::from_slice(&packed(&graph, Precision::F16).bytes);
    let mixed = Model::load(&bytes).expect("a mixed model");
    let found = dtypes(&mixed);
    for dtype in [DType::I8, DType::I16, DType::F16, DType::F32] {
        assert!(found.contains(&dtype), "{}: {found:?}", dtype.name());
    }
    let bytes = AlignedBytes::from_slice(&packed(&graph, Precision::F32).bytes);
    let beside_single = Model::load(&bytes).expect("a mixed model");
    for kernels in available() {
        let (expected, found) = (output(&beside_single, kernels), output(&mixed, kernels));
        let apart = distance(&expected, &found);
        assert!(apart > 0.0 && apart < 0.02, "{}: {apart}", kernels.name());
    }
}

#[test]
fn bands_of_a_stem_in_half_precision_have_its_bits() {
    let graph = stem();
    let whole = packed(&graph, Precision::F16);
    let options = PackOptions {
        precision: Precision::F16,
        stem_patches: StemPatches::Bands(2),
        ..PackOptions::default()
    };
    let bands = pack(&graph, &options).expect("a network that packs");
    assert_eq!(bands.report.stem.bands, 2);
    let [whole, bands] = [whole, bands].map(|packed| AlignedBytes::from_slice(&packed.bytes));
    let (whole, bands) = (
        Model::load(&whole).expect("a model"),
        Model::load(&bands).expect("a model"),
    );
    for kernels in available() {
        let bits = |model| output(model, kernels).into_iter().map(f32::to_bits);
        assert!(bits(&whole).eq(bits(&bands)), "{}", kernels.name());
    }
}
