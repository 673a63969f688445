//! Where in a graph its tokens are: the last value on the way to the embedding that has several positions.
//!
//! Of a convolutional encoder that is what its global pooling reads, (1, height, width, channels), of a ViT the tokens
//! that the class token or the mean is taken of, (tokens, width), of a text encoder the tokens whose last one stands for
//! the text.

use std::collections::BTreeSet;

use pinhole_graph::{Graph, Op, ValueId};

/// The value, `None` where every value on the way has one position.
pub(super) fn tokens(graph: &Graph) -> Option<ValueId> {
    let producers = graph.producers();
    let mut value = graph.outputs[0];
    loop {
        let found = &graph.values[value];
        if positions(&found.shape) > 1 && !found.is_ids && !is_flat(&found.shape) {
            return producers[value].map(|_| value);
        }
        let node = &graph.nodes[producers[value]?];
        let computed = |value: &&ValueId| graph.values[**value].constant.is_none();
        value = *node.inputs.iter().find(computed)?;
    }
}

/// Rows of a value whose last dimension is that of a token.
pub(super) fn positions(shape: &[usize]) -> usize {
    let rows = shape.len().saturating_sub(1);
    shape[..rows].iter().product()
}

/// Whether a value is a vector.
fn is_flat(shape: &[usize]) -> bool {
    shape.len() < 2
}

/// Whether every attention of the graph hides later tokens, so that what stands at a token tells nothing of those behind
/// it; and nothing else on the way to `tokens` mixes them.
pub(super) fn is_causal(graph: &Graph, tokens: ValueId) -> bool {
    let mixes = |op: &Op| match op {
        Op::Attention { causal, .. } => !causal,
        Op::MatMul { .. } | Op::Reduce { .. } | Op::Conv2d { .. } | Op::Concat { .. } => true,
        Op::Softmax { axis } => *axis == 0,
        _ => false,
    };
    let before = before(graph, tokens);
    let mut nodes = graph.nodes.iter().enumerate();
    !nodes.any(|(index, node)| before.contains(&index) && mixes(&node.op))
}

/// Indices of the nodes that `value` is computed by.
fn before(graph: &Graph, value: ValueId) -> BTreeSet<usize> {
    let producers = graph.producers();
    let mut found = BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if let Some(node) = producers[value].filter(|node| found.insert(*node)) {
            open.extend(&graph.nodes[node].inputs);
        }
    }
    found
}

/// The part of `graph` up to `value`, and the part behind it, whose input `value` is; the second is `None` where it reads
/// something else too. Values keep their places.
pub(super) fn cut(graph: &Graph, value: ValueId) -> (Graph, Option<Graph>) {
    let before = before(graph, value);
    let (mut front, mut back) = (graph.clone(), graph.clone());
    let is_before = |index: usize| before.contains(&index);
    let of = |wanted: bool| {
        let nodes = graph.nodes.iter().enumerate();
        let kept = nodes.filter(|(index, _)| is_before(*index) == wanted);
        kept.map(|(_, node)| node.clone()).collect::<Vec<_>>()
    };
    (front.nodes, back.nodes) = (of(true), of(false));
    front.outputs = vec![value];
    back.inputs = vec![value];
    // It takes no pictures any more.
    back.meta.geometry = None;
    let made: BTreeSet<ValueId> = back.nodes.iter().map(|node| node.output).collect();
    let known = |&input: &ValueId| {
        input == value || made.contains(&input) || graph.values[input].constant.is_some()
    };
    let whole = back.nodes.iter().all(|node| node.inputs.iter().all(known));
    (front, whole.then_some(back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::fixture::encoder;

    #[test]
    fn tokens_are_what_the_embedding_is_taken_of_and_a_graph_is_cut_there() {
        let graph = encoder();
        let value = tokens(&graph).unwrap();
        assert_eq!(graph.values[value].name, "down");
        let (front, back) = cut(&graph, value);
        let back = back.unwrap();
        assert_eq!(front.outputs, [value]);
        assert_eq!(front.nodes.len() + back.nodes.len(), graph.nodes.len());
        let names: Vec<&str> = back.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["first", "embedding", "direction"]);
        assert!(!is_causal(&graph, value));
    }

    #[test]
    fn a_part_that_reads_more_than_the_cut_is_none() {
        let graph = encoder();
        let gelu = graph
            .nodes
            .iter()
            .find(|node| node.name == "gate")
            .map(|node| node.output);
        let squeeze = graph.nodes.iter().find(|node| node.name == "squeeze");
        let value = gelu.or(squeeze.map(|node| node.output)).unwrap();
        assert!(cut(&graph, value).1.is_none());
    }
}
