//! From statistics to scales.
//!
//! Activations: int8 with a zero point, range from the observer, zero exactly representable. Weights: symmetric int8, one
//! scale per output channel. The embedding before [`Op::NormalizeEmbedding`]: int16, symmetric, so that a picture with a
//! short embedding keeps its direction; and the residual stream of a transformer (`widths`). Operators that only move or select numbers keep the scale of their input.

use std::collections::BTreeSet;

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{EMBEDDING_MARGIN, Graph, Node, Op, QuantDType, QuantParams, ValueId};

use crate::fine;
use crate::observe::{Observer, Statistics};
use crate::rounding::Rounding;
use crate::widths::{self, Groups, is_mean_over_tokens};

/// Room of a 16-bit stream over the largest number seen.
const STREAM_MARGIN: f32 = 4.0;

/// Room of the 16 bits between a convolution and a depthwise one.
const STEM_MARGIN: f32 = 2.0;

/// Choices of the person who quantises.
#[derive(Clone, Debug)]
pub struct Options {
    /// How activation ranges are chosen; none tries all of [`Observer::ALL`] and takes what keeps the model's output best.
    pub observer: Option<Observer>,
    /// Give the channels of each tensor one range first.
    pub equalize: bool,
    /// How weights are rounded; none tries both and takes what keeps the model's output nearest.
    pub weights: Option<Rounding>,
    /// Give 16 bits to what depthwise convolutions read by way of functions where that pays (`stem.rs`), and to what products read
    /// where calibration cannot bound it (`fine.rs`).
    pub wide: bool,
    /// Move biases so that channel means agree with f32.
    pub correct_biases: bool,
    /// Names of nodes that stay in f32.
    pub float_nodes: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            observer: None,
            equalize: true,
            weights: None,
            wide: true,
            correct_biases: true,
            float_nodes: BTreeSet::new(),
        }
    }
}

/// A copy of `graph` with parameters on every value that an integer operator reads or writes.
///
/// `float_nodes` are the names of those that stay in floats, `wide` values of stems that get 16 bits.
pub(crate) fn apply(
    graph: &Graph,
    statistics: &[Option<Statistics>],
    observer: Observer,
    float_nodes: &BTreeSet<String>,
    wide: &BTreeSet<ValueId>,
) -> Graph {
    let mut quantized = graph.clone();
    let integer: Vec<bool> = graph
        .nodes
        .iter()
        .map(|node| is_integer(graph, node, float_nodes))
        .collect();
    let mut wanted = vec![false; graph.values.len()];
    for (node, _) in graph
        .nodes
        .iter()
        .zip(&integer)
        .filter(|(_, integer)| **integer)
    {
        wanted[node.output] = true;
        node.inputs
            .iter()
            .for_each(|&input| wanted[input] |= graph.values[input].constant.is_none());
    }
    let coarse = |node: &Node| fine::coarse_part(graph, node);
    let coarse: BTreeSet<ValueId> = graph.nodes.iter().filter_map(coarse).collect();
    let products = fine::products(graph);
    let names = || graph.nodes.iter().map(|node| &node.name);
    quantized.meta.float_nodes = names()
        .filter(|name| float_nodes.contains(*name))
        .cloned()
        .collect();
    let groups = Groups::new(graph, &integer, wide);
    for value in
        (0..graph.values.len()).filter(|&value| wanted[value] && !graph.values[value].is_ids)
    {
        if let Some(statistics) = &statistics[value] {
            let (min, max) = statistics.range(observer);
            let min = min.max(-vanishing(graph, value, max));
            let (min, max) = match bound(graph, value) {
                Some(bound) => (min.min(-bound), max.max(bound)),
                None => (min, max),
            };
            quantized.values[value].quant = Some(if groups.is_wide(value) {
                let seen = statistics.min.abs().max(statistics.max.abs());
                let largest = match wide.contains(&value) {
                    true => STEM_MARGIN * seen,
                    false => bound(graph, value).unwrap_or(0.0).max(STREAM_MARGIN * seen),
                };
                symmetric_i16(largest, 1.0)
            } else if coarse.contains(&value) {
                asymmetric_i8(fine::MARGIN * statistics.min, fine::MARGIN * statistics.max)
            } else if groups.is_symmetric(value) {
                symmetric_i8(min.abs().max(max.abs()))
            } else {
                asymmetric_i8(min, max)
            });
        }
    }
    for (node, _) in graph
        .nodes
        .iter()
        .zip(&integer)
        .filter(|(_, integer)| **integer)
    {
        if let Op::Softmax { .. } = node.op {
            quantized.values[node.output].quant = Some(probabilities());
        }
    }
    tie(&mut quantized, &groups);
    for (node, _) in graph
        .nodes
        .iter()
        .zip(&integer)
        .filter(|(_, integer)| **integer)
    {
        match node.op {
            Op::NormalizeEmbedding => embedding(&mut quantized, node, &groups, statistics),
            Op::Conv2d { .. } | Op::Linear { .. } => weights(&mut quantized, node),
            Op::Embedding => table(&mut quantized, node),
            Op::Reduce { .. } => mean(&mut quantized, node),
            Op::Binary {
                function: Binary::Sub,
                ..
            } => {
                let coarse = quantized.values[node.inputs[1]].quant.as_ref();
                quantized.values[node.output].quant = coarse.map(fine::fine_params);
            }
            _ => {}
        }
    }
    for (of_coarse, of_fine) in products {
        quantized.values[of_fine].quant = quantized.values[of_coarse].quant.clone();
    }
    quantized
}

