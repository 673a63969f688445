//! Rounding as quantisation rounds, with gradients as if it did not (the straight-through estimator; Jacob et al. 2018, arXiv
//! 1712.05877). Ranges of activations may train too: LSQ+ without its offset (Esser et al. 2020, arXiv 1902.08153).
//!
//! Weights keep the scales of the graph, one an output channel: they may have been chosen with care, and a few hundred
//! small steps leave them right. What an activation rounds to comes from a run of the packed model itself
//! ([`Quantised::follow`]): a tie that falls to the other side, or the step of a 16-bit value, is enough to give the layers
//! behind it other roundings altogether, and a network that trained with its own would not be the one that is packed. What
//! the packed model does not show, because it was fused away, is rounded here.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor, TensorData};
use pinhole_graph::op::Binary;
use pinhole_graph::{Graph, Node, Op, QuantDType, QuantParams, ValueId};
use pinhole_quantize::scheme::scale_groups;
use pinhole_quantize::{Input, Runner};
use rayon::prelude::*;

use super::{Batch, RANK, Rules, batched};
use crate::TrainError;
use crate::device::Place;

/// Steps of the largest weight.
const WEIGHT_STEPS: f32 = 127.0;

/// What a leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A weight, each output channel in units of 127 of its steps.
    Weight,
    /// A bias, in units of the largest magnitude of the layer's output.
    Bias,
    /// ln of the scale of activations over what it was at the start.
    Range,
}

/// Numbers that train.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// A constant of the graph, or the first of the values that share a scale.
    pub(crate) value: ValueId,
    pub(crate) role: Role,
    /// Of the constant in the graph.
    shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
    /// What a number is a multiple of, one for each output channel of a weight, else one for all.
    pub(crate) units: Vec<f32>,
    /// `data` as Burn has it.
    pub(crate) tensor: Tensor<1>,
    /// Whether it is a constant after all.
    pub(crate) is_frozen: bool,
}

/// A quantised graph whose weights, biases and ranges train.
#[derive(Clone)]
pub(crate) struct Quantised {
    pub(crate) leaves: Vec<Leaf>,
    by_value: BTreeMap<ValueId, usize>,
    constants: BTreeMap<ValueId, Batch>,
    /// For each value of 8 bits that is rounded: the leaf of its range, its parameters.
    rounded: BTreeMap<ValueId, (Option<usize>, QuantParams)>,
    device: Device,
}

/// A network that rounds on one batch as the packed model does.
pub(crate) struct Following<'a> {
    network: &'a Quantised,
    /// What the packed model gives for the batch, `[batch, …]`; 16-bit values too.
    packed: BTreeMap<ValueId, Batch>,
}

impl Quantised {
    /// Leaves for all integer layers of `graph`, at `place`; ranges train when `ranges`.
    pub(crate) fn new(graph: &Graph, ranges: bool, place: &Place) -> Self {
        let mut network = Self {
            leaves: Vec::new(),
            by_value: BTreeMap::new(),
            constants: BTreeMap::new(),
            rounded: BTreeMap::new(),
            device: place.device().clone(),
        };
        for node in &graph.nodes {
            for (place, &value) in node.inputs.iter().enumerate() {
                network.constant_leaf(graph, node, place, value);
            }
        }
        network.round(graph, ranges);
        network
    }

