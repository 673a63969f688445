//! `pinhole quantize`: int8 scales for a graph, from pictures or texts.

mod inputs;
mod labelled;
#[cfg(feature = "train")]
mod repair;
mod search;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pinhole_graph::{Graph, IntegerRules};
use pinhole_pack::PackOptions;
use pinhole_quantize::{
    Accuracy, Choice, Goal, Input, Observer, Options, Progress, Report, Rounding, inputs_of,
    quantize, report::report, svg,
};
use serde::Serialize;

use crate::failure::{Context, Failure, Outcome};
use crate::output::{json, note, say};
use crate::verb::classify::at_least_one;
use crate::{files, graph_file, pictures, progress};

use inputs::Inputs;

/// Quantise a graph to int8 with calibration pictures or texts.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole quantize lite0.phg --calibrate photos/ --out lite0-int8.phg
  pinhole quantize lite0.phg --calibrate photos/ --observer percentile \\
    --report report.json --picture report.svg --out lite0-int8.phg
  pinhole quantize tinyvit.phg --calibrate photos/ --cosine 0.995 \\
    --max-flash 8MB --out tinyvit-mixed.phg
  pinhole quantize lite0.phg --calibrate photos/ --max-drop 0.5 \\
    --labelled cifar10:$(pinhole data get cifar10) --max-float-macs 20M \\
    --out lite0-mixed.phg
  pinhole quantize mobilenet.phg --calibrate photos/ --repair 300 \\
    --cosine 0.995 --out mobilenet-int8.phg
  pinhole quantize text.phg --calibrate texts:sentences.txt \\
    --out text-int8.phg

--cosine leaves the layers that int8 costs most in floats until the output is as
near as that, measured on every fourth input, which calibration then does not
see; pack with --precision f16. --max-drop, beside it or alone, does so until
accuracy is at most as many points below f32: every second picture of a class of
--labelled makes its mean in f32, the others are named by the nearest mean. Give
pictures that no accuracy is reported on later.

--repair leaves nothing in floats: weights, biases and ranges are trained for so
many steps, rounded as they will be, until int8 embeds pictures as f32 did; the
state that is best on every fourth picture is kept, and --cosine is its goal.

What was interrupted goes on where it was. Exit code 1 when a goal is not
reached.

Use pictures like those that the camera will see, and none that accuracy is
measured on. --calibrate may be given more than once; cifar10:DIR takes pictures
of the training split, without their labels. A text encoder takes files with one
text a line, texts:FILE or FILE, like those that it will embed.")]
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
    /// A folder of pictures, cifar10:DIR, or texts:FILE with one text a line.
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) calibrate: Vec<String>,
    /// Pictures or texts taken, spread evenly over each source.
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = at_least_one)]
    pub(crate) calibration_count: usize,
    /// How ranges are chosen; best tries all and takes what keeps the output nearest.
    #[arg(long, default_value = "best",
          value_parser = ["best", "min-max", "percentile", "mse", "entropy"])]
    pub(crate) observer: String,
    /// Share that --observer percentile leaves out at each end; 0.00001 when left out.
    #[arg(long, value_name = "SHARE")]
    pub(crate) percentile: Option<f64>,
    /// How weights are rounded; best tries all and takes what keeps the output nearest.
    #[arg(long, default_value = "best", value_parser = ["best", "nearest", "gptq"])]
    pub(crate) rounding: String,
    /// Leave the channels of each tensor as unequal as they are.
    #[arg(long)]
    pub(crate) no_equalize: bool,
    /// Keep 8 bits where 16 would bring the output nearer.
    #[arg(long)]
    pub(crate) no_wide: bool,
    /// Leave the biases as they are.
    #[arg(long)]
    pub(crate) no_bias_correction: bool,
    /// Mean cosine of the output to f32 that a mix of int8 and float layers must reach.
    #[arg(long, value_name = "COSINE", value_parser = a_cosine)]
    pub(crate) cosine: Option<f64>,
    /// Points of accuracy that a mix of int8 and float layers may lose to f32 on --labelled.
    #[arg(long, value_name = "POINTS", requires = "labelled", value_parser = points)]
    pub(crate) max_drop: Option<f64>,
    /// Pictures for --max-drop, apart from the others: a folder with one of each class, or cifar10:DIR.
    #[arg(long, value_name = "DIR", requires = "max_drop")]
    pub(crate) labelled: Option<String>,
    /// Most multiply-accumulates of a mix that may stay in floats, as 5000000, 5000k or 5M.
    #[arg(long, value_name = "MACS", value_parser = macs)]
    pub(crate) max_float_macs: Option<u64>,
    /// Most bytes of the packed file that a mix may take, as 600000, 600kB or 1.5MB.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_flash: Option<usize>,
    /// Most bytes of RAM that a mix may take.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_arena: Option<usize>,
    /// Steps of quantisation-aware fine-tuning towards the embeddings in f32, of an image encoder.
    #[cfg(feature = "train")]
    #[arg(long, value_name = "STEPS", value_parser = at_least_one,
          conflicts_with_all = ["max_drop", "max_float_macs", "max_flash", "max_arena"])]
    pub(crate) repair: Option<usize>,
    /// Name of a layer that stays in floats (pack --precision says which); may be given more than once.
    #[arg(long, value_name = "NODE")]
    pub(crate) keep_float: Vec<String>,
    /// Where the report by layer goes, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Where a picture of the report goes (SVG).
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
}

