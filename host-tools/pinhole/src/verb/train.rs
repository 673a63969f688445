//! `pinhole train`: runs a recipe.

use std::path::{Path, PathBuf};

use pinhole_trainer::{TrainError, TrainOptions};

use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::output::{json, say};

/// Train the projections of a dual encoder from a recipe.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole train models/lite0/recipe.toml --inputs features/ --output out/
  pinhole train models/lite0/recipe.toml --inputs features/ --output out/ \\
    --resume
  pinhole train models/lite0/recipe.toml --inputs features/ --dry-run

Ctrl-C stops after the current step, keeps a checkpoint and ends with exit code
2; --resume goes on and ends with the bytes of a run that was not interrupted.")]
pub(crate) struct Args {
    /// Recipe (TOML).
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// Folder of the feature files; the recipe's folder when left out.
    #[arg(long, value_name = "DIR")]
    inputs: Option<PathBuf>,
    /// Folder of the products; the recipe's output.folder when left out.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
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
    let options = TrainOptions {
        resume: args.resume,
        dry_run: args.dry_run,
        quiet: args.json,
        inputs: args.inputs,
        output: args.output,
        stop: Some(interrupt::stop_flag()),
    };
    let report = pinhole_trainer::train(&args.recipe, options)
        .map_err(|error| with_help(error, &args.recipe))?;
    if args.json {
        json(&report)?;
    } else if args.dry_run {
        say!(
            "{} classes, {} sentences, {} pictures; nothing was trained",
            report.inputs[0],
            report.inputs[1],
            report.inputs[2]
        );
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

/// A failed run and the next thing to type.
fn with_help(error: TrainError, recipe: &Path) -> Failure {
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
            "edit {recipe}; models/lite0/recipe.toml is a whole one"
        )),
        TrainError::Io { action: "read", .. } => failure.help(
            "name the folder of the feature files with --inputs; pinhole features --help says how they are made",
        ),
        TrainError::Io { .. } => {
            failure.help("name a folder with room that you may write in with --output")
        }
        _ => failure.help(format_args!("edit {recipe} and start again")),
    }
}
