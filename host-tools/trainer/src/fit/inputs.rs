//! The pictures of a step, as its passes over chunks ask for them.
//!
//! A pass of GradCache needs the pictures of one chunk. Those of a small batch are in memory, and so are those of the
//! batches that are made ahead. Of a large one they are made from their files when a pass comes to them, and again in the
//! next pass: a view is a function of seed, epoch and sample, so that all passes see the same numbers, and a batch of any
//! size takes the memory of a chunk.

#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use super::recipe::FitRecipe;
use crate::TrainError;
use crate::data::{Batch, LoadError, Loader, LoaderOptions, Pictures};

/// MiB that pictures may take, where the recipe does not say: little beside the activations of a chunk.
const KEPT_MIB: usize = 16;
/// Channels of a picture.
const CHANNELS: usize = 3;

/// What the loader of `recipe` does with pictures: it keeps all where they are few, or where a step wants them at once.
pub(super) fn reading(recipe: &FitRecipe, options: &LoaderOptions) -> Pictures {
    let samples = options.batch.div_ceil(options.shard.ranks);
    let rows = samples * options.blocks();
    let numbers =
        usize::from(options.geometry.width) * usize::from(options.geometry.height) * CHANNELS;
    let bytes = (1 + options.prefetch) * rows * numbers * size_of::<f32>();
    let is_whole = recipe.optimiser.chunk.is_none_or(|chunk| chunk >= rows);
    let kept = recipe.data.kept_mib.unwrap_or(KEPT_MIB);
    let is_little = bytes <= kept.saturating_mul(1 << 20);
    match recipe.image.cached {
        true => Pictures::Unread,
        false if is_whole || is_little => Pictures::Kept,
        false => Pictures::Checked,
    }
}

/// What the network reads of a rank's share of a batch: blocks of its samples, one behind the other.
pub(super) enum Inputs<'a> {
    /// Numbers that are in memory, a block a slice, or a slice for each of the samples.
    Kept(Vec<&'a [f32]>),
    /// Pictures that `loader` makes of their files.
    Made {
        loader: &'a Loader,
        batch: &'a Batch,
        /// Pictures of a sample.
        blocks: usize,
    },
}

impl<'a> Inputs<'a> {
    /// The pictures of `batch`, which `loader` gave with `options`.
    pub(super) fn of_batch(
        batch: &'a Batch,
        (loader, options): (&'a Loader, &LoaderOptions),
    ) -> Self {
        if options.pictures == Pictures::Checked {
            let blocks = options.blocks();
            return Self::Made {
                loader,
                batch,
                blocks,
            };
        }
        let turned = batch.transformed.iter().map(|turned| &turned.pictures);
        let blocks = batch.views.iter().chain(turned);
        Self::Kept(blocks.map(Vec::as_slice).collect())
    }

    /// How many there are, each of `len` numbers.
    pub(super) fn rows(&self, len: usize) -> usize {
        match self {
            Self::Kept(blocks) => blocks.iter().map(|block| block.len()).sum::<usize>() / len,
            Self::Made { batch, blocks, .. } => batch.len() * blocks,
        }
    }

    /// Those of `rows`, each of `len` numbers, one behind the other.
    ///
    /// # Errors
    /// A picture that cannot be made any more.
    pub(super) fn cut(&self, rows: Range<usize>, len: usize) -> Result<Vec<f32>, TrainError> {
        match self {
            Self::Kept(blocks) => Ok(cut(blocks, rows.start * len..rows.end * len)),
            Self::Made { loader, batch, .. } => {
                let samples = batch.len();
                let made: Result<Vec<Vec<f32>>, LoadError> = rows
                    .into_par_iter()
                    .map(|row| loader.picture(batch, row / samples, row % samples))
                    .collect();
                Ok(made?.concat())
            }
        }
    }
}

/// The numbers `range` of `blocks`, which are one behind the other.
fn cut(blocks: &[&[f32]], range: Range<usize>) -> Vec<f32> {
    let (mut found, mut start) = (Vec::with_capacity(range.len()), 0);
    for block in blocks {
        let place = |number: usize| number.clamp(start, start + block.len()) - start;
        found.extend_from_slice(&block[place(range.start)..place(range.end)]);
        start += block.len();
    }
    found
}
