//! One sample's rows, and the batch that they make.

use image::RgbImage;
use pinhole_data::DataError;

use super::error::LoadError;
use super::loader::LoaderOptions;
use super::order::Position;
use super::seed::Draw;
use super::source::{Broken, Source};
use crate::loss::Transform;

/// Pictures tried for one place of a batch before the data set is given up.
const ATTEMPTS: usize = 16;
/// As many as [`crate::loss::TransformHead`] tells apart.
const QUARTERS: usize = 4;

/// The epoch whose views are those of `epoch`, where they come again after `epochs`.
pub(crate) fn view_epoch(epoch: usize, epochs: Option<usize>) -> usize {
    epochs.map_or(epoch, |epochs| epoch % epochs)
}

/// What one step trains on; of `n` samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Where in the run it stands.
    pub position: Position,
    /// Where a run goes on that stops after this batch.
    pub next: Position,
    /// The samples' indices in [`Source::samples`].
    pub indices: Vec<usize>,
    /// The normalised pictures of each view, each (n, height, width, 3); none where [`LoaderOptions::pictures`] says so.
    pub views: Vec<Vec<f32>>,
    /// The texts; all `None` where none were asked for.
    pub captions: Vec<Option<String>>,
    /// The class indices.
    pub labels: Vec<Option<usize>>,
    /// The first view transformed, where [`LoaderOptions::transforms`] asks for it.
    pub transformed: Option<Transformed>,
}

/// Pictures for [`crate::loss::transform_loss`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transformed {
    /// (n, height, width, 3), normalised.
    pub pictures: Vec<f32>,
    /// What was done to each.
    pub transforms: Vec<Transform>,
}

impl Batch {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is no sample; never true of a batch of a loader.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Puts rows one behind the other.
    pub(crate) fn of_rows(position: Position, next: Position, rows: Vec<Row>) -> Self {
        let views = rows.first().map_or(0, |row| row.views.len());
        let mut batch = Self {
            position,
            next,
            indices: Vec::with_capacity(rows.len()),
            views: vec![Vec::new(); views],
            captions: Vec::with_capacity(rows.len()),
            labels: Vec::with_capacity(rows.len()),
            transformed: None,
        };
        let count = rows.len();
        for row in rows {
            for (to, from) in batch.views.iter_mut().zip(row.views) {
                to.reserve_exact(match to.is_empty() {
                    true => count * from.len(),
                    false => 0,
                });
                to.extend_from_slice(&from);
            }
            if let Some((pixels, transform)) = row.transformed {
                let transformed = batch.transformed.get_or_insert_default();
                transformed.pictures.extend_from_slice(&pixels);
                transformed.transforms.push(transform);
            }
            batch.indices.push(row.index);
            batch.captions.push(row.caption);
            batch.labels.push(row.label);
        }
        batch
    }
}

/// One sample of a batch.
#[derive(Debug)]
pub(crate) struct Row {
    index: usize,
    views: Vec<Vec<f32>>, // each (height, width, 3)
    caption: Option<String>,
    label: Option<usize>,
    transformed: Option<(Vec<f32>, Transform)>,
}

/// Samples of a source with what is to be made of them.
pub(crate) struct Job {
    pub(crate) source: Box<dyn Source>,
    pub(crate) options: LoaderOptions,
    /// The samples that take part.
    pub(crate) usable: Vec<usize>,
}

impl Job {
    /// The row of the sample at `usable[place]`, or of another in the place of a broken one; `broken` is told of each.
    ///
    /// # Errors
    /// A source that cannot be read, or too many broken pictures.
    pub(crate) fn row(
        &self,
        epoch: usize,
        place: usize,
        broken: &mut dyn FnMut(usize, Broken),
    ) -> Result<Row, LoadError> {
        let draw = |index: usize| Draw {
            seed: self.options.seed,
            epoch,
            id: &self.source.samples()[index].id,
            view: 0,
        };
        let mut index = self.usable[place];
        if !self.options.pictures {
            return Ok(self.row_with(index, Vec::new(), None, draw(index)));
        }
        let mut replacement = draw(index).rng("replacement");
        let mut attempts = 0;
        loop {
            let found = match self.source.picture(index) {
                Ok(picture) => return self.row_of(index, &picture, draw(index)),
                Err(LoadError::Data(error @ DataError::Picture { .. })) => Broken {
                    place: self.source.place(index),
                    reason: error.to_string(),
                },
                Err(error) => return Err(error),
            };
            broken(index, found.clone());
            attempts += 1;
            if attempts == ATTEMPTS {
                return Err(LoadError::TooManyBroken {
                    attempts,
                    last: found,
                });
            }
            index = self.usable[replacement.index(self.usable.len())];
        }
    }

    fn row_of(&self, index: usize, picture: &RgbImage, draw: Draw) -> Result<Row, LoadError> {
        let options = &self.options;
        let mut views = Vec::with_capacity(options.views);
        for view in 0..options.views {
            let epoch = view_epoch(draw.epoch, options.view_epochs);
            let draw = Draw {
                view,
                epoch,
                ..draw
            };
            let pixels = options
                .augmentations
                .view(picture, &options.geometry, draw)?;
            views.push(pixels.normalised(&options.geometry));
        }
        let transformed = match options.transforms {
            true => Some(self.transformed(&views[0], draw)?),
            false => None,
        };
        Ok(self.row_with(index, views, transformed, draw))
    }

    /// The row of a sample whose pictures were made.
    fn row_with(
        &self,
        index: usize,
        views: Vec<Vec<f32>>,
        transformed: Option<(Vec<f32>, Transform)>,
        draw: Draw,
    ) -> Row {
        let sample = &self.source.samples()[index];
        let classnames = self.source.classnames();
        let texts = self.options.texts.as_ref();
        Row {
            index,
            caption: texts.and_then(|texts| texts.text(sample, classnames, draw)),
            label: sample.label,
            transformed,
            views,
        }
    }

    fn transformed(&self, view: &[f32], draw: Draw) -> Result<(Vec<f32>, Transform), LoadError> {
        let mut rng = draw.rng("transform");
        let transform = Transform {
            quarters: rng.index(QUARTERS),
            flipped: rng.index(2) == 1,
        };
        let side = usize::from(self.options.geometry.width);
        let pixels = transform
            .apply(view, side)
            .map_err(|error| LoadError::Settings {
                faults: vec![format!("`transforms`: {error}")],
            })?;
        Ok((pixels, transform))
    }
}
