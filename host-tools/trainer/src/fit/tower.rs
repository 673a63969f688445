//! A network that trains: a graph, its leaves, and how it runs over a batch.
//!
//! A leaf is a constant of the graph: weights and biases of convolutions and linear layers, norms, token tables, positions
//! and what is like them. A layer is a node with a weight; what else trains counts to the layer behind it. Layers before
//! the first that trains hold constants, for which Burn keeps no graph.

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor};
use pinhole_graph::{Graph, Node, Op, ValueId};
use pinhole_quantize::Runner;

use super::float::{Float, Part};
use super::recipe::{Lora, Trainable};
use crate::TrainError;
use crate::device::Place;
use crate::network::quantised::{Quantised, Role};
use crate::network::{Batch, Feed, Halved, Rules, batched, run, run_recomputed, widened};
use crate::rng::Rng;

/// What is drawn for updates differs from what is drawn for other layers.
const LORA_SEED: u64 = 0x10_4a;

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
    /// Whether cheap activations are computed again in the backward pass.
    pub(super) recomputes: bool,
    /// Where it computes.
    pub(super) place: Place,
}

enum Network {
    Float(Box<Float>),
    Quantised(Box<Quantised>),
}

impl Tower {
    /// The layers of `graph` that `trainable` says, at `place`; one that is quantised trains with its rounding, and its
    /// ranges where `ranges`.
    ///
    /// # Errors
    /// A graph that has no layer that could train, or not as many as asked for.
    pub(super) fn new(
        graph: Graph,
        trainable: Trainable,
        ranges: bool,
        place: &Place,
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
            true => Network::Quantised(Box::new(Quantised::new(&graph, ranges, place))),
            false => Network::Float(Box::new(Float::new(&graph, place))),
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
            recomputes: false,
            place: place.clone(),
        })
    }

    /// A graph in floats of which nothing trains.
    pub(super) fn frozen(graph: Graph, place: &Place) -> Self {
        let of_node = layers(&graph);
        let mut network = Network::Float(Box::new(Float::new(&graph, place)));
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
            recomputes: false,
            place: place.clone(),
        }
    }

    /// Freezes what trains and adds low-rank updates to the matrices among it; a new last layer, where it `has_head`,
    /// has nothing to keep and trains as a whole.
    ///
    /// # Errors
    /// A graph without such a layer, or one that is quantised.
    pub(super) fn adapt(
        &mut self,
        lora: &Lora,
        has_head: bool,
        seed: u64,
    ) -> Result<(), TrainError> {
        let lacks = |found: &str| {
            let message = format!(
                "found {found}, expected linear layers or convolutions of 1 × 1 in f32 for `lora`"
            );
            TrainError::Setup(format!("{}: {message}", self.graph.name))
        };
        let Network::Float(network) = &mut self.network else {
            return Err(lacks("a quantised graph"));
        };
        let mut rng = Rng::new(seed ^ LORA_SEED);
        let bases = self.leaves.len();
        for index in 0..bases {
            let leaf = &mut self.leaves[index];
            let is_head = has_head && leaf.layer + 1 == self.layers;
            if !leaf.trains || is_head {
                continue;
            }
            leaf.trains = false;
            match network.is_matrix(&self.graph, index) {
                true => network.adapt(index, lora, &mut rng),
                false => network.freeze(index),
            }
        }
        let added = network.leaves[bases..].iter().map(|leaf| {
            let of = network
                .leaves
                .iter()
                .position(|base| base.value == leaf.value);
            let base = &self.leaves[of.unwrap_or(0)];
            let part = if leaf.part == Part::Down { "A" } else { "B" };
            LeafInfo {
                name: format!("{part} of {}", base.name),
                decays: leaf.decays,
                trains: true,
                ..base.clone()
            }
        });
        let added: Vec<LeafInfo> = added.collect();
        if added.is_empty() {
            return Err(lacks("none that trains"));
        }
        self.leaves.extend(added);
        Ok(())
    }

    /// Weights that have a low-rank update.
    pub(super) fn adapted(&self) -> usize {
        match &self.network {
            Network::Float(network) => {
                let ups = network.leaves.iter().filter(|leaf| leaf.part == Part::Up);
                ups.count()
            }
            Network::Quantised(_) => 0,
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
            Network::Float(network) => self.through(&**network, feed, wanted),
            Network::Quantised(network) => self.through(network.as_ref(), feed, wanted),
        }
    }

    fn through(
        &self,
        rules: &impl Rules,
        feed: Feed,
        wanted: &[ValueId],
    ) -> Result<Vec<Batch>, TrainError> {
        let Some(half) = self.place.precision.half() else {
            return self.passed(rules, feed, wanted);
        };
        let found = self.passed(&Halved { rules, half }, feed, wanted)?;
        Ok(found.into_iter().map(widened).collect())
    }

    fn passed(
        &self,
        rules: &impl Rules,
        feed: Feed,
        wanted: &[ValueId],
    ) -> Result<Vec<Batch>, TrainError> {
        match self.recomputes {
            true => run_recomputed(&self.graph, rules, feed, wanted),
            false => run(&self.graph, rules, feed, wanted),
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
        let batch = self.place.tensor(inputs.to_vec());
        let feed = Feed::Numbers(batch.reshape(batched(inputs.len() / len, shape)));
        match (&self.network, &self.runner) {
            (Network::Quantised(network), Some(runner)) => {
                let pictures: Vec<&[f32]> = inputs.chunks_exact(len).collect();
                let network = network.follow(&self.graph, runner, &pictures)?;
                self.through(&network, feed, wanted)
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
                self.through(&rules, Feed::Ids(ids), wanted)
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
                network.freeze(index);
            }
            Self::Quantised(network) => network.freeze(index),
        }
    }
}
