//! What can keep a graph from being packed.

use std::fmt;

/// A node that cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Name of the node.
    pub node: String,
    /// What it computes.
    pub op: String,
    /// Found and expected.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.node, self.op, self.reason)
    }
}

/// Why packing failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// All nodes that no operator can compute.
    #[error("{} of the graph cannot be packed:\n  {}", nodes(.0.len()), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Refused(Vec<Refused>),
    /// More than the format holds.
    #[error("the model has {found} {what}, the format holds {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// In this graph.
        found: usize,
        /// In a file.
        limit: usize,
    },
    /// The runtime refuses what was written: a fault of the packer or a graph that was not validated.
    #[error("the packed model does not load: {0}")]
    SelfCheck(String),
}

fn nodes(count: usize) -> String {
    if count == 1 {
        "1 node".into()
    } else {
        format!("{count} nodes")
    }
}
