//! Small networks with random weights against what timm and torchvision compute with them; `make_timm.py --tiny` and
//! `make_torchvision.py --tiny` in `tests/import` make the files.

use std::path::Path;

use pinhole_graph::import::efficientnet_lite::Output;
use pinhole_graph::import::timm::{self, Config, Family};
use pinhole_graph::import::{Checkpoint, ImportError, nearest};
use pinhole_graph::{Graph, ModelKind, Tensor, pass};

/// Files, and the families of what is in them.
const NETWORKS: [(&str, Family); 9] = [
    ("resnet_basic", Family::ResNet),
    ("resnet_bottleneck", Family::ResNet),
    ("mobilenetv2", Family::MobileNetV2),
    ("mobilenetv3_small", Family::MobileNetV3),
    ("tf_mobilenetv3_small_minimal", Family::MobileNetV3),
    ("mobilenetv4", Family::MobileNetV4),
    ("repvit", Family::RepVit),
    ("repvit_legacy", Family::RepVit),
    ("tiny_vit", Family::TinyVit),
];

/// The same with torchvision's keys.
const TORCHVISION: [(&str, Family); 3] = [
    ("torchvision_mobilenet_v2", Family::MobileNetV2),
    ("torchvision_mobilenet_v3_small", Family::MobileNetV3),
    ("torchvision_mobilenet_v3_large", Family::MobileNetV3),
];

/// The checkpoint of a file, and what is expected of it.
fn load(name: &str) -> (Checkpoint, Checkpoint) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let library = if name.starts_with("torchvision") {
        ""
    } else {
        "timm_"
    };
    let file = folder.join(format!("{library}{name}.safetensors"));
    let mut checkpoint = Checkpoint::load(file).unwrap();
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

/// What is assumed of a small one, whose pictures have a side of 64.
fn config(name: &str, checkpoint: &Checkpoint) -> Config {
    let arch = name.starts_with("tf_").then(|| format!("{name}_100"));
    let mut config = timm::config_beside(checkpoint, arch.as_deref()).unwrap();
    config.side = 64;
    config
}

fn features(name: &str, checkpoint: &Checkpoint) -> Result<Graph, ImportError> {
    timm::import(checkpoint, &config(name, checkpoint), Output::Features)
}

/// The largest difference of unit vectors from what is expected, over all pictures.
fn largest_error(mut graph: Graph, expected: &Checkpoint, outputs: &str) -> f64 {
    pass::standard(&mut graph).unwrap();
    let (inputs, outputs) = (&expected.tensors["image"], &expected.tensors[outputs]);
    let row: usize = inputs.shape[1..].iter().product();
    let shape = [&[1], &inputs.shape[1..]].concat();
    let pictures = inputs.as_f32().unwrap().chunks_exact(row);
    let wanted = outputs.as_f32().unwrap().chunks_exact(outputs.shape[1]);
    assert_eq!(pictures.len(), wanted.len());
    let mut largest = 0.0f64;
    for (pixels, wanted) in pictures.zip(wanted) {
        let input = Tensor::f32(&shape, pixels.to_vec());
        let found = pass::evaluate(&graph, &[input]).unwrap();
        let found = found[0].as_f32().unwrap();
        assert_eq!(found.len(), wanted.len());
        let norm = found.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (found, wanted) in found.iter().zip(wanted) {
            largest = largest.max(f64::from(found / norm - wanted).abs());
        }
    }
    largest
}

#[test]
fn networks_agree_with_timm_and_torchvision() {
    for (name, family) in NETWORKS.into_iter().chain(TORCHVISION) {
        let (checkpoint, expected) = load(name);
        assert_eq!(timm::recognises(&checkpoint), Some(family), "{name}");
        let graph = features(name, &checkpoint).unwrap();
        assert_eq!(graph.meta.kind, ModelKind::ImageEncoder);
        let error = largest_error(graph, &expected, "image.embedding");
        assert!(error < 2e-6, "{name}: {error}");
        let config = config(name, &checkpoint);
        let graph = timm::import(&checkpoint, &config, Output::Logits).unwrap();
        assert_eq!(graph.meta.kind, ModelKind::Other);
        let error = largest_error(graph, &expected, "image.logits");
        assert!(error < 2e-6, "{name} with its classifier: {error}");
    }
}

