//! Fusion of ReLU and ReLU6 into the operator before them.

use crate::op::{Activation, Unary};
use crate::{Graph, Op};

/// Fuses `Clip` to [0, ∞) or [0, 6] into the convolution, linear layer or binary operator that feeds it and nothing else.
pub fn fuse_activations(graph: &mut Graph) {
    let producers = graph.producers();
    let consumers = graph.consumers();
    let mut fused = vec![false; graph.nodes.len()];
    for id in 0..graph.nodes.len() {
        let Some(activation) = activation_of(&graph.nodes[id].op) else {
            continue;
        };
        let x = graph.nodes[id].inputs[0];
        let Some(producer) = producers[x] else {
            continue;
        };
        if consumers[x].len() != 1 || graph.outputs.contains(&x) || fused[producer] {
            continue;
        }
        let output = graph.nodes[id].output;
        if let Some(slot) = activation_slot(&mut graph.nodes[producer].op)
            && *slot == Activation::None
        {
            *slot = activation;
            graph.nodes[producer].output = output;
            fused[id] = true;
        }
    }
    let mut fused = fused.into_iter();
    graph.nodes.retain(|_| !fused.next().unwrap_or(false));
    super::remove_dead(graph);
}

fn activation_of(op: &Op) -> Option<Activation> {
    match op {
        Op::Unary {
            function: Unary::Clip { min: 0.0, max },
        } => match *max {
            f32::INFINITY => Some(Activation::Relu),
            6.0 => Some(Activation::Relu6),
            _ => None,
        },
        _ => None,
    }
}

fn activation_slot(op: &mut Op) -> Option<&mut Activation> {
    match op {
        Op::Conv2d { activation, .. }
        | Op::Linear { activation }
        | Op::Binary { activation, .. } => Some(activation),
        _ => None,
    }
}
