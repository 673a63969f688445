//! The graph of a network between import and packing: f32 tensors, NHWC, one picture or one sequence at a time.
//!
//! Importers make a [`Graph`] from a checkpoint, an ONNX or a TFLite file, passes fold and fuse it,
//! `pinhole-quantize` attaches [`QuantParams`] to its values, `pinhole-pack` lowers it to a model file. Not here: kernels
//! (the runtime is the one executor) and training.

mod compare;
mod draw;
pub mod export;
mod file;
pub mod import;
mod names;
pub mod op;
pub mod pass;
mod summary;
mod tensor;
mod types;

pub use compare::{Difference, Subject, compare};
pub use file::{FORMAT_VERSION, FileError};
pub use op::Op;
pub use tensor::{Tensor, TensorData};
pub use types::{
    EMBEDDING_MARGIN, Graph, GraphMeta, IntegerRules, ModelKind, Node, NodeId, PictureGeometry,
    QuantDType, QuantParams, Value, ValueId,
};