#[test]
fn padding_of_tensorflow_shows() {
    let name = "tf_mobilenetv3_small_minimal";
    let (checkpoint, expected) = load(name);
    let mut config = config(name, &checkpoint);
    config.architecture = None;
    let graph = timm::import(&checkpoint, &config, Output::Features).unwrap();
    let error = largest_error(graph, &expected, "image.embedding");
    assert!(error > 1e-4, "{error}: zeros on all sides for zeros behind");
}

#[test]
fn keys_of_torchvision_are_told_from_those_of_timm() {
    for (name, family) in TORCHVISION {
        let (checkpoint, _) = load(name);
        let mut config = config(name, &checkpoint);
        assert!(config.torchvision && config.architecture.is_none());
        assert_eq!(config.assumed.len(), 1, "{:?}", config.assumed);
        config.torchvision = false;
        let refused = timm::import(&checkpoint, &config, Output::Features).unwrap_err();
        assert!(refused.to_string().contains("no MobileNet"), "{refused}");
        if family == Family::MobileNetV3 {
            let error =
                timm::config_beside(&checkpoint, Some("tf_mobilenetv3_small_100")).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("found keys of torchvision's MobileNetV3"),
                "{error}"
            );
        }
    }
    assert!(!config("mobilenetv2", &load("mobilenetv2").0).torchvision);
}

#[test]
fn faults_are_told_by_the_keys_of_torchvision() {
    let cases = [
        (
            "torchvision_mobilenet_v2",
            "features.4.conv.1.0.weight",
            "features.6.conv.3.running_var",
        ),
        (
            "torchvision_mobilenet_v3_small",
            "features.5.block.3.0.weight",
            "features.4.block.2.fc2.bias",
        ),
        (
            "torchvision_mobilenet_v3_large",
            "features.1.block.1.0.weight",
            "classifier.0.bias",
        ),
    ];
    for (name, misshapen, missing) in cases {
        let (mut checkpoint, _) = load(name);
        checkpoint.tensors.remove(missing).unwrap();
        let one = Tensor::f32(&[1], vec![0.0]);
        let mut shape = checkpoint.shape(misshapen).unwrap().to_vec();
        shape[1] += 1;
        let wrong = Tensor::f32(&shape, vec![0.0; shape.iter().product()]);
        checkpoint.tensors.insert(misshapen.into(), wrong);
        checkpoint.tensors.insert("features.2.surplus".into(), one);
        let message = features(name, &checkpoint).unwrap_err().to_string();
        for part in [
            "1 missing, 1 unexpected, 1 of another shape",
            &format!("missing {missing}"),
            "unexpected features.2.surplus",
            &format!("{misshapen} is {shape:?}"),
        ] {
            assert!(message.contains(part), "no {part} in {message}");
        }
        checkpoint
            .tensors
            .retain(|key, _| !key.starts_with("features.9."));
        let message = features(name, &checkpoint).unwrap_err().to_string();
        assert!(
            message.contains("of torchvision's: found 8 blocks"),
            "{message}"
        );
    }
}

