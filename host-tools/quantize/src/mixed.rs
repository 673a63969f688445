//! Mixed precision: which layers stay in floats, so that a model that int8 alone costs too much reaches a goal.
//!
//! Every layer is measured alone, in int8 between floats, on pictures that calibration does not see; those that cost most
//! become floats first, as many as the goal needs, found by bisection with whole runs. Layers that only move numbers follow
//! what writes them.

use std::collections::{BTreeMap, BTreeSet};

use pinhole_graph::{Graph, Node, Op};
use pinhole_pack::{PackOptions, Precision, lower, pack};
use serde::{Deserialize, Serialize};

use crate::accuracy::Judge;
use crate::{
    Calibration, Input, Labelled, Options, Progress, QuantizeError, Quantized, Rounding, report,
    scheme, spread,
};

/// What a mixed model must reach, and what it may cost.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Mean cosine of its outputs to those in f32, at least.
    pub cosine: f64,
    /// Points of accuracy below f32, at most, on pictures with labels.
    pub max_drop: Option<(f64, Labelled)>,
    /// Bytes of the file, at most.
    pub flash_bytes: Option<usize>,
    /// Bytes of the arena, at most.
    pub arena_bytes: Option<usize>,
    /// Multiply-accumulates in floats, at most.
    pub float_macs: Option<u64>,
    /// How it is packed; [`Default`] has the float layers in f16.
    pub pack: PackOptions,
}

impl Default for Goal {
    fn default() -> Self {
        Self {
            cosine: 0.0,
            max_drop: None,
            flash_bytes: None,
            arena_bytes: None,
            float_macs: None,
            pack: PackOptions {
                precision: Precision::F16,
                ..PackOptions::default()
            },
        }
    }
}

/// How much the outputs turn when one layer alone computes in int8: 1 − mean cosine, by name of its node.
pub type Sensitivity = BTreeMap<String, f64>;

/// What is measured layer by layer, so that an interrupted search can go on.
pub struct Memory<'a> {
    /// What was measured already.
    pub known: Sensitivity,
    /// Is told each new measurement.
    pub learn: &'a mut dyn FnMut(&str, f64),
}

/// A layer that stays in floats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Name of its node.
    pub node: String,
    /// Operator.
    pub op: String,
    /// 1 − mean cosine when it alone computes in int8.
    pub error_alone: f64,
}

/// What a mix does on pictures with labels, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Pictures that were named.
    pub pictures: usize,
    /// Those that f32 names right.
    pub float: f64,
    /// Those that int8 alone names right.
    pub int8: f64,
    /// Those that the result names right.
    pub mixed: f64,
}

/// A model of int8 and float layers, and how it came to be.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// The graphs.
    pub quantized: Quantized,
    /// Mean cosine of the check inputs with every layer in int8.
    pub int8_cosine: f64,
    /// The same of the result.
    pub cosine: f64,
    /// Where labels were given.
    pub accuracy: Option<Accuracy>,
    /// The layers in floats, the most sensitive first; without those that only move numbers.
    pub choices: Vec<Choice>,
    /// Layers that could have been chosen.
    pub candidates: usize,
    /// Whether the goal's cosine and accuracy were reached within its budgets.
    pub reached: bool,
}

/// Check inputs on which a layer is measured alone.
const SENSITIVITY_INPUTS: usize = 8;

/// Quantises as [`crate::quantize`] does, with as many layers in floats as `goal` needs. Ranges come from `inputs`, cosines
/// from `check`.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize_mixed(
    graph: &Graph,
    inputs: &[Input],
    check: &[Input],
    options: &Options,
    goal: &Goal,
    memory: Memory,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Mixed, QuantizeError> {
    if check.is_empty() {
        return Err(QuantizeError::NoInputs);
    }
    let calibration = Calibration::new(graph, inputs, options, progress)?;
    let check: Vec<&Input> = check.iter().collect();
    let judge = match &goal.max_drop {
        Some((_, labelled)) => Some(Judge::new(&calibration.prepared, labelled)?),
        None => None,
    };
    let search = Search {
        judge,
        calibration: &calibration,
        inputs,
        check: &check,
        expected: report::outputs(&calibration.prepared, &check)?,
        options,
        goal,
    };
    let tried = search.try_floats(&options.float_nodes, options, progress)?;
    let int8_cosine = tried.cosine;
    let mut mixed = Mixed {
        quantized: tried.quantized.clone(),
        int8_cosine,
        cosine: int8_cosine,
        accuracy: search.accuracy(&tried),
        choices: Vec::new(),
        candidates: 0,
        reached: false,
    };
    if !search.is_affordable(&mixed.quantized.quantized)? {
        return Ok(mixed);
    }
    mixed.reached = search.is_reached(&tried);
    if mixed.reached {
        return Ok(mixed);
    }
    let ranking = search.ranking(memory, progress)?;
    mixed.candidates = ranking.len();
    search.bisect(&ranking, &mut mixed, progress)?;
    Ok(mixed)
}

