//! Sound files of every kind, for damage: those of the tests, and what is made of them here.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};

use pinhole_graph::import::{Checkpoint, ImportError, efficientnet_lite, onnx, tflite};
use pinhole_graph::{Graph, ModelKind, export};
use pinhole_pack::{PackOptions, Precision, pack};
use pinhole_quantize::{Input, Observer, Options, Rounding, quantize};
use prost::Message;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use tract_onnx::pb::{ModelProto, StringStringEntryProto, tensor_proto};

use crate::damage::Random;
use crate::safetensors::File;

type Files = Result<Vec<Vec<u8>>, Box<dyn Error>>;

/// Pictures or texts that ranges come from.
const CALIBRATION: usize = 4;

/// Files of an ending in a folder of the repository, by name.
fn files_of(folder: &str, ending: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = std::fs::read_dir(pinhole_tests::root().join(folder))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    Ok(paths)
}

fn read(paths: Vec<PathBuf>) -> Files {
    Ok(paths.iter().map(std::fs::read).collect::<Result<_, _>>()?)
}

/// One of every architecture and container.
pub(crate) fn checkpoints() -> Files {
    let mut files = read(files_of("tests/golden", "pth")?)?;
    for path in files_of("tests/golden", "safetensors")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_checkpoint = ["clip_", "timm_", "torchvision_"];
        if is_checkpoint.iter().any(|start| name.starts_with(start)) {
            let mut file = File::parse(&std::fs::read(&path)?).ok_or("a damaged golden file")?;
            // What the network computes lies in the same file.
            file.retain(|key| !key.starts_with("expected."));
            files.push(file.to_bytes());
        }
    }
    files.extend([bert(), static_embeddings(), efficientnet_lite()?]);
    Ok(files)
}

/// A file of zeros and, where `seed` is not 0, small numbers.
fn tensors(shapes: &[(String, Vec<usize>)], dtype: Dtype) -> Vec<u8> {
    let width = if dtype == Dtype::F32 { 4 } else { 2 };
    let mut random = Random(1);
    let data = shapes.iter().map(|(_, shape)| {
        let count = shape.iter().product::<usize>();
        let number = |random: &mut Random| (random.below(255) as f32 - 127.0) / 256.0;
        match dtype {
            Dtype::F32 => (0..count)
                .flat_map(|_| number(&mut random).to_le_bytes())
                .collect(),
            _ => vec![0_u8; count * width],
        }
    });
    let data: Vec<Vec<u8>> = data.collect();
    let views = shapes.iter().zip(&data).map(|((name, shape), data)| {
        let view = TensorView::new(dtype, shape.clone(), data).expect("as many bytes as it wants");
        (name, view)
    });
    safetensors::serialize(views, None).expect("names are text")
}

/// Of one layer, 32 wide.
fn bert() -> Vec<u8> {
    let embeddings = [("word", 40), ("position", 16), ("token_type", 2)];
    let embeddings = embeddings.map(|(name, rows)| {
        (
            format!("embeddings.{name}_embeddings.weight"),
            vec![rows, 32],
        )
    });
    let layer = "encoder.layer.0";
    let linear = [
        ("attention.self.query", 32, 32),
        ("attention.self.key", 32, 32),
        ("attention.self.value", 32, 32),
        ("attention.output.dense", 32, 32),
        ("intermediate.dense", 64, 32),
        ("output.dense", 32, 64),
    ];
    let linear = linear.into_iter().flat_map(|(name, rows, columns)| {
        let bias = (format!("{layer}.{name}.bias"), vec![rows]);
        [
            (format!("{layer}.{name}.weight"), vec![rows, columns]),
            bias,
        ]
    });
    let norms = [
        "embeddings.LayerNorm",
        "encoder.layer.0.attention.output.LayerNorm",
        "encoder.layer.0.output.LayerNorm",
    ];
    let norms = norms
        .into_iter()
        .flat_map(|name| ["weight", "bias"].map(|part| (format!("{name}.{part}"), vec![32])));
    let shapes: Vec<_> = embeddings.into_iter().chain(linear).chain(norms).collect();
    tensors(&shapes, Dtype::F32)
}

