//! Removal of what no output needs.

use crate::{Graph, ValueId};

/// Removes nodes whose results nothing reads, then values that nothing refers to. Inputs of the graph stay. Ids of values
/// and nodes change.
pub fn remove_dead(graph: &mut Graph) {
    let mut needed = vec![false; graph.values.len()];
    for &output in &graph.outputs {
        needed[output] = true;
    }
    let mut alive = vec![false; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate().rev() {
        if needed[node.output] {
            alive[id] = true;
            node.inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    let mut alive = alive.into_iter();
    graph.nodes.retain(|_| alive.next().unwrap_or(false));
    for &input in &graph.inputs {
        needed[input] = true;
    }
    compact(graph, &needed);
}

/// Keeps the needed values and renumbers every reference.
fn compact(graph: &mut Graph, needed: &[bool]) {
    let mut renumbered: Vec<ValueId> = vec![usize::MAX; graph.values.len()];
    let mut kept = Vec::with_capacity(graph.values.len());
    for (id, value) in std::mem::take(&mut graph.values).into_iter().enumerate() {
        if needed[id] {
            renumbered[id] = kept.len();
            kept.push(value);
        }
    }
    graph.values = kept;
    for node in &mut graph.nodes {
        node.inputs
            .iter_mut()
            .for_each(|input| *input = renumbered[*input]);
        node.output = renumbered[node.output];
    }
    for id in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        *id = renumbered[*id];
    }
}
