//! Quantises a graph on some pictures or texts, compares int8 with f32 on others, and prints what came out as JSON.
//!
//! ```console
//! $ cargo run --release -p pinhole-tests --example model_report -- GRAPH.phg --calibrate DIR --pictures DIR --out FOLDER
//! ```
//!
//! `tests/models/table.py` runs it for every model that is present. Into FOLDER go NAME.phm, NAME.phg (quantised) and
//! NAME-mixed.phg, NAME.safetensors with the model inputs of the first pictures and their f32 embeddings, for ONNX Runtime. A source is a
//! folder, `even:` or `odd:` and a folder (every second picture), or `cifar10:` and a folder (of the training split, without
//! labels); of a text encoder a file with one text a line, `even:` or `odd:` before it for every second line. A text encoder
//! without a tokenizer, as those with random weights are, numbers words by a hash. `--cosine` also makes a mix of int8 and f16 layers; `--cifar10` measures how many test pictures are nearest to the
//! mean embedding of 50 training pictures of their class. `--measure INT8.phg` quantises nothing: it prints that accuracy of the graph
//! and of each graph that is given so, such as NAME.phg and NAME-mixed.phg of an earlier run; with `--split train` on every second
//! picture of the last batch of the training split, for whoever tries settings. None of them is in a class mean, nor calibrates
//! where the step between calibration pictures is even, as with counts of 50, 100 and 200.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::{Cifar10, Split, load_picture};
use pinhole_graph::{Graph, ModelKind};
use pinhole_pack::{PackOptions, Precision, pack};
use pinhole_quantize::report::{cosine, outputs, report};
use pinhole_quantize::sources::{sources, table};
use pinhole_quantize::{
    ClassMeans, Goal, Input, Memory, Mixed, Options, Quantized, Rounding, Sensitivity, apart,
    inputs_of, quantize, quantize_mixed,
};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::detect;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::op::OpKind;
use pinhole_runtime::preprocess::{F32Sink, InputGeometry, PixelFormat, Preprocessor};
use safetensors::{Dtype, tensor::TensorView};

mod repair;
mod texts;

type Failure = Box<dyn Error>;

/// Pictures whose model inputs are written out.
const REFERENCES: usize = 4;
/// Pictures on which the sources of the error are told apart.
const SOURCE_PICTURES: usize = 25;

