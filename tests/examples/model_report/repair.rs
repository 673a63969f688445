//! Quantisation-aware fine-tuning, where the example was built with it.

use pinhole_graph::Graph;
use pinhole_quantize::Input;

/// The quantised one of two graphs after `steps` steps; every fourth input only chooses the best state on the way.
#[cfg(feature = "train")]
pub(crate) fn repaired(
    graphs: [&Graph; 2],
    calibration: &[Input],
    steps: usize,
) -> Result<Graph, crate::Failure> {
    use pinhole_trainer::repair::{RepairOptions, repair};
    let numbers = |input: &Input| match input {
        Input::Reals(reals) => Ok(reals.clone()),
        Input::Ids(_) => Err("--repair takes image encoders"),
    };
    let (mut seen, mut check) = (Vec::new(), Vec::new());
    for (index, input) in calibration.iter().enumerate() {
        let part = if index % 4 == 3 {
            &mut check
        } else {
            &mut seen
        };
        part.push(numbers(input)?);
    }
    let options = RepairOptions {
        steps,
        ..RepairOptions::default()
    };
    let found = repair(graphs, [&seen, &check], &options, &|progress| {
        if progress.step % 25 == 0 {
            eprintln!(
                "repair, step {}: loss {:.5}, best cosine {:.5}",
                progress.step, progress.loss, progress.best
            );
        }
    })?;
    Ok(found.graph)
}

#[cfg(not(feature = "train"))]
pub(crate) fn repaired(_: [&Graph; 2], _: &[Input], _: usize) -> Result<Graph, crate::Failure> {
    Err("--repair wants an example that was built with --features train".into())
}
