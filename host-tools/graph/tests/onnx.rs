//! ONNX files against what ONNX Runtime computes with them; `tests/golden/make_onnx.py` makes the files.

use std::fs;
use std::path::{Path, PathBuf};

use pinhole_graph::export;
use pinhole_graph::import::ImportError;
use pinhole_graph::import::onnx::{Options, load};
use pinhole_graph::op::{Activation, Unary};
use pinhole_graph::{Graph, ModelKind, Op, QuantDType, QuantParams, Tensor, pass};
use prost::Message;
use safetensors::SafeTensors;
use tract_onnx::pb;

const TOKENS: usize = 6;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx")
}

fn import(name: &str) -> Graph {
    load_case(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn load_case(name: &str) -> Result<Graph, ImportError> {
    let options = Options {
        tokens: TOKENS,
        ..Options::default()
    };
    load(folder().join(format!("{name}.onnx")), &options)
}

/// The upper 24 bits of Knuth's MMIX generator from state 1.
fn lcg(count: usize) -> Vec<i64> {
    let mut state = 1_u64;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as i64
        })
        .collect()
}

fn input(graph: &Graph) -> Tensor {
    let value = &graph.values[graph.inputs[0]];
    let numbers = lcg(value.shape.iter().product());
    if value.is_ids {
        let ids = numbers.iter().map(|&number| (number % 1000) as i32);
        return Tensor::i32(&value.shape, ids.collect());
    }
    let floats = numbers
        .iter()
        .map(|&number| number as f32 / (1 << 23) as f32 - 1.0);
    Tensor::f32(&value.shape, floats.collect())
}

/// Cosine of our output with the expected one, whose squared length may differ by the share `stretch`.
fn cosine(name: &str, graph: &Graph, stretch: f64) -> f64 {
    let bytes = fs::read(folder().join("expected.safetensors")).expect("golden file");
    let tensors = SafeTensors::deserialize(&bytes).expect("golden file");
    let expected = tensors.tensor(name).expect("golden tensor");
    let expected = expected
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|&b| f64::from(f32::from_le_bytes(b)))
        .collect::<Vec<_>>();
    let outputs = pass::evaluate(graph, &[input(graph)]).expect("evaluates");
    let found: Vec<f64> = outputs[0]
        .as_f32()
        .expect("floats")
        .iter()
        .map(|&v| f64::from(v))
        .collect();
    assert_eq!(found.len(), expected.len(), "{name}");
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let ratio = dot(&found, &found) / dot(&expected, &expected);
    assert!((ratio - 1.0).abs() < stretch, "{name}: length² {ratio}");
    dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt()
}

fn count(graph: &Graph, wanted: fn(&Op) -> bool) -> usize {
    graph.nodes.iter().filter(|node| wanted(&node.op)).count()
}

#[test]
fn every_small_file_computes_what_onnx_runtime_computes() {
    for name in [
        "conv_net",
        "flatten_net",
        "nhwc_net",
        "decomposed",
        "shape_net",
        "vit",
        "bert",
    ] {
        let cosine = cosine(name, &import(name), 1e-4);
        println!("{name}: cosine {cosine:.9}");
        assert!(cosine >= 0.99999, "{name}: cosine {cosine}");
    }
}

#[test]
fn convolutional_networks_come_out_without_a_transpose() {
    for name in ["conv_net", "nhwc_net"] {
        let graph = import(name);
        let transposes = count(&graph, |op| matches!(op, Op::Transpose { .. }));
        assert_eq!(transposes, 0, "{name}");
        assert!(
            !graph
                .nodes
                .iter()
                .any(|node| matches!(node.op, Op::BatchNorm { .. })),
            "{name}"
        );
    }
}

#[test]
fn pictures_become_nhwc_and_geometry_is_assumed_with_a_note() {
    let graph = import("conv_net");
    assert_eq!(graph.values[graph.inputs[0]].shape, [1, 17, 15, 3]);
    assert_eq!(graph.meta.kind, ModelKind::ImageEncoder);
    assert!(graph.meta.source["assumed"].contains("ImageNet"));
    let graph = import("nhwc_net");
    assert_eq!(graph.values[graph.inputs[0]].shape, [1, 8, 8, 3]);
    assert_eq!(
        graph.meta.geometry.expect("geometry").mean,
        [0.0; 3],
        "the graph normalises"
    );
}

