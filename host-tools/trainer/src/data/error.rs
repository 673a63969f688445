//! What can go wrong between a data set on disk and a batch.

use std::path::{Path, PathBuf};

use pinhole_data::DataError;
use pinhole_runtime::preprocess::InputError;
use pinhole_text::templates::TemplatesError;

use super::source::Broken;

/// Why there is no source, no loader, or no next batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A folder, a table or a picture.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file could not be read, or a thread could not be started.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A source has no record that is good.
    #[error(
        "{place}: none of {records} records is good ({broken} broken, {without_picture} without a picture){}",
        first.as_ref().map_or(String::new(), |first| format!("; the first: {first}"))
    )]
    NothingGood {
        /// The folder, the file or the shards.
        place: String,
        /// Records met.
        records: usize,
        /// Broken ones.
        broken: usize,
        /// Captions whose picture is not there.
        without_picture: usize,
        /// The first broken one.
        first: Option<Broken>,
    },
    /// A setting outside its range.
    #[error("{}", faults.join("; "))]
    Settings {
        /// Every fault: the key, what was found, what was expected.
        faults: Vec<String>,
    },
    /// Texts are wanted and too few samples, or none, have one.
    #[error(
        "{samples} samples, none with a caption or a named class, and texts are wanted: name a source with captions, \
         or leave `text` out"
    )]
    NoText {
        /// Samples of the source.
        samples: usize,
    },
    /// A batch needs more samples than there are.
    #[error(
        "a batch of {batch} is larger than the data set, which has {samples} samples: lower `batch`"
    )]
    BatchTooLarge {
        /// Samples a batch.
        batch: usize,
        /// Samples there are.
        samples: usize,
    },
    /// A run cannot go on from there.
    #[error(
        "epoch {epoch}, step {step}: the data has {steps} steps an epoch; it, `batch` or `drop_last` has changed"
    )]
    NoSuchStep {
        /// The epoch asked for.
        epoch: usize,
        /// The step asked for.
        step: usize,
        /// Steps an epoch.
        steps: usize,
    },
    /// One picture after another is broken.
    #[error("{attempts} pictures in a row cannot be decoded, the last is {last}")]
    TooManyBroken {
        /// Pictures tried in one place of a batch.
        attempts: usize,
        /// The last of them.
        last: Broken,
    },
    /// A worker panicked.
    #[error("the worker that read {place} panicked: {reason}")]
    Worker {
        /// The sample.
        place: String,
        /// What the panic said.
        reason: String,
    },
    /// A picture or a geometry that cannot be brought to the encoder's size.
    #[error("input geometry: {0}")]
    Geometry(InputError),
    /// A set of templates.
    #[error(transparent)]
    Templates(#[from] TemplatesError),
    /// Text that is not the TOML of augmentations.
    #[error("{path}: {message}", path = path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The fault with its place.
        message: String,
    },
}

impl LoadError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