/// For each value of a quantised graph the first of those that have one scale with it by the operators between them.
pub fn scale_groups(graph: &Graph) -> Vec<ValueId> {
    let is_integer = |node: &Node| graph.values[node.output].quant.is_some();
    widths::roots(
        graph,
        &graph.nodes.iter().map(is_integer).collect::<Vec<_>>(),
    )
}

/// Whether the runtime has an integer operator for it and nobody asked for f32.
pub(crate) fn is_integer(graph: &Graph, node: &Node, float_nodes: &BTreeSet<String>) -> bool {
    let has_operator = match &node.op {
        Op::Conv2d { .. }
        | Op::Linear { .. }
        | Op::AvgPool { .. }
        | Op::MaxPool { .. }
        | Op::GlobalAvgPool => true,
        Op::Binary {
            function: Binary::Sub,
            ..
        } => fine::coarse_part(graph, node).is_some(),
        Op::Binary { function, .. } => matches!(function, Binary::Add | Binary::Mul),
        Op::Unary { function } => !matches!(
            function,
            Unary::Exp | Unary::Log | Unary::Reciprocal | Unary::Sqrt
        ),
        Op::ChannelUnary { .. } => true,
        op if op.only_moves() => true,
        Op::NormalizeEmbedding | Op::LayerNorm { .. } | Op::Attention { .. } => true,
        // A column alone marks tokens, for a choice among them in floats.
        Op::Embedding => graph.values[node.output].shape.last() > Some(&1),
        Op::Softmax { axis } => axis + 1 == graph.values[node.inputs[0]].shape.len(),
        op @ Op::Reduce { .. } => is_mean_over_tokens(graph, node.inputs[0], op),
        _ => false,
    };
    has_operator && !float_nodes.contains(&node.name)
}

/// Scale and zero point for a range that contains 0 (TFLite's nudging).
fn asymmetric_i8(min: f32, max: f32) -> QuantParams {
    let span = f64::from(max) - f64::from(min);
    let scale = if span > 0.0 {
        span / 255.0
    } else {
        1.0 / 255.0
    };
    let zero_point = (-128.0 - f64::from(min) / scale)
        .round()
        .clamp(-128.0, 127.0) as i32;
    QuantParams {
        dtype: QuantDType::I8,
        scales: vec![scale as f32],
        zero_point,
    }
}

/// Largest magnitude of a bias in units of the sums; the rest of 32 bits is for the products.
const LARGEST_BIAS: f32 = (1 << 29) as f32;

