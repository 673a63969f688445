//! `pinhole train`: runs a recipe.

use std::path::{Path, PathBuf};

use pinhole_trainer::fit::{CaptionReport, FIT_VERSION};
use pinhole_trainer::recipe::RECIPE_VERSION;
use pinhole_trainer::{DeviceName, TrainError, TrainOptions, recipe_version};

use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::{json, note, say};

/// Train an image encoder, or the projections of a dual encoder, from a recipe.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole train models/lite0/recipe.toml --inputs features/ --output out/
  pinhole train models/lite0/recipe.toml --inputs features/ --output out/ \\
    --resume
  pinhole train models/lite0/recipe.toml --inputs features/ --dry-run
  pinhole train distil.toml
  pinhole train distil.toml --device cuda

A recipe of version 1 trains projections over features, one of version 2 an
image encoder end to end, with a text encoder and a decoder of captions where
it says so; docs/training.md has the keys of both.

Ctrl-C stops after the current step, keeps a checkpoint and ends with exit code
2; --resume goes on and ends with the bytes of a run that was not interrupted.

Where pinhole is built with the feature mpi, several processes train on one
recipe of version 2, whose batch they share; the first one writes:
  mpirun -n 4 pinhole train distil.toml

Where pinhole is built with the feature cuda or wgpu, --device cuda and wgpu
train on a card; --dry-run says on which one, and in what precision.")]
pub(crate) struct Args {
    /// Recipe (TOML).
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// Folder that the recipe's inputs are in; its own folder when left out.
    #[arg(long, value_name = "DIR")]
    inputs: Option<PathBuf>,
    /// Folder of the products; the recipe's output.folder when left out.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Where to compute: cpu, cuda, cuda:N, wgpu or wgpu:N; the recipe's optimiser.device when left out.
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceName>,
    /// Go on from the checkpoint in the output folder.
    #[arg(long)]
    resume: bool,
    /// Check the recipe and its inputs, and stop before the first step.
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON, and no progress.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    let version = recipe_version(&args.recipe)
        .map_err(|error| with_help(error, &args.recipe, RECIPE_VERSION))?;
    let options = TrainOptions {
        resume: args.resume,
        dry_run: args.dry_run,
        quiet: args.json,
        device: args.device,
        inputs: args.inputs.clone(),
        output: args.output.clone(),
        stop: Some(interrupt::stop_flag()),
    };
    match version {
        RECIPE_VERSION => projections(&args, options),
        FIT_VERSION => encoder(&args, options),
        other => Err(Failure::new(format_args!(
            "{}: `version` is {other}, this program reads {RECIPE_VERSION} and {FIT_VERSION}",
            args.recipe.display()
        ))
        .help("a recipe of a newer version needs a newer pinhole")),
    }
}

/// A recipe of version 1.
fn projections(args: &Args, options: TrainOptions) -> Outcome {
    let report = pinhole_trainer::train(&args.recipe, options)
        .map_err(|error| with_help(error, &args.recipe, RECIPE_VERSION))?;
    if args.json {
        json(&report)?;
    } else if args.dry_run {
        say!(
            "{} classes, {} sentences, {} pictures; nothing was trained",
            report.inputs[0],
            report.inputs[1],
            report.inputs[2]
        );
        say!("it would compute on {} in f32", report.device);
    } else {
        say!(
            "{} after {} steps, loss {:.4}, logit scale {:.2}",
            report.projection.display(),
            report.steps,
            report.loss,
            report.logit_scale
        );
        say!(
            "loss curve {}, log {}",
            report.curve.display(),
            report.log.display()
        );
    }
    Ok(())
}

