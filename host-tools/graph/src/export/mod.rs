//! Export: from a [`crate::Graph`] to what other engines read.

#[cfg(feature = "onnx")]
mod onnx;
mod real;
mod tflite;

#[cfg(feature = "onnx")]
pub use onnx::{OPSET, onnx};
pub use real::real;
pub use tflite::{Tflite, tflite};

use crate::import::UnsupportedNodes;

/// A graph cannot be written in another format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// An operator has inputs that the format cannot express.
    #[error("node {node}: {what}")]
    Node {
        /// Its name.
        node: String,
        /// What was found and expected.
        what: String,
    },
    /// Nodes that the format has no operators for, all of them.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedNodes),
    /// The format ends at 2 GiB.
    #[error("{bytes} bytes, expected at most {}", most_bytes())]
    TooLarge {
        /// Of the file.
        bytes: usize,
    },
}

/// Most bytes of a protocol buffer and of a FlatBuffer.
const fn most_bytes() -> usize {
    (2 << 30) - 1
}
