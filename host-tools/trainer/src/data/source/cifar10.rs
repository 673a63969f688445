//! The rows of CIFAR-10's training split, as [`pinhole_data::Cifar10`] reads them.

use std::path::Path;

use image::RgbImage;
use pinhole_data::Cifar10;
use pinhole_data::cifar10::CLASSNAMES;

use super::super::error::LoadError;
use super::{LeftOut, Listing, Sample, Source};

/// The training pictures in memory; the test split is for evaluation and is not read here.
#[derive(Debug)]
pub struct Cifar10Rows {
    rows: Cifar10,
    listing: Listing,
}

impl Cifar10Rows {
    /// Reads the training split below `dir`, with its labels only where `labelled`.
    ///
    /// # Errors
    /// [`LoadError::Data`] where files are missing or have another size.
    pub fn open(dir: impl AsRef<Path>, labelled: bool) -> Result<Self, LoadError> {
        let rows = match labelled {
            true => Cifar10::train_labelled(dir)?,
            false => Cifar10::train_unlabelled(dir)?,
        };
        Ok(Self::new(rows))
    }

    /// The samples of some rows.
    pub fn new(rows: Cifar10) -> Self {
        let samples: Vec<Sample> = (0..rows.len())
            .map(|index| Sample {
                id: format!("row {index}"),
                captions: Vec::new(),
                label: rows.label(index),
            })
            .collect();
        let has_labels = samples.iter().any(|sample| sample.label.is_some());
        Self {
            rows,
            listing: Listing {
                samples,
                classnames: match has_labels {
                    true => CLASSNAMES.map(str::to_owned).to_vec(),
                    false => Vec::new(),
                },
                left_out: LeftOut::default(),
            },
        }
    }
}

impl Source for Cifar10Rows {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn place(&self, index: usize) -> String {
        format!("CIFAR-10, row {index}")
    }

    fn picture(&self, index: usize) -> Result<RgbImage, LoadError> {
        Ok(self.rows.picture(index))
    }
}
