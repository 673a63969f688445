//! Lowers a [`Graph`] to a packed model file, `model.phm`: operators of the runtime, weights in the layout that kernels
//! read in place, and a static plan of the arena.
//!
//! [`lower`] turns nodes into operator records (integers where quantisation left parameters, floats elsewhere, with
//! conversions between), [`mod@patch`] cuts the first ones into bands of rows, [`mod@plan`] orders them and places every value in the arena, `write` lays the file out. The format itself belongs
//! to the runtime (`docs/model-format.md`); a packed file is loaded by the runtime before it is handed out, so that a file
//! that the device would refuse never leaves the host.

pub mod error;
mod golden;
mod litert;
pub mod lower;
mod lower_float;
mod lower_int;
mod lower_product;
mod lower_tables;
mod lower_transformer;
mod lower_windows;
pub mod patch;
pub mod plan;
mod weights;
mod write;

pub use error::PackError;
pub use golden::{GoldenFault, with_golden, without_golden};
pub use patch::{Patched, StemPatches};
pub use pinhole_runtime::kernel::packing::WeightLayout;
pub use pinhole_runtime::model::op::FloatWeights;

use pinhole_graph::Graph;

/// What layers that are not quantised compute in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// IEEE single.
    #[default]
    F32,
    /// IEEE half, weights too; inputs and outputs of the model stay f32.
    F16,
}

/// Choices of the person who packs.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// What layers that are not quantised compute in.
    pub precision: Precision,
    /// How layers in f32 store their weights; arithmetic stays f32.
    pub float_weights: FloatWeights,
    /// Keep names of values and operators in the file, for tools.
    pub names: bool,
    /// How the weights of integer products lie.
    pub layout: WeightLayout,
    /// Bands of rows in which the first layers are computed.
    pub stem_patches: StemPatches,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            precision: Precision::F32,
            float_weights: FloatWeights::F32,
            names: true,
            layout: WeightLayout::Generic,
            stem_patches: StemPatches::Whole,
        }
    }
}

/// A finished model file and how it relates to its graph.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The file.
    pub bytes: Vec<u8>,
    /// For each value of the graph, its index among the model's values, where it has one.
    pub value_map: Vec<Option<usize>>,
    /// What it costs.
    pub report: PackReport,
}

/// Sizes of a packed model.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct PackReport {
    /// The whole file.
    pub file_bytes: usize,
    /// Its data section: weights, biases, scales, tables, constants.
    pub data_bytes: usize,
    /// Its self-check; 0 without one.
    pub golden_bytes: usize,
    /// RAM of a run.
    pub arena_bytes: usize,
    /// No plan of this order of operators needs less.
    pub arena_lower_bound_bytes: usize,
    /// RAM over the lower bound.
    pub arena_ratio: f64,
    /// Multiply-accumulates of an inference.
    pub macs: u64,
    /// Operators.
    pub ops: usize,
    /// Those that write their output over an input.
    pub replacing_ops: usize,
    /// Bands of rows in which the first layers are computed.
    pub stem: Patched,
}

/// Packs `graph`. The same graph and options give the same bytes.
///
/// # Errors
/// Every node that no operator of the runtime can compute is named at once, with the reason.
pub fn pack(graph: &Graph, options: &PackOptions) -> Result<Packed, PackError> {
    let mut lowered = lower::lower(graph, options)?;
    let stem = patch::patch(&mut lowered, options.stem_patches);
    let plan = plan::plan(&mut lowered);
    write::write(graph, &lowered, &plan, stem, options)
}
