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
    let numbers = |inputs: Vec<Input>| -> Result<Vec<Vec<f32>>, crate::Failure> {
        let numbers = inputs.into_iter().map(|input| match input {
            Input::Reals(reals) => Ok(reals),
            Input::Ids(_) => Err("--repair takes image encoders".into()),
        });
        numbers.collect()
    };
    let (seen, check) = pinhole_quantize::apart(calibration);
    let (seen, check) = (numbers(seen)?, numbers(check)?);
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