/// With weights of tokens and shared rows.
fn static_embeddings() -> Vec<u8> {
    let floats = |count: i32| -> Vec<u8> {
        let numbers = (0..count).map(|index| index as f32 / 7.0);
        numbers.flat_map(f32::to_le_bytes).collect()
    };
    let (table, weights) = (floats(30), floats(12));
    let mapping: Vec<u8> = (0..12_i64).flat_map(|i| (i % 10).to_le_bytes()).collect();
    let views = [
        ("embeddings", Dtype::F32, vec![10, 3], &table),
        ("weights", Dtype::F32, vec![12], &weights),
        ("mapping", Dtype::I64, vec![12], &mapping),
    ];
    let views = views.map(|(name, dtype, shape, data)| {
        let view = TensorView::new(dtype, shape, data).expect("as many bytes as it wants");
        (name, view)
    });
    safetensors::serialize(views, None).expect("names are text")
}

/// A Lite0 of zeros; what refusals expect says its keys and shapes.
fn efficientnet_lite() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut shapes: Vec<(String, Vec<usize>)> = (0..16)
        .map(|block| (format!("_blocks.{block}._bn1.bias"), vec![1]))
        .collect();
    shapes.push(("_conv_head.weight".into(), vec![1280, 320, 1, 1]));
    loop {
        let bytes = tensors(&shapes, Dtype::BF16);
        let checkpoint = Checkpoint::parse(Path::new("lite0.safetensors"), &bytes)?;
        let imported = efficientnet_lite::import(&checkpoint, efficientnet_lite::Output::Logits);
        let faults = match imported {
            Err(ImportError::Keys(faults)) => faults,
            other => return other.map(|_| bytes).map_err(Into::into),
        };
        let missing = faults.missing.into_iter().map(|key| (key, vec![1]));
        shapes.extend(missing);
        for (key, _, expected) in faults.misshapen {
            shapes.retain(|(found, _)| *found != key);
            shapes.push((key, serde_json::from_str(&expected)?));
        }
    }
}