/// A graph with some layers in floats, and what it does.
struct Tried {
    quantized: Quantized,
    cosine: f64,
    /// Percent, where labels were given.
    accuracy: Option<f64>,
}

struct Search<'a> {
    judge: Option<Judge<'a>>,
    calibration: &'a Calibration,
    inputs: &'a [Input],
    check: &'a [&'a Input],
    expected: Vec<Vec<f32>>,
    options: &'a Options,
    goal: &'a Goal,
}

impl Search<'_> {
    /// Quantises with these layers in floats, and measures.
    fn try_floats(
        &self,
        floats: &BTreeSet<String>,
        options: &Options,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Tried, QuantizeError> {
        let floats = with_movers(&self.calibration.prepared, floats);
        let quantized = self
            .calibration
            .quantize(&floats, self.inputs, options, progress)?;
        let found = report::outputs(&quantized.quantized, self.check)?;
        let judged = |judge: &Judge<'_>| judge.accuracy(&quantized.quantized);
        Ok(Tried {
            cosine: report::mean_cosine(&self.expected, &found),
            accuracy: self.judge.as_ref().map(judged).transpose()?,
            quantized,
        })
    }

    fn is_reached(&self, tried: &Tried) -> bool {
        let drop = || Some(self.judge.as_ref()?.float - tried.accuracy?);
        let points = self.goal.max_drop.as_ref().map(|(points, _)| *points);
        let little = points.is_none_or(|points| drop().is_some_and(|drop| drop <= points));
        tried.cosine >= self.goal.cosine && little
    }

    /// Whether one is better than what was kept so far, where neither reaches the goal.
    fn is_nearer(&self, tried: &Tried, kept: &Mixed) -> bool {
        match (tried.accuracy, kept.accuracy) {
            (Some(found), Some(before)) if self.goal.cosine == 0.0 => found > before.mixed,
            _ => tried.cosine > kept.cosine,
        }
    }

    /// Of a first try, in int8 alone.
    fn accuracy(&self, tried: &Tried) -> Option<Accuracy> {
        let (judge, found) = (self.judge.as_ref()?, tried.accuracy?);
        Some(Accuracy {
            pictures: self.goal.max_drop.as_ref()?.1.inputs.len(),
            float: judge.float,
            int8: found,
            mixed: found,
        })
    }

    /// Layers by what they cost alone, the most first.
    fn ranking(
        &self,
        memory: Memory,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<Choice>, QuantizeError> {
        let graph = &self.calibration.prepared;
        let few: Vec<&Input> = spread(self.check, SENSITIVITY_INPUTS)
            .into_iter()
            .copied()
            .collect();
        let expected = report::outputs(graph, &few)?;
        let names: BTreeSet<String> = graph.nodes.iter().map(|node| node.name.clone()).collect();
        let layers: Vec<&Node> = graph
            .nodes
            .iter()
            .filter(|node| !node.op.only_moves() && node.op != Op::NormalizeEmbedding)
            .filter(|node| scheme::is_integer(graph, node, &self.options.float_nodes))
            .collect();
        let mut ranking = Vec::new();
        for (done, node) in layers.iter().enumerate() {
            let error_alone = match memory.known.get(&node.name) {
                Some(error) => *error,
                None => {
                    let mut others = names.clone();
                    others.remove(&node.name);
                    let alone = self.calibration.apply(&with_movers(graph, &others));
                    let found = report::outputs(&alone, &few)?;
                    let error = 1.0 - report::mean_cosine(&expected, &found);
                    (memory.learn)(&node.name, error);
                    error
                }
            };
            ranking.push(Choice {
                node: node.name.clone(),
                op: node.op.name().into(),
                error_alone,
            });
            progress(Progress::Sensitivity(done + 1, layers.len()));
        }
        ranking.sort_by(|a, b| b.error_alone.total_cmp(&a.error_alone));
        Ok(ranking)
    }

    /// Finds the shortest beginning of `ranking` that reaches the goal, or the longest that its budgets allow.
    fn bisect(
        &self,
        ranking: &[Choice],
        mixed: &mut Mixed,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), QuantizeError> {
        // A fit of the weights takes as long as all other steps, and there is one for each mix that is tried.
        let quick = Options {
            weights: self.options.weights.or(Some(Rounding::Nearest)),
            ..self.options.clone()
        };
        // Beginnings of `too_few` layers miss the goal, those of `enough` reach it or cost too much.
        let (mut too_few, mut enough) = (0, ranking.len() + 1);
        while enough - too_few > 1 {
            // Few layers usually do: the first guesses grow from below.
            let middle = if enough > ranking.len() {
                (2 * too_few).clamp(too_few + 1, ranking.len())
            } else {
                too_few.midpoint(enough)
            };
            let mut floats = self.options.float_nodes.clone();
            floats.extend(ranking[..middle].iter().map(|choice| choice.node.clone()));
            let tried = self.try_floats(&floats, &quick, progress)?;
            let affordable = self.is_affordable(&tried.quantized.quantized)?;
            let reached = affordable && self.is_reached(&tried);
            if reached || affordable && !mixed.reached && self.is_nearer(&tried, mixed) {
                mixed.cosine = tried.cosine;
                if let (Some(kept), Some(found)) = (&mut mixed.accuracy, tried.accuracy) {
                    kept.mixed = found;
                }
                mixed.quantized = tried.quantized;
                mixed.choices = ranking[..middle].to_vec();
                mixed.reached = reached;
            }
            if reached || !affordable {
                enough = middle;
            } else {
                too_few = middle;
            }
            if too_few == ranking.len() {
                break;
            }
        }
        Ok(())
    }

    fn is_affordable(&self, graph: &Graph) -> Result<bool, QuantizeError> {
        let Goal {
            flash_bytes,
            arena_bytes,
            float_macs,
            pack: options,
            ..
        } = self.goal;
        if let Some(most) = float_macs
            && float_macs_of(graph, options)? > *most
        {
            return Ok(false);
        }
        if flash_bytes.is_none() && arena_bytes.is_none() {
            return Ok(true);
        }
        let report = pack(graph, options)?.report;
        let within = |limit: &Option<usize>, found| limit.is_none_or(|limit| found <= limit);
        Ok(within(flash_bytes, report.file_bytes) && within(arena_bytes, report.arena_bytes))
    }
}

/// Multiply-accumulates of the operators over floats.
fn float_macs_of(graph: &Graph, options: &PackOptions) -> Result<u64, QuantizeError> {
    let lowered = lower::lower(graph, options)?;
    let is_float = |name: &str| name.ends_with("_f32") || name.ends_with("_f16");
    let floats = lowered.ops.iter().filter(|op| is_float(op.kind.name()));
    Ok(floats.map(|op| op.macs).sum())
}

/// Adds the nodes that only move what these write; the normalisation of an embedding has the type of its input.
fn with_movers(graph: &Graph, floats: &BTreeSet<String>) -> BTreeSet<String> {
    let mut all = floats.clone();
    let mut is_float: Vec<bool> = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let mut written = node
            .inputs
            .iter()
            .filter(|&&input| graph.values[input].constant.is_none());
        let follows = node.op.only_moves() || node.op == Op::NormalizeEmbedding;
        let from_floats = follows && written.all(|&input| is_float[input]);
        if from_floats {
            all.insert(node.name.clone());
        } else if node.op == Op::NormalizeEmbedding {
            all.remove(&node.name);
        }
        is_float[node.output] = all.contains(&node.name);
    }
    all
}
