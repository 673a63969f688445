//! A [`Graph`] as a function that Burn can differentiate, over a batch of inputs.
//!
//! Every value is one tensor `[batch, d0, d1, d2, d3, d4]`: the shape that the graph says, ones in front where it has fewer than
//! five dimensions (windows of a picture have five before they are packed). What the constants are (leaves that train, or fixed numbers) and what becomes of an activation (as it is,
//! or rounded as quantisation rounds it) is the business of [`Rules`]; the operators are in `network/operator.rs`.

#[cfg(test)]
pub(crate) mod fixture;
mod layers;
mod operator;
pub(crate) use operator::hidden;
pub(crate) mod quantised;
mod window;

use burn::tensor::{DType, FloatDType, GradientCheckpointingStrategy, Int, Tensor};
use pinhole_graph::{Graph, Node, Op, ValueId};

use crate::TrainError;

/// Dimensions of a value and of the batch before them.
pub(crate) const RANK: usize = 6;

/// A value for a whole batch, `[batch, d0, d1, d2, d3, d4]`; `[1, …]` for constants.
pub(crate) type Batch = Tensor<RANK>;

/// What a network is made of beside its operators.
pub(crate) trait Rules {
    /// The constant `value` as `node` reads it, in the graph's shape behind a batch of one.
    fn constant(&self, node: &Node, value: ValueId) -> Batch;

    /// What becomes of an input or of a computed value.
    fn activation(&self, _value: ValueId, x: Batch) -> Batch {
        x
    }
}

/// What goes into a graph.
pub(crate) enum Feed {
    /// A batch of the first input.
    Numbers(Batch),
    /// Token ids `[batch, tokens]`: texts of one length, which is the number of tokens of this run.
    Ids(Tensor<2, Int>),
}

/// The first output for a batch of the first input, `[batch, …]`.
///
/// # Errors
/// [`TrainError::Operator`] for a node that has no derivative here.
///
/// # Panics
/// When the graph was not validated.
pub(crate) fn forward(
    graph: &Graph,
    rules: &impl Rules,
    input: Batch,
) -> Result<Batch, TrainError> {
    let mut found = run(graph, rules, Feed::Numbers(input), &graph.outputs[..1])?;
    Ok(found.remove(0))
}

/// The values `wanted` for what goes in, each `[batch, …]`. Of dynamic values dimension 0 is the number of tokens of
/// this run, as in the runtime.
///
/// # Errors
/// As [`forward`].
///
/// # Panics
/// As [`forward`], or when a value is wanted that no node computes.
pub(crate) fn run(
    graph: &Graph,
    rules: &impl Rules,
    feed: Feed,
    wanted: &[ValueId],
) -> Result<Vec<Batch>, TrainError> {
    let has_room = |node: &&Node| graph.values[node.output].shape.len() < RANK;
    if let Some(node) = graph.nodes.iter().find(|node| !has_room(node)) {
        return Err(TrainError::Operator {
            node: node.name.clone(),
            op: "a value of so many dimensions",
        });
    }
    let mut values: Vec<Option<Batch>> = vec![None; graph.values.len()];
    let mut readers = readers(graph, wanted);
    let mut given = None;
    let tokens = match feed {
        Feed::Numbers(input) => {
            values[graph.inputs[0]] = Some(rules.activation(graph.inputs[0], input));
            None
        }
        Feed::Ids(ids) => {
            let [_, tokens] = ids.dims();
            given = Some(ids);
            Some(tokens)
        }
    };
    let shapes = Shapes { graph, tokens };
    for node in &graph.nodes {
        let read = |&value: &ValueId| match &values[value] {
            Some(batch) => batch.clone(),
            None => rules.constant(node, value),
        };
        let is_ids = |value: &ValueId| given.is_some() && *value == graph.inputs[0];
        let numbers = node.inputs.iter().filter(|value| !is_ids(value));
        let mut inputs: Vec<Batch> = numbers.map(read).collect();
        for &input in &node.inputs {
            readers[input] -= 1;
            if readers[input] == 0 {
                values[input] = None;
            }
        }
        if operator::is_wide(&node.op) {
            inputs = inputs.into_iter().map(widened).collect();
        }
        let output = match (&node.op, &given) {
            (Op::Embedding, Some(ids)) if inputs.len() == 1 => {
                operator::embedding(ids, inputs.remove(0))
            }
            _ => operator::apply(&shapes, node, inputs)?,
        };
        values[node.output] = Some(rules.activation(node.output, output));
    }
    let found = wanted.iter().map(|&value| values[value].clone());
    Ok(found
        .map(|value| value.expect("a node or the input gives it"))
        .collect())
}

