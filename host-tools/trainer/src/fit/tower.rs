//! A network that trains: a graph, its leaves, and how it runs over a batch.
//!
//! A leaf is a constant of the graph: weights and biases of convolutions and linear layers, norms, token tables, positions
//! and what is like them. A layer is a node with a weight; what else trains counts to the layer behind it. Layers before
//! the first that trains hold constants, for which Burn keeps no graph.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use pinhole_graph::op::Binary;
use pinhole_graph::{Graph, Node, Op, ValueId};
use pinhole_quantize::Runner;

use super::recipe::Trainable;
use crate::TrainError;
use crate::network::quantised::{Quantised, Role};
use crate::network::{Batch, Feed, Rules, batched, run};

/// What the optimiser has to know of a leaf.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LeafInfo {
    pub(super) name: String,
    /// Whether weight decay applies.
    pub(super) decays: bool,
    /// From the input on.
    pub(super) layer: usize,
    /// Whether it is the range of activations.
    pub(super) is_range: bool,
    /// Whether it trains.
    pub(super) trains: bool,
}

/// A graph that trains.
pub(super) struct Tower {
    /// With the constants that it started from.
    pub(super) graph: Graph,
    network: Network,
    pub(super) leaves: Vec<LeafInfo>,
    /// Layers in all.
    pub(super) layers: usize,
    /// Numbers of an embedding.
    pub(super) width: usize,
    /// The packed model of this step, whose rounding is followed.
    runner: Option<Runner>,
}

enum Network {
    Float(Float),
    Quantised(Box<Quantised>),
}

impl Tower {
    /// The layers of `graph` that `trainable` says; one that is quantised trains with its rounding, and its ranges
    /// where `ranges`.
    ///
    /// # Errors
    /// A graph that has no layer that could train, or not as many as asked for.
    pub(super) fn new(
        graph: Graph,
        trainable: Trainable,
        ranges: bool,
    ) -> Result<Self, TrainError> {
        let of_node = layers(&graph);
        let layers = of_node.iter().max().map_or(0, |last| last + 1);
        let first = match trainable {
            Trainable::All => 0,
            Trainable::Last(count) if count <= layers => layers - count,
            Trainable::Last(count) => {
                let message = format!(
                    "`trainable` is {count}, and {} has {layers} layers",
                    graph.name
                );
                return Err(TrainError::Setup(message));
            }
        };
        let mut network = match graph.is_quantized() {
            true => Network::Quantised(Box::new(Quantised::new(&graph, ranges))),
            false => Network::Float(Float::new(&graph)),
        };
        let mut leaves = network.infos(&graph, &of_node);
        for (index, leaf) in leaves.iter_mut().enumerate() {
            leaf.trains = leaf.layer >= first;
            if !leaf.trains {
                network.freeze(index);
            }
        }
        if !leaves.iter().any(|leaf| leaf.trains) {
            let message = format!(
                "{}: found no layer that trains, expected weights in f32",
                graph.name
            );
            return Err(TrainError::Setup(message));
        }
        let width = graph.values[graph.outputs[0]].shape.iter().product();
        Ok(Self {
            graph,
            network,
            leaves,
            layers,
            width,
            runner: None,
        })
    }

    /// A graph in floats of which nothing trains.
    pub(super) fn frozen(graph: Graph) -> Self {
        let of_node = layers(&graph);
        let mut network = Network::Float(Float::new(&graph));
        let mut leaves = network.infos(&graph, &of_node);
        for (index, leaf) in leaves.iter_mut().enumerate() {
            leaf.trains = false;
            network.freeze(index);
        }
        Self {
            layers: of_node.iter().max().map_or(0, |last| last + 1),
            width: graph.values[graph.outputs[0]].shape.iter().product(),
            graph,
            network,
            leaves,
            runner: None,
        }
    }

    pub(super) fn is_quantised(&self) -> bool {
        matches!(self.network, Network::Quantised(_))
    }

    /// The numbers of leaf `index`.
    pub(super) fn data(&self, index: usize) -> &[f32] {
        match &self.network {
            Network::Float(network) => &network.leaves[index].data,
            Network::Quantised(network) => &network.leaves[index].data,
        }
    }

