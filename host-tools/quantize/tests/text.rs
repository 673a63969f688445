//! Small text towers of the CLIP family, and a BERT of one block, from f32 to integers: of any number of tokens, causal or not.
//! `tests/import/make_clip.py --tiny` makes the files.

use std::path::Path;

use pinhole_graph::import::Checkpoint;
use pinhole_graph::import::clip::{self, Config, Heads};
use pinhole_graph::op::{Activation, Binary, Reduce, Unary};
use pinhole_graph::{Graph, ModelKind, Op, QuantDType, Tensor, ValueId, pass};
use pinhole_pack::{PackOptions, lower::lower, pack};
use pinhole_quantize::report::{cosine, outputs, report};
use pinhole_quantize::{Input, Options, Progress, Quantized, quantize};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::available;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::DType;

/// Of the tiny towers.
const VOCABULARY: i32 = 50;

fn silent(_: Progress) {}

/// The text tower of a file.
fn tower(name: &str, change: impl Fn(&mut Config)) -> Graph {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut checkpoint = Checkpoint::load(folder.join(format!("clip_{name}.safetensors"))).unwrap();
    checkpoint
        .tensors
        .retain(|key, _| !key.starts_with("expected."));
    let keys = clip::recognises(&checkpoint).unwrap();
    let mut config = clip::config_beside(&checkpoint, keys).unwrap();
    config.text.heads = Heads::Count(4);
    config.text.activation = Unary::QuickGelu;
    change(&mut config);
    let mut graph = clip::import_text(&checkpoint, keys, &config, None).unwrap();
    pass::standard(&mut graph).unwrap();
    graph
}

/// Sequences of ids as the graph takes them, of every length that it may have.
fn texts(graph: &Graph, count: usize, seed: u32) -> Vec<Input> {
    let ids = &graph.values[graph.inputs[0]];
    let mut state = seed;
    let mut next = move |below: i32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as i32 % below
    };
    let least = 2;
    (0..count)
        .map(|index| {
            let most = ids.shape[0];
            let len = if ids.dynamic {
                least + index % (most - least + 1)
            } else {
                most
            };
            let mut text: Vec<i32> = (0..len).map(|_| next(VOCABULARY - 1)).collect();
            // The token that ends a text, wherever it is looked for.
            text[len - 1] = VOCABULARY - 1;
            text.into()
        })
        .collect()
}

fn float_ops(graph: &Graph) -> Vec<&'static str> {
    let lowered = lower(graph, &PackOptions::default()).unwrap();
    let names = lowered.ops.iter().map(|op| op.kind.name());
    names
        .filter(|name| name.ends_with("_f32") || name.starts_with("dequantize"))
        .collect()
}

/// Quantises, and proves what every text encoder must keep: its direction, its bits on every kernel set.
#[track_caller]
fn quantised(name: &str, graph: &Graph, least_cosine: f64) -> Quantized {
    let found = quantize(graph, &texts(graph, 48, 1), &Options::default(), &silent).unwrap();
    let test = texts(graph, 24, 2);
    same_in_floats(name, [graph, &found.prepared], &test);
    let report = report(&found.prepared, &found.quantized, &test, &silent).unwrap();
    println!(
        "{name}: cosine {:.5} on average, {:.5} at least, ranges by {}",
        report.output_cosine_mean,
        report.output_cosine_min,
        found.observer.name()
    );
    assert_eq!((report.inputs, report.of), (24, "texts"));
    assert!(
        report.output_cosine_min > least_cosine,
        "{}",
        report.table()
    );
    every_set_gives_the_same(&found.quantized, &test);
    found
}

/// What is done in front of quantisation leaves the network as it was.
#[track_caller]
fn same_in_floats(name: &str, graphs: [&Graph; 2], texts: &[Input]) {
    let texts: Vec<&Input> = texts.iter().collect();
    let [before, after] = graphs.map(|graph| outputs(graph, &texts).unwrap());
    let cosines = before.iter().zip(&after).map(|(a, b)| cosine(a, b));
    let least = cosines.fold(1.0, f64::min);
    assert!(least > 0.999_999, "{name}: cosine {least} in floats");
}

