//! What attention reads, in steps around 0.
//!
//! Attention over integers takes queries, keys and values without zero points (`docs/numerics.md`), while a quantiser
//! that knows of products alone gives them some. Such a value gets larger steps around 0 that reach as far as those of
//! the file did.

use super::quantised::moves;
use crate::{Graph, Op, QuantDType, QuantParams, ValueId};

/// Magnitudes of the least and the largest step of a byte.
const LEAST: i32 = 128;
const LARGEST: f32 = 127.0;

/// Takes the zero points from what attention reads.
pub(super) fn centre(graph: &mut Graph) {
    let attention = |op: &Op| matches!(op, Op::Attention { .. });
    let read: Vec<ValueId> = graph
        .nodes
        .iter()
        .filter(|node| attention(&node.op))
        .flat_map(|node| node.inputs.iter().take(3).copied())
        .collect();
    for id in read {
        let centred = graph.values[id].quant.as_ref().and_then(centred);
        if let Some(centred) = centred {
            let root = origin(graph, id);
            set(graph, root, &centred);
        }
    }
}

/// The same range around 0, `None` where there is nothing to change.
fn centred(quant: &QuantParams) -> Option<QuantParams> {
    let reach = (LEAST + quant.zero_point.abs()) as f32;
    (quant.dtype == QuantDType::I8 && quant.zero_point != 0).then(|| QuantParams {
        scales: vec![quant.scales[0] * reach / LARGEST],
        zero_point: 0,
        ..*quant
    })
}

/// The value that a value is moved from.
fn origin(graph: &Graph, mut id: ValueId) -> ValueId {
    let producers = graph.producers();
    while let Some(node) = producers[id]
        .map(|node| &graph.nodes[node])
        .filter(|node| moves(node))
    {
        id = node.inputs[0];
    }
    id
}

/// Gives parameters to a value and all that it is moved to.
fn set(graph: &mut Graph, root: ValueId, quant: &QuantParams) {
    let mut moved = vec![root];
    // Nodes are in order, so that what is moved twice is met behind the first move.
    for node in graph.nodes.iter().filter(|node| moves(node)) {
        if moved.contains(&node.inputs[0]) {
            moved.push(node.output);
        }
    }
    for id in moved {
        graph.values[id].quant = Some(quant.clone());
    }
}
