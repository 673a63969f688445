//! Small CLIPs with random weights against what open_clip computes with them; `tests/import/make_clip.py --tiny` makes the files.

use std::path::{Path, PathBuf};

use pinhole_graph::import::clip::{self, Config, Heads};
use pinhole_graph::import::{Checkpoint, ImportError, nearest};
use pinhole_graph::op::Unary;
use pinhole_graph::{Graph, ModelKind, Op, Tensor, pass};

/// The checkpoint of a file, and what is expected of it.
fn load(name: &str) -> (Checkpoint, Checkpoint) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut checkpoint = Checkpoint::load(folder.join(format!("clip_{name}.safetensors"))).unwrap();
    let mut expected = checkpoint.clone();
    checkpoint
        .tensors
        .retain(|key, _| !key.starts_with("expected."));
    expected.tensors = expected
        .tensors
        .into_iter()
        .filter_map(|(key, tensor)| Some((key.strip_prefix("expected.")?.to_owned(), tensor)))
        .collect();
    (checkpoint, expected)
}

/// What the configuration of all small ones says.
fn config(checkpoint: &Checkpoint) -> Config {
    let keys = clip::recognises(checkpoint).unwrap();
    let mut config = clip::config_beside(checkpoint, keys).unwrap();
    config.image.heads = Heads::Width(32);
    config.text.heads = Heads::Count(4);
    config
}

fn image(checkpoint: &Checkpoint, config: &Config) -> Result<Graph, ImportError> {
    clip::import_image(checkpoint, clip::recognises(checkpoint).unwrap(), config)
}

fn text(checkpoint: &Checkpoint, config: &Config) -> Result<Graph, ImportError> {
    clip::import_text(
        checkpoint,
        clip::recognises(checkpoint).unwrap(),
        config,
        None,
    )
}

/// The largest difference of unit vectors from what is expected, over all pictures or texts.
fn largest_error(mut graph: Graph, expected: &Checkpoint, inputs: &str, outputs: &str) -> f64 {
    pass::standard(&mut graph).unwrap();
    let (inputs, outputs) = (&expected.tensors[inputs], &expected.tensors[outputs]);
    let row: usize = inputs.shape[1..].iter().product();
    let width = outputs.shape[1];
    let mut largest = 0.0f64;
    for (index, wanted) in outputs.as_f32().unwrap().chunks_exact(width).enumerate() {
        let span = index * row..(index + 1) * row;
        let input = match (inputs.as_f32(), inputs.as_i32()) {
            (Some(pixels), _) => {
                let shape = [&[1], &inputs.shape[1..]].concat();
                Tensor::f32(&shape, pixels[span].to_vec())
            }
            (_, ids) => {
                let ids = ids.unwrap()[span].iter().copied();
                let ids: Vec<i32> = ids.filter(|&id| id >= 0).collect();
                Tensor::i32(&[ids.len()], ids)
            }
        };
        let found = pass::evaluate(&graph, &[input]).unwrap();
        let found = found[0].as_f32().unwrap();
        let norm = found.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (found, wanted) in found.iter().zip(wanted) {
            largest = largest.max(f64::from(found / norm - wanted).abs());
        }
    }
    largest
}

#[test]
fn both_towers_of_a_vision_transformer_agree_with_open_clip() {
    let (checkpoint, expected) = load("vit");
    let mut config = config(&checkpoint);
    config.quick_gelu();
    let graph = image(&checkpoint, &config).unwrap();
    assert_eq!(graph.meta.kind, ModelKind::ImageEncoder);
    assert_eq!(graph.meta.geometry.as_ref().unwrap().width, 32);
    let error = largest_error(graph, &expected, "image", "image.embedding");
    assert!(error < 2e-6, "{error}");
    let graph = text(&checkpoint, &config).unwrap();
    assert_eq!(graph.meta.kind, ModelKind::TextEncoder);
    assert_eq!(graph.meta.max_tokens, Some(12));
    let error = largest_error(graph, &expected, "ids", "text.embedding");
    assert!(error < 2e-6, "{error}");
}

#[test]
fn the_activation_shows() {
    let (checkpoint, expected) = load("vit");
    let graph = image(&checkpoint, &config(&checkpoint)).unwrap();
    let error = largest_error(graph, &expected, "image", "image.embedding");
    assert!(error > 1e-4, "{error}: GELU for QuickGELU");
}

