//! Where a value exists: as the graph holds it, and with channels first.

use super::{Exporter, proto, qdq};
use crate::{Tensor, TensorData, ValueId};

/// Order of the dimensions of a value of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// That of the graph, (1, H, W, C) for pictures.
    Plain,
    /// (1, C, H, W).
    ChannelsFirst,
}

/// For each dimension of (1, C, H, W), that of (1, H, W, C).
const TO_CHANNELS_FIRST: [usize; 4] = [0, 3, 1, 2];
/// For each dimension of (1, H, W, C), that of (1, C, H, W).
const TO_PLAIN: [usize; 4] = [0, 2, 3, 1];

impl Layout {
    /// Where a dimension of the graph lies.
    pub(super) fn place(self, dimension: usize) -> usize {
        match self {
            Self::Plain => dimension,
            Self::ChannelsFirst => TO_PLAIN[dimension],
        }
    }

    /// One number a dimension of the graph, in this order.
    pub(super) fn arranged<T: Copy>(self, numbers: &[T]) -> Vec<T> {
        match self {
            Self::Plain => numbers.to_vec(),
            Self::ChannelsFirst => TO_CHANNELS_FIRST.iter().map(|&d| numbers[d]).collect(),
        }
    }
}

/// The names of a computed value in both layouts.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    plain: Option<String>,
    channels_first: Option<String>,
}

impl Held {
    pub(super) fn set(&mut self, layout: Layout, name: String) {
        match layout {
            Layout::Plain => self.plain = Some(name),
            Layout::ChannelsFirst => self.channels_first = Some(name),
        }
    }
}

impl<'a> Exporter<'a> {
    /// Whether a value exists with channels first alone.
    pub(super) fn is_channels_first(&self, id: ValueId) -> bool {
        self.held[id].plain.is_none() && self.held[id].channels_first.is_some()
    }

    /// The name of a value, constant or not, in a layout.
    pub(super) fn in_layout(&mut self, id: ValueId, layout: Layout) -> String {
        match layout {
            Layout::Plain => self.plain(id),
            Layout::ChannelsFirst => self.channels_first(id),
        }
    }

    /// The name of a value as the graph holds it.
    pub(super) fn plain(&mut self, id: ValueId) -> String {
        if self.graph.values[id].constant.is_some() {
            return self.constant(id, "", 0, Clone::clone);
        }
        if let Some(name) = &self.held[id].plain {
            return name.clone();
        }
        self.turned(id, "nhwc", Layout::Plain, &TO_PLAIN)
    }

    /// The name of a value of four dimensions with channels first; constants of fewer are as if 1s were before them.
    pub(super) fn channels_first(&mut self, id: ValueId) -> String {
        if self.graph.values[id].constant.is_some() {
            return self.constant(id, "nchw", 0, |tensor| {
                let mut shape = vec![1; 4_usize.saturating_sub(tensor.shape.len())];
                shape.extend(&tensor.shape);
                let filled = Tensor {
                    shape,
                    data: tensor.data.clone(),
                };
                transposed(&filled, &TO_CHANNELS_FIRST)
            });
        }
        if let Some(name) = &self.held[id].channels_first {
            return name.clone();
        }
        self.turned(id, "nchw", Layout::ChannelsFirst, &TO_CHANNELS_FIRST)
    }

    fn turned(&mut self, id: ValueId, suffix: &str, layout: Layout, order: &[usize]) -> String {
        let held = &self.held[id];
        let from = held.plain.clone().or_else(|| held.channels_first.clone());
        // The nodes of a graph are in an order in which every input exists.
        let from = from.unwrap_or_else(|| self.graph.values[id].name.clone());
        let name = self.graph.values[id].name.clone();
        // An output has its own name as the graph holds it.
        let to = match layout {
            Layout::Plain if self.graph.outputs.contains(&id) => name,
            _ => self.unique(&format!("{name}.{suffix}")),
        };
        let permutation = vec![proto::ints("perm", order)];
        let turned = match self.rounding(id) {
            Some(_) => self.unique(&format!("{to}.turned")),
            None => to.clone(),
        };
        self.nodes
            .push(proto::node("Transpose", &[&from], &turned, permutation));
        // Engines look for both operators behind every move of quantised numbers.
        if let Some(quant) = self.rounding(id) {
            let name = self.graph.values[id].name.clone();
            self.rounded(&turned, quant, &name, to.clone());
        }
        self.held[id].set(layout, to.clone());
        to
    }

    /// The name of a constant after `change`, which `suffix` tells from others; none for itself. Scales of a quantised
    /// one lie along its dimension 0, which becomes dimension `axis`.
    pub(super) fn constant(
        &mut self,
        id: ValueId,
        suffix: &'static str,
        axis: usize,
        change: impl FnOnce(&Tensor) -> Tensor,
    ) -> String {
        if let Some(name) = self.constants.get(&(id, suffix)) {
            return name.clone();
        }
        let value = &self.graph.values[id];
        let name = match suffix {
            "" => value.name.clone(),
            suffix => self.unique(&format!("{}.{suffix}", value.name)),
        };
        match (&value.constant, &value.quant) {
            (Some(tensor), Some(quant)) => {
                let steps = change(&qdq::steps(tensor, quant));
                self.dequantized(&steps, quant, axis, &name);
            }
            (Some(tensor), None) => self
                .initializers
                .push(proto::tensor(&name, &change(tensor))),
            (None, _) => {}
        }
        self.constants.insert((id, suffix), name.clone());
        name
    }
}

/// Dimension d of the result is dimension `permutation[d]`.
pub(super) fn transposed(tensor: &Tensor, permutation: &[usize]) -> Tensor {
    let mut steps = vec![1; tensor.shape.len()];
    for d in (1..steps.len()).rev() {
        steps[d - 1] = steps[d] * tensor.shape[d];
    }
    let shape: Vec<usize> = permutation.iter().map(|&d| tensor.shape[d]).collect();
    let from: Vec<usize> = (0..tensor.len())
        .map(|flat| {
            let mut rest = flat;
            (0..shape.len()).rev().fold(0, |at, d| {
                let index = rest % shape[d];
                rest /= shape[d];
                at + index * steps[permutation[d]]
            })
        })
        .collect();
    match &tensor.data {
        TensorData::F32(data) => Tensor::f32(&shape, from.iter().map(|&at| data[at]).collect()),
        TensorData::I32(data) => Tensor::i32(&shape, from.iter().map(|&at| data[at]).collect()),
        TensorData::I8(data) => Tensor::i8(&shape, from.iter().map(|&at| data[at]).collect()),
    }
}