fn a_cosine(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(cosine) if (0.0..1.0).contains(&cosine) => Ok(cosine),
        _ => Err("expected a number from 0 to below 1, as 0.995".into()),
    }
}

fn points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("expected points of accuracy from 0 to 100, as 0.5".into()),
    }
}

/// Multiply-accumulates with an optional decimal unit.
fn macs(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        other => return Err(format!("found the unit {other}, expected k, M or G")),
    };
    match digits.parse::<f64>() {
        Ok(number) if number >= 0.0 && number * unit < 1e15 => Ok((number * unit) as u64),
        _ => Err("expected a number of multiply-accumulates, as 5000000 or 5M".into()),
    }
}

/// Bytes with an optional decimal unit.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1.0,
        "kB" | "k" => 1e3,
        "MB" | "M" => 1e6,
        other => return Err(format!("found the unit {other}, expected B, kB or MB")),
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number * unit < 1e12 => Ok((number * unit) as usize),
        _ => Err("expected a number of bytes, as 600000, 600kB or 1.5MB".into()),
    }
}

/// What came out, for people and programs.
#[derive(Serialize)]
pub(crate) struct Quantization {
    /// How ranges were chosen.
    observer: &'static str,
    /// How weights were rounded.
    rounding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed: Option<MixedReport>,
    #[cfg(feature = "train")]
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<repair::RepairReport>,
    /// The inputs whose outputs turned most, the worst first.
    worst_inputs: Vec<WorstInput>,
    #[serde(flatten)]
    report: Report,
}

#[derive(Serialize)]
struct WorstInput {
    input: String,
    cosine: f64,
}

/// Which layers stay in floats and why.
#[derive(Serialize)]
struct MixedReport {
    /// Of the cosine; without one accuracy alone was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<f64>,
    reached: bool,
    int8_cosine: f64,
    cosine: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_drop: Option<f64>,
    /// On the pictures of --labelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<Accuracy>,
    candidates: usize,
    float_layers: Vec<Choice>,
}

