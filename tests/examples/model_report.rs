//! Quantises a graph on some pictures, compares int8 with f32 on others, and prints what came out as JSON.
//!
//! ```console
//! $ cargo run --release -p pinhole-tests --example model_report -- GRAPH.phg --calibrate DIR --pictures DIR --out FOLDER
//! ```
//!
//! `tests/models/table.py` runs it for every model that is present. Into FOLDER go NAME.phm, NAME.phg (quantised) and
//! NAME.safetensors with the model inputs of the first pictures and their f32 embeddings, for ONNX Runtime. A source is a
//! folder, `even:` or `odd:` and a folder (every second picture), or `cifar10:` and a folder (of the training split, without
//! labels).

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::{Cifar10, load_picture};
use pinhole_graph::{Graph, ValueId};
use pinhole_pack::{PackOptions, pack};
use pinhole_quantize::report::{cosine, report};
use pinhole_quantize::{Options, Quantized, Runner, quantize};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::detect;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::op::OpKind;
use pinhole_runtime::preprocess::{F32Sink, InputGeometry, PixelFormat, Preprocessor};
use safetensors::{Dtype, tensor::TensorView};

type Failure = Box<dyn Error>;

/// Pictures whose model inputs are written out.
const REFERENCES: usize = 4;

struct Args {
    graph: PathBuf,
    calibrate: Vec<String>,
    pictures: Vec<String>,
    out: PathBuf,
    /// Pictures of each source at most.
    count: usize,
    layers: bool,
    correct_biases: bool,
}

fn main() -> Result<(), Failure> {
    let args = arguments()?;
    let graph = Graph::load(&args.graph)?;
    let name = args.graph.file_stem().unwrap_or_default().to_string_lossy();
    let geometry = geometry(&graph)?;
    let inputs = |sources: &[String]| -> Result<Vec<Vec<f32>>, Failure> {
        let pictures = sources.iter().map(|source| pictures(source, args.count));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?.concat();
        pictures.iter().map(|p| input(&geometry, p)).collect()
    };
    let (calibration, held_out) = (inputs(&args.calibrate)?, inputs(&args.pictures)?);
    let options = Options {
        correct_biases: args.correct_biases,
        ..Options::default()
    };
    let Quantized {
        prepared,
        quantized,
    } = quantize(&graph, &calibration, &options, &|_| ())?;
    if args.layers {
        let few = &held_out[..held_out.len().min(8)];
        eprintln!("{}", report(&prepared, &quantized, few, &|_| ())?.table());
    }
    let expected = embeddings(&graph, &held_out)?;
    let found = embeddings(&quantized, &held_out)?;
    let mut cosines: Vec<f64> = expected
        .iter()
        .zip(&found)
        .map(|(a, b)| cosine(a, b))
        .collect();
    cosines.sort_by(f64::total_cmp);
    let packed = pack(&quantized, &PackOptions::default())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).map_err(|error| error.to_string())?;
    let kinds = model
        .ops()
        .iter()
        .filter_map(|op| OpKind::from_u16(op.kind.get()));
    let mut ops = BTreeMap::new();
    kinds
        .clone()
        .for_each(|kind| *ops.entry(kind.name()).or_insert(0usize) += 1);
    let floats: Vec<&str> = kinds
        .filter(|&kind| is_float(kind))
        .map(OpKind::name)
        .collect();
    std::fs::create_dir_all(&args.out)?;
    let file = |extension: &str| args.out.join(format!("{name}.{extension}"));
    std::fs::write(file("phm"), &packed.bytes)?;
    quantized.save(file("phg"))?;
    references(&file("safetensors"), &graph, &held_out, &expected)?;
    let report = serde_json::json!({
        "model": name,
        "calibration_pictures": calibration.len(),
        "pictures": cosines.len(),
        "cosine_mean": cosines.iter().sum::<f64>() / cosines.len().max(1) as f64,
        // The first percentile, or the smallest of fewer than a hundred.
        "cosine_p1": cosines.get(cosines.len() / 100),
        "flash_bytes": packed.report.file_bytes,
        "arena_bytes": packed.report.arena_bytes,
        "arena_lower_bound_bytes": packed.report.arena_lower_bound_bytes,
        "macs": packed.report.macs,
        "ops": ops,
        "float_ops": floats,
    });
    println!("{report}");
    Ok(())
}

fn arguments() -> Result<Args, Failure> {
    let mut args = Args {
        graph: PathBuf::new(),
        calibrate: Vec::new(),
        pictures: Vec::new(),
        out: PathBuf::new(),
        count: 50,
        layers: false,
        correct_biases: true,
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().ok_or(format!("{flag} wants a value"));
        match flag.as_str() {
            "--calibrate" => args.calibrate.push(value()?),
            "--pictures" => args.pictures.push(value()?),
            "--out" => args.out = value()?.into(),
            "--count" => args.count = value()?.parse()?,
            "--layers" => args.layers = true,
            "--no-bias-correction" => args.correct_biases = false,
            _ => args.graph = flag.into(),
        }
    }
    let complete = [&args.calibrate, &args.pictures]
        .iter()
        .all(|list| !list.is_empty());
    if !complete || args.out.as_os_str().is_empty() {
        return Err("usage: model_report GRAPH.phg --calibrate SOURCE --pictures SOURCE --out FOLDER [--count N] [--layers] [--no-bias-correction]".into());
    }
    Ok(args)
}

