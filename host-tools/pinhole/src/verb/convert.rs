//! `pinhole convert`: import, quantise and pack in one step.

use std::path::PathBuf;

use pinhole_pack::{PackReport, Precision};

use crate::failure::Outcome;
use crate::output::{json, say};
use crate::verb::{import, pack, quantize};
use crate::{files, graph_file};

/// Import, quantise and pack in one step.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole convert efficientnet-lite0.pth --calibrate photos/ --out image.phm
  pinhole convert efficientnet-lite0.pth --projection projection.safetensors \\
    --calibrate photos/ --out image.phm
  pinhole convert image.phg --calibrate photos/ --calibrate cifar10:DIR \\
    --report report.json --graph int8.phg --out image.phm")]
pub(crate) struct Args {
    /// Checkpoint, ONNX file, graph, or hf:ORG/NAME of the Hub.
    #[arg(value_name = "FILE")]
    source: PathBuf,
    #[command(flatten)]
    import: import::Choices,
    #[command(flatten)]
    calibration: quantize::Calibration,
    #[command(flatten)]
    pack: pack::Choices,
    /// Keep the quantised graph here.
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Where the model goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print both reports as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Both reports; the order of keys is part of the output.
#[derive(serde::Serialize)]
struct Converted<'a> {
    quantize: &'a quantize::Quantization,
    pack: &'a PackReport,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    [
        &args.graph,
        &args.calibration.report,
        &args.calibration.picture,
    ]
    .into_iter()
    .flatten()
    .try_for_each(|path| files::check_target(path))?;
    let usual = match args.calibration.may_mix() {
        true => Precision::F16,
        false => Precision::F32,
    };
    let options = args.pack.options(usual)?;
    let graph = import::imported(&args.source, &args.import)?;
    let (quantized, report) =
        quantize::calibrated(&graph, &args.source, &args.calibration, &args.out, &options)?;
    if let Some(path) = &args.graph {
        graph_file::save(&quantized, path)?;
    }
    let packed = pack::packed(
        &quantized,
        &args.source,
        &options,
        &args.pack.golden,
        &args.out,
    )?;
    if args.json {
        json(&Converted {
            quantize: &report,
            pack: &packed,
        })?;
    } else {
        say!("{}", report.table().trim_end());
        pack::print(&args.out, &packed, false)?;
    }
    report.verdict()
}