#[test]
fn a_residual_network_agrees_with_open_clip() {
    let (checkpoint, expected) = load("resnet");
    let config = config(&checkpoint);
    let graph = image(&checkpoint, &config).unwrap();
    let error = largest_error(graph, &expected, "image", "image.embedding");
    assert!(error < 2e-6, "{error}");
    let graph = text(&checkpoint, &config).unwrap();
    let error = largest_error(graph, &expected, "ids", "text.embedding");
    assert!(error < 2e-6, "{error}");
}

#[test]
fn both_towers_of_coca_agree_with_open_clip() {
    let (checkpoint, expected) = load("coca");
    let config = config(&checkpoint);
    let graph = image(&checkpoint, &config).unwrap();
    let error = largest_error(graph, &expected, "image", "image.embedding");
    assert!(error < 2e-6, "{error}");
    let graph = text(&checkpoint, &config).unwrap();
    assert_eq!(graph.meta.max_tokens, Some(13), "padding behind 12 tokens");
    assert_eq!(graph.meta.padding_tokens, 1);
    let error = largest_error(graph, &expected, "ids", "text.embedding");
    assert!(error < 2e-6, "{error}");
}

#[test]
fn a_mask_of_the_class_token_that_is_not_known_is_refused() {
    let (checkpoint, _) = load("coca");
    let mut correct = config(&checkpoint);
    correct.correct_cls_mask = true;
    let mut without = config(&checkpoint);
    without.no_causal_mask = true;
    for (config, what) in [(correct, "correct_cls_mask"), (without, "no causal mask")] {
        let refused = text(&checkpoint, &config).unwrap_err().to_string();
        assert!(
            refused.contains(what) && refused.contains("--tower image"),
            "{refused}"
        );
    }
}

#[test]
fn towers_of_mobileclip_agree_with_open_clip() {
    for (name, causal) in [
        ("fastvit", false),
        ("fastvit_norm", false),
        ("vit_stem", true),
        ("vit_timm", false),
    ] {
        let (checkpoint, expected) = load(name);
        let mut config = config(&checkpoint);
        config.image_size = Some(64);
        config.no_causal_mask = !causal;
        let graph = image(&checkpoint, &config).unwrap();
        assert_eq!(graph.meta.kind, ModelKind::ImageEncoder);
        let error = largest_error(graph, &expected, "image", "image.embedding");
        assert!(error < 2e-6, "{name} image: {error}");
        let graph = text(&checkpoint, &config).unwrap();
        assert_eq!(graph.values[graph.inputs[0]].dynamic, causal, "{name}");
        let error = largest_error(graph, &expected, "ids", "text.embedding");
        assert!(error < 2e-6, "{name} text: {error}");
    }
}

#[test]
fn branches_of_training_are_folded_as_timm_folds_them() {
    let (apart, _) = load("fastvit");
    let (folded, expected) = load("fastvit_folded");
    let [apart, folded] = [apart, folded].map(|checkpoint| {
        let mut config = config(&checkpoint);
        config.image_size = Some(64);
        image(&checkpoint, &config).unwrap()
    });
    let nodes = |graph: &Graph| -> Vec<(String, Op)> {
        let nodes = graph.nodes.iter();
        nodes
            .map(|node| (node.name.clone(), node.op.clone()))
            .collect()
    };
    assert_eq!(nodes(&apart), nodes(&folded));
    for op in nodes(&apart) {
        assert!(!matches!(op.1, Op::BatchNorm { .. }), "{}", op.0);
    }
    // timm folds in f32.
    let error = largest_error(folded, &expected, "image", "image.embedding");
    assert!(error < 5e-6, "{error}");
}