    fn constant_leaf(&mut self, graph: &Graph, node: &Node, place: usize, value: ValueId) {
        let Some((tensor, data)) = graph.values[value]
            .constant
            .as_ref()
            .and_then(|tensor| Some((tensor, tensor.as_f32()?)))
        else {
            return;
        };
        if self.by_value.contains_key(&value) || self.constants.contains_key(&value) {
            return;
        }
        let layer = matches!(node.op, Op::Conv2d { .. } | Op::Linear { .. });
        let integer = graph.values[node.output].quant.is_some()
            && !graph.meta.float_nodes.contains(&node.name);
        match (place, &graph.values[value].quant) {
            (1, Some(quant)) if layer && integer => {
                let rows = tensor.shape[0];
                let row = data.len() / rows;
                let scales = quant.scales.iter().cycle().take(rows);
                let units: Vec<f32> = scales.map(|scale| WEIGHT_STEPS * scale).collect();
                let data = data.iter().enumerate().map(|(i, x)| x / units[i / row]);
                self.leaf(value, Role::Weight, &tensor.shape, data.collect(), units);
            }
            (2, _) if layer && integer => {
                let unit = graph.values[node.output].quant.as_ref().map_or(1.0, reach);
                let data: Vec<f32> = data.iter().map(|x| x / unit).collect();
                self.leaf(value, Role::Bias, &tensor.shape, data, vec![unit]);
            }
            _ => {
                let dims = batched(1, &tensor.shape);
                let data = Tensor::<1>::from_data(
                    TensorData::new(data.to_vec(), [data.len()]),
                    &self.device,
                );
                self.constants.insert(value, data.reshape(dims));
            }
        }
    }

    fn leaf(
        &mut self,
        value: ValueId,
        role: Role,
        shape: &[usize],
        data: Vec<f32>,
        units: Vec<f32>,
    ) {
        let count = data.len();
        let tensor =
            Tensor::from_data(TensorData::new(data.clone(), [count]), &self.device).require_grad();
        self.by_value.insert(value, self.leaves.len());
        self.leaves.push(Leaf {
            value,
            role,
            shape: shape.to_vec(),
            data,
            units,
            tensor,
            is_frozen: false,
        });
    }

    /// Values that are rounded, and the leaves of their ranges.
    fn round(&mut self, graph: &Graph, ranges: bool) {
        let producers = graph.producers();
        let groups = scale_groups(graph);
        let mut leaves: BTreeMap<ValueId, usize> = BTreeMap::new();
        for (value, found) in graph.values.iter().enumerate() {
            let Some(quant) = found
                .quant
                .as_ref()
                .filter(|quant| quant.dtype == QuantDType::I8)
            else {
                continue;
            };
            let moved = producers[value].is_some_and(|node| moves_numbers(&graph.nodes[node].op));
            if found.constant.is_some() || moved {
                continue;
            }
            let trains = ranges && !is_fixed(graph, &groups, groups[value]);
            let leaf = trains.then(|| {
                *leaves.entry(groups[value]).or_insert_with(|| {
                    let root = groups[value];
                    self.leaf(root, Role::Range, &[], vec![0.0], vec![quant.scales[0]]);
                    self.leaves.len() - 1
                })
            });
            self.rounded.insert(value, (leaf, quant.clone()));
        }
    }

    /// Puts `data` into leaf `index`.
    pub(crate) fn set(&mut self, index: usize, data: Vec<f32>) {
        let leaf = &mut self.leaves[index];
        let count = data.len();
        let tensor = Tensor::from_data(TensorData::new(data.clone(), [count]), &self.device);
        leaf.tensor = match leaf.is_frozen {
            true => tensor,
            false => tensor.require_grad(),
        };
        leaf.data = data;
    }

