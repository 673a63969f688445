//! Brightness, contrast, saturation and hue, in a random order (Chen et al., 2020, SimCLR, arXiv 2002.05709, appendix
//! A).
//!
//! With `a` a pixel, `g` its luma and `m` the mean luma of the picture: brightness is `f·a`, contrast `f·a + (1−f)·m`,
//! saturation `f·a + (1−f)·g`, each clipped to 0..=1. The hue turns in HSV, where lightest and darkest channel stay.

use serde::Deserialize;

use super::super::pixels::{CHANNELS, Pixels, luma};
use super::super::seed::uniform;
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// How far each property goes to either side.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColourJitter {
    /// How often.
    pub probability: f32,
    /// The factor lies in `1 − brightness..1 + brightness`, not below 0; 0 to 1.
    pub brightness: f32,
    /// As `brightness`.
    pub contrast: f32,
    /// As `brightness`.
    pub saturation: f32,
    /// The hue turns by up to so many degrees to either side; 0 to 180.
    pub hue_degrees: f32,
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self {
            probability: 1.0,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue_degrees: 18.0,
        }
    }
}

impl Invariance for ColourJitter {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, faults: &mut Faults) {
        faults.number("brightness", self.brightness, [0.0, 1.0]);
        faults.number("contrast", self.contrast, [0.0, 1.0]);
        faults.number("saturation", self.saturation, [0.0, 1.0]);
        faults.number("hue_degrees", self.hue_degrees, [0.0, 180.0]);
    }

    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng) {
        for property in rng.distinct(4, 4) {
            let mut factor = |strength: f32| uniform(rng, [1.0 - strength, 1.0 + strength]);
            match property {
                0 => brightness(pixels, factor(self.brightness)),
                1 => contrast(pixels, factor(self.contrast)),
                2 => saturation(pixels, factor(self.saturation)),
                _ => hue(pixels, uniform(rng, [-self.hue_degrees, self.hue_degrees])),
            }
        }
    }
}

pub(super) fn brightness(pixels: &mut Pixels, factor: f32) {
    for value in &mut pixels.values {
        *value = (*value * factor).clamp(0.0, 1.0);
    }
}

pub(super) fn contrast(pixels: &mut Pixels, factor: f32) {
    let sum: f64 = pixels.each().map(|pixel| f64::from(luma(pixel))).sum();
    let mean = (sum / (pixels.width * pixels.height) as f64) as f32;
    for value in &mut pixels.values {
        *value = (*value * factor + mean * (1.0 - factor)).clamp(0.0, 1.0);
    }
}

pub(super) fn saturation(pixels: &mut Pixels, factor: f32) {
    for pixel in pixels.each() {
        let grey = luma(pixel);
        for value in pixel {
            *value = (*value * factor + grey * (1.0 - factor)).clamp(0.0, 1.0);
        }
    }
}

pub(super) fn hue(pixels: &mut Pixels, degrees: f32) {
    // In sixths of a turn, as the hue is below.
    let turn = (degrees / 60.0).rem_euclid(6.0);
    if turn == 0.0 {
        return;
    }
    for pixel in pixels.each() {
        *pixel = turned(*pixel, turn);
    }
}

/// A pixel whose hue is `turn` sixths of a turn further.
fn turned([r, g, b]: [f32; CHANNELS], turn: f32) -> [f32; CHANNELS] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = most - least;
    if chroma == 0.0 {
        return [r, g, b];
    }
    let hue = if most == r {
        (g - b) / chroma
    } else if most == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    let hue = hue + turn;
    // Each channel is a trapezoid over the hue: 1 for a third of the turn, 0 for a third, and straight between.
    let channel = |shift: f32| {
        let k = (hue + shift).rem_euclid(6.0);
        most - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::super::super::pixels::tests::picture;
    use super::*;

    fn one(pixel: [f32; 3]) -> Pixels {
        Pixels {
            width: 1,
            height: 1,
            values: pixel.to_vec(),
        }
    }

    fn assert_near(pixels: &Pixels, expected: &[f32]) {
        for (a, b) in pixels.values.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{:?} {expected:?}", pixels.values);
        }
    }

    #[test]
    fn known_numbers() {
        let mut pixels = one([0.2, 0.4, 0.9]);
        brightness(&mut pixels, 1.5);
        assert_near(&pixels, &[0.3, 0.6, 1.0]);
        let mut pixels = one([0.5, 0.0, 1.0]);
        saturation(&mut pixels, 0.5);
        assert_near(&pixels, &[0.38175, 0.13175, 0.63175]);
        let mut pixels = Pixels {
            width: 2,
            height: 1,
            values: vec![0.2, 0.2, 0.2, 0.6, 0.6, 0.6],
        };
        contrast(&mut pixels, 0.5);
        assert_near(&pixels, &[0.3, 0.3, 0.3, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn thirds_of_a_turn_exchange_the_channels_and_a_whole_one_is_none() {
        let mut pixels = one([0.9, 0.3, 0.1]);
        hue(&mut pixels, 120.0);
        assert_near(&pixels, &[0.1, 0.9, 0.3]);
        hue(&mut pixels, 240.0);
        assert_near(&pixels, &[0.9, 0.3, 0.1]);
        let picture = picture(16, 16);
        for turns in [[360.0, 0.0], [-360.0, 0.0], [77.0, 283.0], [-100.0, 460.0]] {
            let mut pixels = Pixels::from_rgb8(&picture);
            for degrees in turns {
                hue(&mut pixels, degrees);
            }
            assert_eq!(pixels.to_rgb8(), picture, "{turns:?}");
        }
    }

    #[test]
    fn factors_of_one_keep_the_bytes_and_greys_have_no_hue() {
        let picture = picture(9, 9);
        let mut pixels = Pixels::from_rgb8(&picture);
        brightness(&mut pixels, 1.0);
        contrast(&mut pixels, 1.0);
        saturation(&mut pixels, 1.0);
        assert_eq!(pixels.to_rgb8(), picture);
        let mut grey = one([0.4; 3]);
        hue(&mut grey, 90.0);
        assert_eq!(grey.values, [0.4; 3]);
    }
}
