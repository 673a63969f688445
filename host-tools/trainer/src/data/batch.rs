//! One sample's rows, and the batch that they make.

use image::RgbImage;
use pinhole_data::DataError;

use super::error::LoadError;
use super::loader::{LoaderOptions, Pictures};
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
    /// The normalised pictures of each view, each (n, height, width, 3); none but with [`Pictures::Kept`].
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
    /// (n, height, width, 3), normalised; none but with [`Pictures::Kept`].
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
        let mut index = self.usable[place];
        if self.options.pictures == Pictures::Unread {
            return Ok(self.row_with(index, Vec::new(), None, self.draw(epoch, index)));
        }
        let mut replacement = self.draw(epoch, index).rng("replacement");
        let mut attempts = 0;
        loop {
            let found = match self.source.picture(index) {
                Ok(picture) => return self.row_of(index, &picture, self.draw(epoch, index)),
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

    /// What is drawn for sample `index` in `epoch`, for the first view of it.
    fn draw(&self, epoch: usize, index: usize) -> Draw<'_> {
        Draw {
            seed: self.options.seed,
            epoch,
            id: &self.source.samples()[index].id,
            view: 0,
        }
    }

    fn row_of(&self, index: usize, picture: &RgbImage, draw: Draw) -> Result<Row, LoadError> {
        let options = &self.options;
        let kept = match options.pictures {
            Pictures::Kept => options.views,
            Pictures::Unread | Pictures::Checked => 0,
        };
        let views: Result<Vec<_>, LoadError> = (0..kept)
            .map(|view| self.view(picture, view, draw))
            .collect();
        let views = views?;
        let transformed = match (options.transforms, views.first()) {
            (true, Some(view)) => Some((self.transformed(view, draw)?, transform(draw))),
            (true, None) => Some((Vec::new(), transform(draw))),
            (false, _) => None,
        };
        Ok(self.row_with(index, views, transformed, draw))
    }

    /// The normalised picture of sample `index` in view `block` of `epoch`; behind the views comes the first of them
    /// transformed.
    ///
    /// # Errors
    /// A source that cannot be read, or a broken picture.
    pub(crate) fn picture(
        &self,
        epoch: usize,
        index: usize,
        block: usize,
    ) -> Result<Vec<f32>, LoadError> {
        let (picture, draw) = (self.source.picture(index)?, self.draw(epoch, index));
        match block < self.options.views {
            true => self.view(&picture, block, draw),
            false => self.transformed(&self.view(&picture, 0, draw)?, draw),
        }
    }

    /// `view` of a picture, normalised.
    fn view(&self, picture: &RgbImage, view: usize, draw: Draw) -> Result<Vec<f32>, LoadError> {
        let options = &self.options;
        let epoch = view_epoch(draw.epoch, options.view_epochs);
        let draw = Draw {
            view,
            epoch,
            ..draw
        };
        let pixels = options
            .augmentations
            .view(picture, &options.geometry, draw)?;
        Ok(pixels.normalised(&options.geometry))
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

    fn transformed(&self, view: &[f32], draw: Draw) -> Result<Vec<f32>, LoadError> {
        let side = usize::from(self.options.geometry.width);
        transform(draw)
            .apply(view, side)
            .map_err(|error| LoadError::Settings {
                faults: vec![format!("`transforms`: {error}")],
            })
    }
}

/// What is done to the first view that comes transformed.
fn transform(draw: Draw) -> Transform {
    let mut rng = draw.rng("transform");
    Transform {
        quarters: rng.index(QUARTERS),
        flipped: rng.index(2) == 1,
    }
}