#[test]
fn features_need_no_classifier() {
    for (name, family) in NETWORKS {
        let (mut checkpoint, _) = load(name);
        let before = checkpoint.tensors.len();
        checkpoint.tensors.retain(|key, _| {
            let classifier = ["fc.", "classifier.", "head.fc.", "head.head"];
            !classifier.iter().any(|part| key.starts_with(part))
        });
        assert!(checkpoint.tensors.len() < before, "{family:?}");
        features(name, &checkpoint).unwrap();
        let config = config(name, &checkpoint);
        let error = timm::import(&checkpoint, &config, Output::Logits).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[test]
fn keys_that_do_not_fit_are_listed_together() {
    let cases = [
        (
            "resnet_bottleneck",
            "layer2.1.conv2.weight",
            "layer3.0.downsample.1.bias",
        ),
        (
            "mobilenetv2",
            "blocks.3.1.conv_dw.weight",
            "blocks.5.0.bn3.running_var",
        ),
        (
            "mobilenetv3_small",
            "blocks.4.1.conv_pwl.weight",
            "blocks.3.0.se.conv_expand.bias",
        ),
        (
            "mobilenetv4",
            "blocks.2.0.dw_mid.conv.weight",
            "norm_head.running_mean",
        ),
        (
            "repvit",
            "stages.1.blocks.1.token_mixer.conv.c.weight",
            "stages.0.blocks.0.token_mixer.bn.bias",
        ),
        (
            "tiny_vit",
            "stages.2.blocks.0.attn.qkv.weight",
            "stages.1.blocks.0.mlp.fc2.bias",
        ),
    ];
    for (name, misshapen, missing) in cases {
        let (mut checkpoint, _) = load(name);
        checkpoint.tensors.remove(missing).unwrap();
        let one = Tensor::f32(&[1], vec![0.0]);
        let right = checkpoint.shape(misshapen).unwrap().to_vec();
        checkpoint.tensors.insert("surplus".into(), one);
        let mut shape = right.clone();
        shape[1] += 1;
        let wrong = Tensor::f32(&shape, vec![0.0; shape.iter().product()]);
        checkpoint.tensors.insert(misshapen.into(), wrong);
        let message = features(name, &checkpoint).unwrap_err().to_string();
        for part in [
            "1 missing, 1 unexpected, 1 of another shape",
            &format!("missing {missing}"),
            "unexpected surplus",
            &format!("{misshapen} is {shape:?}, expected {right:?}"),
        ] {
            assert!(message.contains(part), "no {part} in {message}");
        }
    }
}

#[test]
fn blocks_tell_a_mobilenet_from_others_with_its_keys() {
    let (mut checkpoint, _) = load("mobilenetv2");
    let third = |key: &String, _: &mut Tensor| !key.starts_with("blocks.2.2.");
    checkpoint.tensors.retain(third);
    let refused = features("mobilenetv2", &checkpoint)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("stages of 1, 2, 2, 4, 3, 3, 1 blocks, expected 1, 2, 3, 4, 3, 3, 1"),
        "{refused}"
    );
    let (checkpoint, _) = load("resnet_basic");
    let mut config = config("resnet_basic", &checkpoint);
    let named = timm::config_beside(&checkpoint, Some("resnet18")).unwrap();
    config.architecture = named.architecture;
    let refused = timm::import(&checkpoint, &config, Output::Features).unwrap_err();
    assert!(refused.to_string().contains("no resnet18"), "{refused}");
}

#[test]
fn windows_have_to_cover_a_picture() {
    let (checkpoint, _) = load("tiny_vit");
    let mut config = config("tiny_vit", &checkpoint);
    config.side = 96;
    let refused = timm::import(&checkpoint, &config, Output::Features).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("stages.2.blocks.0.attn.attention_biases"),
        "{refused}"
    );
    let assumed = timm::config_beside(&checkpoint, None).unwrap();
    assert_eq!(assumed.side, 64, "told by the last window");
}

#[test]
fn an_unknown_name_is_told_the_nearest() {
    let (checkpoint, _) = load("resnet_basic");
    let refused = timm::config_beside(&checkpoint, Some("resnet_18")).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("no architecture is called resnet_18"),
        "{refused}"
    );
    assert!(refused.contains("resnet18"), "{refused}");
}

