//! A network whose stem is cut into bands gives the same bits as the whole, from a smaller arena.

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{Graph, Op, QuantDType, QuantParams, Tensor, ValueId};
use pinhole_pack::{PackOptions, Packed, StemPatches, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::available;
use pinhole_runtime::model::Model;

/// A quantised network in the making.
struct Network {
    graph: Graph,
    random: u64,
}

impl Network {
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    fn quantised(&mut self, value: ValueId, dtype: QuantDType, scale: f32) -> ValueId {
        let zero_point = if dtype == QuantDType::I8 {
            value as i32 % 7 - 3
        } else {
            0
        };
        self.graph.values[value].quant = Some(QuantParams {
            dtype,
            scales: vec![scale],
            zero_point,
        });
        value
    }

    fn weights(&mut self, shape: &[usize]) -> [ValueId; 2] {
        let name = format!("weight {}", self.graph.values.len());
        let data = (0..shape.iter().product())
            .map(|_| self.below(201) as f32 / 100.0 - 1.0)
            .collect();
        let weight = self.graph.add_constant(&name, Tensor::f32(shape, data));
        self.graph.values[weight].quant = Some(QuantParams {
            dtype: QuantDType::I8,
            scales: vec![1.0 / 127.0; shape[0]],
            zero_point: 0,
        });
        let data = (0..shape[0])
            .map(|_| self.below(100) as f32 / 100.0)
            .collect();
        let bias = self
            .graph
            .add_constant(format!("{name} bias"), Tensor::f32(&shape[..1], data));
        [weight, bias]
    }

    fn node(&mut self, op: Op, inputs: &[ValueId], shape: &[usize]) -> ValueId {
        let name = format!("{} {}", op.name(), self.graph.nodes.len());
        let value = self.graph.add_node(name, op, inputs, shape);
        self.quantised(value, QuantDType::I8, 0.05)
    }

    /// SiLU, the steps of whose channels differ.
    fn function_of_channels(&mut self, x: ValueId) -> ValueId {
        let shape = self.graph.values[x].shape.clone();
        let channels = shape[3];
        let [before, after] = [[1.0, 0.25, 4.0], [1.0, 2.0, 0.5]].map(|factors: [f32; 3]| {
            let data = factors.iter().cycle().take(channels).copied().collect();
            let name = format!("factors {}", self.graph.values.len());
            self.graph
                .add_constant(name, Tensor::f32(&[channels], data))
        });
        let function = Unary::Silu;
        self.node(Op::ChannelUnary { function }, &[x, before, after], &shape)
    }

    /// A convolution with padding of half its kernel, or with that of TensorFlow, which puts the odd row below.
    fn conv(
        &mut self,
        x: ValueId,
        [kernel, stride, channels]: [usize; 3],
        depthwise: bool,
        uneven: bool,
    ) -> ValueId {
        let [_, height, width, from] = self.graph.values[x].shape[..] else {
            panic!("a convolution takes a picture");
        };
        let before = if uneven {
            (kernel - 1) / 2 - 1
        } else {
            kernel / 2
        };
        let padding = [before, before, kernel / 2, kernel / 2];
        let side = |side: usize| (side + before + kernel / 2 - kernel) / stride + 1;
        let shape = [1, side(height), side(width), channels];
        let [weight, bias] =
            self.weights(&[channels, kernel, kernel, if depthwise { 1 } else { from }]);
        let op = Op::Conv2d {
            stride: [stride; 2],
            padding,
            dilation: [1; 2],
            groups: if depthwise { channels } else { 1 },
            activation: Activation::Relu6,
        };
        self.node(op, &[x, weight, bias], &shape)
    }
}

/// What lies between the first convolution and the depthwise one behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    Nothing,
    /// A function of channels, of 8 bits or of 16.
    Function(QuantDType),
}

