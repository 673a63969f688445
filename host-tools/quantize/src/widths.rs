//! Which values have 16 bits, and which share one scale.
//!
//! Operators that only move numbers tie their values into a group of one type and one scale. A group gets 16 bits when a
//! layer normalisation, a mean over tokens, the embedding's end or a 16-bit sum reads it and nothing needs its bytes:
//! products, tables, pooling, attention and float layers do. What reads bytes alone may write 16 bits: products, the mean of a
//! picture. So the residual stream of a transformer is int16 from its first
//! sum to its last, through depthwise convolutions too, and a stream that other convolutions read is int8. What a text encoder
//! gives has 16 bits too: it leaves as floats. And so have the values between a convolution, functions and depthwise
//! convolutions that calibration chose (`stem.rs`); the depthwise convolutions may give bytes.

use std::collections::BTreeSet;

use pinhole_graph::op::{Binary, Reduce};
use pinhole_graph::{Graph, ModelKind, Op, ValueId};

/// What each group of values needs; indexed by its smallest member, see [`Groups::root`].
pub(crate) struct Groups {
    root: Vec<ValueId>,
    wide: Vec<bool>,
    symmetric: Vec<bool>,
}

impl Groups {
    /// Groups of the nodes that `integer` marks; `chosen` are the values of stems that are to have 16 bits.
    pub(crate) fn new(graph: &Graph, integer: &[bool], chosen: &BTreeSet<ValueId>) -> Self {
        let root = roots(graph, integer);
        let (mut wanted, mut bytes) = (vec![false; root.len()], vec![false; root.len()]);
        let mut symmetric = vec![false; root.len()];
        for &input in &graph.inputs {
            bytes[root[input]] = true;
        }
        if graph.meta.kind == ModelKind::TextEncoder {
            graph
                .outputs
                .iter()
                .for_each(|&output| wanted[root[output]] = true);
        }
        chosen.iter().for_each(|&value| wanted[root[value]] = true);
        for (node, &integer) in graph.nodes.iter().zip(integer) {
            let [input, output] = [node.inputs[0], node.output].map(|value| root[value]);
            match &node.op {
                // Floats that end a network read either width.
                Op::L2Normalize => wanted[input] = true,
                _ if !integer => {
                    node.inputs
                        .iter()
                        .for_each(|&value| bytes[root[value]] = true);
                    bytes[output] = true;
                }
                Op::LayerNorm { .. } | Op::NormalizeEmbedding => wanted[input] = true,
                Op::Reduce { .. } => wanted[input] = true,
                // They write either width.
                Op::Embedding => {}
                Op::Linear { .. } => bytes[input] = true,
                Op::GlobalAvgPool if ends_a_stream(graph, node.inputs[0]) => wanted[input] = true,
                Op::GlobalAvgPool => bytes[input] = true,
                op @ Op::Conv2d { .. } if is_pointwise(graph, node.inputs[1], op) => {
                    bytes[input] = true;
                }
                // Of a stem: a convolution of bytes, and a function of what it writes.
                Op::Conv2d { groups: 1, .. } if chosen.contains(&node.output) => {
                    bytes[input] = true;
                }
                Op::Unary { .. } | Op::ChannelUnary { .. } if chosen.contains(&node.output) => {}
                // The coarse part of such a function.
                Op::Unary { .. } if chosen.contains(&node.inputs[0]) => bytes[output] = true,
                Op::Attention { .. } => {
                    for &value in node.inputs.iter().take(3) {
                        bytes[root[value]] = true;
                        symmetric[root[value]] = true;
                    }
                    bytes[output] = true;
                }
                Op::Binary {
                    function: Binary::Add,
                    ..
                } => {}
                // A fine part.
                Op::Binary {
                    function: Binary::Sub,
                    ..
                } => bytes[output] = true,
                op if is_depthwise(graph, node.inputs[1..].first(), op) => {}
                op if op.only_moves() => {}
                _ => {
                    node.inputs
                        .iter()
                        .for_each(|&value| bytes[root[value]] = true);
                    bytes[output] = true;
                }
            }
        }
        spread(graph, integer, &root, &bytes, &mut wanted);
        while narrow_ends(graph, integer, &root, &wanted, &mut bytes, chosen) {}
        let wide = wanted
            .iter()
            .zip(&bytes)
            .map(|(wanted, bytes)| *wanted && !bytes)
            .collect();
        Self {
            root,
            wide,
            symmetric,
        }
    }

    /// The smallest member of a value's group.
    pub(crate) fn root(&self, value: ValueId) -> ValueId {
        self.root[value]
    }
    /// Whether a value has 16 bits.
    pub(crate) fn is_wide(&self, value: ValueId) -> bool {
        self.wide[self.root[value]]
    }
    /// Whether a value's zero point must be 0.
    pub(crate) fn is_symmetric(&self, value: ValueId) -> bool {
        self.symmetric[self.root[value]]
    }
}