#[test]
fn nodes_keep_the_names_of_the_file() {
    let graph = import("conv_net");
    let conv = graph
        .nodes
        .iter()
        .find(|node| matches!(node.op, Op::Conv2d { groups: 8, .. }))
        .expect("the depthwise convolution");
    assert_eq!(conv.name, "conv_3");
    assert!(graph.nodes.iter().any(|node| node.name == "hardswish_2"
        && matches!(
            node.op,
            Op::Unary {
                function: Unary::HardSwish
            }
        )));
}

#[test]
fn transformers_come_out_as_attention_and_linear_layers() {
    for name in ["vit", "bert"] {
        let graph = import(name);
        assert_eq!(
            count(&graph, |op| matches!(op, Op::Attention { .. })),
            2,
            "{name}"
        );
        assert_eq!(count(&graph, |op| matches!(op, Op::MatMul { .. })), 0);
        assert_eq!(count(&graph, |op| matches!(op, Op::Transpose { .. })), 0);
        let linear = |node: &&pinhole_graph::Node| matches!(node.op, Op::Linear { .. });
        assert!(
            graph
                .nodes
                .iter()
                .filter(linear)
                .all(|node| node.inputs.len() == 3),
            "{name}: every bias is in its layer"
        );
        let gelus = count(&graph, |op| {
            matches!(
                op,
                Op::Unary {
                    function: Unary::Gelu
                }
            )
        });
        assert_eq!(gelus, 2, "{name}");
    }
}

#[test]
fn token_ids_stay_an_input_and_masks_become_ones() {
    let graph = import("bert");
    assert_eq!(graph.inputs.len(), 1);
    let ids = &graph.values[graph.inputs[0]];
    assert!(ids.is_ids);
    assert_eq!(ids.name, "input_ids");
    assert_eq!(graph.meta.kind, ModelKind::TextEncoder);
}

