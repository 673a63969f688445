//! How weights come onto the grid of their scales, and the choice between the ways.
//!
//! No way is best for every network, as with observers: all are tried, fitted to most of the calibration pictures, and what
//! keeps the output nearest on the others is taken.

use pinhole_graph::Graph;
use std::collections::BTreeSet;

use crate::{
    Calibration, Input, Options, Progress, QuantizeError, apart, correct, gptq, report, spread,
};

/// How weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Each to its nearest step.
    Nearest,
    /// So that the layer's output changes least (Frantar et al. 2022, GPTQ, arXiv 2210.17323).
    Gptq,
}

impl Rounding {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Gptq => "gptq",
        }
    }
}

/// With fewer inputs weights go to their nearest steps unless somebody asks for more: a fit would learn the inputs.
const FEWEST_INPUTS: usize = 16;

/// Calibration inputs whose windows weights are rounded for.
const ROUNDING_INPUTS: usize = 64;

/// Calibration inputs that bias correction runs, once for each layer.
const BIAS_INPUTS: usize = 128;

/// The graph with parameters, rounded weights and corrected biases, and how its weights were rounded.
pub(crate) fn finish(
    calibration: &Calibration,
    float_nodes: &BTreeSet<String>,
    inputs: &[Input],
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Graph, Rounding), QuantizeError> {
    let all: Vec<&Input> = inputs.iter().collect();
    let known = options.weights;
    let known = known.or((inputs.len() < FEWEST_INPUTS).then_some(Rounding::Nearest));
    let correct = |graph| match options.correct_biases {
        true => corrected(calibration, graph, &all, progress),
        false => Ok(graph),
    };
    let nearest = calibration.apply(float_nodes);
    if let Some(rounding) = known {
        let graph = correct(rounded(nearest, rounding, &all, progress)?)?;
        return Ok((graph, rounding));
    }
    // Biases can take over much of what the nearest steps changed: each way is judged with its own.
    let (fit, check) = apart(&all);
    let expected = report::outputs(&calibration.prepared, &check)?;
    let tried = |rounding| -> Result<(f64, Graph), QuantizeError> {
        let graph = correct(rounded(nearest.clone(), rounding, &fit, progress)?)?;
        let found = report::outputs(&graph, &check)?;
        Ok((report::mean_cosine(&expected, &found), graph))
    };
    let (plain, fitted) = (tried(Rounding::Nearest)?, tried(Rounding::Gptq)?);
    Ok(match fitted.0 > plain.0 {
        true => (fitted.1, Rounding::Gptq),
        false => (plain.1, Rounding::Nearest),
    })
}

/// The graph with corrected biases, where they bring the output nearer on inputs that are set apart: means that agree cannot
/// undo what clipping took from a few large numbers, and then move all the others.
fn corrected(
    calibration: &Calibration,
    graph: Graph,
    inputs: &[&Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Graph, QuantizeError> {
    let (fit, check) = match inputs.len() < FEWEST_INPUTS {
        true => (inputs.to_vec(), Vec::new()),
        false => apart(inputs),
    };
    let mut moved = graph.clone();
    let few = few(&fit, BIAS_INPUTS);
    correct::correct_biases(&calibration.prepared, &mut moved, &few, progress)?;
    let expected = report::outputs(&calibration.prepared, &check)?;
    let cosine = |graph| -> Result<f64, QuantizeError> {
        let found = report::outputs(graph, &check)?;
        Ok(report::mean_cosine(&expected, &found))
    };
    Ok(
        match check.is_empty() || cosine(&moved)? > cosine(&graph)? {
            true => moved,
            false => graph,
        },
    )
}

fn rounded(
    mut graph: Graph,
    rounding: Rounding,
    inputs: &[&Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Graph, QuantizeError> {
    if rounding == Rounding::Gptq {
        let few = few(inputs, ROUNDING_INPUTS);
        gptq::round_weights(&mut graph, &few, progress)?;
    }
    Ok(graph)
}

/// At most `count` inputs, spread evenly.
fn few<'a>(inputs: &[&'a Input], count: usize) -> Vec<&'a Input> {
    spread(inputs, count).into_iter().copied().collect()
}
