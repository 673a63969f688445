//! Folding of batch normalisation (Ioffe and Szegedy 2015, <https://arxiv.org/abs/1502.03167>) as it runs after training:
//! y = (x − mean) · scale / √(variance + ε) + offset, one affine function a channel. A product with one constant a channel
//! (LayerScale, Touvron et al. 2021, <https://arxiv.org/abs/2103.17239>) and a sum with one are such functions too.
//!
//! Behind a convolution or linear layer that feeds nothing else it goes into weight and bias; elsewhere it becomes a
//! product and a sum, or stays the product that it is. Arithmetic is f64, so that folding costs no accuracy.

use crate::op::{Activation, Binary};
use crate::{Graph, Node, Op, Tensor, ValueId};

/// Removes every `BatchNorm` whose parameters are constants, and folds what else is affine by channel.
pub fn fold_batch_norm(graph: &mut Graph) {
    let producers = graph.producers();
    let consumers = graph.consumers();
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    // Where each node went, so that a producer can be found and rewritten.
    let mut moved = vec![usize::MAX; graph.nodes.len()];
    // A copy, so that new names are compared with all old ones.
    for (id, node) in graph.nodes.clone().into_iter().enumerate() {
        let Some(affine) = Affine::of(graph, &node) else {
            moved[id] = nodes.len();
            nodes.push(node);
            continue;
        };
        let x = affine.x;
        let sole = consumers[x].len() == 1 && !graph.outputs.contains(&x);
        let before = producers[x]
            .map(|producer| moved[producer])
            .filter(|_| sole);
        let folded = before
            .and_then(|at| nodes.get_mut(at))
            .is_some_and(|producer| fold_into(graph, producer, &affine, node.output));
        if let (true, Some(at)) = (folded, before) {
            // The layer now writes what this node wrote: the next one may fold into it too.
            moved[id] = at;
        } else if matches!(node.op, Op::BatchNorm { .. }) {
            spell_out(graph, &mut nodes, &node, &affine);
        } else {
            moved[id] = nodes.len();
            nodes.push(node);
        }
    }
    graph.nodes = nodes;
    super::remove_dead(graph);
}

/// alpha · x + beta, channel by channel.
struct Affine {
    x: ValueId,
    alpha: Vec<f64>,
    beta: Vec<f64>,
}

impl Affine {
    fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let Op::BatchNorm { epsilon } = node.op else {
            return Self::of_binary(graph, node);
        };
        let parameter = |index: usize| graph.values[node.inputs[index]].constant.as_ref()?.as_f32();
        let (scale, offset, mean, variance) =
            (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        let alpha: Vec<f64> = scale
            .iter()
            .zip(variance)
            .map(|(&scale, &variance)| {
                f64::from(scale) / (f64::from(variance) + f64::from(epsilon)).sqrt()
            })
            .collect();
        let beta = offset
            .iter()
            .zip(mean)
            .zip(&alpha)
            .map(|((&offset, &mean), alpha)| f64::from(offset) - f64::from(mean) * alpha)
            .collect();
        let x = node.inputs[0];
        Some(Self { x, alpha, beta })
    }

    /// A product or a sum with a constant of one number a channel, that leaves the shape as it is.
    fn of_binary(graph: &Graph, node: &Node) -> Option<Self> {
        let Op::Binary {
            function,
            activation: Activation::None,
        } = node.op
        else {
            return None;
        };
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let constant = |id: ValueId| graph.values[id].constant.as_ref();
        let (x, vector) = match (constant(a), constant(b)) {
            (None, Some(vector)) => (a, vector),
            (Some(vector), None) => (b, vector),
            _ => return None,
        };
        let channels = *graph.values[x].shape.last()?;
        let by_channel = vector.shape.last() == Some(&channels) && vector.len() == channels;
        if !by_channel || graph.values[x].shape != graph.values[node.output].shape {
            return None;
        }
        let data = vector.as_f32()?.iter().map(|&value| f64::from(value));
        match function {
            Binary::Mul => Some(Self {
                x,
                alpha: data.collect(),
                beta: vec![0.0; channels],
            }),
            Binary::Add => Some(Self {
                x,
                alpha: vec![1.0; channels],
                beta: data.collect(),
            }),
            _ => None,
        }
    }
}

/// Folds into a convolution or linear layer, which writes `output` then; false when it is neither, or has an activation between.
fn fold_into(graph: &mut Graph, producer: &mut Node, affine: &Affine, output: ValueId) -> bool {
    let (Op::Conv2d {
        activation: Activation::None,
        ..
    }
    | Op::Linear {
        activation: Activation::None,
    }) = producer.op
    else {
        return false;
    };
    let channels = affine.alpha.len();
    let Some(weight) = graph.values[producer.inputs[1]].constant.clone() else {
        return false;
    };
    let bias = match producer.inputs.get(2) {
        None => vec![0.0; channels],
        Some(&bias) => match graph.values[bias]
            .constant
            .as_ref()
            .and_then(Tensor::as_f32)
        {
            Some(bias) => bias.to_vec(),
            None => return false,
        },
    };
    let Some(data) = weight
        .as_f32()
        .filter(|_| weight.shape[0] == channels && bias.len() == channels)
    else {
        return false;
    };
    let per_channel = data.len() / channels;
    let folded = data
        .iter()
        .enumerate()
        .map(|(index, &w)| (f64::from(w) * affine.alpha[index / per_channel]) as f32)
        .collect();
    let bias = (0..channels)
        .map(|c| (f64::from(bias[c]) * affine.alpha[c] + affine.beta[c]) as f32)
        .collect();
    let weight_name = graph.unique_name(&format!("{}.folded_weight", producer.name));
    let weight = graph.add_constant(weight_name, Tensor::f32(&weight.shape, folded));
    let bias_name = graph.unique_name(&format!("{}.folded_bias", producer.name));
    let bias = graph.add_constant(bias_name, Tensor::f32(&[channels], bias));
    producer.inputs.truncate(1);
    producer.inputs.extend([weight, bias]);
    producer.output = output;
    true
}

/// A product and a sum in the place of the node.
fn spell_out(graph: &mut Graph, nodes: &mut Vec<Node>, node: &Node, affine: &Affine) {
    let constant = |graph: &mut Graph, part: &str, data: &[f64]| -> ValueId {
        let name = graph.unique_name(&format!("{}.{part}", node.name));
        let data: Vec<f32> = data.iter().map(|&value| value as f32).collect();
        graph.add_constant(name, Tensor::f32(&[data.len()], data))
    };
    let alpha = constant(graph, "alpha", &affine.alpha);
    let beta = constant(graph, "beta", &affine.beta);
    let scaled_name = graph.unique_name(&format!("{}.scaled", node.name));
    let shape = graph.values[node.output].shape.clone();
    let scaled = graph.add_value(scaled_name.clone(), &shape);
    graph.values[scaled].dynamic = graph.values[node.output].dynamic;
    let binary = |function| Op::Binary {
        function,
        activation: Activation::None,
    };
    nodes.push(Node {
        name: scaled_name,
        op: binary(Binary::Mul),
        inputs: vec![node.inputs[0], alpha],
        output: scaled,
    });
    nodes.push(Node {
        name: node.name.clone(),
        op: binary(Binary::Add),
        inputs: vec![scaled, beta],
        output: node.output,
    });
}
