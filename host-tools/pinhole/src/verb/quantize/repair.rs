//! Quantisation-aware fine-tuning of what calibration left, and what an interrupted one leaves.

use std::path::Path;

use pinhole_graph::{Graph, ModelKind};
use pinhole_quantize::{Input, Options, Progress, Quantized, quantize};
use pinhole_trainer::TrainError;
use pinhole_trainer::repair::{RepairOptions, repair};
use serde::Serialize;

use super::search::{apart, identity};
use crate::failure::{Context, Failure, Outcome};
use crate::output::note;
use crate::{interrupt, progress};

/// What training made of a quantised graph.
#[derive(Serialize)]
pub(super) struct RepairReport {
    steps: usize,
    /// The step whose state was kept; 0 for that of calibration.
    kept_step: usize,
    /// Mean cosine to f32 of the pictures set apart.
    pub(super) cosine_before: f64,
    pub(super) cosine: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) goal: Option<f64>,
}

impl RepairReport {
    pub(super) fn is_reached(&self) -> bool {
        self.goal.is_none_or(|goal| self.cosine >= goal)
    }

    pub(super) fn line(&self) -> String {
        let goal = match (self.goal, self.is_reached()) {
            (None, _) => String::new(),
            (Some(goal), true) => format!(", goal {goal}"),
            (Some(goal), false) => format!(", goal {goal}: NOT reached"),
        };
        format!(
            "fine-tuned: cosine of the pictures set apart {:.5}, before {:.5}, step {} of {} kept{goal}\n",
            self.cosine, self.cosine_before, self.kept_step, self.steps
        )
    }
}

/// Quantises and fine-tunes, or goes on with it; the state is kept beside `out` until it is done.
pub(super) fn repaired(
    graph: &Graph,
    name: &Path,
    inputs: &[Input],
    options: &Options,
    (steps, goal): (usize, Option<f64>),
    out: &Path,
    show: &(dyn Fn(Progress) + Sync),
) -> Outcome<(Quantized, RepairReport)> {
    if graph.meta.kind == ModelKind::TextEncoder {
        return Err(Failure::new(format_args!(
            "{}: found a text encoder, expected an image encoder beside --repair",
            name.display()
        ))
        .help("leave out --repair; --cosine keeps in floats what int8 costs most"));
    }
    let (seen, check) = apart(graph, inputs, "--repair")?;
    let mut found = quantize(graph, &seen, options, show).context(name.display())?;
    let path = out.with_added_extension("started.safetensors");
    let sha256 = identity(graph, inputs, options)?;
    let choices = RepairOptions {
        steps,
        checkpoint: Some((path.clone(), format!("{sha256} {steps}"))),
        stop: Some(interrupt::stop_flag()),
        ..RepairOptions::default()
    };
    let bar = progress::bar("fine-tuning", steps);
    let reals = |inputs: Vec<Input>| -> Vec<Vec<f32>> {
        let reals = inputs.into_iter().filter_map(|input| match input {
            Input::Reals(reals) => Some(reals),
            Input::Ids(_) => None,
        });
        reals.collect()
    };
    let (seen, check) = (reals(seen), reals(check));
    let done = repair(
        [&found.prepared, &found.quantized],
        [&seen, &check],
        &choices,
        &|progress| {
            bar.set_position(progress.step as u64);
            bar.set_message(format!(
                "loss {:.4}, best {:.5}",
                progress.loss, progress.best
            ));
        },
    );
    bar.finish_and_clear();
    let done = done.map_err(|error| explain(error, name))?;
    if std::fs::remove_file(&path).is_err() && path.exists() {
        note!("{} is not needed any more", path.display());
    }
    found.quantized = done.graph;
    let report = RepairReport {
        steps,
        kept_step: done.step,
        cosine_before: done.before,
        cosine: done.after,
        goal,
    };
    Ok((found, report))
}

fn explain(error: TrainError, name: &Path) -> Failure {
    let failure = Failure::new(format_args!("{}: {error}", name.display()));
    match error {
        TrainError::Stopped { .. } => failure.help("the same command goes on where this one was"),
        TrainError::Operator { .. } => {
            failure.help("leave out --repair; --cosine keeps in floats what int8 costs most")
        }
        TrainError::Io { .. } => failure.help("the folder of --out needs room for the state too"),
        _ => failure.help("give more --calibrate pictures, or leave out --repair"),
    }
}
