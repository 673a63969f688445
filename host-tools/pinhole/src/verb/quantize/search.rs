//! Mixed precision: the search, and what an interrupted one leaves.

use std::path::Path;

use pinhole_graph::Graph;
use pinhole_quantize::{
    CHECK_EVERY, Goal, Input, Memory, Mixed, Options, Progress, Quantized, Sensitivity, inputs_of,
    quantize_mixed,
};
use serde::{Deserialize, Serialize};

use super::MixedReport;
use crate::failure::{Context, Failure, Outcome};
use crate::files;
use crate::output::note;

/// What an interrupted search leaves beside its product.
#[derive(Default, Serialize, Deserialize)]
struct Started {
    /// Of the graph, the inputs and the options.
    sha256: String,
    sensitivity: Sensitivity,
}

/// Searches, or goes on with a search; what it measures is kept beside `out` until it is done.
pub(super) fn mixed(
    graph: &Graph,
    name: &Path,
    inputs: &[Input],
    options: &Options,
    goal: &Goal,
    out: &Path,
    show: &(dyn Fn(Progress) + Sync),
) -> Outcome<(Quantized, MixedReport)> {
    let (seen, check) = apart(graph, inputs, "--cosine")?;
    let sha256 = identity(graph, inputs, options)?;
    let path = out.with_added_extension("started.json");
    let mut started = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Started>(&bytes).ok())
        .filter(|started| started.sha256 == sha256)
        .unwrap_or_default();
    started.sha256 = sha256;
    let known = started.sensitivity.clone();
    if !known.is_empty() {
        note!(
            "going on: {} layers are known from {}",
            known.len(),
            path.display()
        );
    }
    let mut lost = None;
    let mut learn = |node: &str, error: f64| {
        started.sensitivity.insert(node.to_owned(), error);
        let kept = serde_json::to_vec(&started).map_err(Failure::new);
        // The search goes on without what cannot be kept; the failure is told at its end.
        lost = kept.and_then(|bytes| files::write(&path, &bytes)).err();
    };
    let memory = Memory {
        known,
        learn: &mut learn,
    };
    let mixed = quantize_mixed(graph, &seen, &check, options, goal, memory, show);
    let Mixed {
        quantized,
        int8_cosine,
        cosine,
        choices,
        candidates,
        reached,
        accuracy,
    } = mixed.context(name.display())?;
    match lost {
        Some(failure) => note!("what the search found could not be kept: {failure}"),
        // Absent when nothing had to be searched.
        None => drop(std::fs::remove_file(&path)),
    }
    let report = MixedReport {
        goal: (goal.cosine > 0.0).then_some(goal.cosine),
        reached,
        int8_cosine,
        cosine,
        max_drop: goal.max_drop.as_ref().map(|(points, _)| *points),
        accuracy,
        candidates,
        float_layers: choices,
    };
    Ok((quantized, report))
}

/// What calibrates, and every fourth input for the check that `option` wants.
pub(super) fn apart(
    graph: &Graph,
    inputs: &[Input],
    option: &str,
) -> Outcome<(Vec<Input>, Vec<Input>)> {
    let parts = pinhole_quantize::apart(inputs);
    match parts.1.is_empty() {
        true => Err(Failure::new(format_args!(
            "found {} {}, expected {CHECK_EVERY} or more: {option} is measured on every fourth of them",
            inputs.len(),
            inputs_of(graph)
        ))),
        false => Ok(parts),
    }
}

/// Changes with everything that a search depends on.
pub(super) fn identity(graph: &Graph, inputs: &[Input], options: &Options) -> Outcome<String> {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(graph.to_bytes().map_err(Failure::new)?);
    for input in inputs {
        match input {
            Input::Reals(reals) => reals.iter().for_each(|x| hash.update(x.to_le_bytes())),
            Input::Ids(ids) => ids.iter().for_each(|id| hash.update(id.to_le_bytes())),
        }
    }
    hash.update(format!("{options:?}"));
    Ok(files::hex(&hash.finalize()))
}
