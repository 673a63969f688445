//! Light of another colour: red and blue are scaled against green in linear light, clipped as a sensor clips.

use serde::Deserialize;

use super::super::pixels::{Pixels, to_linear, to_srgb};
use super::super::seed::uniform;
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// How far the colour of the light is off.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WhiteBalance {
    /// How often.
    pub probability: f32,
    /// Powers of two by which red is scaled, −3 to 3.
    pub red_stops: [f32; 2],
    /// Powers of two by which blue is scaled, −3 to 3.
    pub blue_stops: [f32; 2],
}

impl Default for WhiteBalance {
    fn default() -> Self {
        Self {
            probability: 1.0,
            red_stops: [-0.4, 0.4],
            blue_stops: [-0.4, 0.4],
        }
    }
}

impl Invariance for WhiteBalance {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, faults: &mut Faults) {
        faults.range("red_stops", self.red_stops, [-3.0, 3.0]);
        faults.range("blue_stops", self.blue_stops, [-3.0, 3.0]);
    }

    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng) {
        let red = uniform(rng, self.red_stops).exp2();
        let blue = uniform(rng, self.blue_stops).exp2();
        for [r, _, b] in pixels.each() {
            *r = to_srgb(to_linear(*r) * red);
            *b = to_srgb(to_linear(*b) * blue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::pixels::tests::picture;
    use super::*;

    fn balanced(picture: &image::RgbImage, red: f32, blue: f32) -> image::RgbImage {
        let mut pixels = Pixels::from_rgb8(picture);
        let balance = WhiteBalance {
            red_stops: [red; 2],
            blue_stops: [blue; 2],
            ..WhiteBalance::default()
        };
        balance.apply(&mut pixels, &mut Rng::new(0));
        pixels.to_rgb8()
    }

    #[test]
    fn red_and_blue_change_alone_and_no_stop_keeps_the_bytes() {
        let picture = picture(6, 6);
        assert_eq!(balanced(&picture, 0.0, 0.0), picture);
        let grey = image::RgbImage::from_pixel(1, 1, image::Rgb([128; 3]));
        assert_eq!(balanced(&grey, 1.0, -1.0).into_raw(), [176, 128, 92]);
    }
}
