//! `pinhole train`: runs a recipe.

use std::path::PathBuf;

use pinhole_trainer::TrainOptions;

use crate::failure::{Failure, Outcome};
use crate::output::say;

/// Train the projections of a dual encoder from a recipe.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole train models/lite0/recipe.toml --inputs features/ --output out/
  pinhole train models/lite0/recipe.toml --inputs features/ --output out/ --resume
  pinhole train models/lite0/recipe.toml --dry-run

Ctrl-C stops after the current step and keeps a checkpoint; --resume goes on and ends with the same bytes.")]
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
        stop: None,
    };
    let report = pinhole_trainer::train(&args.recipe, options).map_err(Failure::new)?;
    if args.json {
        say!("{}", serde_json::to_string(&report).map_err(Failure::new)?);
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