/// A depthwise convolution has 16 bits on both sides or on none, but bytes behind the 16 bits of a stem; a function
/// of a stem has them on both sides. Returns whether something changed.
fn narrow_ends(
    graph: &Graph,
    integer: &[bool],
    root: &[ValueId],
    wanted: &[bool],
    bytes: &mut [bool],
    chosen: &BTreeSet<ValueId>,
) -> bool {
    let mut changed = false;
    for (node, _) in graph
        .nodes
        .iter()
        .zip(integer)
        .filter(|(_, integer)| **integer)
    {
        let of_stem = chosen.contains(&node.inputs[0]);
        let depthwise = is_depthwise(graph, node.inputs[1..].first(), &node.op);
        let function = of_stem && matches!(node.op, Op::Unary { .. } | Op::ChannelUnary { .. });
        if !depthwise && !function {
            continue;
        }
        let ends = [node.inputs[0], node.output].map(|value| root[value]);
        let wide = ends.map(|end| wanted[end] && !bytes[end]);
        let ends_stem = depthwise && of_stem && wide == [true, false];
        let is_coarse = function && !chosen.contains(&node.output) && wide == [true, false];
        if wide[0] != wide[1] && !ends_stem && !is_coarse {
            ends.iter().for_each(|&end| bytes[end] = true);
            changed = true;
        }
    }
    changed
}

/// A depthwise convolution, which the runtime has for either width.
pub(crate) fn is_depthwise(graph: &Graph, weight: Option<&ValueId>, op: &Op) -> bool {
    let by_channel = |&weight: &ValueId| graph.values[weight].shape.last() == Some(&1);
    matches!(op, Op::Conv2d { groups, .. } if *groups > 1) && weight.is_some_and(by_channel)
}

/// A sum in 16 bits, or a depthwise convolution, wants its inputs in 16 bits too.
fn spread(graph: &Graph, integer: &[bool], root: &[ValueId], bytes: &[bool], wanted: &mut [bool]) {
    loop {
        let mut changed = false;
        for (node, _) in graph
            .nodes
            .iter()
            .zip(integer)
            .filter(|(_, integer)| **integer)
        {
            let output = root[node.output];
            let is_sum = matches!(
                node.op,
                Op::Binary {
                    function: Binary::Add,
                    ..
                }
            );
            let passes = is_sum || is_depthwise(graph, node.inputs[1..].first(), &node.op);
            if passes && wanted[output] && !bytes[output] {
                let computed = if is_sum { node.inputs.len() } else { 1 };
                for &input in &node.inputs[..computed] {
                    changed |= !wanted[root[input]];
                    wanted[root[input]] = true;
                }
            }
        }
        if !changed {
            return;
        }
    }
}

/// Operators whose output has the scale of their inputs.
fn keeps_scale(op: &Op) -> bool {
    op.only_moves() || matches!(op, Op::AvgPool { .. } | Op::MaxPool { .. })
}

pub(crate) fn roots(graph: &Graph, integer: &[bool]) -> Vec<ValueId> {
    let mut parent: Vec<ValueId> = (0..graph.values.len()).collect();
    fn find(parent: &[ValueId], mut value: ValueId) -> ValueId {
        while parent[value] != value {
            value = parent[value];
        }
        value
    }
    for (node, &integer) in graph.nodes.iter().zip(integer) {
        if integer && keeps_scale(&node.op) {
            for &input in &node.inputs {
                let (a, b) = (find(&parent, input), find(&parent, node.output));
                parent[a.max(b)] = a.min(b);
            }
        }
    }
    (0..parent.len())
        .map(|value| find(&parent, value))
        .collect()
}

/// Whether a value is a residual sum, whose terms may have 16 bits.
fn ends_a_stream(graph: &Graph, mut value: ValueId) -> bool {
    while let Some(node) = graph.nodes.iter().find(|node| node.output == value) {
        match node.op {
            Op::Reshape => value = node.inputs[0],
            Op::Binary { function, .. } => return function == Binary::Add,
            _ => return false,
        }
    }
    false
}

/// A convolution that is a product of matrices.
fn is_pointwise(graph: &Graph, weight: ValueId, op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2d {
            stride: [1, 1],
            padding: [0, 0, 0, 0],
            groups: 1,
            ..
        }
    ) && matches!(graph.values[weight].shape[..], [_, 1, 1, _])
}

/// Whether a reduction is a mean over all dimensions but the last.
pub(crate) fn is_mean_over_tokens(graph: &Graph, input: ValueId, op: &Op) -> bool {
    let shape = &graph.values[input].shape;
    match op {
        Op::Reduce {
            function: Reduce::Mean,
            axes,
            ..
        } => {
            let last = shape.len().saturating_sub(1);
            (0..last).all(|d| axes.contains(&d) || shape[d] == 1) && !axes.contains(&last)
        }
        _ => false,
    }
}
