//! Training on Burn: the projections that make a dual encoder out of two frozen encoders, and the repair of a quantised one.
//!
//! An image encoder trained as a classifier and a sentence encoder know nothing of each other. The rows of the classifier's
//! head are prototypes of its classes, and classes have names: enough to train a projection of each side into one space by
//! contrast (InfoNCE; CLIP), in the manner of locked-image tuning (Zhai et al., 2022, arXiv 2111.07991). [`train()`] does that
//! over precomputed features: [`features`] is the contract for them, [`recipe`] the file that says what to do. It runs no encoder.
//!
//! [`mod@repair`] fine-tunes an int8 encoder towards its own f32 embeddings; `network` runs a graph of an encoder as a function
//! that Burn differentiates. Nothing here reads a label of any picture.
//!
//! [`data`] is the way from pictures and captions on disk to batches of an encoder's input.
//!
//! The same recipe, inputs and machine give the same bytes, also when the run was killed and resumed on the way.
//!
//! ```no_run
//! use pinhole_trainer::{TrainOptions, train};
//!
//! let report = train("models/lite0/recipe.toml".as_ref(), TrainOptions::default())?;
//! println!("{} after {} steps, loss {}", report.projection.display(), report.steps, report.loss);
//! # Ok::<(), pinhole_trainer::TrainError>(())
//! ```

#![deny(unsafe_code)]

mod checkpoint;
mod coca;
mod curve;
pub mod data;
mod device;
mod error;
pub mod features;
pub mod fit;
#[cfg(test)]
mod fixture;
mod linalg;
pub mod loss;
mod model;
mod network;
pub mod optim;
mod output;
pub mod recipe;
pub mod repair;
mod rng;
mod start;
mod teacher;
pub mod texts;
mod train;

pub use device::{DeviceName, Precision};
pub use error::TrainError;
pub use features::Features;
pub use fit::{FitReport, fit};
pub use recipe::{Recipe, recipe_version};
pub use texts::TextList;
pub use train::{TrainOptions, TrainReport, train};
