//! Cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721, section 4.1) over observed activations: brings the channels
//! of a tensor nearer to one range, as far as [`balance`] finds it good, so that one scale serves all of them.
//!
//! A channel that spans a hundredth of its tensor's range keeps one or two of its 8 bits. Multiplying what writes it and
//! dividing what reads it by the same factor changes nothing in f32. Tensors that residual sums and means tie together
//! share one factor a channel, and so do those around layers with the same weights. A factor commutes with ReLU but not with ReLU6: a channel would be limited to what calibration
//! saw of it, and pictures that go beyond lose more than 8 bits do, so behind ReLU6 nothing is scaled.
//!
//! A function such as GELU does not commute with a factor, but in int8 it is a table: with a table for every pair of factors
//! ([`Op::ChannelUnary`]) its channels take any factors before and behind it. They are powers of two there, so that the
//! tables are few, but where channels are few: each then has a table of its own and a range without a gap.

use pinhole_graph::op::{Activation, Binary, Unary};
use pinhole_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use std::collections::{BTreeMap, BTreeSet};

use crate::balance::{self, Reader};
use crate::observe::Channels;

/// Channels that may have a table each.
const EXACT_TABLES: usize = 32;

/// A copy of `graph` whose tied tensors have balanced channel ranges, but for those with one of `kept`; `channels[value]` is
/// what calibration saw.
pub(crate) fn equalize(graph: &Graph, channels: &[Channels], kept: &BTreeSet<ValueId>) -> Graph {
    let mut equalized = graph.clone();
    let groups = groups(graph);
    let producers = graph.producers();
    let consumers = graph.consumers();
    let mut tables = Tables::default();
    for root in 0..graph.values.len() {
        let members: Vec<ValueId> = (0..graph.values.len())
            .filter(|&value| groups[value] == root)
            .collect();
        let all_fit = members
            .iter()
            .all(|&value| !kept.contains(&value) && fits(graph, value, &producers, &consumers));
        if members.is_empty() || !all_fit {
            continue;
        }
        if let Some(factors) = factors(graph, &members, channels, &producers) {
            apply(&mut equalized, graph, &members, &factors, &producers);
            tables.scale(graph, &members, &factors);
        }
    }
    tables.write(&mut equalized);
    equalized
}

/// Factors before and behind the functions of a graph.
#[derive(Default)]
struct Tables(BTreeMap<NodeId, [Vec<f32>; 2]>);

impl Tables {
    /// Takes what the members are multiplied with off before the functions that read them, and puts it behind those that
    /// write them.
    fn scale(&mut self, graph: &Graph, members: &[ValueId], factors: &[f32]) {
        for (id, node) in graph
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| has_table(node))
        {
            let (reads, writes) = (
                members.contains(&node.inputs[0]),
                members.contains(&node.output),
            );
            if !reads && !writes {
                continue;
            }
            let ones = || vec![1.0; factors.len()];
            let [before, after] = self.0.entry(id).or_insert_with(|| [ones(), ones()]);
            for (channel, factor) in factors.iter().enumerate() {
                before[channel] /= if reads { *factor } else { 1.0 };
                after[channel] *= if writes { *factor } else { 1.0 };
            }
        }
    }

    fn write(self, graph: &mut Graph) {
        for (id, factors) in self.0 {
            let node = graph.nodes[id].clone();
            let (Op::Unary { function } | Op::ChannelUnary { function }) = node.op else {
                continue;
            };
            let mut inputs = vec![node.inputs[0]];
            for (position, (mut factors, part)) in
                factors.into_iter().zip(["before", "after"]).enumerate()
            {
                if let Some(&earlier) = node.inputs.get(position + 1) {
                    let earlier = graph.values[earlier].constant.as_ref();
                    let earlier = earlier.and_then(|tensor| tensor.as_f32()).unwrap_or(&[]);
                    factors.iter_mut().zip(earlier).for_each(|(f, e)| *f *= e);
                }
                let name = graph.unique_name(&format!("{}.{part}", node.name));
                inputs.push(graph.add_constant(name, Tensor::f32(&[factors.len()], factors)));
            }
            graph.nodes[id].op = Op::ChannelUnary { function };
            graph.nodes[id].inputs = inputs;
        }
    }
}