#[track_caller]
fn every_set_gives_the_same(graph: &Graph, texts: &[Input]) {
    let packed = pack(graph, &PackOptions::default()).unwrap();
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).unwrap();
    let runs: Vec<(&str, Vec<Vec<u32>>)> = available()
        .map(|kernels| {
            let mut arena = AlignedBytes::zeroed(model.arena_bytes());
            let mut interpreter = Interpreter::new(&model, &mut arena, kernels).unwrap();
            let embeddings = texts.iter().map(|text| {
                let Input::Ids(ids) = text else {
                    panic!("a text");
                };
                if model.max_tokens() > 0 {
                    interpreter.set_tokens(ids.len()).unwrap();
                }
                interpreter.input_i32_mut(0).unwrap().copy_from_slice(ids);
                let mut seen = Bits(&model, Vec::new());
                interpreter.run_observed(&mut seen);
                seen.1
            });
            (kernels.name(), embeddings.collect())
        })
        .collect();
    println!(
        "kernel sets covered: {:?}",
        runs.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for (name, found) in &runs[1..] {
        assert!(
            found == &runs[0].1,
            "{name}: other integers than {}",
            runs[0].0
        );
    }
}

/// A sum over the bytes of every integer operator; floats may differ in their last bits.
struct Bits<'m>(&'m Model<'m>, Vec<u32>);

impl pinhole_runtime::interpreter::Observer for Bits<'_> {
    fn after_op(&mut self, op: usize, value: usize, output: &[u8]) {
        if self.0.value(value).dtype == DType::F32 {
            return;
        }
        let sum = output.iter().fold(op as u32, |sum, &byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        self.1.push(sum);
    }
}

#[test]
fn a_causal_tower_is_integers_up_to_its_last_norm_of_length() {
    let graph = tower("vit", |_| ());
    let found = quantised("vit", &graph, 0.99);
    assert_eq!(float_ops(&found.quantized), ["l2_normalize_f32"]);
    let [float, int8] = [&graph, &found.quantized].map(|graph| {
        let packed = pack(graph, &PackOptions::default()).unwrap();
        packed.report.data_bytes
    });
    println!("{float} bytes of constants become {int8}");
    assert!(int8 * 3 < float, "{int8} of {float}");
}

#[test]
fn a_tower_with_a_class_token_behind_its_padding() {
    let found = quantised("coca", &tower("coca", |_| ()), 0.98);
    assert_eq!(float_ops(&found.quantized), ["l2_normalize_f32"]);
}

#[test]
fn a_tower_that_sees_its_padding_looks_for_the_end_in_floats() {
    let graph = tower("vit", |config| config.no_causal_mask = true);
    let found = quantised("vit without a mask", &graph, 0.98);
    let floats = float_ops(&found.quantized);
    assert!(
        floats.iter().all(|name| [
            "embedding_f32",
            "matmul_f32",
            "l2_normalize_f32",
            "dequantize_s8",
            "quantize_f32"
        ]
        .contains(name)),
        "{floats:?}"
    );
}

/// A post-norm block whose channels are unequal, and the mean of its tokens.
fn bert() -> Graph {
    let (tokens, width) = (9, 16);
    let mut graph = Graph::empty("bert");
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.max_tokens = Some(tokens);
    let ids = graph.add_value("ids", &[tokens]);
    graph.values[ids].is_ids = true;
    graph.inputs.push(ids);
    let mut build = Bert {
        graph,
        tokens,
        state: 9,
    };
    let table = build.constant("table", &[VOCABULARY as usize, width], 0.5);
    let x = build.node("words", Op::Embedding, &[ids, table], width);
    let places = build.constant("places", &[tokens, width], 0.2);
    let x = build.add("embed", x, places, width);
    let x = build.norm("embed.norm", x, width);
    let [q, k, v] = ["q", "k", "v"].map(|part| build.linear(part, x, [width, width]));
    let attention = Op::Attention {
        num_heads: 2,
        scale: 0.35,
        windows: 1,
        causal: false,
    };
    let y = build.node("attention", attention, &[q, k, v], width);
    let y = build.linear("projection", y, [width, width]);
    let x = build.add("attended", y, x, width);
    let x = build.norm("attended.norm", x, width);
    let y = build.linear("wide", x, [width, 4 * width]);
    let gelu = Op::Unary {
        function: Unary::Gelu,
    };
    let y = build.node("gelu", gelu, &[y], 4 * width);
    let y = build.linear("narrow", y, [4 * width, width]);
    let x = build.add("sum", y, x, width);
    let x = build.norm("norm", x, width);
    let mean = Op::Reduce {
        function: Reduce::Mean,
        axes: vec![0],
        keep_dims: true,
    };
    let mut graph = build.graph;
    let mean = graph.add_node("mean", mean, &[x], &[1, width]);
    graph.outputs.push(mean);
    for value in 0..graph.values.len() {
        let rows = graph.values[value].constant.is_none() && value != mean;
        graph.values[value].dynamic = rows;
    }
    graph
}