/// A recipe of version 2.
fn encoder(args: &Args, options: TrainOptions) -> Outcome {
    let report = pinhole_trainer::fit(&args.recipe, options)
        .map_err(|error| with_help(error, &args.recipe, FIT_VERSION))?;
    // The first of several processes speaks for all.
    if report.rank > 0 {
        return Ok(());
    }
    if args.json {
        return json(&report);
    }
    const LISTED: usize = 5;
    for record in report.left_out.iter().take(LISTED) {
        note!("left out: {record}");
    }
    if report.left_out.len() > LISTED {
        note!(
            "left out: {} more, all of them in the report",
            report.left_out.len() - LISTED
        );
    }
    if report.without_text > 0 {
        note!(
            "{} pictures have no text and take no part",
            report.without_text
        );
    }
    if report.broken > 0 {
        note!(
            "{} pictures were broken and replaced by others",
            report.broken
        );
    }
    let [trainable, all] = report.parameters;
    if let Some(estimate) = report.estimate {
        match report.adapted {
            0 => say!("{trainable} of {all} parameters train"),
            adapted => say!(
                "{trainable} parameters train beside {all}, low-rank updates of {adapted} layers among them"
            ),
        }
        say!(
            "{} samples, {} steps an epoch, {} steps",
            report.samples,
            report.steps_per_epoch,
            report.steps
        );
        let each = match report.ranks {
            1 => String::new(),
            ranks => format!("each of {ranks} processes: "),
        };
        say!(
            "{each}about {} MiB of memory and {:.2} s a step, without loading and teachers; nothing was trained",
            estimate.memory_bytes >> 20,
            estimate.seconds_per_step
        );
        say!(
            "it would compute on {} in {}",
            report.device,
            report.precision
        );
        return Ok(());
    }
    let (elapsed, steps) = report.elapsed;
    say!(
        "{} after {} steps, loss {:.4} to {:.4}, {:.2} steps a second",
        report.image.display(),
        report.steps,
        report.loss[0],
        report.loss[1],
        steps as f64 / elapsed.as_secs_f64().max(1e-9)
    );
    if report.losses.len() > 1 {
        for (name, [first, last]) in &report.losses {
            say!("{name} {first:.4} to {last:.4}");
        }
    }
    if let Some(text) = &report.text {
        say!("text encoder {}", text.display());
    }
    if let Some(found) = &report.captions {
        captions(found);
    }
    if let Some([before, after]) = report.top1 {
        say!(
            "zero-shot top-1 {:.1} % to {:.1} % of {} pictures",
            100.0 * before,
            100.0 * after,
            report.evaluated
        );
    }
    say!(
        "loss curve {}, log {}",
        report.curve.display(),
        report.log.display()
    );
    Ok(())
}

/// What captions of held-out pictures are worth.
fn captions(found: &CaptionReport) {
    let [right, another] = found.perplexity;
    say!(
        "{} held-out pictures: perplexity of the right caption {right:.2}, of another's {another:.2}",
        found.pictures
    );
    for (name, [said, of_another, drawn]) in [("F1", found.f1), ("BLEU-1", found.bleu1)] {
        say!(
            "{name} of words {said:.3}, of what is said of another picture {of_another:.3}, of a training caption drawn at random {drawn:.3}"
        );
    }
}

/// A failed run and the next thing to type.
fn with_help(error: TrainError, recipe: &Path, version: u32) -> Failure {
    let failure = Failure::new(&error);
    let recipe = recipe.display();
    match error {
        TrainError::Interrupted { .. } => failure.help(format_args!(
            "go on with the same options and --resume: pinhole train {recipe} --resume"
        )),
        TrainError::Checkpoint { path, .. } => failure.help(format_args!(
            "start anew: the same options without --resume; {} is then written again",
            path.display()
        )),
        TrainError::Features { .. } => {
            failure.help("pinhole features --help says how feature files are made")
        }
        TrainError::Recipe { .. } => failure.help(format_args!(
            "edit {recipe}; models/lite0/recipe.toml is a whole one of version 1, docs/training.md has one of version 2"
        )),
        TrainError::Device { advice, .. } => failure.help(advice),
        TrainError::Ranks(_) => failure.help(format_args!(
            "every process needs the same recipe, files and options; where one stopped in a run, --resume goes on: \
             mpirun -n N pinhole train {recipe} --resume"
        )),
        TrainError::Exploded { .. } => failure.help(format_args!(
            "edit {recipe}: a lower learning_rate, a longer warmup, clip_norm = 1.0"
        )),
        TrainError::Model { .. } => {
            failure.help("pinhole import makes graphs, pinhole pack models; paths are relative to the recipe")
        }
        TrainError::Io { action: "read", .. } if version == FIT_VERSION => failure.help(format_args!(
            "paths are relative to {recipe}, or to the folder of --inputs"
        )),
        TrainError::Io { action: "read", .. } => failure.help(
            "name the folder of the inputs with --inputs; pinhole features --help says how feature files are made",
        ),
        TrainError::Io { .. } => {
            failure.help("name a folder with room that you may write in with --output")
        }
        _ => failure.help(format_args!("edit {recipe} and start again")),
    }
}