impl Quantization {
    /// Exit code 1 where a goal was not reached: what came nearest is written.
    pub(crate) fn verdict(&self) -> Outcome {
        #[cfg(feature = "train")]
        if let Some(repair) = self.repair.as_ref().filter(|repair| !repair.is_reached()) {
            return Err(Failure::check(format_args!(
                "the cosine of the pictures set apart is {:.5}, expected {}; the best state is written",
                repair.cosine,
                repair.goal.unwrap_or(0.0)
            ))
            .help("give more steps or pictures, or leave out --repair: --cosine then mixes int8 with floats"));
        }
        match &self.mixed {
            Some(MixedReport {
                reached: false,
                accuracy: Some(found),
                max_drop: Some(points),
                cosine,
                goal,
                ..
            }) => Err(Failure::check(format_args!(
                "{:.2} points are lost to f32 at a cosine of {cosine:.5}, expected {points} at most{} within the budgets; what came nearest is written",
                found.float - found.mixed,
                goal.map_or(String::new(), |goal| format!(" and a cosine of {goal}"))
            ))
            .help("ask for less, or give more --max-flash, --max-arena or --max-float-macs")),
            Some(mixed) if !mixed.reached => Err(Failure::check(format_args!(
                "the cosine of the {} set apart is {:.5}, expected {} within the budgets; what came nearest is written",
                self.report.of,
                mixed.cosine,
                mixed.goal.unwrap_or(0.0)
            ))
            .help("ask for a lower --cosine, or give more --max-flash or --max-arena")),
            _ => Ok(()),
        }
    }

    /// A table for people.
    pub(crate) fn table(&self) -> String {
        let mut out = self.report.table();
        for worst in &self.worst_inputs {
            out += &format!("  {:.5}  {}\n", worst.cosine, worst.input);
        }
        out += &format!("ranges chosen by: {}\n", self.observer);
        out += &format!("weights rounded by: {}\n", self.rounding);
        #[cfg(feature = "train")]
        out.extend(self.repair.iter().map(repair::RepairReport::line));
        if let Some(mixed) = &self.mixed {
            let floats = match mixed.float_layers.len() {
                0 => "no layer stays in floats".to_owned(),
                count => format!("{count} of {} layers stay in floats", mixed.candidates),
            };
            let goal = mixed
                .goal
                .map_or(String::new(), |goal| format!(", goal {goal}"));
            out += &format!(
                "{floats}; cosine of the {} set apart {:.5}, of int8 alone {:.5}{goal}{}\n",
                self.report.of,
                mixed.cosine,
                mixed.int8_cosine,
                if mixed.reached { "" } else { ": NOT reached" }
            );
            if let (Some(found), Some(points)) = (&mixed.accuracy, mixed.max_drop) {
                out += &format!(
                    "nearest class mean of {} labelled pictures: f32 {:.2} %, int8 {:.2} %, the mix {:.2} %, {points} points below f32 allowed\n",
                    found.pictures, found.float, found.int8, found.mixed
                );
            }
            if !mixed.float_layers.is_empty() {
                out += "in floats, with what the cosine loses by each alone in int8, biases not corrected:\n";
            }
            let names = mixed.float_layers.iter().map(|choice| choice.node.len());
            let width = names.max().unwrap_or(0);
            for choice in &mixed.float_layers {
                out += &format!(
                    "  {:<width$} {:<18} {:.6}\n",
                    choice.node, choice.op, choice.error_alone
                );
            }
        }
        out
    }
}

impl Calibration {
    /// Whether layers may stay in floats.
    pub(crate) fn may_mix(&self) -> bool {
        self.sets_apart() && !self.repairs()
    }

    /// Whether every fourth input only checks.
    fn sets_apart(&self) -> bool {
        self.cosine.is_some() || self.max_drop.is_some() || self.repairs()
    }

    #[cfg(feature = "train")]
    fn repairs(&self) -> bool {
        self.repair.is_some()
    }

    #[cfg(not(feature = "train"))]
    fn repairs(&self) -> bool {
        false
    }
}

