//! What each layer lost: f32 and int8 side by side on the same pictures.

use std::collections::BTreeSet;

use pinhole_graph::{Graph, Op, ValueId};
use rayon::prelude::*;
use serde::Serialize;

use crate::fine;
use crate::{Input, Progress, QuantizeError, Runner, inputs_of};

/// One layer's output over all pictures.
#[derive(Clone, Debug, Serialize)]
pub struct LayerReport {
    /// Name of the node.
    pub node: String,
    /// What it computes.
    pub op: String,
    /// Shape of the output.
    pub shape: Vec<usize>,
    /// Type of the output in the quantised model.
    pub dtype: String,
    /// Signal-to-quantisation-noise ratio in dB: 10·log₁₀(Σx² / Σ(x − q)²); of directions for the embedding.
    pub sqnr_db: f64,
    /// Of the two outputs, averaged over inputs.
    pub cosine: f64,
    /// Seen in f32.
    pub min: f32,
    /// Seen in f32.
    pub max: f32,
    /// Largest magnitude over the root mean square in f32: far above 10, few outliers take the steps of the rest.
    pub peak: f32,
    /// Share of the errors that layers add to what reaches them, as noise over signal; of all layers 1.
    pub share: f64,
    /// Of the quantisation; 0 for f32 layers.
    pub scale: f32,
    /// Of the quantisation.
    pub zero_point: i32,
}

/// All layers, in the order of execution.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Inputs compared.
    pub inputs: usize,
    /// What they are.
    pub of: &'static str,
    /// By layer.
    pub layers: Vec<LayerReport>,
    /// Cosine of the model's outputs: mean over inputs.
    pub output_cosine_mean: f64,
    /// The smallest.
    pub output_cosine_min: f64,
    /// The same for each picture, in their order.
    pub output_cosines: Vec<f64>,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    signal: f64,
    noise: f64,
    cosine: f64,
    min: f32,
    max: f32,
    count: usize,
    elements: usize,
}

