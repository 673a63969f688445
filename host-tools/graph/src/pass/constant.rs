//! Constant folding: nodes whose inputs are all constants are computed now.

use super::evaluate::evaluate_node;
use super::shape::count;
use crate::Graph;

/// Largest result that is kept instead of its node; beyond it a constant would bloat the model.
const MAX_ELEMENTS: usize = 64 << 20;

/// Replaces what depends on constants alone by its value. Nodes that cannot be computed stay, for the validator to name.
pub fn fold_constants(graph: &mut Graph) {
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let constants: Option<Vec<_>> = node
            .inputs
            .iter()
            .map(|&input| graph.values[input].constant.clone())
            .collect();
        let small =
            count(&graph.values[node.output].shape).is_some_and(|count| count <= MAX_ELEMENTS);
        let result = constants
            .filter(|_| small)
            .and_then(|constants| evaluate_node(graph, &node, &constants).ok());
        match result {
            Some(tensor) => {
                let value = &mut graph.values[node.output];
                value.shape.clone_from(&tensor.shape);
                value.constant = Some(tensor);
            }
            None => kept.push(node),
        }
    }
    graph.nodes = kept;
    super::remove_dead(graph);
}