#[cfg(feature = "train")]
impl Calibration {
    /// The usual choices for `count` pictures of `sources`.
    pub(crate) fn of(sources: Vec<String>, count: usize) -> Self {
        Self {
            calibrate: sources,
            calibration_count: count,
            observer: "best".to_owned(),
            percentile: None,
            rounding: "best".to_owned(),
            no_equalize: false,
            no_wide: false,
            no_bias_correction: false,
            cosine: None,
            max_drop: None,
            labelled: None,
            max_float_macs: None,
            max_flash: None,
            max_arena: None,
            repair: None,
            keep_float: Vec::new(),
            report: None,
            picture: None,
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    files::check_target(&args.out)?;
    let calibration = &args.calibration;
    for path in [&calibration.report, &calibration.picture]
        .into_iter()
        .flatten()
    {
        files::check_target(path)?;
    }
    let graph = graph_file::open(&args.graph)?;
    let half = Goal::default().pack;
    let (quantized, report) = calibrated(&graph, &args.graph, calibration, &args.out, &half)?;
    graph_file::save(&quantized, &args.out)?;
    match args.json {
        true => json(&report)?,
        false => say!("{}", report.table().trim_end()),
    }
    report.verdict()
}

/// Quantises and reports. What a search has found is kept beside `out` until it is done; budgets are of what `pack` makes.
pub(crate) fn calibrated(
    graph: &Graph,
    name: &Path,
    choices: &Calibration,
    out: &Path,
    pack: &PackOptions,
) -> Outcome<(Graph, Quantization)> {
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
    let mixes = wants_mix(choices)?;
    let graph = &without_scales(graph);
    let Inputs { inputs, names } = inputs::load(graph, name, choices)?;
    warn(graph, &inputs, choices);
    let options = Options {
        observer: observer(choices)?,
        equalize: !choices.no_equalize,
        weights: match choices.rounding.as_str() {
            "nearest" => Some(Rounding::Nearest),
            "gptq" => Some(Rounding::Gptq),
            _ => None,
        },
        wide: !choices.no_wide,
        correct_biases: !choices.no_bias_correction,
        float_nodes: choices.keep_float.iter().cloned().collect(),
    };
    let bar = Mutex::new(progress::bar("ranges", inputs.len()));
    let show = |progress: Progress| show(&bar, progress);
    #[cfg(feature = "train")]
    let mut repair = None;
    let (found, mixed) = match mixes {
        #[cfg(feature = "train")]
        _ if let Some(steps) = choices.repair => {
            let goal = (steps, choices.cosine);
            let (found, report) =
                repair::repaired(graph, name, &inputs, &options, goal, out, &show)?;
            repair = Some(report);
            (found, None)
        }
        false => {
            let found = quantize(graph, &inputs, &options, &show).context(name.display())?;
            (found, None)
        }
        true => {
            let goal = Goal {
                cosine: choices.cosine.unwrap_or(0.0),
                max_drop: labelled::load(graph, name, choices)?,
                float_macs: choices.max_float_macs,
                flash_bytes: choices.max_flash,
                arena_bytes: choices.max_arena,
                pack: pack.clone(),
            };
            let (found, mixed) = search::mixed(graph, name, &inputs, &options, &goal, out, &show)?;
            (found, Some(mixed))
        }
    };
    let compared: Vec<usize> = pictures::spread(&(0..inputs.len()).collect::<Vec<_>>(), 16);
    let shown: Vec<Input> = compared
        .iter()
        .map(|&index| inputs[index].clone())
        .collect();
    let report =
        report(&found.prepared, &found.quantized, &shown, &show).context(name.display())?;
    if let Ok(bar) = bar.lock() {
        bar.finish_and_clear();
    }
    let mut worst: Vec<(f64, usize)> = report
        .output_cosines
        .iter()
        .copied()
        .zip(compared)
        .collect();
    worst.sort_by(|a, b| a.0.total_cmp(&b.0));
    let worst = worst.into_iter().take(3).map(|(cosine, index)| WorstInput {
        input: names[index].clone(),
        cosine,
    });
    let quantization = Quantization {
        observer: found.observer.name(),
        rounding: found.weights.name(),
        mixed,
        #[cfg(feature = "train")]
        repair,
        worst_inputs: worst.collect(),
        report,
    };
    if let Some(path) = &choices.report {
        let text = serde_json::to_string_pretty(&quantization).map_err(Failure::new)?;
        files::write(path, text.as_bytes())?;
    }
    if let Some(path) = &choices.picture {
        let title = format!("{}: what int8 costs", files::name(name));
        files::write(path, svg(&quantization.report, &title).as_bytes())?;
    }
    Ok((found.quantized, quantization))
}

/// Whether layers may stay in floats; budgets without a goal are refused.
fn wants_mix(choices: &Calibration) -> Outcome<bool> {
    let goal = choices.may_mix();
    let budgets = [
        ("--max-flash", choices.max_flash.is_some()),
        ("--max-arena", choices.max_arena.is_some()),
        ("--max-float-macs", choices.max_float_macs.is_some()),
    ];
    match budgets.into_iter().find(|(_, given)| *given && !goal) {
        Some((budget, _)) => Err(Failure::new(format_args!(
            "found {budget} without a goal, expected --cosine or --max-drop beside it"
        ))
        .help("--cosine 0.995")),
        None => Ok(goal),
    }
}

/// Says what may make ranges wrong.
fn warn(graph: &Graph, inputs: &[Input], choices: &Calibration) {
    // A quarter is set apart where something is chosen by it.
    let fewest = if choices.sets_apart() { 22 } else { 16 };
    if inputs.len() < fewest {
        note!(
            "only {} calibration {}: ranges may be too narrow; 100 or more are usual",
            inputs.len(),
            inputs_of(graph)
        );
    }
    let plain = |input: &&Input| match input {
        Input::Reals(reals) => reals.chunks_exact(3).all(|pixel| pixel == &reals[..3]),
        Input::Ids(_) => false,
    };
    let plain = inputs.iter().filter(plain).count();
    if plain > 0 {
        note!(
            "{plain} of {} calibration pictures are of one colour: they say nothing of the ranges of others",
            inputs.len()
        );
    }
}

fn observer(choices: &Calibration) -> Outcome<Option<Observer>> {
    if choices.percentile.is_some() && choices.observer != "percentile" {
        return Err(Failure::new(format_args!(
            "found --percentile beside --observer {}, which has no share",
            choices.observer
        ))
        .help("--observer percentile --percentile 0.0001"));
    }
    let share = choices.percentile.unwrap_or(0.00001);
    Ok(Some(match choices.observer.as_str() {
        "best" => return Ok(None),
        "min-max" => Observer::MinMax,
        "mse" => Observer::Mse,
        "entropy" => Observer::Entropy,
        _ if (0.0..0.5).contains(&share) => Observer::Percentile(share),
        _ => {
            return Err(Failure::new(format_args!(
                "--percentile is {share}, expected 0 or more and less than 0.5"
            )));
        }
    }))
}

fn show(bar: &Mutex<indicatif::ProgressBar>, progress: Progress) {
    let (what, done, all) = match progress {
        Progress::Channels(done, all) => ("channel ranges", done, all),
        Progress::Ranges(done, all) => ("ranges", done, all),
        Progress::Histograms(done, all) => ("histograms", done, all),
        Progress::Observers(done, all) => ("comparing observers", done, all),
        Progress::Widths(done, all) => ("trying 16 bits", done, all),
        Progress::Sensitivity(done, all) => ("layers alone in int8", done, all),
        Progress::Weights(done, all) => ("rounding weights", done, all),
        Progress::Biases(done, all) => ("correcting biases", done, all),
        Progress::Report(done, all) => ("comparing", done, all),
    };
    if let Ok(bar) = bar.lock() {
        bar.set_message(what);
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    }
}

/// The graph in f32: what an earlier quantisation left is taken away.
fn without_scales(graph: &Graph) -> Graph {
    let mut plain = graph.clone();
    plain.values.iter_mut().for_each(|value| value.quant = None);
    plain.meta.float_nodes.clear();
    plain
}
