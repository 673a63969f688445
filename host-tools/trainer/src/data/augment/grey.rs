//! Colours to grey: the luma in all channels.

use serde::Deserialize;

use super::super::pixels::{Pixels, luma};
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// How often pictures lose their colours.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grey {
    /// How often.
    pub probability: f32,
}

impl Default for Grey {
    fn default() -> Self {
        Self { probability: 0.2 }
    }
}

impl Invariance for Grey {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, _: &mut Faults) {}

    fn apply(&self, pixels: &mut Pixels, _: &mut Rng) {
        for pixel in pixels.each() {
            *pixel = [luma(pixel).clamp(0.0, 1.0); 3];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_the_luma() {
        let mut pixels = Pixels {
            width: 2,
            height: 1,
            values: vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0],
        };
        Grey::default().apply(&mut pixels, &mut Rng::new(0));
        assert_eq!(pixels.to_rgb8().into_raw(), [76, 76, 76, 255, 255, 255]);
    }
}
