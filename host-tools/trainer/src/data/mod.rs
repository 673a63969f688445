//! From a data set on disk to batches: sources, augmentations, and a loader with threads of its own.
//!
//! [`Source`] lists samples and decodes them in any order; [`Augmentations`] turn a picture into views; [`Texts`]
//! choose what is said of it; [`Loader`] puts them together into [`Batch`]es, the next of which is being made while a
//! step runs. What a batch holds depends on the files, the settings and the [`Position`] alone: not on the number of
//! threads, nor on whether the run was stopped on the way, and the parts of all ranks are the batch of one process.
//!
//! ```no_run
//! use pinhole_trainer::data::{Folder, Loader, LoaderOptions, Position};
//!
//! let source = Folder::open("photos", false)?;
//! let options = LoaderOptions { batch: 32, epochs: Some(1), ..LoaderOptions::default() };
//! for batch in Loader::new(Box::new(source), options, Position::default())? {
//!     let batch = batch?;
//!     println!("{} pictures, then {:?}", batch.len(), batch.next);
//! }
//! # Ok::<(), pinhole_trainer::data::LoadError>(())
//! ```
//!
//! Not here: the network, the tokenizer and the device.

mod augment;
mod batch;
mod error;
mod loader;
mod order;
mod pixels;
mod resample;
mod seed;
mod source;
mod text;

pub use augment::{
    Augmentation, Augmentations, Blur, CameraNoise, ColourJitter, CutOut, Exposure, Grey,
    HorizontalFlip, RandomResizedCrop, Rotation, WhiteBalance,
};
pub use batch::{Batch, Transformed};
pub use error::LoadError;
pub(crate) use loader::Plan;
pub use loader::{Loader, LoaderOptions, Pictures};
pub use order::{Position, Shard};
pub use pixels::Pixels;
pub use seed::Draw;
pub use source::{
    Broken, CaptionedStamps, Cifar10Rows, Columns, Folder, LeftOut, Listing, Sample, Source,
    SourceSpec, Table, WebDataset, expand_braces,
};
pub use text::{TextSpec, Texts};