/// Largest magnitude of each output channel over 127, or what its bias needs where that is more.
fn weights(graph: &mut Graph, node: &Node) {
    let id = node.inputs[1];
    let Some((tensor, data)) = graph.values[id]
        .constant
        .as_ref()
        .and_then(|t| Some((t, t.as_f32()?)))
    else {
        return;
    };
    let channels = tensor.shape[0].max(1);
    let constant = |id: &ValueId| graph.values[*id].constant.as_ref()?.as_f32();
    let bias = node.inputs.get(2).and_then(constant).unwrap_or(&[]);
    let input_scale = graph.values[node.inputs[0]]
        .quant
        .as_ref()
        .map_or(1.0, |quant| quant.scales[0]);
    let per_channel = data.len() / channels;
    // A channel of zeros, or of numbers too small to matter, keeps a scale that its sums can be divided by.
    let smallest = data.iter().fold(0f32, |m, w| m.max(w.abs())).max(1e-6) * 1e-5 / 127.0;
    let scales = (0..channels)
        .map(|channel| {
            let row = &data[channel * per_channel..(channel + 1) * per_channel];
            let bias = bias.get(channel).map_or(0.0, |bias| bias.abs());
            (row.iter().fold(0f32, |m, w| m.max(w.abs())) / 127.0)
                .max(smallest)
                .max(bias / (input_scale * LARGEST_BIAS))
        })
        .collect();
    graph.values[id].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales,
        zero_point: 0,
    });
}

/// Largest magnitude of each row over 127.
fn table(graph: &mut Graph, node: &Node) {
    let id = node.inputs[1];
    let width = graph.values[node.output].shape.last().copied().unwrap_or(1);
    let constant = graph.values[id].constant.as_ref();
    let Some(data) = constant.and_then(|tensor| tensor.as_f32()) else {
        return;
    };
    let scales = data
        .chunks_exact(width.max(1))
        .map(|row| largest(row).max(1e-12) / 127.0);
    graph.values[id].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales: scales.collect(),
        zero_point: 0,
    });
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0f32, |m, x| m.max(x.abs()))
}

/// The mean of a dynamic number of tokens has no smaller steps than they have: the operator only shrinks a sum.
fn mean(graph: &mut Graph, node: &Node) {
    let [input, output] = [node.inputs[0], node.output];
    if !graph.values[input].dynamic {
        return;
    }
    let step = |value: ValueId| graph.values[value].quant.as_ref().map(|q| q.scales[0]);
    if let (Some(from), Some(to)) = (step(input), step(output))
        && from > to
        && let Some(quant) = &mut graph.values[output].quant
    {
        quant.scales = vec![from];
    }
}

/// The largest magnitude that a value can have whatever the tokens are, where tables tell: calibration sees few of their rows.
fn bound(graph: &Graph, value: ValueId) -> Option<f32> {
    let constant = |id: ValueId| Some(largest(graph.values[id].constant.as_ref()?.as_f32()?));
    let node = graph.nodes.iter().find(|node| node.output == value)?;
    match node.op {
        Op::Embedding => constant(node.inputs[1]),
        Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        } => {
            let [a, b] = node.inputs[..].try_into().ok()?;
            Some(bound(graph, a)? + constant(b)?)
        }
        _ => None,
    }
}

/// How far below zero a value matters: functions that end in zero on the left forget the rest of what only they read.
///
/// Where channels were given one range, `max`, the left side of each was lifted to that at most.
pub(crate) fn vanishing(graph: &Graph, value: ValueId, max: f32) -> f32 {
    let limit = |function| match function {
        Unary::Gelu | Unary::GeluTanh => 4.0,
        Unary::HardSwish => 3.0,
        Unary::QuickGelu => 5.0,
        Unary::Silu | Unary::Sigmoid => 8.0,
        _ => f32::INFINITY,
    };
    let reads = |node: &&Node| node.inputs.contains(&value);
    let limits = graph.nodes.iter().filter(reads).map(|node| match node.op {
        Op::Unary { function } => limit(function),
        Op::ChannelUnary { function } => limit(function).max(max),
        _ => f32::INFINITY,
    });
    limits.reduce(f32::max).unwrap_or(f32::INFINITY)
}

/// 16 bits for magnitudes up to `margin` times `largest`.
fn symmetric_i16(largest: f32, margin: f32) -> QuantParams {
    QuantParams {
        dtype: QuantDType::I16,
        scales: vec![margin * largest.max(1e-6) / 32767.0],
        zero_point: 0,
    }
}