struct Args {
    graph: PathBuf,
    calibrate: Vec<String>,
    pictures: Vec<String>,
    out: PathBuf,
    /// Pictures of each source at most.
    count: usize,
    layers: bool,
    /// Print where the error comes from; of every value when it is asked for.
    sources: Option<bool>,
    wide: bool,
    correct_biases: bool,
    /// How weights are rounded; none for the best.
    weights: Option<Rounding>,
    /// What a mix of int8 and f16 must reach.
    cosine: Option<f64>,
    /// Steps of quantisation-aware fine-tuning, of int8 alone.
    repair: usize,
    /// CIFAR-10, for accuracies.
    cifar10: Option<String>,
    /// Pictures of its test split.
    test: usize,
    /// They are of the training split's last batch instead.
    on_training: bool,
    /// Graphs that are measured beside the first, which is then not quantised.
    measure: Vec<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let args = arguments()?;
    let graph = Graph::load(&args.graph)?;
    let name = args.graph.file_stem().unwrap_or_default().to_string_lossy();
    if !args.measure.is_empty() {
        return measure(&graph, &args);
    }
    std::fs::create_dir_all(&args.out)?;
    let of_texts = graph.meta.kind == ModelKind::TextEncoder;
    let inputs = |sources: &[String]| -> Result<Vec<Input>, Failure> {
        if of_texts {
            return texts::texts(&graph, sources, args.count);
        }
        let geometry = geometry(&graph)?;
        let pictures = sources.iter().map(|source| pictures(source, args.count));
        let pictures = pictures.collect::<Result<Vec<_>, _>>()?.concat();
        pictures.iter().map(|p| input(&geometry, p)).collect()
    };
    let (calibration, held_out) = (inputs(&args.calibrate)?, inputs(&args.pictures)?);
    let options = Options {
        correct_biases: args.correct_biases,
        weights: args.weights,
        wide: args.wide,
        ..Options::default()
    };
    let result = quantize(&graph, &calibration, &options, &|_| ())?;
    if let Some(each) = args.sources {
        let few = &held_out[..held_out.len().min(SOURCE_PICTURES)];
        eprintln!("{}", table(&sources(&result, few, each)?));
    }
    let Quantized {
        prepared,
        quantized,
        observer,
        weights,
    } = result;
    if args.layers {
        let few = &held_out[..held_out.len().min(8)];
        eprintln!("{}", report(&prepared, &quantized, few, &|_| ())?.table());
    }
    let expected = embeddings(&graph, &held_out)?;
    let cosines = cosines(&expected, &embeddings(&quantized, &held_out)?);
    let mixed = match args.cosine {
        Some(goal) => Some(mixed(&graph, &calibration, &options, goal)?),
        None => None,
    };
    let repaired = match args.repair {
        0 => None,
        steps => Some(repair::repaired(
            [&prepared, &quantized],
            &calibration,
            steps,
        )?),
    };
    let mut accuracy = serde_json::Value::Null;
    if let Some(folder) = &args.cifar10 {
        let mut graphs = vec![&graph, &quantized];
        graphs.extend(mixed.iter().map(|mixed| &mixed.quantized.quantized));
        graphs.extend(&repaired);
        let found = nearest_class_mean(&graphs, folder, &geometry(&graph)?, &args)?;
        let mut found = found.into_iter().map(|measured| measured.accuracy);
        accuracy = serde_json::json!({
            "test_pictures": args.test,
            "f32": found.next(),
            "int8": found.next(),
            "mixed": mixed.as_ref().and_then(|_| found.next()),
            "repaired": repaired.as_ref().and_then(|_| found.next()),
        });
    }
    let repaired = match &repaired {
        Some(graph) => {
            graph.save(args.out.join(format!("{name}-repaired.phg")))?;
            let cosines = self::cosines(&expected, &embeddings(graph, &held_out)?);
            serde_json::json!({ "cosine_mean": mean(&cosines), "cosine_p1": cosines.get(cosines.len() / 100) })
        }
        None => serde_json::Value::Null,
    };
    let mixed = match &mixed {
        Some(mixed) => {
            let graph = &mixed.quantized.quantized;
            graph.save(args.out.join(format!("{name}-mixed.phg")))?;
            mixed_report(mixed, &expected, &held_out)?
        }
        None => serde_json::Value::Null,
    };
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
    let file = |extension: &str| args.out.join(format!("{name}.{extension}"));
    std::fs::write(file("phm"), &packed.bytes)?;
    quantized.save(file("phg"))?;
    if !of_texts {
        references(&file("safetensors"), &graph, &held_out, &expected)?;
    }
    let report = serde_json::json!({
        "model": name,
        "of": inputs_of(&graph),
        "calibration_inputs": calibration.len(),
        "inputs": cosines.len(),
        "cosine_mean": mean(&cosines),
        // The first percentile, or the smallest of fewer than a hundred.
        "cosine_p1": cosines.get(cosines.len() / 100),
        "flash_bytes": packed.report.file_bytes,
        "arena_bytes": packed.report.arena_bytes,
        "arena_lower_bound_bytes": packed.report.arena_lower_bound_bytes,
        "macs": packed.report.macs,
        "ops": ops,
        "float_ops": floats,
        "observer": observer.name(),
        "weights": weights.name(),
        "mixed": mixed,
        "repaired": repaired,
        "cifar10": accuracy,
    });
    println!("{report}");
    Ok(())
}

