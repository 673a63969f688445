//! Architectures over synthetic weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::efficientnet_lite::{Output, VARIANTS};
use super::projection::{Projection, Tower};
use super::*;
use crate::op::Unary;
use crate::{Graph, ModelKind, Op, Tensor, pass};

fn filled(shape: &[usize], seed: &mut u32) -> Tensor {
    let data = (0..shape.iter().product())
        .map(|_| {
            *seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            (*seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect();
    Tensor::f32(shape, data)
}

fn checkpoint(entries: &[(&str, &[usize])]) -> Checkpoint {
    let mut seed = 1;
    Checkpoint {
        tensors: entries
            .iter()
            .map(|(key, shape)| ((*key).to_owned(), filled(shape, &mut seed)))
            .collect(),
        path: PathBuf::from("synthetic"),
        sha256: String::new(),
    }
}

/// A BERT of one layer: vocabulary 11, 6 positions, width 8, inner width 12.
fn tiny_bert() -> Checkpoint {
    let layer = "encoder.layer.0";
    let mut entries: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut add = |key: String, shape: &[usize]| drop(entries.insert(key, shape.to_vec()));
    add("embeddings.word_embeddings.weight".into(), &[11, 8]);
    add("embeddings.position_embeddings.weight".into(), &[6, 8]);
    add("embeddings.token_type_embeddings.weight".into(), &[2, 8]);
    add("pooler.dense.weight".into(), &[8, 8]);
    for (part, shape) in [
        ("attention.self.query", [8, 8]),
        ("attention.self.key", [8, 8]),
        ("attention.self.value", [8, 8]),
        ("attention.output.dense", [8, 8]),
        ("intermediate.dense", [12, 8]),
        ("output.dense", [8, 12]),
    ] {
        add(format!("{layer}.{part}.weight"), &shape);
        add(format!("{layer}.{part}.bias"), &shape[..1]);
    }
    for norm in [
        "embeddings.LayerNorm".to_owned(),
        format!("{layer}.attention.output.LayerNorm"),
        format!("{layer}.output.LayerNorm"),
    ] {
        add(format!("{norm}.weight"), &[8]);
        add(format!("{norm}.bias"), &[8]);
    }
    let entries: Vec<(&str, &[usize])> = entries
        .iter()
        .map(|(key, shape)| (key.as_str(), shape.as_slice()))
        .collect();
    checkpoint(&entries)
}

fn tiny_config() -> bert::Config {
    bert::Config {
        num_heads: 2,
        epsilon: 1e-12,
        hidden_act: Unary::Gelu,
        assumed: Vec::new(),
    }
}

#[test]
fn variants_have_the_published_blocks_and_sizes() {
    // Blocks and head inputs as the PyTorch modules have them.
    let expected = [
        (16, 320, 224),
        (21, 320, 240),
        (21, 352, 260),
        (24, 384, 280),
        (30, 448, 300),
    ];
    for (variant, (blocks, head, side)) in VARIANTS.iter().zip(expected) {
        let mut entries: Vec<(String, Vec<usize>)> = (0..blocks)
            .map(|block| (format!("_blocks.{block}._bn1.bias"), vec![1]))
            .collect();
        entries.push(("_conv_head.weight".into(), vec![1280, head, 1, 1]));
        let entries: Vec<(&str, &[usize])> = entries
            .iter()
            .map(|(key, shape)| (key.as_str(), shape.as_slice()))
            .collect();
        let found = efficientnet_lite::variant_of(&checkpoint(&entries)).expect("is known");
        assert_eq!((found.number, found.side), (variant.number, side));
    }
}

#[test]
fn a_lite0_with_missing_weights_lists_them_all() {
    let mut entries: Vec<(String, Vec<usize>)> = (0..16)
        .map(|block| (format!("_blocks.{block}._bn1.bias"), vec![1]))
        .collect();
    entries.push(("_conv_head.weight".into(), vec![1280, 320, 1, 1]));
    let entries: Vec<(&str, &[usize])> = entries
        .iter()
        .map(|(key, shape)| (key.as_str(), shape.as_slice()))
        .collect();
    match efficientnet_lite::import(&checkpoint(&entries), Output::Features) {
        Err(ImportError::Keys(faults)) => {
            assert_eq!(faults.misshapen.len(), 16);
            assert!(faults.missing.len() > 200, "{}", faults.missing.len());
            assert_eq!(faults.unexpected, Vec::<String>::new());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_checkpoint_is_no_lite() {
    let error = efficientnet_lite::variant_of(&tiny_bert())
        .expect_err("is refused")
        .to_string();
    assert!(
        error.contains("0 blocks") && error.contains("lite0: 16 and 320"),
        "{error}"
    );
}

#[test]
fn a_bert_runs_with_every_number_of_tokens() {
    let mut graph = bert::import(&tiny_bert(), &tiny_config(), 5).expect("imports");
    pass::standard(&mut graph).expect("sound");
    for count in 1..=5 {
        let ids = Tensor::i32(&[count], (0..count as i32).collect());
        assert_eq!(
            pass::evaluate(&graph, &[ids]).expect("runs")[0].shape,
            [1, 8]
        );
    }
    let ids = Tensor::i32(&[6], vec![0; 6]);
    assert!(pass::evaluate(&graph, &[ids]).is_err());
}

#[test]
fn a_bert_is_refused_beyond_its_positions_and_with_odd_heads() {
    let import = |config: &bert::Config, tokens| {
        bert::import(&tiny_bert(), config, tokens)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert!(
        import(&tiny_config(), 7)
            .expect_err("is refused")
            .contains("7 tokens asked for; the position table has 6 rows")
    );
    assert!(import(&tiny_config(), 0).is_err());
    let config = bert::Config {
        num_heads: 3,
        ..tiny_config()
    };
    assert!(
        import(&config, 5)
            .expect_err("is refused")
            .contains("3 heads do not divide the width 8")
    );
}

#[test]
fn a_configuration_beside_the_weights_is_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut checkpoint = tiny_bert();
    checkpoint.path = folder.path().join("model.safetensors");
    assert_eq!(
        bert::config_beside(&checkpoint)
            .expect("assumes")
            .assumed
            .len(),
        3
    );
    let json = r#"{"hidden_size": 8, "num_attention_heads": 4, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new"}"#;
    std::fs::write(folder.path().join("config.json"), json).expect("writes");
    let config = bert::config_beside(&checkpoint).expect("reads");
    assert_eq!(
        config,
        bert::Config {
            num_heads: 4,
            epsilon: 1e-5,
            hidden_act: Unary::GeluTanh,
            assumed: Vec::new()
        }
    );
    for (json, what) in [
        (r#"{"hidden_size": 9}"#, "hidden_size is 9"),
        (
            r#"{"layer_norm_eps": 1e300}"#,
            "epsilon of layer normalisation is 1e+300",
        ),
    ] {
        std::fs::write(folder.path().join("config.json"), json).expect("writes");
        let refused = bert::config_beside(&checkpoint)
            .expect_err("is refused")
            .to_string();
        assert!(refused.contains(what), "{refused}");
    }
}

fn features(width: usize) -> Graph {
    let mut graph = Graph::empty("features");
    let x = graph.add_value("x", &[1, width]);
    graph.inputs.push(x);
    let y = graph.add_node(
        "y",
        Op::Unary {
            function: Unary::Abs,
        },
        &[x],
        &[1, width],
    );
    graph.outputs.push(y);
    graph
}

#[test]
fn both_towers_of_a_projection_share_a_space() {
    let mut weights = checkpoint(&[
        ("image.weight", &[4, 6]),
        ("image.bias", &[4]),
        ("text.0.weight", &[5, 3]),
        ("text.0.bias", &[5]),
        ("text.1.weight", &[4, 5]),
        ("text.1.bias", &[4]),
    ]);
    weights
        .tensors
        .insert("logit_scale".into(), Tensor::f32(&[1], vec![20.0]));
    let projection = Projection::from_checkpoint(weights.clone());
    let (mut image, mut text) = (features(6), features(3));
    projection
        .append(&mut image, Tower::Image)
        .expect("appends");
    projection.append(&mut text, Tower::Text).expect("appends");
    for graph in [&mut image, &mut text] {
        pass::standard(graph).expect("sound");
        assert_eq!(graph.values[graph.outputs[0]].shape, [1, 4]);
        assert_eq!(graph.meta.logit_scale, Some(20.0));
    }
    assert_eq!(
        (image.meta.kind, text.meta.kind),
        (ModelKind::ImageEncoder, ModelKind::TextEncoder)
    );
    assert_eq!(image.meta.embedding_space, text.meta.embedding_space);
    let out = pass::evaluate(&text, &[Tensor::f32(&[1, 3], vec![1.0, -2.0, 0.5])]).expect("runs");
    let norm: f32 = out[0].as_f32().expect("floats").iter().map(|v| v * v).sum();
    assert!((norm - 1.0).abs() < 1e-6);
    weights
        .tensors
        .insert("logit_scale".into(), Tensor::f32(&[1], vec![21.0]));
    assert_ne!(
        Projection::from_checkpoint(weights).embedding_space(),
        projection.embedding_space()
    );
}

#[test]
fn a_projection_of_another_width_is_refused() {
    let projection = Projection::from_checkpoint(checkpoint(&[
        ("image.weight", &[4, 6]),
        ("image.bias", &[4]),
    ]));
    let error = projection
        .append(&mut features(7), Tower::Image)
        .expect_err("is refused")
        .to_string();
    assert!(
        error.contains("image.weight is [4, 6], expected [4, 7]"),
        "{error}"
    );
    assert!(projection.append(&mut features(6), Tower::Text).is_err());
}
