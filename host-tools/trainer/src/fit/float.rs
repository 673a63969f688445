//! A graph in floats whose constants train, or low-rank updates beside them: LoRA (Hu et al., 2021, arXiv 2106.09685).
//!
//! A weight `W` `[outputs, inputs]` that is frozen is read as
//!
//! ```text
//! W + alpha/rank · B·A        A: [rank, inputs], random; B: [outputs, rank], 0 at the start
//! ```
//!
//! by training and by the written graph alike, so that the two agree to the bit.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use pinhole_graph::op::Binary;
use pinhole_graph::{Graph, Node, Op, ValueId};

use super::recipe::Lora;
use crate::device::Place;
use crate::model::elements;
use crate::network::{Batch, Rules, batched};
use crate::rng::Rng;

/// What input `place` of a node is to training: `Some(decays)` for a leaf.
///
/// The rows of a token table do not decay: those of tokens that no text of a batch has would shrink without a gradient.
/// A table of one column marks tokens, and is none.
fn leaf(node: &Node, place: usize, constant: &pinhole_graph::Tensor) -> Option<bool> {
    let data = constant.as_f32()?;
    let is_table = constant.shape.last().is_some_and(|&width| width > 1);
    let several = data.len() > 1 && data.iter().all(|x| x.is_finite());
    match (&node.op, place) {
        (Op::Conv2d { .. } | Op::Linear { .. } | Op::MatMul { .. }, 1) => Some(true),
        (Op::Conv2d { .. } | Op::Linear { .. }, 2) => Some(false),
        (Op::LayerNorm { .. }, 1 | 2) => Some(false),
        // A class token.
        (Op::LayerNorm { .. }, 0) if several => Some(false),
        (Op::Embedding, 1) if is_table => Some(false),
        (Op::Attention { .. }, 3) if several => Some(false),
        (Op::Concat { .. }, _) if several => Some(false),
        (Op::Binary { function, .. }, _) if several => {
            let trains = matches!(function, Binary::Add | Binary::Sub | Binary::Mul);
            trains.then_some(false)
        }
        _ => None,
    }
}

/// A graph in floats whose constants train.
pub(super) struct Float {
    /// The constants, and behind them the matrices of updates.
    pub(super) leaves: Vec<FloatLeaf>,
    by_value: BTreeMap<ValueId, usize>,
    constants: BTreeMap<ValueId, Batch>,
    /// By the weight that they are added to.
    updates: BTreeMap<ValueId, Update>,
    place: Place,
}

pub(super) struct FloatLeaf {
    /// The constant; of an update the weight that it is added to.
    pub(super) value: ValueId,
    pub(super) part: Part,
    shape: Vec<usize>,
    /// The node that reads it first.
    pub(super) node: usize,
    pub(super) decays: bool,
    pub(super) data: Vec<f32>,
    pub(super) tensor: Tensor<1>,
}

/// What a leaf is of its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All.
    Whole,
    /// A, `[rank, inputs]`.
    Down,
    /// B, `[outputs, rank]`.
    Up,
}

/// The leaves of an update, and its factor.
struct Update {
    down: usize,
    up: usize,
    scale: f32,
}

impl Update {
    /// The weight `base` with the update, of its length.
    fn merge(&self, base: Tensor<1>, [down, up]: [(Tensor<1>, &[usize]); 2]) -> Tensor<1> {
        let matrix = |(x, shape): (Tensor<1>, &[usize])| x.reshape([shape[0], shape[1]]);
        let product: Tensor<2> = matrix(up).matmul(matrix(down));
        let count = base.dims()[0];
        base + product.reshape([count]).mul_scalar(self.scale)
    }
}

impl Float {
    pub(super) fn new(graph: &Graph, place: &Place) -> Self {
        let mut network = Self {
            leaves: Vec::new(),
            by_value: BTreeMap::new(),
            constants: BTreeMap::new(),
            updates: BTreeMap::new(),
            place: place.clone(),
        };
        for (index, node) in graph.nodes.iter().enumerate() {
            for (place, &value) in node.inputs.iter().enumerate() {
                network.take(graph, (index, node), (place, value));
            }
        }
        network
    }

    fn take(
        &mut self,
        graph: &Graph,
        (index, node): (usize, &Node),
        (place, value): (usize, ValueId),
    ) {
        let constant = graph.values[value].constant.as_ref();
        let Some((constant, data)) = constant.and_then(|x| Some((x, x.as_f32()?))) else {
            return;
        };
        if self.by_value.contains_key(&value) || self.constants.contains_key(&value) {
            return;
        }
        let now = self.place.tensor(data.to_vec());
        let Some(decays) = leaf(node, place, constant) else {
            self.constants
                .insert(value, now.reshape(batched(1, &constant.shape)));
            return;
        };
        self.by_value.insert(value, self.leaves.len());
        self.leaves.push(FloatLeaf {
            value,
            part: Part::Whole,
            shape: constant.shape.clone(),
            node: index,
            decays,
            data: data.to_vec(),
            tensor: now.require_grad(),
        });
    }