    /// Leaf `index` as Burn has it.
    pub(super) fn tensor(&self, index: usize) -> &Tensor<1> {
        match &self.network {
            Network::Float(network) => &network.leaves[index].tensor,
            Network::Quantised(network) => &network.leaves[index].tensor,
        }
    }

    /// Puts `data` into leaf `index`, which trains.
    pub(super) fn set(&mut self, index: usize, data: Vec<f32>) {
        self.runner = None;
        match &mut self.network {
            Network::Float(network) => network.set(index, data),
            Network::Quantised(network) => network.set(index, data),
        }
    }

    /// What the chunks of a step share. Call it after the leaves were set.
    ///
    /// # Errors
    /// A quantised graph that cannot be packed.
    pub(super) fn prepare(&mut self) -> Result<(), TrainError> {
        if let (Network::Quantised(network), None) = (&self.network, &self.runner) {
            self.runner = Some(network.runner(&self.graph)?);
        }
        Ok(())
    }

    /// The values `wanted` for what goes in.
    ///
    /// # Errors
    /// A node without a derivative.
    pub(super) fn run(&self, feed: Feed, wanted: &[ValueId]) -> Result<Vec<Batch>, TrainError> {
        match &self.network {
            Network::Float(network) => run(&self.graph, network, feed, wanted),
            Network::Quantised(network) => run(&self.graph, network.as_ref(), feed, wanted),
        }
    }

    /// The same of pictures, `inputs` one behind the other, with the rounding of the packed model where there is one.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn run_pictures(
        &self,
        inputs: &[f32],
        wanted: &[ValueId],
    ) -> Result<Vec<Batch>, TrainError> {
        let shape = &self.graph.values[self.graph.inputs[0]].shape;
        let len: usize = shape.iter().product();
        let feed =
            Feed::Numbers(tensor(inputs.to_vec()).reshape(batched(inputs.len() / len, shape)));
        match (&self.network, &self.runner) {
            (Network::Quantised(network), Some(runner)) => {
                let pictures: Vec<&[f32]> = inputs.chunks_exact(len).collect();
                let network = network.follow(&self.graph, runner, &pictures)?;
                run(&self.graph, &network, feed, wanted)
            }
            _ => self.run(feed, wanted),
        }
    }

    /// The same of token ids `[batch, tokens]`, which choose rows of `tables` instead of the graph's constants.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn run_ids(
        &self,
        ids: Tensor<2, Int>,
        tables: &BTreeMap<ValueId, Batch>,
        wanted: &[ValueId],
    ) -> Result<Vec<Batch>, TrainError> {
        match &self.network {
            Network::Float(network) => {
                let rules = Tables(network, tables);
                run(&self.graph, &rules, Feed::Ids(ids), wanted)
            }
            Network::Quantised(_) => self.run(Feed::Ids(ids), wanted),
        }
    }

    /// Leaf or constant `value` of a graph in floats, as its nodes read it.
    pub(super) fn constant(&self, value: ValueId) -> Option<Batch> {
        match &self.network {
            Network::Float(network) => network.get(value),
            Network::Quantised(_) => None,
        }
    }

    /// A copy of the graph with `data` in its leaves.
    pub(super) fn write(&self, data: &[Vec<f32>]) -> Graph {
        match &self.network {
            Network::Float(network) => network.write(&self.graph, data),
            Network::Quantised(network) => {
                let mut network = network.clone();
                for (index, data) in data.iter().enumerate() {
                    network.set(index, data.clone());
                }
                network.write(&self.graph)
            }
        }
    }
}

/// A tensor of the device that trains.
pub(super) fn tensor(data: Vec<f32>) -> Tensor<1> {
    let count = data.len();
    Tensor::from_data(TensorData::new(data, [count]), &device())
}

/// Where everything trains.
pub(super) fn device() -> Device {
    Device::flex().autodiff()
}

