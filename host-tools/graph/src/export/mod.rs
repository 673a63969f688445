//! Export: from a [`crate::Graph`] to what other engines read.

#[cfg(feature = "onnx")]
mod onnx;

#[cfg(feature = "onnx")]
pub use onnx::{OPSET, onnx};

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
    /// Values have int8 parameters.
    #[error("value {value} is quantised, expected a graph in f32")]
    Quantised {
        /// The first of them.
        value: String,
    },
    /// The format ends at 2 GiB.
    #[error("{bytes} bytes, expected at most {}", onnx_limit())]
    TooLarge {
        /// Of the file.
        bytes: usize,
    },
}

/// Most bytes of a protocol buffer.
const fn onnx_limit() -> usize {
    (2 << 30) - 1
}
