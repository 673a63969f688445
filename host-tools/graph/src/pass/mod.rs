//! Passes over a graph: shapes, checks, and rewrites that keep what it computes.
//!
//! [`standard`] is what an import needs before quantisation and packing. A rewrite works on a graph that [`validate`]
//! accepts and leaves one that it accepts. Not here: quantisation and the choice of kernels.

mod activation;
mod avg_pool;
mod batch_norm;
mod constant;
mod dead;
mod evaluate;
mod faults;
mod fuse_attention;
mod fuse_bias;
mod identity;
mod recognise;
mod resize;
mod shape;
mod shorten;
mod validate;

#[cfg(test)]
mod tests;

pub use activation::fuse_activations;
pub use avg_pool::resolve_avg_pool;
pub use batch_norm::fold_batch_norm;
pub use constant::fold_constants;
pub use dead::remove_dead;
pub use evaluate::{evaluate, evaluate_node};
pub use faults::{GraphFault, GraphFaults};
pub use fuse_attention::{fuse_attention, fuse_mean, join_reshapes};
pub use fuse_bias::fuse_bias;
pub use identity::remove_identities;
pub use recognise::recognise;
pub use resize::resize_input;
pub use shape::infer_shapes;
pub use shorten::drop_branch;
pub(crate) use validate::structure;
pub use validate::validate;

use crate::Graph;

/// Every pass, in the order in which each helps the next: shapes, constants, spelled-out operators, biases,
/// attention, batch normalisation, counted padding, identities, activations, dead nodes, then the check.
///
/// A quantised graph keeps its nodes, for a rewrite would round elsewhere: only what is dead goes.
///
/// # Errors
/// With every fault of shapes or structure.
pub fn standard(graph: &mut Graph) -> Result<(), GraphFaults> {
    structure(graph)?;
    infer_shapes(graph)?;
    if graph.is_quantized() {
        remove_dead(graph);
        return validate(graph);
    }
    fold_constants(graph);
    recognise(graph);
    fuse_bias(graph);
    fuse_attention(graph);
    fuse_mean(graph);
    fold_batch_norm(graph);
    resolve_avg_pool(graph);
    remove_identities(graph);
    fuse_activations(graph);
    remove_dead(graph);
    infer_shapes(graph)?;
    validate(graph)
}

/// The shape of a node's output, for an importer that builds node by node. Ids must be in range and the number of inputs
/// right.
///
/// # Errors
/// When the inputs do not fit, with found and expected.
pub(crate) fn node_shape(graph: &Graph, node: &crate::Node) -> Result<Vec<usize>, String> {
    shape::infer_node(graph, node).map(|inferred| inferred.shape)
}