/// The layer that each node counts to, from the input on.
fn layers(graph: &Graph) -> Vec<usize> {
    let has_weight = |node: &Node| {
        let weight = node
            .inputs
            .get(1)
            .is_some_and(|&value| graph.values[value].constant.is_some());
        weight
            && matches!(
                node.op,
                Op::Conv2d { .. } | Op::Linear { .. } | Op::MatMul { .. }
            )
    };
    let last = graph
        .nodes
        .iter()
        .filter(|node| has_weight(node))
        .count()
        .saturating_sub(1);
    let mut before = 0;
    let of_node = graph.nodes.iter().map(|node| {
        let layer = before.min(last);
        before += usize::from(has_weight(node));
        layer
    });
    of_node.collect()
}

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
struct Float {
    leaves: Vec<FloatLeaf>,
    by_value: BTreeMap<ValueId, usize>,
    constants: BTreeMap<ValueId, Batch>,
}

struct FloatLeaf {
    value: ValueId,
    shape: Vec<usize>,
    /// The node that reads it first.
    node: usize,
    decays: bool,
    data: Vec<f32>,
    tensor: Tensor<1>,
}

impl Float {
    fn new(graph: &Graph) -> Self {
        let mut network = Self {
            leaves: Vec::new(),
            by_value: BTreeMap::new(),
            constants: BTreeMap::new(),
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
        let now = tensor(data.to_vec());
        let Some(decays) = leaf(node, place, constant) else {
            self.constants
                .insert(value, now.reshape(batched(1, &constant.shape)));
            return;
        };
        self.by_value.insert(value, self.leaves.len());
        self.leaves.push(FloatLeaf {
            value,
            shape: constant.shape.clone(),
            node: index,
            decays,
            data: data.to_vec(),
            tensor: now.require_grad(),
        });
    }

    fn get(&self, value: ValueId) -> Option<Batch> {
        if let Some(constant) = self.constants.get(&value) {
            return Some(constant.clone());
        }
        let leaf = &self.leaves[*self.by_value.get(&value)?];
        Some(leaf.tensor.clone().reshape(batched(1, &leaf.shape)))
    }

    fn set(&mut self, index: usize, data: Vec<f32>) {
        let leaf = &mut self.leaves[index];
        leaf.tensor = tensor(data.clone()).require_grad();
        leaf.data = data;
    }

    fn write(&self, graph: &Graph, data: &[Vec<f32>]) -> Graph {
        let mut graph = graph.clone();
        for (leaf, data) in self.leaves.iter().zip(data) {
            let now = pinhole_graph::Tensor::f32(&leaf.shape, data.clone());
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

/// A graph in floats with other token tables.
struct Tables<'a>(&'a Float, &'a BTreeMap<ValueId, Batch>);

impl Rules for Tables<'_> {
    fn constant(&self, node: &Node, value: ValueId) -> Batch {
        let table = self.1.get(&value).cloned();
        table.unwrap_or_else(|| self.0.constant(node, value))
    }
}

impl Network {
    /// Of every leaf, all of them training.
    fn infos(&self, graph: &Graph, of_node: &[usize]) -> Vec<LeafInfo> {
        let info = |value: ValueId, decays, layer, is_range| LeafInfo {
            name: match is_range {
                true => format!("range of {}", graph.values[value].name),
                false => graph.values[value].name.clone(),
            },
            decays,
            layer,
            is_range,
            trains: true,
        };
        match self {
            Self::Float(network) => {
                let leaves = network.leaves.iter();
                leaves
                    .map(|leaf| info(leaf.value, leaf.decays, of_node[leaf.node], false))
                    .collect()
            }
            Self::Quantised(network) => {
                let producers = graph.producers();
                let consumers = graph.consumers();
                let node = |value: ValueId| {
                    producers[value]
                        .or(consumers[value].first().copied())
                        .unwrap_or(0)
                };
                let leaves = network.leaves.iter();
                leaves
                    .map(|leaf| {
                        let layer = of_node[node(leaf.value)];
                        info(
                            leaf.value,
                            leaf.role == Role::Weight,
                            layer,
                            leaf.role == Role::Range,
                        )
                    })
                    .collect()
            }
        }
    }

    fn freeze(&mut self, index: usize) {
        match self {
            Self::Float(network) => {
                let leaf = &mut network.leaves[index];
                leaf.tensor = leaf.tensor.clone().detach();
            }
            Self::Quantised(network) => network.freeze(index),
        }
    }
}