    /// Constant `value` as nodes read it, `None` where it is none of floats.
    pub(super) fn get(&self, value: ValueId) -> Option<Batch> {
        if let Some(constant) = self.constants.get(&value) {
            return Some(constant.clone());
        }
        let leaf = &self.leaves[*self.by_value.get(&value)?];
        let now = match self.updates.get(&value) {
            None => leaf.tensor.clone(),
            Some(update) => {
                let part = |index: usize| {
                    let leaf = &self.leaves[index];
                    (leaf.tensor.clone(), &leaf.shape[..])
                };
                update.merge(leaf.tensor.clone(), [part(update.down), part(update.up)])
            }
        };
        Some(now.reshape(batched(1, &leaf.shape)))
    }

    /// Puts `data` into leaf `index`, which trains.
    pub(super) fn set(&mut self, index: usize, data: Vec<f32>) {
        let leaf = &mut self.leaves[index];
        leaf.tensor = self.place.tensor(data.clone()).require_grad();
        leaf.data = data;
    }

    /// Makes leaf `index` a constant.
    pub(super) fn freeze(&mut self, index: usize) {
        let leaf = &mut self.leaves[index];
        leaf.tensor = leaf.tensor.clone().detach();
    }

    /// Whether leaf `index` is the weight of a linear layer or of a convolution of single pixels.
    pub(super) fn is_matrix(&self, graph: &Graph, index: usize) -> bool {
        let leaf = &self.leaves[index];
        let node = &graph.nodes[leaf.node];
        if leaf.part != Part::Whole || node.inputs.get(1) != Some(&leaf.value) {
            return false;
        }
        match node.op {
            Op::Conv2d { groups, .. } => groups == 1 && leaf.shape[1..3] == [1, 1],
            Op::Linear { .. } => true,
            _ => false,
        }
    }

    /// Freezes leaf `index`, a matrix, and adds the leaves of an update of it, of a smaller rank where its own is.
    pub(super) fn adapt(&mut self, index: usize, lora: &Lora, rng: &mut Rng) {
        self.freeze(index);
        let FloatLeaf {
            value, node, shape, ..
        } = &self.leaves[index];
        let (value, node, outputs) = (*value, *node, shape[0]);
        let inputs = shape[1..].iter().product::<usize>();
        let rank = lora.rank.min(inputs).min(outputs);
        let bound = (inputs as f32).sqrt().recip();
        let down = (0..rank * inputs).map(|_| (2.0 * rng.unit() - 1.0) * bound);
        let leaf = |part, shape: [usize; 2], data: Vec<f32>| FloatLeaf {
            value,
            part,
            shape: shape.to_vec(),
            node,
            decays: true,
            tensor: self.place.tensor(data.clone()).require_grad(),
            data,
        };
        let update = Update {
            down: self.leaves.len(),
            up: self.leaves.len() + 1,
            scale: lora.alpha.unwrap_or(lora.rank as f32) / lora.rank as f32,
        };
        self.leaves
            .push(leaf(Part::Down, [rank, inputs], down.collect()));
        self.leaves
            .push(leaf(Part::Up, [outputs, rank], vec![0.0; outputs * rank]));
        self.updates.insert(value, update);
    }

    /// A copy of `graph` with `data` in its leaves, updates added to their weights.
    pub(super) fn write(&self, graph: &Graph, data: &[Vec<f32>]) -> Graph {
        let mut graph = graph.clone();
        let constants = self.leaves.iter().zip(data);
        for (leaf, base) in constants.filter(|(leaf, _)| leaf.part == Part::Whole) {
            let now = match self.updates.get(&leaf.value) {
                None => base.clone(),
                Some(update) => {
                    let part = |index: usize| {
                        let shape = &self.leaves[index].shape[..];
                        (self.place.tensor(data[index].clone()), shape)
                    };
                    let parts = [part(update.down), part(update.up)];
                    elements(update.merge(self.place.tensor(base.clone()), parts))
                }
            };
            let now = pinhole_graph::Tensor::f32(&leaf.shape, now);
            graph.values[leaf.value].constant = Some(now);
        }
        graph
    }
}

impl Rules for Float {
    fn constant(&self, _node: &Node, value: ValueId) -> Batch {
        self.get(value).expect("a constant of floats")
    }
}
