//! `pinhole pack`: a graph to a model file.

mod golden;

use std::path::{Path, PathBuf};

use golden::Golden;
use pinhole_graph::Graph;
use pinhole_pack::{
    FloatWeights, PackOptions, PackReport, Precision, StemPatches, WeightLayout, pack,
};

use crate::failure::{Context, Failure, Outcome};
use crate::output::{json as json_line, say};
use crate::{files, graph_file};

/// Bands of rows at most; each adds the operators of the stem once more.
const MOST_BANDS: usize = 32;

/// Pack a graph into a model file that devices read in place.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole pack lite0-int8.phg --out image.phm
  pinhole pack lite0-int8.phg --stem-patches auto --out small.phm
  pinhole pack minilm.phg --weights i8 --out text.phm
  pinhole pack lite0.phg --precision f16 --out half.phm
  pinhole pack image.phm --golden cat.jpg --out image.phm

A model of integers gets a golden embedding, which a board computes again to
test itself: pinhole board selftest. Its input is generated from a seed, so
that it takes the bytes of one embedding; with --golden it is a picture, as
many bytes as the model's input. A file that is packed already gets another
one, or none, and stays as it is otherwise.")]
pub(crate) struct Args {
    /// Graph (.phg), quantised or not; or a packed model (.phm) that gets another golden embedding.
    #[arg(value_name = "GRAPH")]
    graph: PathBuf,
    #[command(flatten)]
    pub(crate) choices: Choices,
    /// Where the model goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// How a model is packed.
#[derive(clap::Args, Clone)]
#[group(id = "pack choices")]
pub(crate) struct Choices {
    /// What layers that are not quantised compute in: f32, or f16, whose weights are f16 too; f32 when left out, f16 beside
    /// --cosine.
    #[arg(long, value_parser = ["f32", "f16"])]
    precision: Option<String>,
    /// How layers in f32 store their weights: f32 as a rule, f16, or i8 with a scale a channel.
    #[arg(long, value_parser = ["f32", "f16", "i8"])]
    weights: Option<String>,
    /// CPU that the weights are laid out for: generic runs on every one.
    #[arg(long, value_enum, default_value_t = Target::Generic)]
    target: Target,
    /// Leave out the names of layers.
    #[arg(long)]
    strip_names: bool,
    /// Compute the first layers in this many bands of rows, or as many as lower the memory (auto): less RAM, more work.
    #[arg(long, value_name = "N|auto", default_value = "1", value_parser = stem_patches)]
    stem_patches: StemPatches,
    #[command(flatten)]
    pub(crate) golden: Golden,
}

fn stem_patches(text: &str) -> Result<StemPatches, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(StemPatches::Auto),
        (_, Ok(1)) => Ok(StemPatches::Whole),
        (_, Ok(bands)) if (2..=MOST_BANDS).contains(&bands) => Ok(StemPatches::Bands(bands)),
        _ => Err(format!("expected a number from 1 to {MOST_BANDS}, or auto")),
    }
}

/// CPUs; those without a layout of their own take the generic one.
#[derive(clap::ValueEnum, Clone, Copy)]
#[value(rename_all = "verbatim")]
enum Target {
    #[value(name = "generic")]
    Generic,
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
    #[value(name = "cortex-m4")]
    CortexM4,
    #[value(name = "cortex-m7")]
    CortexM7,
    #[value(name = "cortex-m55")]
    CortexM55,
}

impl Target {
    fn layout(self) -> WeightLayout {
        match self {
            Self::Generic | Self::X86_64 | Self::CortexM4 | Self::CortexM7 | Self::CortexM55 => {
                WeightLayout::Generic
            }
            Self::Aarch64 => WeightLayout::Aarch64,
        }
    }
}

impl Choices {
    /// What the packer takes; `usual` is the precision when none is asked for.
    ///
    /// # Errors
    /// Layers that compute in f16 were to store their weights in another type.
    pub(crate) fn options(&self, usual: Precision) -> Outcome<PackOptions> {
        let usual = match usual {
            Precision::F16 if self.weights.is_none() => "f16",
            _ => "f32",
        };
        let precision = self.precision.as_deref().unwrap_or(usual);
        let (precision, float_weights) = match (precision, self.weights.as_deref()) {
            ("f16", None | Some("f16")) => (Precision::F16, FloatWeights::F16),
            ("f16", Some(weights)) => return Err(refused_weights(weights)),
            (_, Some("f16")) => (Precision::F32, FloatWeights::F16),
            (_, Some("i8")) => (Precision::F32, FloatWeights::I8),
            _ => (Precision::F32, FloatWeights::F32),
        };
        Ok(PackOptions {
            precision,
            float_weights,
            names: !self.strip_names,
            layout: self.target.layout(),
            stem_patches: self.stem_patches,
        })
    }
}

impl Choices {
    /// Refuses what only a graph can be packed with.
    fn expect_none_but_golden(&self, model: &Path) -> Outcome {
        let given = [
            ("--precision", self.precision.is_some()),
            ("--weights", self.weights.is_some()),
            ("--target", !matches!(self.target, Target::Generic)),
            ("--strip-names", self.strip_names),
            ("--stem-patches", self.stem_patches != StemPatches::Whole),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((name, _)) => Err(Failure::new(format_args!(
                "{}: found a packed model beside {name}, expected a graph (.phg)",
                model.display()
            ))
            .help(format_args!(
                "pack its graph: pinhole pack GRAPH.phg {name} …; of a packed model only the golden embedding can be changed"
            ))),
        }
    }
}

fn refused_weights(weights: &str) -> Failure {
    Failure::new(format_args!(
        "found --precision f16 beside --weights {weights}, expected weights in f16, which such layers have"
    ))
    .help(format_args!(
        "leave out --weights, or compute in f32 over such weights: --precision f32 --weights {weights}"
    ))
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    let options = args.choices.options(Precision::F32)?;
    let golden = &args.choices.golden;
    if args.graph.is_file() && files::starts_as_model(&args.graph)? {
        args.choices.expect_none_but_golden(&args.graph)?;
        return golden::renew(golden, &args.graph, &args.out, args.json);
    }
    let graph = graph_file::open(&args.graph)?;
    let report = packed(&graph, &args.graph, &options, golden, &args.out)?;
    print(&args.out, &report, args.json)
}

/// Packs and writes.
pub(crate) fn packed(
    graph: &Graph,
    name: &Path,
    options: &PackOptions,
    golden: &Golden,
    out: &Path,
) -> Outcome<PackReport> {
    let packed = pack(graph, options).context(name.display())?;
    let model = golden.put(name, packed.bytes)?;
    files::write(out, &model.bytes)?;
    Ok(PackReport {
        file_bytes: model.bytes.len(),
        golden_bytes: model.golden_bytes,
        ..packed.report
    })
}

/// What it costs.
pub(crate) fn print(out: &Path, report: &PackReport, json: bool) -> Outcome {
    if json {
        return json_line(report);
    }
    say!(
        "{}: {} bytes ({} of weights and tables), {} operators, {} MAC",
        out.display(),
        report.file_bytes,
        report.data_bytes,
        report.ops,
        report.macs
    );
    say!(
        "arena {} bytes, lower bound {} bytes, ratio {:.3}",
        report.arena_bytes,
        report.arena_lower_bound_bytes,
        report.arena_ratio
    );
    golden::print(report.golden_bytes);
    if report.stem.bands > 0 {
        say!(
            "the first {} operators in {} bands of rows, {} MAC more",
            report.stem.ops,
            report.stem.bands,
            report.stem.extra_macs
        );
    }
    Ok(())
}