    /// The model that `graph` packs to with what the leaves are now.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub(crate) fn runner(&self, graph: &Graph) -> Result<Runner, TrainError> {
        Ok(Runner::new(&self.write(graph))?)
    }

    /// This network with the roundings of `runner`, its [`Quantised::runner`], on `inputs`.
    ///
    /// # Errors
    /// When the model does not run.
    pub(crate) fn follow<S: AsRef<[f32]> + Sync>(
        &self,
        graph: &Graph,
        runner: &Runner,
        inputs: &[S],
    ) -> Result<Following<'_>, TrainError> {
        let is_wanted = |value: ValueId| {
            let quant = graph.values[value].quant.as_ref();
            let is_wide = quant.is_some_and(|quant| quant.dtype == QuantDType::I16);
            is_wide || self.rounded.contains_key(&value)
        };
        let runs = inputs.par_iter().enumerate().map(|(index, input)| {
            let mut seen = BTreeMap::new();
            let input = Input::Reals(input.as_ref().to_vec());
            runner.run(index, &input, &mut |value, reals| {
                if is_wanted(value) {
                    seen.insert(value, reals.to_vec());
                }
            })?;
            Ok::<_, TrainError>(seen)
        });
        let mut batch: BTreeMap<ValueId, Vec<f32>> = BTreeMap::new();
        for seen in runs.collect::<Result<Vec<_>, _>>()? {
            for (value, reals) in seen {
                batch.entry(value).or_default().extend(reals);
            }
        }
        let packed = batch
            .into_iter()
            .map(|(value, reals)| {
                let dims = batched(inputs.len(), &graph.values[value].shape);
                let count = reals.len();
                let reals = TensorData::new(reals, [count]);
                let reals = Tensor::<1>::from_data(reals, &self.device).reshape(dims);
                (value, reals)
            })
            .collect();
        Ok(Following {
            network: self,
            packed,
        })
    }

    /// Makes leaf `index` a constant.
    pub(crate) fn freeze(&mut self, index: usize) {
        let leaf = &mut self.leaves[index];
        leaf.tensor = leaf.tensor.clone().detach();
        leaf.is_frozen = true;
    }

    /// Inputs `[batch, …]`, one after another in `data`.
    pub(crate) fn input(&self, graph: &Graph, data: Vec<f32>) -> Batch {
        let shape = &graph.values[graph.inputs[0]].shape;
        let batch = data.len() / shape.iter().product::<usize>();
        let count = data.len();
        Tensor::<1>::from_data(TensorData::new(data, [count]), &self.device)
            .reshape(batched(batch, shape))
    }

    /// A constant `[rows, columns]`.
    pub(crate) fn rows(&self, data: Vec<f32>, columns: usize) -> Tensor<2> {
        let rows = data.len() / columns;
        Tensor::from_data(TensorData::new(data, [rows, columns]), &self.device)
    }

    /// A copy of `graph` with what the leaves are now.
    pub(crate) fn write(&self, graph: &Graph) -> Graph {
        let mut graph = graph.clone();
        let groups = scale_groups(&graph);
        for leaf in &self.leaves {
            if leaf.role == Role::Range {
                let scale = leaf.units[0] * leaf.data[0].exp();
                for value in (0..graph.values.len()).filter(|&value| groups[value] == leaf.value) {
                    if let Some(quant) = &mut graph.values[value].quant {
                        quant.scales = vec![scale];
                    }
                }
                continue;
            }
            let row = leaf.data.len() / leaf.units.len();
            let reals = leaf
                .data
                .iter()
                .enumerate()
                .map(|(i, x)| x * leaf.units[i / row]);
            if let Some(tensor) = &mut graph.values[leaf.value].constant {
                *tensor = pinhole_graph::Tensor::f32(&tensor.shape, reals.collect());
            }
        }
        graph
    }
}

impl Rules for Quantised {
    fn constant(&self, _node: &Node, value: ValueId) -> Batch {
        if let Some(constant) = self.constants.get(&value) {
            return constant.clone();
        }
        let leaf = &self.leaves[self.by_value[&value]];
        match leaf.role {
            Role::Weight => self.weight(leaf),
            _ => leaf
                .tensor
                .clone()
                .mul_scalar(leaf.units[0])
                .reshape(batched(1, &leaf.shape)),
        }
    }

    fn activation(&self, value: ValueId, x: Batch) -> Batch {
        self.round_as(value, x, None)
    }
}

impl Rules for Following<'_> {
    fn constant(&self, node: &Node, value: ValueId) -> Batch {
        self.network.constant(node, value)
    }

    fn activation(&self, value: ValueId, x: Batch) -> Batch {
        let packed = self.packed.get(&value).cloned();
        self.network.round_as(value, x, packed)
    }
}

