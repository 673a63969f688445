//! Smoothing of transformers (Xiao et al. 2022, SmoothQuant, arXiv 2211.10438): channels that span far more than others
//! would take the steps of a whole tensor, so part of their range moves into the weights that read them; [`balance`] finds how
//! much of it.
//!
//! Three places where a factor a channel changes nothing in f32: between a layer normalisation (gamma, beta) and the linear
//! layers that read it; between the values of an attention and the projection of its output; between queries and keys.

use pinhole_graph::{Graph, NodeId, Op, Tensor, ValueId};

use crate::balance::{self, Reader};
use crate::observe::Channels;

/// Factors of queries and keys are limited to this and its reciprocal.
const LARGEST_FACTOR: f32 = 256.0;

/// A copy of `graph` with smoothed channels; `channels[value]` is what calibration saw.
pub(crate) fn smooth(graph: &Graph, channels: &[Channels]) -> Graph {
    let mut smoothed = graph.clone();
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let view = View {
        graph,
        producers,
        consumers,
    };
    for node in &graph.nodes {
        match node.op {
            Op::LayerNorm { .. } => {
                let Some(readers) = view.linear_readers(node.output) else {
                    continue;
                };
                let factors = migration(graph, node.output, channels, &readers);
                if constant_len(graph, node.inputs[1]) == factors.len() {
                    divide(&mut smoothed, &node.inputs[1..], &factors);
                    multiply_columns(&mut smoothed, graph, &readers, &factors);
                }
            }
            Op::Attention { .. } => {
                let [q, k, v] =
                    [0, 1, 2].map(|input: usize| view.linear_writer(node.inputs[input]));
                if let (Some(v), Some(readers)) = (v, view.linear_readers(node.output)) {
                    let factors = migration(graph, node.output, channels, &readers);
                    if constant_len(graph, graph.nodes[v].inputs[2]) == factors.len() {
                        divide(&mut smoothed, &graph.nodes[v].inputs[1..], &factors);
                        multiply_columns(&mut smoothed, graph, &readers, &factors);
                    }
                }
                if let (Some(q), Some(k)) = (q, k) {
                    let [a, b] = [q, k].map(|id| &channels[graph.nodes[id].output]);
                    let ratio = |channel| bounded((a.absmax(channel) / b.absmax(channel)).sqrt());
                    let factors: Vec<f32> = (0..a.len().min(b.len())).map(ratio).collect();
                    let inverse: Vec<f32> = factors.iter().map(|f| 1.0 / f).collect();
                    divide(&mut smoothed, &graph.nodes[q].inputs[1..], &factors);
                    divide(&mut smoothed, &graph.nodes[k].inputs[1..], &inverse);
                }
            }
            _ => {}
        }
    }
    smoothed
}

fn bounded(factor: f32) -> f32 {
    if factor.is_finite() && factor > 0.0 {
        factor.clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    } else {
        1.0
    }
}

struct View<'a> {
    graph: &'a Graph,
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
}

impl View<'_> {
    /// The linear layers that alone read a value, none of which shares its weight.
    fn linear_readers(&self, value: ValueId) -> Option<Vec<NodeId>> {
        let mut readers = Vec::new();
        let mut ahead = vec![value];
        while let Some(value) = ahead.pop() {
            if self.graph.outputs.contains(&value) {
                return None;
            }
            for &id in &self.consumers[value] {
                let node = &self.graph.nodes[id];
                let same_rows = self.graph.values[node.output].shape.last()
                    == self.graph.values[value].shape.last();
                match node.op {
                    Op::Linear { .. } if node.inputs[0] == value && self.is_own(node.inputs[1]) => {
                        readers.push(id);
                    }
                    Op::Reshape if same_rows => ahead.push(node.output),
                    _ => return None,
                }
            }
        }
        (!readers.is_empty()).then_some(readers)
    }

    /// The linear layer with a bias and no activation that writes a value nobody else reads.
    fn linear_writer(&self, mut value: ValueId) -> Option<NodeId> {
        loop {
            if self.consumers[value].len() != 1 || self.graph.outputs.contains(&value) {
                return None;
            }
            let id = self.producers[value]?;
            let node = &self.graph.nodes[id];
            let same_rows = self.graph.values[node.inputs[0]].shape.last()
                == self.graph.values[value].shape.last();
            match node.op {
                Op::Reshape if same_rows => value = node.inputs[0],
                Op::Linear {
                    activation: pinhole_graph::op::Activation::None,
                } => {
                    let own = node.inputs.len() == 3
                        && node.inputs[1..].iter().all(|&id| self.is_own(id));
                    return own.then_some(id);
                }
                _ => return None,
            }
        }
    }

    /// A constant that one node reads.
    fn is_own(&self, id: ValueId) -> bool {
        self.graph.values[id].constant.is_some() && self.consumers[id].len() == 1
    }
}

fn data(graph: &Graph, id: ValueId) -> &[f32] {
    let constant = graph.values[id].constant.as_ref();
    constant.and_then(|tensor| tensor.as_f32()).unwrap_or(&[])
}

fn constant_len(graph: &Graph, id: ValueId) -> usize {
    data(graph, id).len()
}

/// By what each channel of a value is divided.
fn migration(graph: &Graph, value: ValueId, channels: &[Channels], readers: &[NodeId]) -> Vec<f32> {
    let readers: Vec<Reader> = readers
        .iter()
        .map(|&id| {
            let node = &graph.nodes[id];
            let rows = graph.values[node.inputs[1]].shape[0];
            let weights = data(graph, node.inputs[1]);
            Reader::dense(&channels[value], weights, rows, &channels[node.output])
        })
        .collect();
    let factors = balance::factors(&readers, false);
    factors.map_or(vec![1.0; channels[value].len()], |factors| {
        factors.iter().map(|factor| 1.0 / factor).collect()
    })
}

/// Divides constants of (channels) or (channels, width) channel by channel.
fn divide(graph: &mut Graph, ids: &[ValueId], factors: &[f32]) {
    for &id in ids {
        change(graph, id, |index, len| {
            1.0 / factors[index / (len / factors.len()).max(1)]
        });
    }
}

/// Multiplies the columns of the weights of `readers`.
fn multiply_columns(smoothed: &mut Graph, graph: &Graph, readers: &[NodeId], factors: &[f32]) {
    for &reader in readers {
        change(smoothed, graph.nodes[reader].inputs[1], |index, _| {
            factors[index % factors.len()]
        });
    }
}

/// Multiplies each element of a constant by `factor(index, len)`.
fn change(graph: &mut Graph, id: ValueId, factor: impl Fn(usize, usize) -> f32) {
    let shape = graph.values[id].shape.clone();
    let data = data(graph, id);
    let changed: Vec<f32> = data
        .iter()
        .enumerate()
        .map(|(index, x)| x * factor(index, data.len()))
        .collect();
    if !changed.is_empty() {
        graph.values[id].constant = Some(Tensor::f32(&shape, changed));
    }
}