/// Prints the accuracy of `graph` and of graphs that were quantised before.
fn measure(graph: &Graph, args: &Args) -> Result<(), Failure> {
    let folder = args.cifar10.as_deref().ok_or("--measure wants --cifar10")?;
    let others = args.measure.iter().map(Graph::load);
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let graphs: Vec<&Graph> = std::iter::once(graph).chain(&others).collect();
    let found = nearest_class_mean(&graphs, folder, &geometry(graph)?, args)?;
    let names = std::iter::once(&args.graph).chain(&args.measure);
    for (name, found) in names.zip(found) {
        let (share, cosine) = (100.0 * found.accuracy, found.cosine);
        let name = name.display();
        println!(
            "{name} {share:.2} % of {}, mean cosine {cosine:.5}",
            args.test
        );
    }
    Ok(())
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// Cosines of two lists of vectors, the smallest first.
fn cosines(expected: &[Vec<f32>], found: &[Vec<f32>]) -> Vec<f64> {
    let mut cosines: Vec<f64> = expected
        .iter()
        .zip(found)
        .map(|(a, b)| cosine(a, b))
        .collect();
    cosines.sort_by(f64::total_cmp);
    cosines
}

/// The mix of int8 and f16 that reaches `goal` on every fourth calibration picture.
fn mixed(
    graph: &Graph,
    calibration: &[Input],
    options: &Options,
    goal: f64,
) -> Result<Mixed, Failure> {
    let (seen, check) = apart(calibration);
    let goal = Goal {
        cosine: goal,
        ..Goal::default()
    };
    let memory = Memory {
        known: Sensitivity::new(),
        learn: &mut |_, _| (),
    };
    Ok(quantize_mixed(
        graph,
        &seen,
        &check,
        options,
        &goal,
        memory,
        &|_| (),
    )?)
}

/// What the mix is and costs, measured on pictures that no part of it saw.
fn mixed_report(
    mixed: &Mixed,
    expected: &[Vec<f32>],
    held_out: &[Input],
) -> Result<serde_json::Value, Failure> {
    let graph = &mixed.quantized.quantized;
    let cosines = cosines(expected, &embeddings(graph, held_out)?);
    let options = PackOptions {
        precision: Precision::F16,
        ..PackOptions::default()
    };
    let cost = pack(graph, &options)?.report;
    Ok(serde_json::json!({
        "reached": mixed.reached,
        "cosine_mean": mean(&cosines),
        "cosine_p1": cosines.get(cosines.len() / 100),
        "float_layers": mixed.choices.len(),
        "candidates": mixed.candidates,
        "flash_bytes": cost.file_bytes,
        "arena_bytes": cost.arena_bytes,
    }))
}

fn arguments() -> Result<Args, Failure> {
    let mut args = Args {
        graph: PathBuf::new(),
        calibrate: Vec::new(),
        pictures: Vec::new(),
        out: PathBuf::new(),
        count: 50,
        layers: false,
        sources: None,
        wide: true,
        correct_biases: true,
        weights: None,
        cosine: None,
        repair: 0,
        cifar10: None,
        test: 2000,
        on_training: false,
        measure: Vec::new(),
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().ok_or(format!("{flag} wants a value"));
        match flag.as_str() {
            "--calibrate" => args.calibrate.push(value()?),
            "--pictures" => args.pictures.push(value()?),
            "--out" => args.out = value()?.into(),
            "--count" => args.count = value()?.parse()?,
            "--cosine" => args.cosine = Some(value()?.parse()?),
            "--cifar10" => args.cifar10 = Some(value()?),
            "--test" => args.test = value()?.parse()?,
            "--split" => {
                args.on_training = match value()?.as_str() {
                    "test" => false,
                    "train" => true,
                    other => return Err(format!("--split {other}: expected test or train").into()),
                }
            }
            "--measure" => args.measure.push(value()?.into()),
            "--nearest" => args.weights = Some(Rounding::Nearest),
            "--gptq" => args.weights = Some(Rounding::Gptq),
            "--repair" => args.repair = value()?.parse()?,
            "--layers" => args.layers = true,
            "--sources" => args.sources = Some(args.sources.is_some()),
            "--no-bias-correction" => args.correct_biases = false,
            "--no-wide" => args.wide = false,
            _ => args.graph = flag.into(),
        }
    }
    let quantises = [&args.calibrate, &args.pictures]
        .iter()
        .all(|list| !list.is_empty())
        && !args.out.as_os_str().is_empty();
    let measures = !args.measure.is_empty() && args.cifar10.is_some();
    if args.on_training && !measures {
        return Err("--split train wants --measure and --cifar10".into());
    }
    if !quantises && !measures {
        return Err("usage: model_report GRAPH.phg --calibrate SOURCE --pictures SOURCE --out FOLDER [--count N] [--layers] [--sources [--sources]] [--nearest | --gptq] [--no-wide] [--no-bias-correction] [--cosine C] [--cifar10 DIR [--test N]]\n\
            or model_report GRAPH.phg --measure INT8.phg… --cifar10 DIR [--test N] [--split train]".into());
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

fn input(geometry: &InputGeometry, picture: &RgbImage) -> Result<Input, Failure> {
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
    Ok(input.into())
}

/// Pictures of each class of CIFAR-10's training split whose mean stands for the class.
const PICTURES_OF_A_CLASS: usize = 50;
/// Where the last batch of the training split begins, in which no class mean has a picture.
const LAST_BATCH: usize = 40_000;
/// Pictures embedded at once.
const BATCH: usize = 64;

/// Test pictures of CIFAR-10 that are nearest to the mean of their class, for each graph.
///
/// The means are those of the first graph: they stand in a bank, whatever embeds the pictures.
fn nearest_class_mean(
    graphs: &[&Graph],
    folder: &str,
    geometry: &InputGeometry,
    args: &Args,
) -> Result<Vec<Measured>, Failure> {
    let train = Cifar10::train_labelled(folder)?;
    let class = |class: usize| {
        let of_class = (0..train.len()).filter(|&index| train.label(index) == Some(class));
        let pictures = of_class.take(PICTURES_OF_A_CLASS);
        let inputs = pictures.map(|index| input(geometry, &train.picture(index)));
        inputs.collect::<Result<Vec<_>, _>>()
    };
    let classes = (0..10).map(class).collect::<Result<Vec<_>, _>>()?;
    let means = ClassMeans::new(graphs[0], &classes)?;
    let (test, first, step) = match args.on_training {
        false => (Cifar10::open(folder, Split::Test)?, 0, 1),
        // Pictures that calibrate lie at even places.
        true => (train, LAST_BATCH + 1, 2),
    };
    let all: Vec<usize> = (first..test.len()).step_by(step).collect();
    if !(1..=all.len()).contains(&args.test) {
        let (found, most) = (args.test, all.len());
        return Err(format!("--test {found}: expected 1 to {most} pictures of that split").into());
    }
    let step = all.len() / args.test;
    let chosen: Vec<usize> = all.into_iter().step_by(step).take(args.test).collect();
    let mut sums = vec![Measured::default(); graphs.len()];
    for few in chosen.chunks(BATCH) {
        let inputs = few.iter().map(|&i| input(geometry, &test.picture(i)));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<usize> = few.iter().filter_map(|&i| test.label(i)).collect();
        let expected = embeddings(graphs[0], &inputs)?;
        for (place, (graph, sum)) in graphs.iter().zip(&mut sums).enumerate() {
            let found = match place {
                0 => &expected,
                _ => &embeddings(graph, &inputs)?,
            };
            for ((found, expected), &label) in found.iter().zip(&expected).zip(&labels) {
                sum.accuracy += f64::from(u8::from(means.nearest(found) == label));
                sum.cosine += cosine(found, expected);
            }
        }
    }
    let count = chosen.len() as f64;
    let mean = |sum: Measured| Measured {
        accuracy: sum.accuracy / count,
        cosine: sum.cosine / count,
    };
    Ok(sums.into_iter().map(mean).collect())
}

/// Of one graph, over the pictures.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    /// Share that is nearest to its class.
    accuracy: f64,
    /// Mean cosine to the first graph's embedding.
    cosine: f64,
}

/// The model's output for every input.
fn embeddings(graph: &Graph, inputs: &[Input]) -> Result<Vec<Vec<f32>>, Failure> {
    Ok(outputs(graph, &inputs.iter().collect::<Vec<_>>())?)
}

fn references(
    path: &Path,
    graph: &Graph,
    inputs: &[Input],
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
            let Input::Reals(input) = input else {
                return Vec::new();
            };
            vec![
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