impl Quantised {
    /// `x` rounded, to the numbers `packed` where there are some.
    fn round_as(&self, value: ValueId, x: Batch, packed: Option<Batch>) -> Batch {
        let Some((leaf, quant)) = self.rounded.get(&value) else {
            return match packed {
                Some(packed) => through(x, packed),
                None => x,
            };
        };
        let [low, high] = [-128, 127].map(|end: i32| (end - quant.zero_point) as f32);
        let round = |steps: Batch, scale: Batch| match packed {
            Some(packed) => (packed / scale).round(),
            None => steps.round(),
        };
        match leaf {
            None => {
                let scale = Tensor::<1>::from_data([quant.scales[0]], &self.device);
                let scale = scale.reshape([1; RANK]);
                let x = x.clamp(low * quant.scales[0], high * quant.scales[0]);
                let steps = x.clone().detach() / scale.clone();
                let rounded = round(steps, scale.clone()) * scale;
                through(x, rounded)
            }
            Some(leaf) => {
                let leaf = &self.leaves[*leaf];
                let scale = leaf
                    .tensor
                    .clone()
                    .exp()
                    .mul_scalar(leaf.units[0])
                    .reshape([1; RANK]);
                let steps = (x / scale.clone()).clamp(low, high);
                let rounded = round(steps.clone().detach(), scale.clone().detach());
                through(steps, rounded) * scale
            }
        }
    }

    fn weight(&self, leaf: &Leaf) -> Batch {
        let rows = leaf.units.len();
        let columns = leaf.data.len() / rows;
        let x = leaf.tensor.clone().reshape([rows, columns]);
        let now = x.clone().detach();
        let rounded = now
            .mul_scalar(WEIGHT_STEPS)
            .round()
            .clamp(-WEIGHT_STEPS, WEIGHT_STEPS)
            .div_scalar(WEIGHT_STEPS);
        let units =
            Tensor::<1>::from_data(TensorData::new(leaf.units.clone(), [rows]), &self.device);
        (through(x, rounded) * units.reshape([rows, 1])).reshape(batched(1, &leaf.shape))
    }
}

/// The numbers of `rounded`, the gradient of `x`.
fn through<const D: usize>(x: Tensor<D>, rounded: Tensor<D>) -> Tensor<D> {
    let now = x.clone().detach();
    x + (rounded - now).detach()
}

/// Largest magnitude of a quantised value.
fn reach(quant: &QuantParams) -> f32 {
    quant.scales[0]
        * match quant.dtype {
            QuantDType::I8 => 128.0 + quant.zero_point.unsigned_abs() as f32,
            QuantDType::I16 => 32767.0 / 4.0,
        }
}

/// Operators whose outputs are numbers of their inputs, which are rounded already.
fn moves_numbers(op: &Op) -> bool {
    op.only_moves() || matches!(op, Op::MaxPool { .. } | Op::NormalizeEmbedding)
}

/// Whether a scale is what it is by definition: of pixels, probabilities, directions, and of the parts of a value in 16 bits,
/// the fine one of which has steps that the coarse one leaves.
fn is_fixed(graph: &Graph, groups: &[ValueId], root: ValueId) -> bool {
    let producers = graph.producers();
    let fixed = |node: &Node| {
        matches!(node.op, Op::Softmax { .. } | Op::NormalizeEmbedding) || is_difference(node)
    };
    let parts = graph.nodes.iter().filter(|node| is_difference(node));
    let parts: BTreeSet<ValueId> = parts.flat_map(|node| node.inputs.clone()).collect();
    let mut members = (0..graph.values.len()).filter(|&value| groups[value] == root);
    members.any(|value| {
        parts.contains(&value) || producers[value].is_none_or(|node| fixed(&graph.nodes[node]))
    })
}

fn is_difference(node: &Node) -> bool {
    matches!(
        node.op,
        Op::Binary {
            function: Binary::Sub,
            ..
        }
    )
}