#[test]
fn keys_of_a_fastvit_that_do_not_fit_are_listed_together() {
    let (mut checkpoint, _) = load("fastvit");
    let config = config(&checkpoint);
    let missing = [
        "visual.trunk.stem.2.conv_kxk.0.conv.weight",
        "visual.trunk.stages.0.blocks.0.token_mixer.norm.identity.bias",
        "visual.trunk.stages.3.blocks.0.token_mixer.qkv.weight",
        "visual.trunk.final_conv.se.fc2.bias",
    ];
    for key in &missing {
        checkpoint.tensors.remove(*key).unwrap();
    }
    let one = Tensor::f32(&[1], vec![0.0]);
    checkpoint
        .tensors
        .insert("visual.trunk.surplus".into(), one.clone());
    let gamma = "visual.trunk.stages.1.blocks.0.layer_scale.gamma";
    checkpoint.tensors.insert(gamma.into(), one);
    let message = image(&checkpoint, &config).unwrap_err().to_string();
    let listed = [
        "4 missing, 1 unexpected, 1 of another shape",
        "unexpected visual.trunk.surplus",
        &format!("{gamma} is [1], expected [8, 1, 1]"),
    ];
    for part in missing.iter().chain(&listed) {
        assert!(message.contains(part), "no {part} in {message}");
    }
}

#[test]
fn a_network_of_timm_that_is_no_mobileclip_is_refused() {
    let (checkpoint, _) = load("fastvit");
    let mut config = config(&checkpoint);
    config.trunk = Some("fastvit_sa12.apple_in1k".into());
    let refused = image(&checkpoint, &config).unwrap_err().to_string();
    assert!(refused.contains("fastvit_sa12"), "{refused}");
    (config.trunk, config.image_pool) = (None, Some("token".into()));
    let refused = image(&checkpoint, &config).unwrap_err().to_string();
    assert!(refused.contains("timm_pool"), "{refused}");
    (config.image_pool, config.image_size) = (None, Some(1 << 40));
    let refused = image(&checkpoint, &config).unwrap_err().to_string();
    assert!(refused.contains("image_size"), "{refused}");
}

#[test]
fn both_towers_of_a_checkpoint_share_a_space() {
    let (checkpoint, _) = load("vit");
    let config = config(&checkpoint);
    let spaces = [image(&checkpoint, &config), text(&checkpoint, &config)]
        .map(|graph| graph.unwrap().meta.embedding_space.unwrap());
    assert_eq!(spaces[0], spaces[1]);
}

#[test]
fn keys_that_do_not_fit_are_listed_together() {
    let (mut checkpoint, _) = load("vit");
    let config = config(&checkpoint);
    for key in [
        "visual.ln_post.bias",
        "visual.transformer.resblocks.1.ln_2.weight",
    ] {
        checkpoint.tensors.remove(key).unwrap();
    }
    let extra = Tensor::f32(&[1], vec![0.0]);
    checkpoint.tensors.insert("visual.surplus".into(), extra);
    let proj = Tensor::f32(&[63, 24], vec![0.0; 63 * 24]);
    checkpoint.tensors.insert("visual.proj".into(), proj);
    let message = image(&checkpoint, &config).unwrap_err().to_string();
    for part in [
        "visual.ln_post.bias",
        "visual.transformer.resblocks.1.ln_2.weight",
        "visual.surplus",
        "[63, 24]",
        "[64, 24]",
    ] {
        assert!(message.contains(part), "no {part} in {message}");
    }
}

#[test]
fn a_configuration_beside_a_checkpoint_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("open_clip_config.json");
    let (mut checkpoint, _) = load("vit");
    checkpoint.path = folder.path().join("open_clip_model.safetensors");
    let keys = clip::recognises(&checkpoint).unwrap();
    let assumed = clip::config_beside(&checkpoint, keys).unwrap();
    assert_eq!(assumed.assumed.len(), 2, "{:?}", assumed.assumed);
    std::fs::write(
        &path,
        r#"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"head_width": 32}, "text_cfg": {"heads": 4}},
            "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}"#,
    )
    .unwrap();
    let read = clip::config_beside(&checkpoint, keys).unwrap();
    assert!(read.assumed.is_empty(), "{:?}", read.assumed);
    assert_eq!(read.image.heads, Heads::Width(32));
    assert_eq!(read.text.heads, Heads::Count(4));
    assert_eq!(read.text.activation, Unary::QuickGelu);
    assert_eq!(read.mean, [0.1, 0.2, 0.3]);
    for (json, what) in [
        ("{", "no JSON"),
        (
            r#"{"preprocess_cfg": {"mean": [1e300, 0, 0], "std": [1, 1, 1]}}"#,
            "the mean of pixels is [1e+300,0,0], expected about 0.5",
        ),
        (
            r#"{"preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 0, 1]}}"#,
            "the deviation of pixels is [1,0,1], expected more than 0",
        ),
        (
            r#"{"model_cfg": {"text_cfg": {"norm_kwargs": {"eps": -1}}}}"#,
            "the epsilon of layer normalisation is -1, expected 0 to 1",
        ),
    ] {
        std::fs::write(&path, json).unwrap();
        let error = clip::config_beside(&checkpoint, keys).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(
            error.to_string().contains("open_clip_config.json"),
            "{error}"
        );
    }
}

