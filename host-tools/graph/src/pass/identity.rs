//! Removal of nodes that copy their input.

use crate::op::Unary;
use crate::{Graph, Node, Op, ValueId};

/// Removes nodes that change neither elements nor shape, when their output is not an output of the graph.
/// `NormalizeEmbedding` stays: it means something once the graph is quantised.
pub fn remove_identities(graph: &mut Graph) {
    let mut kept = Vec::with_capacity(graph.nodes.len());
    let mut replacement: Vec<ValueId> = (0..graph.values.len()).collect();
    for mut node in std::mem::take(&mut graph.nodes) {
        for input in &mut node.inputs {
            *input = replacement[*input];
        }
        if is_identity(graph, &node) && !graph.outputs.contains(&node.output) {
            replacement[node.output] = node.inputs[0];
        } else {
            kept.push(node);
        }
    }
    graph.nodes = kept;
    super::remove_dead(graph);
}

fn is_identity(graph: &Graph, node: &Node) -> bool {
    let (x, y) = (&graph.values[node.inputs[0]], &graph.values[node.output]);
    let same = x.shape == y.shape && x.dynamic == y.dynamic;
    same && match &node.op {
        Op::Reshape | Op::Slice { .. } => true,
        Op::Transpose { permutation } => permutation.iter().copied().eq(0..permutation.len()),
        Op::Concat { .. } => node.inputs.len() == 1,
        Op::Pad { before, after, .. } => before.iter().chain(after).all(|&count| count == 0),
        Op::Unary {
            function: Unary::Clip { min, max },
        } => *min == f32::NEG_INFINITY && *max == f32::INFINITY,
        Op::Unary {
            function: Unary::Affine { alpha, beta },
        } => *alpha == 1.0 && *beta == 0.0,
        Op::AvgPool {
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0, 0, 0],
            ..
        } => true,
        Op::MaxPool {
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0, 0, 0],
        } => true,
        _ => false,
    }
}