struct Bert {
    graph: Graph,
    tokens: usize,
    state: u32,
}

impl Bert {
    fn constant(&mut self, name: &str, shape: &[usize], size: f32) -> ValueId {
        let len: usize = shape.iter().product();
        let numbers = (0..len).map(|_| {
            self.state = self
                .state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            size * ((self.state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        });
        let tensor = Tensor::f32(shape, numbers.collect());
        self.graph.add_constant(name, tensor)
    }

    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId], width: usize) -> ValueId {
        self.graph.add_node(name, op, inputs, &[self.tokens, width])
    }

    fn linear(&mut self, name: &str, x: ValueId, [k, n]: [usize; 2]) -> ValueId {
        let weight = self.constant(&format!("{name}.weight"), &[n, k], 0.4);
        let bias = self.constant(&format!("{name}.bias"), &[n], 0.1);
        let op = Op::Linear {
            activation: Activation::None,
        };
        self.node(name, op, &[x, weight, bias], n)
    }

    fn add(&mut self, name: &str, a: ValueId, b: ValueId, width: usize) -> ValueId {
        let op = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        self.node(name, op, &[a, b], width)
    }

    fn norm(&mut self, name: &str, x: ValueId, width: usize) -> ValueId {
        // One channel spans ten times the others, as in real ones.
        let gamma = (0..width).map(|c| if c == 3 { 10.0 } else { 1.0 });
        let gamma = Tensor::f32(&[width], gamma.collect());
        let gamma = self.graph.add_constant(format!("{name}.weight"), gamma);
        let beta = self.constant(&format!("{name}.bias"), &[width], 0.2);
        self.node(
            name,
            Op::LayerNorm { epsilon: 1e-12 },
            &[x, gamma, beta],
            width,
        )
    }
}

#[test]
fn a_post_norm_block_is_integers_whose_sums_have_16_bits() {
    let graph = bert();
    let found = quantised("bert", &graph, 0.99);
    assert_eq!(float_ops(&found.quantized), [""; 0]);
    let dtype = |node: &str| {
        let node = found
            .quantized
            .nodes
            .iter()
            .find(|n| n.name == node)
            .unwrap();
        found.quantized.values[node.output]
            .quant
            .as_ref()
            .unwrap()
            .dtype
    };
    let wide = [
        "words",
        "embed",
        "embed.norm",
        "projection",
        "attended",
        "norm",
        "mean",
    ];
    assert_eq!(wide.map(dtype), [QuantDType::I16; 7]);
    assert_eq!(
        ["embed.norm.bytes", "attention"].map(dtype),
        [QuantDType::I8; 2]
    );
}

#[test]
fn texts_that_do_not_fit_are_refused() {
    let graph = bert();
    let refused = |input: Input| {
        quantize(&graph, &[input], &Options::default(), &silent)
            .unwrap_err()
            .to_string()
    };
    let said = refused(vec![1; 10].into());
    assert!(
        said.contains("10 token ids") && said.contains("1 to 9 token ids"),
        "{said}"
    );
    let said = refused(vec![0.5f32; 9].into());
    assert!(
        said.contains("9 numbers") && said.contains("token ids"),
        "{said}"
    );
}
