//! An earlier result beside the present one.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::report::Report;
use crate::failure::{Failure, Outcome};
use crate::files;

/// What is read of an earlier result.
#[derive(Debug, Deserialize)]
pub(super) struct Before {
    median_us: Option<f64>,
    instructions: Option<u64>,
    ops: Vec<OpBefore>,
}

#[derive(Debug, Deserialize)]
struct OpBefore {
    name: String,
    median_us: Option<f64>,
    instructions: Option<u64>,
}

/// Reads what `pinhole bench --json` printed.
pub(super) fn open(path: &Path) -> Outcome<Before> {
    let bytes = files::read(path)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::new(format_args!(
            "{}: found no result of a bench: {error}",
            path.display()
        ))
        .help("make one: pinhole bench --model FILE --json > before.json")
    })
}

/// Adds to every operator what one of the same name took before, and the ratio; the n-th of a name is compared with the n-th.
pub(super) fn with(report: &mut Report, before: &Before) -> Outcome {
    let counted = report.counted.is_some();
    if counted != before.instructions.is_some() {
        let unit = |counted| {
            if counted {
                "instructions"
            } else {
                "microseconds"
            }
        };
        return Err(Failure::new(format_args!(
            "--compare: found a result in {}, expected {}",
            unit(!counted),
            unit(counted)
        ))
        .help("compare results of the host with the host's, of an emulator with an emulator's"));
    }
    let mut earlier: HashMap<&str, Vec<Option<f64>>> = HashMap::new();
    for op in before.ops.iter().rev() {
        let costs = earlier.entry(&op.name).or_default();
        costs.push(cost(op.instructions, op.median_us));
    }
    for op in &mut report.ops {
        op.before = earlier
            .get_mut(op.name.as_str())
            .and_then(Vec::pop)
            .flatten();
        op.ratio = ratio(op.cost(), op.before);
    }
    report.before = cost(before.instructions, before.median_us);
    report.ratio = ratio(report.cost(), report.before);
    Ok(())
}

fn cost(instructions: Option<u64>, median_us: Option<f64>) -> Option<f64> {
    instructions.map(|count| count as f64).or(median_us)
}

/// Of the present to the earlier; none to nothing.
fn ratio(now: Option<f64>, before: Option<f64>) -> Option<f64> {
    let (now, before) = now.zip(before)?;
    (before > 0.0).then_some(now / before)
}