/// A function that grows with its input and so keeps the difference between channels; in int8 a table.
fn has_table(node: &Node) -> bool {
    let (Op::Unary { function } | Op::ChannelUnary { function }) = node.op else {
        return false;
    };
    matches!(
        function,
        Unary::Gelu
            | Unary::GeluTanh
            | Unary::QuickGelu
            | Unary::Silu
            | Unary::HardSwish
            | Unary::LeakyRelu { .. }
    )
}

/// The inputs whose channels, scaled by one vector, scale those of the output by it.
fn tied_inputs<'a>(graph: &Graph, node: &'a Node) -> &'a [ValueId] {
    let shape = |id: ValueId| &graph.values[id].shape;
    match &node.op {
        Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        } => &node.inputs,
        // Squeeze and excitation: the gate keeps its range.
        Op::Binary {
            function: Binary::Mul,
            activation: Activation::None,
        } if shape(node.inputs[0]) == shape(node.output) => &node.inputs[..1],
        Op::Binary {
            function: Binary::Mul,
            activation: Activation::None,
        } if shape(node.inputs[1]) == shape(node.output) => &node.inputs[1..],
        Op::GlobalAvgPool | Op::AvgPool { .. } | Op::MaxPool { .. } => &node.inputs,
        Op::Reshape if shape(node.inputs[0]).last() == shape(node.output).last() => &node.inputs,
        Op::Transpose { permutation } if permutation.last() == Some(&(permutation.len() - 1)) => {
            &node.inputs
        }
        _ => &[],
    }
}

/// Values whose channels take the same factors: around operators that pass them on, and on either side of layers that share
/// their weights.
fn ties(graph: &Graph) -> Vec<Vec<ValueId>> {
    let mut ties = Vec::new();
    let mut layers: BTreeMap<ValueId, [Vec<ValueId>; 2]> = BTreeMap::new();
    for node in &graph.nodes {
        let inputs = tied_inputs(graph, node);
        if !inputs.is_empty() {
            ties.push(inputs.iter().copied().chain([node.output]).collect());
        }
        if has_weights(graph, node) {
            let [inputs, outputs] = layers.entry(node.inputs[1]).or_default();
            inputs.push(node.inputs[0]);
            outputs.push(node.output);
        }
    }
    ties.extend(layers.into_values().flatten());
    ties
}

/// For each value, the smallest value that it is tied to.
fn groups(graph: &Graph) -> Vec<ValueId> {
    let mut group: Vec<ValueId> = (0..graph.values.len()).collect();
    let ties = ties(graph);
    loop {
        let mut changed = false;
        for tied in &ties {
            let Some(least) = tied.iter().map(|&value| group[value]).min() else {
                continue;
            };
            for &value in tied {
                changed |= group[value] != least;
                group[value] = least;
            }
        }
        if !changed {
            return group;
        }
    }
}

/// Whether everything that writes and reads a value can take a factor a channel.
fn fits(
    graph: &Graph,
    value: ValueId,
    producers: &[Option<usize>],
    consumers: &[Vec<usize>],
) -> bool {
    let written = producers[value]
        .map(|id| &graph.nodes[id])
        .is_some_and(|node| {
            let tied = tied_inputs(graph, node);
            !tied.is_empty() && tied.iter().all(|&input| producers[input].is_some())
                || has_weights(graph, node)
                || has_table(node)
        });
    let read = consumers[value]
        .iter()
        .map(|&id| &graph.nodes[id])
        .all(|node| {
            tied_inputs(graph, node).contains(&value)
                || has_table(node)
                || has_weights(graph, node)
                    && node.inputs[0] == value
                    && !node.inputs[1..].contains(&value)
        });
    written && read && !consumers[value].is_empty() && !graph.outputs.contains(&value)
}

/// A layer with constant weights whose channels can be scaled: dense or depthwise, and only layers read them.
fn has_weights(graph: &Graph, node: &Node) -> bool {
    let constant = |index: usize| {
        node.inputs
            .get(index)
            .is_none_or(|&id| graph.values[id].constant.is_some())
    };
    let shape = node
        .inputs
        .get(1)
        .map_or(&[][..], |&id| &graph.values[id].shape);
    let plain = match node.op {
        Op::Conv2d { groups, .. } => {
            shape.len() == 4 && (groups == 1 || groups == shape[0] && shape[3] == 1)
        }
        Op::Linear { .. } => shape.len() == 2,
        _ => false,
    };
    let of_layers = || {
        let reads = |reader: &&Node| reader.inputs.contains(&node.inputs[1]);
        let mut readers = graph.nodes.iter().filter(reads);
        readers.all(|reader| {
            std::mem::discriminant(&reader.op) == std::mem::discriminant(&node.op)
                && reader.inputs[1] == node.inputs[1]
        })
    };
    plain && constant(1) && constant(2) && of_layers()
}

