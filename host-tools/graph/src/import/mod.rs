//! Import: from checkpoints and foreign graphs to a [`crate::Graph`].
//!
//! [`Checkpoint`] reads weights (safetensors, PyTorch zip and legacy files) without executing anything; an architecture
//! module knows its keys and builds the nodes. Not here: simplification, which [`crate::pass::standard`] does.

pub mod bert;
mod checkpoint;
pub mod clip;
mod config;
pub mod efficientnet_lite;
mod element;
mod error;
mod fold;
mod layout;
mod nearest;
#[cfg(feature = "onnx")]
pub mod onnx;
mod pickle;
pub mod projection;
mod pytorch;
mod safetensors;
pub mod static_embeddings;
pub mod tflite;
pub mod timm;

#[cfg(test)]
mod architecture_tests;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, Weights};
pub use error::{ImportError, KeyFaults, UnsupportedNode, UnsupportedNodes};
pub use nearest::{Nearest, nearest};
