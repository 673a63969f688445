//! More or less light: a factor in linear light, clipped as a sensor clips.

use serde::Deserialize;

use super::super::pixels::{Pixels, to_linear, to_srgb};
use super::super::seed::uniform;
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// How much light.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exposure {
    /// How often.
    pub probability: f32,
    /// Powers of two, −5 to 5: the light is multiplied by `2^stops`.
    pub stops: [f32; 2],
}

impl Default for Exposure {
    fn default() -> Self {
        Self {
            probability: 1.0,
            stops: [-1.0, 1.0],
        }
    }
}

impl Invariance for Exposure {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, faults: &mut Faults) {
        faults.range("stops", self.stops, [-5.0, 5.0]);
    }

    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng) {
        let factor = uniform(rng, self.stops).exp2();
        for value in &mut pixels.values {
            *value = to_srgb(to_linear(*value) * factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::pixels::tests::picture;
    use super::*;

    fn exposed(picture: &image::RgbImage, stops: f32) -> image::RgbImage {
        let mut pixels = Pixels::from_rgb8(picture);
        let exposure = Exposure {
            stops: [stops; 2],
            ..Exposure::default()
        };
        exposure.apply(&mut pixels, &mut Rng::new(0));
        pixels.to_rgb8()
    }

    #[test]
    fn a_stop_doubles_the_light_and_none_keeps_the_bytes() {
        let picture = picture(6, 6);
        assert_eq!(exposed(&picture, 0.0), picture);
        // 128 is 0.2159 of full light; twice and half of that are 176.1 and 92.3.
        let grey = image::RgbImage::from_pixel(1, 1, image::Rgb([128, 128, 0]));
        assert_eq!(exposed(&grey, 1.0).into_raw(), [176, 176, 0]);
        assert_eq!(exposed(&grey, -1.0).into_raw(), [92, 92, 0]);
        assert_eq!(exposed(&grey, 5.0).into_raw(), [255, 255, 0]);
    }
}
