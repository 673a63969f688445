//! From statistics to scales.
//!
//! Activations: int8 with a zero point, range from the observer, zero exactly representable. Weights: symmetric int8, one
//! scale per output channel. The embedding before [`Op::NormalizeEmbedding`]: int16, symmetric, so that a picture with a
//! short embedding keeps its direction. Operators that only move or select numbers keep the scale of their input.

use std::collections::BTreeSet;

use pinhole_graph::op::{Binary, Unary};
use pinhole_graph::{Graph, Node, Op, QuantDType, QuantParams, ValueId};

use crate::observe::{Observer, Statistics};

/// Choices of the person who quantises.
#[derive(Clone, Debug)]
pub struct Options {
    /// How activation ranges are chosen.
    pub observer: Observer,
    /// Give the channels of each tensor one range first.
    pub equalize: bool,
    /// Move biases so that channel means agree with f32.
    pub correct_biases: bool,
    /// Names of nodes that stay in f32.
    pub float_nodes: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            observer: Observer::Mse,
            equalize: true,
            correct_biases: true,
            float_nodes: BTreeSet::new(),
        }
    }
}

/// A copy of `graph` with parameters on every value that an integer operator reads or writes.
pub(crate) fn apply(graph: &Graph, statistics: &[Option<Statistics>], options: &Options) -> Graph {
    let mut quantized = graph.clone();
    let integer: Vec<bool> = graph
        .nodes
        .iter()
        .map(|node| is_integer(node, options))
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
    for value in
        (0..graph.values.len()).filter(|&value| wanted[value] && !graph.values[value].is_ids)
    {
        if let Some(statistics) = &statistics[value] {
            let (min, max) = statistics.range(options.observer);
            quantized.values[value].quant = Some(asymmetric_i8(min, max));
        }
    }
    for (node, _) in graph
        .nodes
        .iter()
        .zip(&integer)
        .filter(|(_, integer)| **integer)
    {
        match node.op {
            Op::Conv2d { .. } | Op::Linear { .. } => weights(&mut quantized, node),
            Op::NormalizeEmbedding => embedding(&mut quantized, node, statistics),
            _ => {}
        }
    }
    tie(&mut quantized, &integer);
    quantized
}

/// Whether the runtime has an integer operator for it and nobody asked for f32.
fn is_integer(node: &Node, options: &Options) -> bool {
    let has_operator = match &node.op {
        Op::Conv2d { .. }
        | Op::Linear { .. }
        | Op::AvgPool { .. }
        | Op::MaxPool { .. }
        | Op::GlobalAvgPool => true,
        Op::Binary { function, .. } => matches!(function, Binary::Add | Binary::Mul),
        Op::Unary { function } => !matches!(
            function,
            Unary::Exp | Unary::Log | Unary::Reciprocal | Unary::Sqrt
        ),
        Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Concat { .. }
        | Op::Pad { .. } => true,
        Op::NormalizeEmbedding => true,
        _ => false,
    };
    has_operator && !options.float_nodes.contains(&node.name)
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

/// Largest magnitude of each output channel over 127.
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
    let per_channel = data.len() / channels;
    // A channel of zeros, or of numbers too small to matter, keeps a scale that its sums can be divided by.
    let smallest = data.iter().fold(0f32, |m, w| m.max(w.abs())).max(1e-6) * 1e-5 / 127.0;
    let scales = (0..channels)
        .map(|channel| {
            let row = &data[channel * per_channel..(channel + 1) * per_channel];
            (row.iter().fold(0f32, |m, w| m.max(w.abs())) / 127.0).max(smallest)
        })
        .collect();
    graph.values[id].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales,
        zero_point: 0,
    });
}

/// int16 in, int8 out.
fn embedding(graph: &mut Graph, node: &Node, statistics: &[Option<Statistics>]) {
    let input = node.inputs[0];
    let largest = statistics[input]
        .as_ref()
        .map_or(1.0, |s| s.min.abs().max(s.max.abs()))
        .max(1e-6);
    // Twice what was seen: 16 bits have room, and a clipped coordinate would turn the direction.
    let scale = 2.0 * largest / 32767.0;
    graph.values[input].quant = Some(QuantParams {
        dtype: QuantDType::I16,
        scales: vec![scale],
        zero_point: 0,
    });
    graph.values[node.output].quant = Some(QuantParams {
        dtype: QuantDType::I8,
        scales: vec![1.0 / 127.0],
        zero_point: 0,
    });
}

/// Gives values that are the same numbers moved about one scale: the widest of theirs.
fn tie(graph: &mut Graph, integer: &[bool]) {
    let mut group: Vec<ValueId> = (0..graph.values.len()).collect();
    fn root(group: &[ValueId], mut value: ValueId) -> ValueId {
        while group[value] != value {
            value = group[value];
        }
        value
    }
    for (node, _) in graph
        .nodes
        .iter()
        .zip(integer)
        .filter(|(_, integer)| **integer)
    {
        let keeps_scale = matches!(
            node.op,
            Op::AvgPool { .. }
                | Op::MaxPool { .. }
                | Op::Reshape
                | Op::Transpose { .. }
                | Op::Slice { .. }
                | Op::Concat { .. }
                | Op::Pad { .. }
        );
        if keeps_scale {
            for &input in &node.inputs {
                let (a, b) = (root(&group, input), root(&group, node.output));
                group[a.max(b)] = a.min(b);
            }
        }
    }
    for value in 0..graph.values.len() {
        let members: Vec<ValueId> = (0..graph.values.len())
            .filter(|&other| root(&group, other) == value)
            .collect();
        if members.len() < 2 {
            continue;
        }
        let ranges = members
            .iter()
            .filter_map(|&member| graph.values[member].quant.as_ref())
            .filter(|q| q.dtype == QuantDType::I8);
        let (min, max) = ranges.fold((0f32, 0f32), |(min, max), q| {
            let real = |quantized: i32| q.scales[0] * (quantized - q.zero_point) as f32;
            (min.min(real(-128)), max.max(real(127)))
        });
        for member in members {
            if graph.values[member]
                .quant
                .as_ref()
                .is_some_and(|q| q.dtype == QuantDType::I8)
            {
                graph.values[member].quant = Some(asymmetric_i8(min, max));
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