/// A stem with a residual sum and a function in it, then what no stem holds.
fn network(height: usize, width: usize, between: Between) -> Graph {
    let mut net = Network {
        graph: Graph::empty("patches"),
        random: 1,
    };
    let picture = net.graph.add_value("picture", &[1, height, width, 3]);
    net.quantised(picture, QuantDType::I8, 0.02);
    net.graph.inputs.push(picture);
    let mut x = net.conv(picture, [3, 2, 16], false, true);
    if let Between::Function(dtype) = between {
        let scale = match dtype {
            QuantDType::I8 => 0.05,
            QuantDType::I16 => 0.0004,
        };
        net.quantised(x, dtype, scale);
        x = net.function_of_channels(x);
        net.quantised(x, dtype, scale);
    }
    let x = net.conv(x, [3, 1, 16], true, false);
    let narrow = net.conv(x, [1, 1, 8], false, false);
    let wide = net.conv(narrow, [1, 1, 32], false, false);
    let deep = net.conv(wide, [5, 1, 32], true, false);
    let again = net.conv(deep, [1, 1, 8], false, false);
    let add = Op::Binary {
        function: Binary::Add,
        activation: Activation::None,
    };
    let shape = net.graph.values[narrow].shape.clone();
    let sum = net.node(add, &[narrow, again], &shape);
    let silu = Op::Unary {
        function: Unary::Silu,
    };
    let x = net.node(silu, &[sum], &shape);
    let x = net.conv(x, [3, 2, 16], false, false);
    let pooled = net.node(Op::GlobalAvgPool, &[x], &[1, 1, 1, 16]);
    let flat = net.node(Op::Reshape, &[pooled], &[1, 16]);
    let quant = net.graph.values[pooled].quant.clone();
    net.graph.values[flat].quant = quant;
    let [weight, bias] = net.weights(&[8, 16]);
    let linear = Op::Linear {
        activation: Activation::None,
    };
    let embedded = net.node(linear, &[flat, weight, bias], &[1, 8]);
    net.quantised(embedded, QuantDType::I16, 0.001);
    let embedding = net.node(Op::NormalizeEmbedding, &[embedded], &[1, 8]);
    net.graph.values[embedding].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales: vec![1.0 / 127.0],
        zero_point: 0,
    });
    net.graph.outputs.extend([x, embedding]);
    net.graph
}

fn packed(graph: &Graph, stem_patches: StemPatches) -> Packed {
    let options = PackOptions {
        stem_patches,
        ..PackOptions::default()
    };
    pack(graph, &options).expect("a network that packs")
}

/// The outputs on noise, on every kernel set.
fn outputs(packed: &Packed) -> Vec<Vec<u8>> {
    let file = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&file).expect("a model that loads");
    let mut found = Vec::new();
    for kernels in available() {
        let mut arena = AlignedBytes::zeroed(model.arena_bytes());
        let mut interpreter =
            Interpreter::new(&model, &mut arena, kernels).expect("an arena that fits");
        let mut random = 7u32;
        interpreter
            .input_bytes_mut(0)
            .expect("an input")
            .fill_with(|| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            });
        interpreter.run();
        found.extend((0..2).map(|output| {
            interpreter
                .output_bytes(output)
                .expect("an output")
                .to_vec()
        }));
    }
    found
}

#[test]
fn bands_have_the_bits_of_the_whole() {
    let functions = [QuantDType::I8, QuantDType::I16].map(Between::Function);
    let sizes = [(64, 64), (61, 40), (33, 35)].map(|size| (size, Between::Nothing));
    let cases = sizes
        .into_iter()
        .chain(functions.map(|between| ((61, 40), between)));
    for ((height, width), between) in cases {
        let graph = network(height, width, between);
        let whole = packed(&graph, StemPatches::Whole);
        let expected = outputs(&whole);
        let mut cut = 0;
        for patches in (2..=9).map(StemPatches::Bands).chain([StemPatches::Auto]) {
            let bands = packed(&graph, patches);
            assert_eq!(
                outputs(&bands),
                expected,
                "{height} × {width}, {between:?}, {patches:?}"
            );
            if bands.report.stem.bands > 0 {
                cut += 1;
                assert!(bands.report.arena_bytes < whole.report.arena_bytes);
                assert_eq!(
                    bands.report.macs,
                    whole.report.macs + bands.report.stem.extra_macs
                );
                assert!(
                    bands.report.data_bytes <= whole.report.data_bytes,
                    "bands share their weights"
                );
            }
            let report = &bands.report;
            println!(
                "{height} × {width} {between:?} {patches:?}: {:?}, arena {}, bound {}",
                report.stem, report.arena_bytes, report.arena_lower_bound_bytes
            );
        }
        assert!(
            cut > 3,
            "{height} × {width} {between:?}: hardly any number of bands lowers the arena"
        );
    }
}

#[test]
fn the_same_network_is_cut_alike_every_time() {
    let graph = network(64, 64, Between::Nothing);
    let [a, b] = [(); 2].map(|()| packed(&graph, StemPatches::Auto).bytes);
    assert!(a == b);
}