#[test]
fn a_shorter_sequence_runs_in_the_graph_of_a_longer_one() {
    let longer = Options {
        tokens: 11,
        ..Options::default()
    };
    let graph = load(folder().join("bert.onnx"), &longer).expect("imports");
    assert!(graph.values[graph.inputs[0]].dynamic);
    let ids: Vec<i32> = lcg(TOKENS).iter().map(|&n| (n % 1000) as i32).collect();
    let ids = Tensor::i32(&[TOKENS], ids);
    let fixed = import("bert");
    let found = pass::evaluate(&graph, std::slice::from_ref(&ids)).expect("evaluates");
    let expected = pass::evaluate(&fixed, &[ids]).expect("evaluates");
    let pairs = found[0].as_f32().expect("floats").iter();
    for (a, b) in pairs.zip(expected[0].as_f32().expect("floats")) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

#[test]
fn all_unsupported_nodes_are_named_at_once_with_reason_and_advice() {
    let Err(ImportError::Unsupported(refused)) = load_case("refused") else {
        panic!("expected a list of unsupported nodes");
    };
    let ops: Vec<&str> = refused.0.iter().map(|node| node.op.as_str()).collect();
    assert_eq!(ops, ["Relu", "If", "Einsum", "FusedThing"]);
    assert_eq!(refused.0[1].node, "if_7");
    assert!(refused.0[0].reason.contains("integer sums"));
    assert!(
        refused
            .0
            .iter()
            .all(|node| !node.reason.is_empty() && !node.advice.is_empty())
    );
    assert!(refused.to_string().contains("einsum_8"));
}

#[test]
fn operators_over_integers_keep_scales_and_integers() {
    let graph = import("integers");
    // Real numbers here, steps of 1/256 of a probability there.
    let cosine = cosine("integers", &graph, 0.05);
    assert!(cosine >= 0.999, "cosine {cosine}");
    for node in &graph.nodes {
        let quant = graph.values[node.output].quant.as_ref();
        assert!(quant.is_some(), "{}: {:?}", node.name, node.op);
    }
    let first = graph.values[graph.inputs[0]].quant.as_ref();
    let first = first.expect("scales of the input");
    assert_eq!(
        (first.scales.as_slice(), first.zero_point),
        ([0.02].as_slice(), -8)
    );
    let layer = |op: &Op| matches!(op, Op::Conv2d { .. } | Op::Linear { .. });
    let layers = graph.nodes.iter().filter(|node| layer(&node.op));
    let scales: Vec<usize> = layers
        .map(|node| {
            let weights = &graph.values[node.inputs[1]];
            let quant = weights.quant.as_ref().expect("scales of weights");
            quant.scales.len()
        })
        .collect();
    assert_eq!(scales, [8, 8, 12, 1]);
}

#[test]
fn scales_of_the_moment_leave_floats_and_a_note() {
    for name in ["dynamic", "dynamic_picture"] {
        let graph = import(name);
        let cosine = cosine(name, &graph, 0.02);
        assert!(cosine >= 0.9999, "{name}: cosine {cosine}");
        assert!(!graph.is_quantized());
        assert!(graph.meta.source["assumed"].contains("scales of the moment"));
    }
    // Both scales, the product and the bias are in the layer.
    let graph = import("dynamic_picture");
    assert_eq!(count(&graph, |op| matches!(op, Op::Conv2d { .. })), 1);
    assert_eq!(count(&graph, |op| matches!(op, Op::Binary { .. })), 0);
}

#[test]
fn weights_outside_the_folder_are_refused() {
    let error = load_case("outside").expect_err("outside");
    assert!(error.to_string().contains("folder of the model"), "{error}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = load_case("nothing").expect_err("missing");
    assert!(error.to_string().contains("nothing.onnx"), "{error}");
}

fn load_bytes(bytes: &[u8]) -> Result<Graph, ImportError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.onnx");
    fs::write(&path, bytes).expect("written");
    load(&path, &Options::default())
}

#[test]
fn every_kind_of_prefix_is_refused() {
    for name in ["conv_net", "integers"] {
        let bytes = fs::read(folder().join(format!("{name}.onnx"))).expect("golden file");
        for len in (0..bytes.len()).step_by(61) {
            assert!(load_bytes(&bytes[..len]).is_err(), "{name}: {len} bytes");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for name in ["shape_net", "integers", "dynamic_picture"] {
        let bytes = fs::read(folder().join(format!("{name}.onnx"))).expect("golden file");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let _ = load_bytes(&flipped);
        }
    }
}

#[test]
fn nodes_without_their_inputs_never_panic() {
    for name in ["integers", "dynamic", "dynamic_picture"] {
        let bytes = fs::read(folder().join(format!("{name}.onnx"))).expect("golden file");
        let whole = pb::ModelProto::decode(&bytes[..]).expect("a model");
        let nodes = whole.graph.iter().flat_map(|graph| &graph.node).enumerate();
        for (place, node) in nodes {
            for kept in 0..node.input.len() {
                let mut cut = whole.clone();
                if let Some(graph) = &mut cut.graph {
                    graph.node[place].input.truncate(kept);
                }
                let loaded = load_bytes(&cut.encode_to_vec());
                assert!(kept > 0 || loaded.is_err(), "{name}: node {place}");
            }
        }
    }
}

/// A linear layer in int8, as QDQ; one of its two scales of weights is [`SCALE`].
fn quantised_linear() -> Vec<u8> {
    let quant = |scales: &[f32]| {
        Some(QuantParams {
            dtype: QuantDType::I8,
            scales: scales.to_vec(),
            zero_point: 0,
        })
    };
    let mut graph = Graph::empty("linear");
    let x = graph.add_value("x", &[1, 3]);
    graph.inputs.push(x);
    graph.values[x].quant = quant(&[0.5]);
    let weights = vec![SCALE, -SCALE, SCALE, 0.125, -0.25, 2.0];
    let weight = graph.add_constant("weight", Tensor::f32(&[2, 3], weights));
    graph.values[weight].quant = quant(&[SCALE, 0.125]);
    let activation = Activation::None;
    let y = graph.add_node("y", Op::Linear { activation }, &[x, weight], &[1, 2]);
    graph.values[y].quant = quant(&[0.25]);
    graph.outputs.push(y);
    export::onnx(&graph).expect("exports")
}

/// Such bytes are nowhere else in the file.
const SCALE: f32 = 0.123_456_79;

/// The file of [`quantised_linear`] with another scale.
fn rescaled(scale: f32) -> Result<Graph, ImportError> {
    let mut bytes = quantised_linear();
    let places = bytes.windows(4).enumerate();
    let places = places.filter(|(_, window)| *window == SCALE.to_le_bytes());
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1, "the scale is in the file once");
    bytes[places[0]..][..4].copy_from_slice(&scale.to_le_bytes());
    load_bytes(&bytes)
}

#[test]
fn scales_that_are_not_positive_are_refused() {
    for scale in [-1.0, f32::NAN, f32::INFINITY] {
        let refused = rescaled(scale).expect_err("is refused").to_string();
        let what = format!("one of its scales is {scale}, expected a positive number");
        assert!(refused.contains(&what), "{refused}");
    }
}

#[test]
fn a_channel_of_zeros_may_have_steps_of_zero() {
    let graph = rescaled(0.0).expect("imports");
    let bytes = graph.to_bytes().expect("a file");
    let again = Graph::parse(Path::new("again.phg"), &bytes).expect("is read again");
    let weight = again.values.iter().find(|value| value.shape == [2, 3]);
    let weight = weight.expect("the weights");
    let scales = weight.quant.as_ref().map(|quant| quant.scales.clone());
    assert_eq!(scales, Some(vec![1.0, 0.125]));
    let x = Tensor::f32(&[1, 3], vec![0.5, 1.0, 1.5]);
    let found = pass::evaluate(&again, &[x]).expect("runs");
    assert_eq!(found[0].as_f32().expect("floats")[0], 0.0);
}

#[test]
fn garbage_and_other_formats_are_refused() {
    let text = b"this is no model, it is a sentence".as_slice();
    let noise: Vec<u8> = lcg(5000).iter().map(|&number| number as u8).collect();
    for bytes in [text, &noise, b"PK\x03\x04", &[0; 100]] {
        assert!(load_bytes(bytes).is_err());
    }
}

/// The graph as it comes back from the file that it is exported to.
fn exported_and_imported(graph: &Graph) -> Graph {
    let bytes = export::onnx(graph).expect("exports");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("exported.onnx");
    fs::write(&path, bytes).expect("writes");
    let options = Options {
        tokens: TOKENS,
        ..Options::default()
    };
    load(&path, &options).unwrap_or_else(|error| panic!("{}: {error}", graph.name))
}

fn assert_same_outputs(name: &str, a: &Graph, b: &Graph, input: &Tensor) {
    let [a, b] = [a, b].map(|graph| {
        let outputs = pass::evaluate(graph, std::slice::from_ref(input)).expect("evaluates");
        outputs[0].clone()
    });
    assert_eq!(a.shape, b.shape, "{name}");
    let (a, b) = (a.as_f32().expect("floats"), b.as_f32().expect("floats"));
    let largest = a.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-5 * largest, "{name}: {a} and {b}");
    }
}

#[test]
fn an_exported_graph_computes_the_same() {
    for name in [
        "conv_net",
        "flatten_net",
        "nhwc_net",
        "decomposed",
        "shape_net",
        "vit",
        "bert",
    ] {
        let graph = import(name);
        let again = exported_and_imported(&graph);
        assert_same_outputs(name, &graph, &again, &input(&graph));
        let named = graph
            .nodes
            .iter()
            .filter(|node| again.nodes.iter().any(|a| a.name == node.name));
        println!(
            "{name}: {} of {} nodes with their names",
            named.count(),
            graph.nodes.len()
        );
    }
}

#[test]
fn an_exported_text_encoder_runs_on_fewer_tokens() {
    let graph = import("bert");
    let again = exported_and_imported(&graph);
    assert!(again.values[again.inputs[0]].dynamic);
    let ids = Tensor::i32(&[TOKENS - 2], vec![7, 1, 400, 3]);
    assert_same_outputs("bert", &graph, &again, &ids);
}