/// [`run`] for a gradient that keeps less: what is cheap to compute (sums, functions of single numbers) is computed
/// again in the backward pass (Chen et al., 2016, arXiv 1604.06174; Burn decides which). Numbers and gradients are the same.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_recomputed(
    graph: &Graph,
    rules: &impl Rules,
    feed: Feed,
    wanted: &[ValueId],
) -> Result<Vec<Batch>, TrainError> {
    let feed = match feed {
        Feed::Numbers(input) => Feed::Numbers(recomputed(input)),
        ids @ Feed::Ids(_) => ids,
    };
    let found = run(graph, &Recomputed(rules), feed, wanted)?;
    Ok(found.into_iter().map(kept).collect())
}

/// Burn takes the way of an operation from its inputs, which have to be of one mind; rules work in the usual way.
struct Recomputed<'a, R>(&'a R);

impl<R: Rules> Rules for Recomputed<'_, R> {
    fn constant(&self, node: &Node, value: ValueId) -> Batch {
        recomputed(self.0.constant(node, value))
    }

    fn activation(&self, value: ValueId, x: Batch) -> Batch {
        recomputed(self.0.activation(value, kept(x)))
    }
}

fn recomputed(x: Batch) -> Batch {
    x.with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Balanced)
}

fn kept(x: Batch) -> Batch {
    x.with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Disabled)
}

/// Rules under which values have half the width of f32: what nodes read, and what they give. Operators that sum many numbers
/// or need range ([`operator::is_wide`]) compute in f32, and read their constants so.
pub(crate) struct Halved<'a, R> {
    pub(crate) rules: &'a R,
    pub(crate) half: FloatDType,
}

impl<R: Rules> Rules for Halved<'_, R> {
    fn constant(&self, node: &Node, value: ValueId) -> Batch {
        let constant = self.rules.constant(node, value);
        match operator::is_wide(&node.op) {
            true => constant,
            false => constant.cast(self.half),
        }
    }

    fn activation(&self, value: ValueId, x: Batch) -> Batch {
        self.rules.activation(value, x.cast(self.half))
    }
}

/// `x` in f32, where it is of half the width.
pub(crate) fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(FloatDType::F32),
        _ => x,
    }
}

/// The shapes of a run.
pub(crate) struct Shapes<'a> {
    graph: &'a Graph,
    /// Of dynamic values.
    tokens: Option<usize>,
}

impl Shapes<'_> {
    /// The shape of `value` in this run.
    fn of(&self, value: ValueId) -> Vec<usize> {
        let mut shape = self.graph.values[value].shape.clone();
        if let (true, Some(tokens)) = (self.graph.values[value].dynamic, self.tokens) {
            shape[0] = tokens;
        }
        shape
    }

    /// Whether dimension 0 of `value` is the number of tokens.
    fn is_dynamic(&self, value: ValueId) -> bool {
        self.tokens.is_some() && self.graph.values[value].dynamic
    }
}

/// How often each value is read, those that are wanted once more.
fn readers(graph: &Graph, wanted: &[ValueId]) -> Vec<usize> {
    let mut readers = vec![0; graph.values.len()];
    let read = graph.nodes.iter().flat_map(|node| &node.inputs);
    read.chain(wanted).for_each(|&value| readers[value] += 1);
    readers
}

/// `shape` behind a batch, with ones in front.
///
/// # Panics
/// When it has more than five dimensions.
pub(crate) fn batched(batch: usize, shape: &[usize]) -> [usize; RANK] {
    let mut dims = [1; RANK];
    dims[0] = batch;
    dims[RANK - shape.len()..].copy_from_slice(shape);
    dims
}

#[cfg(test)]
mod tests;
