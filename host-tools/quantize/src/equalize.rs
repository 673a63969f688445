//! Cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721, section 4.1) over observed activations: gives the channels
//! of a tensor one range, so that one scale serves all of them.
//!
//! A channel that spans a hundredth of its tensor's range keeps one or two of its 8 bits. Multiplying what writes it and
//! dividing what reads it by the same factor changes nothing in f32. Tensors that residual sums and means tie together
//! share one factor a channel. A factor k ≥ 1 also commutes with ReLU, and with ReLU6 as long as k times the largest value
//! stays below 6; beyond what calibration saw, such a channel is limited to the largest value seen (and a margin).

use pinhole_graph::op::{Activation, Binary};
use pinhole_graph::{Graph, Node, Op, Tensor, ValueId};

/// Factors above this would lift channels that are noise.
const LARGEST_FACTOR: f32 = 64.0;
/// Room over the largest value seen, for channels that ReLU6 will limit.
const MARGIN: f32 = 1.1;

/// A copy of `graph` whose tied tensors have equal channel ranges; `absmax[value][channel]` is what calibration saw.
pub(crate) fn equalize(graph: &Graph, absmax: &[Vec<f32>]) -> Graph {
    let mut equalized = graph.clone();
    let groups = groups(graph);
    let producers = graph.producers();
    let consumers = graph.consumers();
    for root in 0..graph.values.len() {
        let members: Vec<ValueId> = (0..graph.values.len())
            .filter(|&value| groups[value] == root && producers[value].is_some())
            .collect();
        if members.is_empty()
            || !members
                .iter()
                .all(|&value| fits(graph, value, &producers, &consumers))
        {
            continue;
        }
        if let Some(factors) = factors(graph, &members, absmax, &producers) {
            apply(&mut equalized, graph, &members, &factors, &producers);
        }
    }
    equalized
}

/// Whether scaling the channels of a node's output and of its first input by one vector commutes with it.
fn ties(node: &Node) -> bool {
    match node.op {
        Op::Binary {
            function: Binary::Add,
            activation,
        } => activation == Activation::None,
        Op::GlobalAvgPool | Op::AvgPool { .. } => true,
        _ => false,
    }
}

/// For each value, the smallest value that it is tied to.
fn groups(graph: &Graph) -> Vec<ValueId> {
    let mut group: Vec<ValueId> = (0..graph.values.len()).collect();
    loop {
        let mut changed = false;
        for node in graph.nodes.iter().filter(|node| ties(node)) {
            let tied: Vec<ValueId> = node.inputs.iter().copied().chain([node.output]).collect();
            let least = tied
                .iter()
                .map(|&value| group[value])
                .min()
                .unwrap_or(node.output);
            for value in tied {
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
            ties(node) && node.inputs.iter().all(|&input| producers[input].is_some())
                || has_weights(graph, node)
        });
    let read = consumers[value]
        .iter()
        .map(|&id| &graph.nodes[id])
        .all(|node| {
            ties(node)
                || has_weights(graph, node)
                    && node.inputs[0] == value
                    && !node.inputs[1..].contains(&value)
        });
    written && read && !consumers[value].is_empty() && !graph.outputs.contains(&value)
}

/// A layer with constant weights whose channels can be scaled: dense or depthwise.
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
    plain && constant(1) && constant(2)
}

fn is_depthwise(node: &Node) -> bool {
    matches!(node.op, Op::Conv2d { groups, .. } if groups != 1)
}

/// The factor of each channel; none when nothing was seen or nothing would change.
fn factors(
    graph: &Graph,
    members: &[ValueId],
    absmax: &[Vec<f32>],
    producers: &[Option<usize>],
) -> Option<Vec<f32>> {
    let channels = *graph.values[members[0]].shape.last()?;
    if members.iter().any(|&value| absmax[value].len() != channels) {
        return None;
    }
    let largest: Vec<f32> = (0..channels)
        .map(|c| {
            members
                .iter()
                .map(|&value| absmax[value][c])
                .fold(0.0, f32::max)
        })
        .collect();
    let relu6 = members
        .iter()
        .filter_map(|&value| producers[value])
        .any(|id| activation(&graph.nodes[id]) == Activation::Relu6);
    let (range, margin) = if relu6 {
        (6.0, MARGIN)
    } else {
        (largest.iter().copied().fold(0.0, f32::max), 1.0)
    };
    let factor = |&seen: &f32| {
        if seen > 0.0 {
            (range / (seen * margin)).clamp(1.0, LARGEST_FACTOR)
        } else {
            1.0
        }
    };
    let factors: Vec<f32> = largest.iter().map(factor).collect();
    factors
        .iter()
        .any(|&factor| factor > 1.0)
        .then_some(factors)
}

fn activation(node: &Node) -> Activation {
    match node.op {
        Op::Conv2d { activation, .. } | Op::Linear { activation } => activation,
        _ => Activation::None,
    }
}

/// Multiplies what writes the members and divides what reads them.
fn apply(
    equalized: &mut Graph,
    graph: &Graph,
    members: &[ValueId],
    factors: &[f32],
    producers: &[Option<usize>],
) {
    for node in members
        .iter()
        .filter_map(|&value| producers[value])
        .map(|id| &graph.nodes[id])
    {
        if !has_weights(graph, node) {
            continue;
        }
        for &id in &node.inputs[1..] {
            scale(equalized, id, |index, len| {
                factors[index / (len / factors.len())]
            });
        }
    }
    for node in graph
        .nodes
        .iter()
        .filter(|node| has_weights(graph, node) && members.contains(&node.inputs[0]))
    {
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