/// 8 bits with zero point 0.
fn symmetric_i8(largest: f32) -> QuantParams {
    QuantParams {
        dtype: QuantDType::I8,
        scales: vec![largest.max(1e-6) / 127.0],
        zero_point: 0,
    }
}

/// Of a softmax, as TFLite has it.
fn probabilities() -> QuantParams {
    QuantParams {
        dtype: QuantDType::I8,
        scales: vec![1.0 / 256.0],
        zero_point: -128,
    }
}

/// int16 in where what writes it can, int8 out.
fn embedding(graph: &mut Graph, node: &Node, groups: &Groups, statistics: &[Option<Statistics>]) {
    quantize_direction(graph, node);
    if !groups.is_wide(node.inputs[0]) {
        return;
    }
    let root = groups.root(node.inputs[0]);
    let members = (0..graph.values.len()).filter(|&value| groups.root(value) == root);
    let largest = members
        .filter_map(|value| statistics[value].as_ref())
        .map(|s| s.min.abs().max(s.max.abs()))
        .fold(0f32, f32::max);
    for value in 0..graph.values.len() {
        let quant = &mut graph.values[value].quant;
        if groups.root(value) == root && (quant.is_some() || value == node.inputs[0]) {
            *quant = Some(symmetric_i16(largest, EMBEDDING_MARGIN));
        }
    }
}

/// Largest magnitude 127.
fn quantize_direction(graph: &mut Graph, node: &Node) {
    graph.values[node.output].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales: vec![1.0 / 127.0],
        zero_point: 0,
    });
}

/// Gives values that are the same numbers moved about one scale: the widest of theirs.
fn tie(graph: &mut Graph, groups: &Groups) {
    for root in 0..graph.values.len() {
        let members: Vec<ValueId> = (0..graph.values.len())
            .filter(|&value| groups.root(value) == root)
            .collect();
        if members.len() < 2 {
            continue;
        }
        let constants = members
            .iter()
            .filter_map(|&member| graph.values[member].constant.as_ref()?.as_f32())
            .flatten();
        let start = constants.fold((0f32, 0f32), |(min, max), &x| (min.min(x), max.max(x)));
        let ranges = members
            .iter()
            .filter_map(|&member| graph.values[member].quant.as_ref());
        let (min, max) = ranges.fold(start, |(min, max), q| {
            let (lowest, highest) = match q.dtype {
                QuantDType::I8 => (-128, 127),
                QuantDType::I16 => (-32767, 32767),
            };
            let real = |quantized: i32| q.scales[0] * (quantized - q.zero_point) as f32;
            (min.min(real(lowest)), max.max(real(highest)))
        });
        let largest = min.abs().max(max.abs());
        let shared = if groups.is_wide(root) {
            symmetric_i16(largest, 1.0)
        } else if groups.is_symmetric(root) {
            // The range of 8 bits reaches one step further down than up.
            symmetric_i8(max.max(-min * (127.0 / 128.0)))
        } else {
            asymmetric_i8(min, max)
        };
        for member in members {
            if graph.values[member].quant.is_some() {
                graph.values[member].quant = Some(shared.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_the_ends_are_reached() {
        for (min, max) in [
            (-1.0, 1.0),
            (0.0, 6.0),
            (-127.0 / 128.0, 1.0),
            (-3.0, 0.0),
            (0.0, 0.0),
        ] {
            let q = asymmetric_i8(min, max);
            assert!((-128..=127).contains(&q.zero_point));
            let real = |x: i32| q.scales[0] * (x - q.zero_point) as f32;
            assert_eq!(real(q.zero_point), 0.0);
            assert!(
                (real(-128) - min).abs() <= q.scales[0] && (real(127) - max).abs() <= q.scales[0]
                    || min == max
            );
        }
    }

    #[test]
    fn pixels_keep_their_numbers() {
        // (p − 127) / 128 for p in 0..=255 is the byte itself, shifted.
        let q = asymmetric_i8(-127.0 / 128.0, 1.0);
        assert_eq!((q.scales[0], q.zero_point), (1.0 / 128.0, -1));
    }
}