fn is_float(kind: OpKind) -> bool {
    kind.name().ends_with("_f32") || kind == OpKind::DequantizeS8
}

fn geometry(graph: &Graph) -> Result<InputGeometry, Failure> {
    let packed = pack(graph, &PackOptions::default())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    let model = Model::load(&bytes).map_err(|error| error.to_string())?;
    Ok(model.geometry().ok_or("no image encoder")?)
}

/// At most `count` pictures, spread evenly.
fn pictures(source: &str, count: usize) -> Result<Vec<RgbImage>, Failure> {
    if let Some(folder) = source.strip_prefix("cifar10:") {
        let data = Cifar10::train_unlabelled(folder)?;
        let step = (data.len() / count).max(1);
        let chosen = (0..data.len()).step_by(step).take(count);
        return Ok(chosen.map(|index| data.picture(index)).collect());
    }
    let (folder, first, step) = match source.split_once(':') {
        Some(("even", folder)) => (folder, 0, 2),
        Some(("odd", folder)) => (folder, 1, 2),
        _ => (source, 0, 1),
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "jpg" || end == "png")
        })
        .collect();
    paths.sort();
    let paths: Vec<PathBuf> = paths.into_iter().skip(first).step_by(step).collect();
    let step = (paths.len() / count).max(1);
    let chosen = paths.iter().step_by(step).take(count);
    Ok(chosen.map(load_picture).collect::<Result<_, _>>()?)
}

fn input(geometry: &InputGeometry, picture: &RgbImage) -> Result<Vec<f32>, Failure> {
    let (width, height) = picture.dimensions();
    let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let mut input = vec![0f32; usize::from(geometry.width) * usize::from(geometry.height) * 3];
    let words = Preprocessor::scratch_len(geometry, width, height).map_err(|e| text(&e))?;
    let mut scratch = vec![0u32; words];
    let mut sink = F32Sink::new(geometry, &mut input).map_err(|e| text(&e))?;
    let mut preprocessor = Preprocessor::new(
        detect(),
        geometry,
        width,
        height,
        PixelFormat::Rgb888,
        &mut scratch,
    )
    .map_err(|e| text(&e))?;
    for row in picture.as_raw().chunks_exact(width as usize * 3) {
        preprocessor
            .push_row(row, &mut sink)
            .map_err(|e| text(&e))?;
    }
    preprocessor.finish(&mut sink).map_err(|e| text(&e))?;
    Ok(input)
}

/// The model's output for every input, through whatever graph values are views of it.
fn embeddings(graph: &Graph, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, Failure> {
    let runner = Runner::new(graph)?;
    let output = *graph.outputs.first().ok_or("no output")?;
    let last: Vec<ValueId> = views(graph, output);
    let mut embeddings = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let mut embedding = Vec::new();
        runner.run(index, input, &mut |value, reals| {
            if last.contains(&value) {
                embedding = reals.to_vec();
            }
        })?;
        embeddings.push(embedding);
    }
    Ok(embeddings)
}

/// A value and those that it may be another view of.
fn views(graph: &Graph, mut value: ValueId) -> Vec<ValueId> {
    use pinhole_graph::Op;
    let mut views = vec![value];
    while let Some(node) = graph.nodes.iter().find(|node| node.output == value) {
        let quantized = graph.values[value].quant.is_some();
        match node.op {
            Op::Reshape => {}
            Op::NormalizeEmbedding if !quantized => {}
            _ => break,
        }
        value = node.inputs[0];
        views.push(value);
    }
    views
}

fn references(
    path: &Path,
    graph: &Graph,
    inputs: &[Vec<f32>],
    embeddings: &[Vec<f32>],
) -> Result<(), Failure> {
    let shape = graph.values[graph.inputs[0]].shape.clone();
    let bytes = |data: &[f32]| {
        data.iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let few = inputs.iter().zip(embeddings).take(REFERENCES).enumerate();
    let held: Vec<(String, Vec<usize>, Vec<u8>)> = few
        .flat_map(|(index, (input, embedding))| {
            [
                (format!("input.{index}"), shape.clone(), bytes(input)),
                (
                    format!("embedding.{index}"),
                    vec![embedding.len()],
                    bytes(embedding),
                ),
            ]
        })
        .collect();
    let views = held
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<HashMap<_, _>, safetensors::SafeTensorError>>()?;
    std::fs::write(path, safetensors::serialize(views, None)?)?;
    Ok(())
}