/// Compares `quantized` with `graph`, of which it is a copy with parameters.
///
/// # Errors
/// No pictures, or a graph that does not run.
pub fn report(
    graph: &Graph,
    quantized: &Graph,
    inputs: &[Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, QuantizeError> {
    if inputs.is_empty() {
        return Err(QuantizeError::NoInputs);
    }
    let (float, integer) = (Runner::new(graph)?, Runner::new(quantized)?);
    let mut sums = vec![Sums::default(); graph.values.len()];
    let views = views(graph);
    let mut output_cosines = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let mut expected: Vec<Vec<f32>> = vec![Vec::new(); graph.values.len()];
        // What was seen last of the output and of the values that it may be another view of.
        let [mut output, mut found] = [Vec::new(), Vec::new()];
        float.run(index, input, &mut |value, reals| {
            expected[value] = reals.to_vec();
            if views.contains(&value) {
                output = reals.to_vec();
            }
        })?;
        fill_views(graph, &mut expected);
        integer.run(index, input, &mut |value, reals| {
            let free_length = is_embedding(graph, value);
            compare(&expected[value], reals, free_length, &mut sums[value]);
            if views.contains(&value) {
                found = reals.to_vec();
            }
        })?;
        output_cosines.push(cosine(&output, &found));
        progress(Progress::Report(index + 1, inputs.len()));
    }
    let parts = fine::parts(graph);
    let added = added_noise(graph, &sums, &parts);
    let all: f64 = added.iter().sum();
    let layers = graph
        .nodes
        .iter()
        .zip(&added)
        .filter(|(node, _)| sums[node.output].count > 0 && !parts.contains(&node.output))
        .map(|(node, added)| {
            let (value, sums) = (&quantized.values[node.output], sums[node.output]);
            let quant = value.quant.as_ref();
            LayerReport {
                node: node.name.clone(),
                op: node.op.name().into(),
                shape: value.shape.clone(),
                dtype: quant
                    .map_or("f32", |q| {
                        if q.dtype == pinhole_graph::QuantDType::I8 {
                            "i8"
                        } else {
                            "i16"
                        }
                    })
                    .into(),
                sqnr_db: decibels(sums.signal, sums.noise),
                cosine: sums.cosine / sums.count as f64,
                min: sums.min,
                max: sums.max,
                peak: sums.max.max(-sums.min) / rms(&sums).max(f32::MIN_POSITIVE),
                share: added / all.max(f64::MIN_POSITIVE),
                scale: quant.map_or(0.0, |q| q.scales[0]),
                zero_point: quant.map_or(0, |q| q.zero_point),
            }
        });
    let count = output_cosines.len().max(1) as f64;
    Ok(Report {
        inputs: inputs.len(),
        of: inputs_of(graph),
        layers: layers.collect(),
        output_cosine_mean: output_cosines.iter().sum::<f64>() / count,
        output_cosine_min: output_cosines.iter().copied().fold(1.0, f64::min),
        output_cosines,
    })
}

/// Root mean square of a value.
fn rms(sums: &Sums) -> f32 {
    (sums.signal / sums.elements.max(1) as f64).sqrt() as f32
}

/// For each node, how much more noise over signal its output has than its noisiest input. The sum of the products of `parts`
/// answers for all of them.
fn added_noise(graph: &Graph, sums: &[Sums], parts: &BTreeSet<ValueId>) -> Vec<f64> {
    let mut noise = vec![0f64; graph.values.len()];
    let added = |node: &pinhole_graph::Node| {
        let before = node.inputs.iter().map(|&input| noise[input]);
        let before = before.fold(0.0, f64::max);
        let Sums {
            signal,
            noise: error,
            count,
            ..
        } = sums[node.output];
        let after = if count == 0 || parts.contains(&node.output) {
            before
        } else {
            error / signal.max(f64::MIN_POSITIVE)
        };
        noise[node.output] = after;
        (after - before).max(0.0)
    };
    graph.nodes.iter().map(added).collect()
}

/// The model's first output for every input, as reals; the length of an embedding is not told.
///
/// # Errors
/// A graph that does not run, or an input of another length.
pub fn outputs(graph: &Graph, inputs: &[&Input]) -> Result<Vec<Vec<f32>>, QuantizeError> {
    let runner = Runner::new(graph)?;
    let views = views(graph);
    let numbered: Vec<(usize, &&Input)> = inputs.iter().enumerate().collect();
    let runs = numbered.par_iter().map(|(index, input)| {
        let mut output = Vec::new();
        runner.run_seeing(*index, input, &views, &mut |_, reals| {
            output = reals.to_vec()
        })?;
        Ok(output)
    });
    runs.collect()
}

/// Mean cosine of two lists of vectors, pair by pair.
pub(crate) fn mean_cosine(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let cosines = a.iter().zip(b).map(|(a, b)| cosine(a, b));
    cosines.sum::<f64>() / a.len().max(1) as f64
}

/// The values that the first output may be another view of, and itself.
fn views(graph: &Graph) -> Vec<ValueId> {
    let mut views: Vec<ValueId> = graph.outputs.iter().take(1).copied().collect();
    while let Some(last) = views.last()
        && let Some(node) = graph.nodes.iter().find(|node| node.output == *last)
        && matches!(node.op, Op::Reshape | Op::NormalizeEmbedding)
    {
        views.push(node.inputs[0]);
    }
    views
}

/// Values that are other views of their input in f32 have its numbers.
fn fill_views(graph: &Graph, values: &mut [Vec<f32>]) {
    for node in &graph.nodes {
        if matches!(node.op, Op::NormalizeEmbedding | Op::Reshape) && values[node.output].is_empty()
        {
            values[node.output] = values[node.inputs[0]].clone();
        }
    }
}

/// Embeddings after normalisation have a direction but no comparable length.
fn is_embedding(graph: &Graph, value: usize) -> bool {
    graph
        .nodes
        .iter()
        .any(|node| node.output == value && node.op == Op::NormalizeEmbedding)
}

fn compare(expected: &[f32], found: &[f32], free_length: bool, sums: &mut Sums) {
    if expected.len() != found.len() {
        return;
    }
    let dot: f64 = expected
        .iter()
        .zip(found)
        .map(|(&x, &q)| f64::from(x) * f64::from(q))
        .sum();
    let length: f64 = found.iter().map(|&q| f64::from(q).powi(2)).sum();
    let factor = if free_length && length > 0.0 {
        dot / length
    } else {
        1.0
    };
    for (&x, &q) in expected.iter().zip(found) {
        sums.signal += f64::from(x).powi(2);
        sums.noise += (f64::from(x) - factor * f64::from(q)).powi(2);
        sums.min = sums.min.min(x);
        sums.max = sums.max.max(x);
    }
    sums.cosine += cosine(expected, found);
    sums.count += 1;
    sums.elements += expected.len();
}

/// Cosine of two vectors; 1 when both are zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&x, &y)| f64::from(x) * f64::from(y))
            .sum()
    };
    let (aa, bb) = (dot(a, a), dot(b, b));
    if aa == 0.0 && bb == 0.0 {
        1.0
    } else {
        dot(a, b) / (aa * bb).sqrt().max(f64::MIN_POSITIVE)
    }
}

/// 120 dB stands for "no difference".
fn decibels(signal: f64, noise: f64) -> f64 {
    if noise <= signal * 1e-12 {
        120.0
    } else {
        10.0 * (signal.max(f64::MIN_POSITIVE) / noise).log10()
    }
}

/// Least columns of the names in a table.
const LAYER_COLUMN: usize = 44;

impl Report {
    /// A table for people, the worst layers marked; the output of a float layer has the type that its reader wants.
    pub fn table(&self) -> String {
        let names = self.layers.iter().map(|layer| layer.node.len());
        let width = names.max().unwrap_or(0).max(LAYER_COLUMN);
        let mut out = format!(
            "{:<width$} {:<18} {:>6} {:>8} {:>9} {:>9} {:>9} {:>6} {:>6}\n",
            "layer", "operator", "output", "SQNR dB", "cosine", "min", "max", "peak", "share"
        );
        let worst = self
            .layers
            .iter()
            .map(|layer| layer.sqnr_db)
            .fold(f64::INFINITY, f64::min);
        for layer in &self.layers {
            let mark = if layer.sqnr_db == worst {
                "  worst"
            } else {
                ""
            };
            out += &format!(
                "{:<width$} {:<18} {:>6} {:>8.1} {:>9.5} {:>9.3} {:>9.3} {:>6.1} {:>5.1}%{mark}\n",
                layer.node,
                layer.op,
                layer.dtype,
                layer.sqnr_db,
                layer.cosine,
                layer.min,
                layer.max,
                layer.peak,
                100.0 * layer.share
            );
        }
        out += &format!(
            "output cosine over {} {}: mean {:.5}, smallest {:.5}\n",
            self.inputs, self.of, self.output_cosine_mean, self.output_cosine_min
        );
        out
    }
}
