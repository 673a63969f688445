//! The executor of Pinhole models: reads `model.phm` in place and runs it with the fastest kernels that the CPU has.
//!
//! Not here: files, import, quantisation, training, and everything else that needs a heap. The layers, lowest first:
//! [`kernel`] computes one operation over slices; [`model`] proves once that a file is sound; [`interpreter`] walks its
//! operators over an arena; [`preprocess`] turns pixels into the input; [`bank`] and [`score`] turn the embedding into a
//! label. No heap, no panic path reachable from a file or a picture, no unbounded work.
#![cfg_attr(not(any(test, feature = "std")), no_std)]

#[cfg(target_endian = "big")]
compile_error!("model files are little-endian and are read in place");

mod arena;
pub mod bank;
pub mod interpreter;
pub mod kernel;
pub mod model;
pub mod preprocess;
pub mod score;