fn is_depthwise(node: &Node) -> bool {
    matches!(node.op, Op::Conv2d { groups, .. } if groups != 1)
}

/// The factor of each channel; none when nothing was seen or nothing would be better.
fn factors(
    graph: &Graph,
    members: &[ValueId],
    channels: &[Channels],
    producers: &[Option<usize>],
) -> Option<Vec<f32>> {
    let writers = members.iter().filter_map(|&value| producers[value]);
    if writers
        .map(|id| activation(&graph.nodes[id]))
        .any(|activation| activation == Activation::Relu6)
    {
        return None;
    }
    let width = *graph.values[members[0]].shape.last()?;
    if members.iter().any(|&value| channels[value].len() != width) {
        return None;
    }
    let read = |node: &&Node| members.contains(&node.inputs[0]);
    let readers: Vec<Reader> = graph
        .nodes
        .iter()
        .filter(read)
        .filter_map(|node| reader(graph, node, channels))
        .collect();
    let at_table = graph.nodes.iter().any(|node| {
        has_table(node) && (members.contains(&node.inputs[0]) || members.contains(&node.output))
    });
    balance::factors(&readers, at_table && width > EXACT_TABLES)
}

/// What a node does with the channels of its input; none for those whose output is tied to it.
fn reader<'a>(graph: &Graph, node: &Node, channels: &'a [Channels]) -> Option<Reader<'a>> {
    let input = &channels[node.inputs[0]];
    if has_table(node) || has_weights(graph, node) && is_depthwise(node) {
        return Some(Reader::by_channel(input));
    }
    let weights = has_weights(graph, node).then(|| graph.values[node.inputs[1]].constant.as_ref());
    let weights = weights.flatten()?;
    let output = &channels[node.output];
    Some(Reader::dense(
        input,
        weights.as_f32()?,
        weights.shape[0],
        output,
    ))
}

fn activation(node: &Node) -> Activation {
    match node.op {
        Op::Conv2d { activation, .. } | Op::Linear { activation } => activation,
        _ => Activation::None,
    }
}

/// Multiplies what writes the members and divides what reads them, weights that several layers share once.
fn apply(
    equalized: &mut Graph,
    graph: &Graph,
    members: &[ValueId],
    factors: &[f32],
    producers: &[Option<usize>],
) {
    let writers = members.iter().filter_map(|&value| producers[value]);
    let writers = writers.map(|id| &graph.nodes[id]);
    let mut scaled = BTreeSet::new();
    for node in writers.filter(|node| has_weights(graph, node)) {
        for &id in node.inputs[1..].iter().filter(|id| scaled.insert(**id)) {
            scale(equalized, id, |index, len| {
                factors[index / (len / factors.len())]
            });
        }
    }
    let mut scaled = BTreeSet::new();
    let reads = |node: &&Node| members.contains(&node.inputs[0]) && has_weights(graph, node);
    for node in graph.nodes.iter().filter(reads) {
        if !scaled.insert(node.inputs[1]) {
            continue;
        }
        if is_depthwise(node) {
            scale(equalized, node.inputs[1], |index, len| {
                1.0 / factors[index / (len / factors.len())]
            });
        } else {
            scale(equalized, node.inputs[1], |index, _| {
                1.0 / factors[index % factors.len()]
            });
        }
    }
}

/// Multiplies each element of a constant by `factor(index, len)`.
fn scale(graph: &mut Graph, id: ValueId, factor: impl Fn(usize, usize) -> f32) {
    let Some((shape, data)) = graph.values[id]
        .constant
        .as_ref()
        .and_then(|t| Some((t.shape.clone(), t.as_f32()?)))
    else {
        return;
    };
    let len = data.len();
    let scaled = data
        .iter()
        .enumerate()
        .map(|(index, x)| x * factor(index, len))
        .collect();
    graph.values[id].constant = Some(Tensor::f32(&shape, scaled));
}

#[cfg(test)]
#[path = "equalize/tests.rs"]
mod tests;
