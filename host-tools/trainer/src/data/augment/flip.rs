//! Left and right exchanged.

use serde::Deserialize;

use super::super::pixels::{CHANNELS, Pixels};
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// How often pictures are flipped.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HorizontalFlip {
    /// How often.
    pub probability: f32,
}

impl Default for HorizontalFlip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl Invariance for HorizontalFlip {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, _: &mut Faults) {}

    fn apply(&self, pixels: &mut Pixels, _: &mut Rng) {
        flip(pixels);
    }
}

pub(super) fn flip(pixels: &mut Pixels) {
    let len = pixels.width * CHANNELS;
    for row in pixels.values.chunks_exact_mut(len) {
        row.as_chunks_mut::<CHANNELS>().0.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::pixels::tests::picture;
    use super::*;

    #[test]
    fn a_flip_is_that_of_the_image_crate_and_two_are_none() {
        let picture = picture(7, 4);
        let mut pixels = Pixels::from_rgb8(&picture);
        flip(&mut pixels);
        assert_eq!(pixels.to_rgb8(), image::imageops::flip_horizontal(&picture));
        flip(&mut pixels);
        assert_eq!(pixels.to_rgb8(), picture);
    }
}
