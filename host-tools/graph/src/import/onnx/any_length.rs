//! Sequences of any length up to the largest.
//!
//! A file is imported for one length, and what it computes from that length becomes constants. Whether a shorter sequence
//! may run in the same graph is found by importing the file for a shorter one too: the graphs must have the same operators,
//! and the same constants but for rows of a table of positions that the shorter one lacks.

use std::sync::Arc;

use super::Options;
use crate::{Graph, Op, Tensor, TensorData, pass};

/// Options of a shorter sequence, when the graph reads token ids and their number is open.
pub(super) fn shorter(graph: &Graph, options: &Options) -> Option<Options> {
    let ids = graph.inputs.iter().find(|&&id| graph.values[id].is_ids)?;
    let tokens = graph.values[*ids].shape[0];
    (tokens > 2 && tokens == options.tokens).then(|| Options {
        // Odd, so that no other size of a network is likely to equal it.
        tokens: (tokens / 2) | 1,
        ..options.clone()
    })
}

/// Makes the number of tokens free, when `other`, the graph of a shorter sequence, allows it.
pub(super) fn free(graph: &mut Graph, other: &Graph) {
    if !alike(graph, other) {
        return;
    }
    let mut freed = graph.clone();
    for &input in &graph.inputs {
        freed.values[input].dynamic |= graph.values[input].is_ids;
    }
    // Inference refuses what moves tokens to another dimension.
    if pass::infer_shapes(&mut freed).is_ok() && pass::validate(&freed).is_ok() {
        *graph = freed;
    }
}

fn alike(graph: &Graph, other: &Graph) -> bool {
    let ids = |graph: &Graph| -> Option<usize> {
        let &id = graph.inputs.iter().find(|&&id| graph.values[id].is_ids)?;
        graph.values[id].shape.first().copied()
    };
    let same_wiring = graph.inputs == other.inputs
        && graph.outputs == other.outputs
        && graph.values.len() == other.values.len()
        && graph.nodes.len() == other.nodes.len()
        && graph.nodes.iter().zip(&other.nodes).all(|(a, b)| {
            a.op == b.op && a.inputs == b.inputs && a.output == b.output && !moves_tokens(&a.op)
        });
    let (Some(tokens), Some(fewer)) = (ids(graph), ids(other)) else {
        return false;
    };
    same_wiring
        && fewer < tokens
        && graph
            .values
            .iter()
            .zip(&other.values)
            .all(|(a, b)| same_constant(a.constant.as_ref(), b.constant.as_ref(), tokens, fewer))
}

/// A border along the tokens is part of the operator, and the same for both lengths only by chance.
fn moves_tokens(op: &Op) -> bool {
    matches!(op, Op::Pad { .. })
}

/// Equal, or rows for `tokens` of which the other has the first `fewer`.
fn same_constant(a: Option<&Tensor>, b: Option<&Tensor>, tokens: usize, fewer: usize) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return a.is_none() && b.is_none();
    };
    if a.shape == b.shape {
        return match (&a.data, &b.data) {
            (TensorData::F32(a), TensorData::F32(b)) => Arc::ptr_eq(a, b) || a == b,
            (TensorData::I32(a), TensorData::I32(b)) => a == b,
            _ => false,
        };
    }
    let rows = a.shape.first() == Some(&tokens)
        && b.shape.first() == Some(&fewer)
        && a.shape[1..] == b.shape[1..];
    match (a.as_f32(), b.as_f32()) {
        (Some(a), Some(b)) => rows && a.starts_with(b),
        _ => false,
    }
}
