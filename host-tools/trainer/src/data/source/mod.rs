//! Sources: where pictures, captions and labels come from, one layout a file.
//!
//! A source reads its directory or its index once, at opening, and decodes nothing then. What cannot be used is left
//! out, counted and listed in [`LeftOut`]; only a source of which nothing is good is an error.

mod braces;
mod cifar10;
mod folder;
mod spec;
mod stamps;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod webdataset;

use std::fmt;

use image::RgbImage;

pub use braces::expand_braces;
pub use cifar10::Cifar10Rows;
pub use folder::Folder;
pub use spec::SourceSpec;
pub use stamps::CaptionedStamps;
pub use table::{Columns, Table};
pub use webdataset::WebDataset;

use super::error::LoadError;

/// One picture of a source, not decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// A name that stays when the data set is moved or grows; its random numbers depend on it.
    pub id: String,
    /// What is said of the picture; often nothing or one sentence.
    pub captions: Vec<String>,
    /// The index of its class in [`Source::classnames`].
    pub label: Option<usize>,
}

/// What opening a source found.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// All samples, in an order that depends on the files alone.
    pub samples: Vec<Sample>,
    /// The names of the classes, empty where there are none.
    pub classnames: Vec<String>,
    /// What was left out.
    pub left_out: LeftOut,
}

/// Samples that any number of threads may read in any order.
pub trait Source: Send + Sync {
    /// What opening found.
    fn listing(&self) -> &Listing;

    /// The samples of the listing.
    fn samples(&self) -> &[Sample] {
        &self.listing().samples
    }

    /// The classes of the listing.
    fn classnames(&self) -> &[String] {
        &self.listing().classnames
    }

    /// What the listing says was left out.
    fn left_out(&self) -> &LeftOut {
        &self.listing().left_out
    }

    /// Where the sample at `index` lies, for a person.
    fn place(&self, index: usize) -> String;

    /// Decodes the picture at `index`, which is below the number of samples.
    ///
    /// # Errors
    /// [`pinhole_data::DataError::Picture`] for a broken picture; anything else is a fault of the machine or of a
    /// source that changed.
    fn picture(&self, index: usize) -> Result<RgbImage, LoadError>;
}

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file, with the entry or the line.
    pub place: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The reason of a decoder begins with the place.
        match self.reason.starts_with(&self.place) {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.place, self.reason),
        }
    }
}

/// What a source did not take, and what it took without a caption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Records that are broken.
    pub broken: Vec<Broken>,
    /// Captions whose picture is not there.
    pub without_picture: Vec<String>,
    /// Pictures that are samples and have no caption, in a layout that has captions.
    pub without_caption: Vec<String>,
    /// Files that are neither pictures nor captions.
    pub other: usize,
}

impl LeftOut {
    pub(crate) fn broken(&mut self, place: impl ToString, reason: impl ToString) {
        self.broken.push(Broken {
            place: place.to_string(),
            reason: reason.to_string(),
        });
    }

    /// Fails where there is no sample.
    pub(crate) fn check(&self, place: impl ToString, samples: usize) -> Result<(), LoadError> {
        if samples > 0 {
            return Ok(());
        }
        Err(LoadError::NothingGood {
            place: place.to_string(),
            records: self.broken.len() + self.without_picture.len() + self.other,
            broken: self.broken.len(),
            without_picture: self.without_picture.len(),
            first: self.broken.first().cloned(),
        })
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.broken.len(), "broken"),
            (self.without_picture.len(), "captions without a picture"),
            (self.without_caption.len(), "pictures without a caption"),
            (self.other, "other files"),
        ];
        let told: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match told.is_empty() {
            true => f.write_str("nothing left out"),
            false => f.write_str(&told.join(", ")),
        }
    }
}
