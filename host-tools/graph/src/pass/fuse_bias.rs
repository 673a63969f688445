//! Fusion of a sum with one constant a channel into the convolution or linear layer before it: exporters write a linear
//! layer as `MatMul` and `Add`.

use std::collections::HashSet;

use crate::op::{Activation, Binary};
use crate::{Graph, Op, TensorData};

/// Fuses every such sum whose layer has no bias yet and feeds nothing else.
pub fn fuse_bias(graph: &mut Graph) {
    let producers = graph.producers();
    let consumers = graph.consumers();
    let mut fused = HashSet::new();
    for id in 0..graph.nodes.len() {
        let node = &graph.nodes[id];
        let Op::Binary {
            function: Binary::Add,
            activation,
        } = node.op
        else {
            continue;
        };
        let (a, b, output) = (node.inputs[0], node.inputs[1], node.output);
        let matched = [(a, b), (b, a)].into_iter().find_map(|(x, bias)| {
            let producer = producers[x]?;
            let alone = consumers[x].len() == 1 && !graph.outputs.contains(&x);
            let same = graph.values[x].shape == graph.values[output].shape;
            (alone && same && takes_bias(graph, producer, bias)).then_some((producer, bias))
        });
        let Some((producer, bias)) = matched else {
            continue;
        };
        let Some(vector) = as_vector(graph, bias) else {
            continue;
        };
        let node = &mut graph.nodes[producer];
        node.inputs.push(vector);
        node.output = output;
        if let Op::Conv2d {
            activation: slot, ..
        }
        | Op::Linear { activation: slot } = &mut node.op
        {
            *slot = activation;
        }
        fused.insert(output);
    }
    // The layer writes what the sum wrote; the sum is the later of the two.
    let mut seen = HashSet::new();
    graph
        .nodes
        .retain(|node| !fused.contains(&node.output) || seen.insert(node.output));
    super::remove_dead(graph);
}

/// Whether a node is a layer without a bias whose output channels a constant has one number for each of.
fn takes_bias(graph: &Graph, producer: usize, bias: usize) -> bool {
    let layer = &graph.nodes[producer];
    let (Op::Conv2d {
        activation: Activation::None,
        ..
    }
    | Op::Linear {
        activation: Activation::None,
    }) = layer.op
    else {
        return false;
    };
    let channels = graph.values[layer.output].shape.last().copied();
    let shape = &graph.values[bias].shape;
    layer.inputs.len() == 2
        && graph.values[bias].constant.is_some()
        && shape.last().copied() == channels
        && shape.iter().rev().skip(1).all(|&size| size == 1)
}

/// A constant (1, …, n) as (n).
fn as_vector(graph: &mut Graph, bias: usize) -> Option<usize> {
    if graph.values[bias].shape.len() == 1 {
        return Some(bias);
    }
    let mut tensor = graph.values[bias].constant.clone()?;
    let TensorData::F32(_) = tensor.data else {
        return None;
    };
    tensor.shape = vec![tensor.len()];
    let name = graph.unique_name(&format!("{}.vector", graph.values[bias].name));
    Some(graph.add_constant(name, tensor))
}