#[test]
fn a_configuration_of_timm_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut checkpoint, _) = load("resnet_basic");
    checkpoint.path = folder.path().join("model.safetensors");
    let assumed = timm::config_beside(&checkpoint, None).unwrap();
    assert_eq!(assumed.assumed.len(), 2, "{:?}", assumed.assumed);
    assert_eq!(assumed.resize_shorter(), 256);
    let write = |json: &str| std::fs::write(folder.path().join("config.json"), json).unwrap();
    write(
        r#"{"architecture": "mobilenetv4_conv_medium", "num_classes": 1000,
            "pretrained_cfg": {"input_size": [3, 288, 288], "interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}"#,
    );
    let read = timm::config_beside(&checkpoint, None).unwrap();
    assert!(read.assumed.is_empty(), "{:?}", read.assumed);
    assert_eq!(read.family, Family::MobileNetV4);
    assert_eq!((read.side, read.resize_shorter()), (288, 320));
    assert_eq!(read.mean, [0.1, 0.2, 0.3]);
    assert_eq!(read.interpolation.as_deref(), Some("bicubic"));
    let named = timm::config_beside(&checkpoint, Some("resnet18.a1_in1k")).unwrap();
    assert_eq!(named.family, Family::ResNet);
    for (json, what) in [
        ("{", "no JSON"),
        (
            r#"{"architecture": "resnext50_32x4d"}"#,
            "no architecture is called resnext50_32x4d",
        ),
        (r#"{"model_args": {"act_layer": "silu"}}"#, "act_layer"),
        (r#"{"global_pool": "max"}"#, "global_pool is max"),
        (
            r#"{"pretrained_cfg": {"input_size": [3, 224, 256]}}"#,
            "input_size",
        ),
        (r#"{"pretrained_cfg": {"crop_pct": 0}}"#, "crop_pct is 0"),
        (
            r#"{"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, -1]}}"#,
            "the deviation of pixels is [1,1,-1], expected more than 0",
        ),
    ] {
        write(json);
        let refused = timm::config_beside(&checkpoint, None)
            .unwrap_err()
            .to_string();
        assert!(refused.contains(what), "no {what} in {refused}");
    }
}

#[test]
fn the_nearest_family_is_named() {
    for (name, family) in NETWORKS {
        let (mut checkpoint, _) = load(name);
        let first = match family {
            Family::ResNet => "layer4.0.conv2.weight",
            Family::MobileNetV2 => "conv_head.weight",
            Family::MobileNetV3 => "blocks.1.0.conv_pwl.weight",
            Family::MobileNetV4 => "blocks.3.0.pw_exp.conv.weight",
            Family::RepVit => "stages.0.blocks.0.token_mixer.conv.c.weight",
            Family::TinyVit => "head.norm.weight",
        };
        checkpoint.tensors.remove(first).unwrap();
        assert_eq!(timm::recognises(&checkpoint), None, "{name}");
        let found = nearest(&checkpoint).unwrap();
        assert_eq!(
            (found.family, found.missing),
            (family.name(), vec![first.to_owned()])
        );
    }
}

#[test]
fn branches_that_were_folded_before_are_read() {
    let (mut checkpoint, expected) = load("repvit");
    let graph = features("repvit", &checkpoint).unwrap();
    // Every convolution of the graph under the key that timm's `fuse` gives it.
    checkpoint.tensors.clear();
    for value in &graph.values {
        let Some(tensor) = &value.constant else {
            continue;
        };
        checkpoint
            .tensors
            .insert(value.name.clone(), channels_first(tensor));
    }
    assert_eq!(timm::recognises(&checkpoint), Some(Family::RepVit));
    let folded = features("repvit", &checkpoint).unwrap();
    let error = largest_error(folded, &expected, "image.embedding");
    assert!(error < 2e-6, "{error}");
}

/// (out, height, width, in) to (out, in, height, width); other tensors as they are.
fn channels_first(tensor: &Tensor) -> Tensor {
    let &[o, h, w, i] = tensor.shape.as_slice() else {
        return tensor.clone();
    };
    let data = tensor.as_f32().unwrap();
    let mut turned = Vec::with_capacity(data.len());
    for out in 0..o {
        for input in 0..i {
            turned.extend((0..h * w).map(|pixel| data[(out * h * w + pixel) * i + input]));
        }
    }
    Tensor::f32(&[o, i, h, w], turned)
}
