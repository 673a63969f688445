//! `pinhole quantize`: int8 scales for a graph, from pictures.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pinhole_data::{Cifar10, load_picture};
use pinhole_graph::{Graph, IntegerRules};
use pinhole_quantize::{Observer, Options, Progress, Quantized, Report, quantize, report::report};

use crate::encoder::{ImageEncoder, LoadedModel};
use crate::failure::{Context, Failure, Outcome};
use crate::output::{json, note, say};
use crate::verb::classify::at_least_one;
use crate::{files, graph_file, pictures, progress};

/// Quantise a graph to int8 with calibration pictures.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole quantize lite0.phg --calibrate photos/ --out lite0-int8.phg
  pinhole quantize lite0.phg --calibrate photos/ --observer percentile \\
    --report report.json --out lite0-int8.phg

Use pictures like those that the camera will see, and none that accuracy is
measured on. --calibrate may be given more than once; cifar10:DIR takes pictures
of the training split, without their labels.")]
pub(crate) struct Args {
    /// Graph (.phg).
    #[arg(value_name = "GRAPH")]
    graph: PathBuf,
    #[command(flatten)]
    pub(crate) calibration: Calibration,
    /// Where the quantised graph goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// What quantisation needs beside a graph.
#[derive(clap::Args, Clone)]
pub(crate) struct Calibration {
    /// A folder of pictures, or cifar10:DIR.
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) calibrate: Vec<String>,
    /// Pictures taken, spread evenly over each source.
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = at_least_one)]
    pub(crate) calibration_count: usize,
    /// How ranges are chosen: min-max, percentile or mse.
    #[arg(long, default_value = "mse", value_parser = ["min-max", "percentile", "mse"])]
    pub(crate) observer: String,
    /// Share that --observer percentile leaves out at each end.
    #[arg(long, default_value_t = 0.00001, value_name = "SHARE")]
    pub(crate) percentile: f64,
    /// Leave the channels of each tensor as unequal as they are.
    #[arg(long)]
    pub(crate) no_equalize: bool,
    /// Leave the biases as they are.
    #[arg(long)]
    pub(crate) no_bias_correction: bool,
    /// Name of a layer that stays in floats (pack --precision says which); may be given more than once.
    #[arg(long, value_name = "NODE")]
    pub(crate) keep_float: Vec<String>,
    /// Where the report by layer goes, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[cfg(feature = "train")]
impl Calibration {
    /// The usual choices for `count` pictures of `sources`.
    pub(crate) fn of(sources: Vec<String>, count: usize) -> Self {
        Self {
            calibrate: sources,
            calibration_count: count,
            observer: "mse".to_owned(),
            percentile: 0.00001,
            no_equalize: false,
            no_bias_correction: false,
            keep_float: Vec::new(),
            report: None,
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    if let Some(path) = &args.calibration.report {
        files::check_target(path)?;
    }
    let graph = graph_file::open(&args.graph)?;
    let (quantized, report) = calibrated(&graph, &args.graph, &args.calibration)?;
    graph_file::save(&quantized, &args.out)?;
    if args.json {
        return json(&report);
    }
    say!("{}", report.table().trim_end());
    Ok(())
}

/// Quantises and reports.
pub(crate) fn calibrated(
    graph: &Graph,
    name: &Path,
    choices: &Calibration,
) -> Outcome<(Graph, Report)> {
    for node in &choices.keep_float {
        if !graph.nodes.iter().any(|n| n.name == *node) {
            return Err(
                Failure::new(format_args!("{}: no node is named {node}", name.display()))
                    .help("pinhole inspect GRAPH.phg lists the nodes"),
            );
        }
    }
    if graph.meta.integer_rules != IntegerRules::Own {
        return Err(Failure::new(format_args!(
            "{}: its weights are integers already, expected a float graph",
            name.display()
        ))
        .help("pinhole import and pinhole pack are enough: its scales are kept"));
    }
    let graph = &without_scales(graph);
    let inputs = inputs(graph, name, choices)?;
    if inputs.len() < 16 {
        note!(
            "only {} calibration pictures: ranges may be too narrow; 100 or more are usual",
            inputs.len()
        );
    }
    let observer = match choices.observer.as_str() {
        "min-max" => Observer::MinMax,
        "mse" => Observer::Mse,
        _ if (0.0..0.5).contains(&choices.percentile) => Observer::Percentile(choices.percentile),
        _ => {
            return Err(Failure::new(format_args!(
                "--percentile is {}, expected 0 or more and less than 0.5",
                choices.percentile
            )));
        }
    };
    let options = Options {
        observer,
        equalize: !choices.no_equalize,
        correct_biases: !choices.no_bias_correction,
        float_nodes: choices.keep_float.iter().cloned().collect(),
    };
    let bar = Mutex::new(progress::bar("ranges", inputs.len()));
    let show = |progress: Progress| {
        let (what, done, all) = match progress {
            Progress::Channels(done, all) => ("channel ranges", done, all),
            Progress::Ranges(done, all) => ("ranges", done, all),
            Progress::Histograms(done, all) => ("histograms", done, all),
            Progress::Biases(done, all) => ("correcting biases", done, all),
            Progress::Report(done, all) => ("comparing", done, all),
        };
        if let Ok(bar) = bar.lock() {
            bar.set_message(what);
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    };
    let Quantized {
        prepared,
        quantized,
    } = quantize(graph, &inputs, &options, &show).context(name.display())?;
    let report = report(&prepared, &quantized, &pictures::spread(&inputs, 16), &show)
        .context(name.display())?;
    if let Ok(bar) = bar.lock() {
        bar.finish_and_clear();
    }
    if let Some(path) = &choices.report {
        files::write(
            path,
            serde_json::to_string_pretty(&report)
                .map_err(Failure::new)?
                .as_bytes(),
        )?;
    }
    Ok((quantized, report))
}

/// The graph in f32: what an earlier quantisation left is taken away.
fn without_scales(graph: &Graph) -> Graph {
    let mut plain = graph.clone();
    plain.values.iter_mut().for_each(|value| value.quant = None);
    plain
}

/// Model inputs of the calibration pictures.
fn inputs(graph: &Graph, name: &Path, choices: &Calibration) -> Outcome<Vec<Vec<f32>>> {
    let packed =
        pinhole_pack::pack(graph, &pinhole_pack::PackOptions::default()).context(name.display())?;
    let bytes = pinhole_runtime::interpreter::AlignedBytes::from_slice(&packed.bytes);
    let loaded = LoadedModel::from_bytes(name.display(), bytes, pinhole_runtime::kernel::detect())?;
    let encoder = ImageEncoder::new(name.display(), loaded)?;
    let mut inputs = Vec::new();
    for source in &choices.calibrate {
        let share = choices.calibration_count.div_ceil(choices.calibrate.len());
        match source.strip_prefix("cifar10:") {
            Some(dir) => {
                let data = Cifar10::train_unlabelled(dir)?;
                let all: Vec<usize> = (0..data.len()).collect();
                for index in pictures::spread(&all, share) {
                    inputs.push(encoder.input_f32(&data.picture(index))?);
                }
            }
            None => {
                for path in pictures::spread(&pictures::below(Path::new(source))?, share) {
                    match load_picture(&path) {
                        Ok(picture) => inputs.push(encoder.input_f32(&picture)?),
                        Err(error) => note!("left out: {error}"),
                    }
                }
            }
        }
    }
    Ok(inputs)
}
