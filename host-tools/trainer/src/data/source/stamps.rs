//! Tux Paint's captioned stamps, as [`pinhole_data::Stamps`] reads them.

use std::path::Path;

use image::RgbImage;
use pinhole_data::{Stamps, load_picture, picture, stamps};

use super::super::error::LoadError;
use super::folder::id_below;
use super::{LeftOut, Listing, Sample, Source};

/// Stamps with one caption each.
#[derive(Debug)]
pub struct CaptionedStamps {
    stamps: Vec<stamps::Stamp>,
    listing: Listing,
}

impl CaptionedStamps {
    /// Reads the captions and the header of every picture below `dir`; `single_objects` takes only the stamps whose
    /// caption is a sentence of one object.
    ///
    /// A stamp without a caption is left out. Captions without a picture are not told: most of them belong to
    /// drawings in SVG, which are not read.
    ///
    /// # Errors
    /// [`LoadError::Data`] where `dir` is no folder or has no captioned picture, [`LoadError::NothingGood`] where all
    /// are broken.
    pub fn open(dir: impl AsRef<Path>, single_objects: bool) -> Result<Self, LoadError> {
        let dir = dir.as_ref();
        let found = Stamps::open(dir)?;
        let mut left_out = LeftOut::default();
        for path in &found.skipped {
            left_out.broken(path.display(), "a stamp without a caption");
        }
        let (mut kept, mut samples) = (Vec::new(), Vec::new());
        for stamp in found.stamps {
            if single_objects && !stamps::is_single_object_sentence(&stamp.caption) {
                left_out.other += 1;
                continue;
            }
            let id = id_below(dir, &stamp.path);
            match (picture::check_header(&stamp.path), id) {
                (Ok(()), Some(id)) => {
                    samples.push(Sample {
                        id,
                        captions: vec![stamp.caption.clone()],
                        label: None,
                    });
                    kept.push(stamp);
                }
                (Err(error), _) => left_out.broken(stamp.path.display(), error),
                (_, None) => left_out.broken(stamp.path.display(), "a name that is not UTF-8"),
            }
        }
        left_out.check(dir.display(), samples.len())?;
        Ok(Self {
            stamps: kept,
            listing: Listing {
                samples,
                left_out,
                ..Listing::default()
            },
        })
    }
}

impl Source for CaptionedStamps {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn place(&self, index: usize) -> String {
        self.stamps[index].path.display().to_string()
    }

    fn picture(&self, index: usize) -> Result<RgbImage, LoadError> {
        Ok(load_picture(&self.stamps[index].path)?)
    }
}