#[test]
fn what_open_clip_says_of_a_mobileclip_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut checkpoint, _) = load("fastvit");
    checkpoint.path = folder.path().join("open_clip_model.safetensors");
    let keys = clip::recognises(&checkpoint).unwrap();
    let assumed = clip::config_beside(&checkpoint, keys).unwrap();
    assert_eq!(assumed.assumed.len(), 3, "{:?}", assumed.assumed);
    assert!(assumed.no_causal_mask);
    assert_eq!((assumed.mean, assumed.std), ([0.0; 3], [1.0; 3]));
    std::fs::write(
        folder.path().join("open_clip_config.json"),
        r#"{"model_cfg": {
                "vision_cfg": {"timm_model_name": "fastvit_mci3", "timm_pool": "avg", "image_size": 224},
                "text_cfg": {"no_causal_mask": false}
            },
            "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}"#,
    )
    .unwrap();
    let read = clip::config_beside(&checkpoint, keys).unwrap();
    assert!(read.assumed.is_empty(), "{:?}", read.assumed);
    assert!(!read.no_causal_mask);
    assert_eq!(read.image_size, Some(224));
    assert_eq!(read.trunk.as_deref(), Some("fastvit_mci3"));
    assert_eq!(read.image_pool.as_deref(), Some("avg"));
}

#[test]
fn a_text_tower_without_a_mask_takes_the_whole_context() {
    let (checkpoint, _) = load("vit");
    let mut config = config(&checkpoint);
    config.no_causal_mask = true;
    let keys = clip::recognises(&checkpoint).unwrap();
    let graph = clip::import_text(&checkpoint, keys, &config, None).unwrap();
    assert!(!graph.values[graph.inputs[0]].dynamic);
    let refused = clip::import_text(&checkpoint, keys, &config, Some(8)).unwrap_err();
    assert!(refused.to_string().contains("all of which"), "{refused}");
    config.text_pool = Some("first".into());
    let refused = text(&checkpoint, &config).unwrap_err().to_string();
    assert!(refused.contains("pool_type"), "{refused}");
}

#[test]
fn keys_of_apples_repository_are_refused_with_the_way_out() {
    let (mut checkpoint, _) = load("fastvit");
    assert_eq!(clip::refused(&checkpoint), None);
    let one = Tensor::f32(&[1], vec![0.0]);
    checkpoint.tensors.clear();
    let stem = "image_encoder.model.patch_embed.0.rbr_conv.0.conv.weight";
    checkpoint.tensors.insert(stem.into(), one);
    assert_eq!(clip::recognises(&checkpoint), None);
    assert!(clip::refused(&checkpoint).unwrap().contains("open_clip"));
}

#[test]
fn an_unknown_architecture_is_told_the_nearest_known_one() {
    let (mut checkpoint, _) = load("vit");
    checkpoint.tensors.remove("visual.class_embedding").unwrap();
    assert_eq!(clip::recognises(&checkpoint), None);
    let found = nearest(&checkpoint).unwrap();
    assert_eq!(found.family, "OpenAI's CLIP or open_clip");
    assert_eq!(found.missing, ["visual.class_embedding"]);
    let (mut fastvit, _) = load("fastvit");
    let stem = "visual.trunk.stem.0.conv_kxk.0.conv.weight";
    fastvit.tensors.remove(stem).unwrap();
    assert_eq!(clip::recognises(&fastvit), None);
    let found = nearest(&fastvit).unwrap();
    assert!(found.family.contains("MobileCLIP"), "{}", found.family);
    assert_eq!(found.missing, [stem]);
    checkpoint.tensors.clear();
    assert_eq!(nearest(&checkpoint), None);
}