/// What libraries write beside checkpoints.
pub(crate) fn configs() -> Vec<Vec<u8>> {
    let tower = json!({
        "hidden_act": "quick_gelu", "hidden_size": 64, "image_size": 32, "layer_norm_eps": 1e-5,
        "num_attention_heads": 2, "num_hidden_layers": 2, "patch_size": 8, "projection_dim": 24
    });
    let open_clip = |image: serde_json::Value, text: serde_json::Value| {
        json!({
            "model_cfg": {"embed_dim": 24, "vision_cfg": image, "text_cfg": text, "quick_gelu": true},
            "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
        })
    };
    let text = json!({
        "context_length": 12, "vocab_size": 64, "width": 64, "heads": 4, "layers": 2, "no_causal_mask": true,
        "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}, "pool_type": "last"
    });
    let coca =
        json!({"width": 64, "heads": 4, "layers": 2, "embed_cls": true, "correct_cls_mask": true});
    let documents = [
        json!({"model_type": "clip", "vision_config": tower, "text_config": tower}),
        open_clip(
            json!({"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}),
            text.clone(),
        ),
        open_clip(
            json!({"timm_model_name": "fastvit_mci0", "timm_pool": "avg", "image_size": 64}),
            text.clone(),
        ),
        open_clip(
            json!({"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "image_size": 32}),
            text,
        ),
        open_clip(
            json!({"image_size": 32, "attentional_pool": true, "attn_pooler_heads": 8, "head_width": 32}),
            coca,
        ),
        json!({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": {"height": 32}}),
        json!({
            "architecture": "tiny_vit_5m_224", "num_classes": 10, "global_pool": "avg", "num_features": 320,
            "model_args": {"img_size": 64},
            "pretrained_cfg": {
                "input_size": [3, 64, 64], "crop_pct": 0.95, "interpolation": "bicubic",
                "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]
            }
        }),
        json!({"pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 1.0}}),
        json!({
            "hidden_size": 32, "num_attention_heads": 4, "layer_norm_eps": 1e-12, "hidden_act": "relu",
            "model_type": "bert", "max_position_embeddings": 16
        }),
        json!({"model_type": "model2vec", "normalize": true, "max_length": 64, "hidden_dim": 3}),
    ];
    documents
        .iter()
        .map(|document| document.to_string().into_bytes())
        .collect()
}

/// For each graph: one layer, and an MLP.
pub(crate) fn projections(graphs: &[Graph]) -> Vec<Vec<u8>> {
    let towers = ["image", "text"];
    let mut files = Vec::new();
    for graph in graphs {
        let width = graph.values[graph.outputs[0]]
            .shape
            .last()
            .map_or(1, |&width| width);
        let one = towers.into_iter().flat_map(|tower| {
            let bias = (format!("{tower}.bias"), vec![12]);
            [(format!("{tower}.weight"), vec![12, width]), bias]
        });
        let two = towers.into_iter().flat_map(|tower| {
            [("0", vec![20, width]), ("1", vec![12, 20])]
                .into_iter()
                .flat_map(move |(layer, shape)| {
                    let bias = (format!("{tower}.{layer}.bias"), vec![shape[0]]);
                    [(format!("{tower}.{layer}.weight"), shape), bias]
                })
        });
        let scale = [("logit_scale".to_owned(), vec![1])];
        files.push(tensors(
            &one.chain(scale.clone()).collect::<Vec<_>>(),
            Dtype::F32,
        ));
        files.push(tensors(&two.chain(scale).collect::<Vec<_>>(), Dtype::F32));
    }
    files
}

/// Graphs in f32: small networks of the tests, and a text encoder of the files above.
pub(crate) fn graphs() -> Result<Vec<Graph>, Box<dyn Error>> {
    let folder = pinhole_tests::root().join("host-tools/graph/tests/onnx");
    let names = ["conv_net", "decomposed", "vit", "bert", "nhwc_net"];
    let options = onnx::Options {
        tokens: 8,
        ..onnx::Options::default()
    };
    let load = |name: &str| onnx::load(folder.join(format!("{name}.onnx")), &options);
    Ok(names.into_iter().map(load).collect::<Result<_, _>>()?)
}

/// The graphs in int8.
fn quantized() -> Result<Vec<Graph>, Box<dyn Error>> {
    let options = Options {
        observer: Some(Observer::MinMax),
        weights: Some(Rounding::Nearest),
        correct_biases: false,
        ..Options::default()
    };
    let mut random = Random(1);
    let mut quantized = Vec::new();
    for graph in graphs()? {
        let count = graph.values[graph.inputs[0]].shape.iter().product();
        let inputs = (0..CALIBRATION).map(|_| match graph.meta.kind {
            ModelKind::TextEncoder => {
                Input::Ids((0..count).map(|_| random.below(30) as i32).collect())
            }
            _ => Input::Reals(
                (0..count)
                    .map(|_| random.below(256) as f32 / 128.0 - 1.0)
                    .collect(),
            ),
        });
        let inputs: Vec<Input> = inputs.collect();
        quantized.push(quantize(&graph, &inputs, &options, &|_| ())?.quantized);
    }
    Ok(quantized)
}

/// Of the TFLite files of the tests, without those that have what is refused.
fn tflite_graphs() -> Result<Vec<Graph>, Box<dyn Error>> {
    let paths = files_of("tests/golden", "tflite")?.into_iter();
    let options = tflite::Options::default();
    Ok(paths
        .filter_map(|path| tflite::load(path, &options).ok())
        .collect())
}

/// Graph files in f32, in int8, and with the integers of a TFLite file.
pub(crate) fn graph_files() -> Files {
    let mut all = graphs()?;
    all.extend(quantized()?);
    all.extend(tflite_graphs()?);
    Ok(all.iter().map(Graph::to_bytes).collect::<Result<_, _>>()?)
}

/// Those of the tests, and what is exported.
pub(crate) fn tflite_files() -> Files {
    let mut files = read(files_of("tests/golden", "tflite")?)?;
    for graph in graphs()?.iter().chain(&quantized()?) {
        // Transformers have no expression there.
        files.extend(export::tflite(graph).ok().map(|exported| exported.bytes));
    }
    Ok(files)
}

/// Those of the tests, the graphs in int8 as QDQ, and one whose weights lie in a file of `scratch`.
pub(crate) fn onnx_files(scratch: &Path) -> Files {
    let paths = files_of("host-tools/graph/tests/onnx", "onnx")?;
    let mut files = read(paths.clone())?;
    for path in &paths {
        files.extend(weights_outside(path, scratch)?);
    }
    for graph in quantized()? {
        files.push(export::onnx(&graph)?);
    }
    Ok(files)
}

/// The file with its larger tensors in another file, as exporters write large networks; `None` where it has none.
fn weights_outside(path: &Path, scratch: &Path) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let mut model = ModelProto::decode(&std::fs::read(path)?[..])?;
    let name = format!("{}.weights", path.file_stem().unwrap_or_default().display());
    let mut data = Vec::new();
    for tensor in model
        .graph
        .iter_mut()
        .flat_map(|graph| &mut graph.initializer)
    {
        if tensor.raw_data.len() < 64 {
            continue;
        }
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: key.to_owned(),
            value,
        };
        tensor.external_data = vec![
            entry("location", name.clone()),
            entry("offset", data.len().to_string()),
            entry("length", tensor.raw_data.len().to_string()),
        ];
        tensor.data_location = Some(tensor_proto::DataLocation::External as i32);
        data.append(&mut tensor.raw_data);
    }
    if data.is_empty() {
        return Ok(None);
    }
    std::fs::write(scratch.join(name), data)?;
    Ok(Some(model.encode_to_vec()))
}

/// Packed models of all graphs, in f32, f16 and int8, and with LiteRT's rules.
pub(crate) fn models() -> Files {
    let halves = PackOptions {
        precision: Precision::F16,
        ..PackOptions::default()
    };
    let mut models = Vec::new();
    for graph in graphs()? {
        models.push(pack(&graph, &PackOptions::default())?.bytes);
        models.push(pack(&graph, &halves)?.bytes);
    }
    for graph in quantized()? {
        models.push(pack(&graph, &PackOptions::default())?.bytes);
    }
    for mut graph in tflite_graphs()? {
        // A packed model has few outputs.
        graph.outputs.truncate(1);
        models.push(pack(&graph, &PackOptions::default())?.bytes);
    }
    Ok(models)
}

/// The tokenizer files of the tests, unpacked.
pub(crate) fn tokenizers() -> Files {
    let mut files = Vec::new();
    let folder = "host-tools/text/tests/golden/tokenizers";
    for entry in std::fs::read_dir(pinhole_tests::root().join(folder))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".jsonl") || name == "cases.json" || name == "README.md" {
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        if name.ends_with(".gz") {
            let packed = std::mem::take(&mut bytes);
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes)?;
        }
        files.push(bytes);
    }
    Ok(files)
}

/// Files of an ending anywhere below a folder.
pub(crate) fn below(folder: &Path, ending: &str) -> Files {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(below(&path, ending)?);
        } else if path.extension().is_some_and(|found| found == ending) {
            files.push(std::fs::read(&path)?);
        }
    }
    Ok(files)
}
