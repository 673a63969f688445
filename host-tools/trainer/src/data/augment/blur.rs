//! Gaussian blur.
//!
//! Two passes with the sampled kernel out to three standard deviations, of sum 1; beyond its edges the picture is
//! mirrored.

use serde::Deserialize;

use super::super::pixels::{CHANNELS, Pixels, mirrored};
use super::super::seed::uniform;
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// Below this standard deviation a neighbour weighs less than half of 2⁻²⁴.
const LEAST_SIGMA: f32 = 0.169;

/// How blurred.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Blur {
    /// How often.
    pub probability: f32,
    /// The standard deviation in pixels of the encoder's input, 0 to 20.
    pub sigma: [f32; 2],
}

impl Default for Blur {
    fn default() -> Self {
        Self {
            probability: 1.0,
            sigma: [0.1, 2.0],
        }
    }
}

impl Invariance for Blur {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, faults: &mut Faults) {
        faults.range("sigma", self.sigma, [0.0, 20.0]);
    }

    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng) {
        blur(pixels, uniform(rng, self.sigma));
    }
}

pub(super) fn blur(pixels: &mut Pixels, sigma: f32) {
    if sigma < LEAST_SIGMA {
        return;
    }
    let kernel = kernel(sigma);
    let radius = (kernel.len() / 2) as isize;
    let (width, height) = (pixels.width, pixels.height);
    let len = width * CHANNELS;
    let source = std::mem::replace(pixels, Pixels::black(width, height));
    for (from, to) in source
        .values
        .chunks_exact(len)
        .zip(pixels.values.chunks_exact_mut(len))
    {
        let (from, to) = (from.as_chunks::<CHANNELS>().0, to.as_chunks_mut().0);
        for (x, sum) in (0isize..).zip(to) {
            let sum: &mut [f32; CHANNELS] = sum;
            for (weight, offset) in kernel.iter().zip(-radius..) {
                let pixel = from[mirrored(x + offset, width)];
                for c in 0..CHANNELS {
                    sum[c] += pixel[c] * weight;
                }
            }
        }
    }
    let rows = std::mem::replace(pixels, Pixels::black(width, height)).values;
    for (y, to) in (0isize..).zip(pixels.values.chunks_exact_mut(len)) {
        for (weight, offset) in kernel.iter().zip(-radius..) {
            let row = &rows[mirrored(y + offset, height) * len..][..len];
            for (sum, value) in to.iter_mut().zip(row) {
                *sum += value * weight;
            }
        }
        to.iter_mut().for_each(|value| *value = value.min(1.0));
    }
}

/// The weights of the pixels `−⌈3σ⌉..=⌈3σ⌉`.
fn kernel(sigma: f32) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil() as i32;
    let weights: Vec<f32> = (-radius..=radius)
        .map(|x| (-0.5 * (x as f32 / sigma).powi(2)).exp())
        .collect();
    let sum: f32 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::pixels::tests::picture;
    use super::*;

    #[test]
    fn a_point_becomes_the_kernel_and_one_colour_stays_up_to_the_edges() {
        let mut point = Pixels::black(11, 11);
        point.values[(5 * 11 + 5) * 3] = 1.0;
        blur(&mut point, 1.0);
        // e^0, e^-0.5, e^-2 by the sum of seven such weights, 2.505955.
        let expected = [0.399_05, 0.242_04, 0.054_005];
        for (x, weight) in (5..8).zip(expected) {
            assert!((point.at(x, 5)[0] - weight * expected[0]).abs() < 1e-5);
            assert!((point.at(5, x)[0] - weight * expected[0]).abs() < 1e-5);
        }
        assert_eq!(point.at(5, 5)[1], 0.0);
        let plain = image::RgbImage::from_pixel(5, 3, image::Rgb([200, 100, 7]));
        let mut pixels = Pixels::from_rgb8(&plain);
        // Wider than the picture, so that it is mirrored more than once.
        blur(&mut pixels, 9.0);
        assert_eq!(pixels.to_rgb8(), plain);
    }

    #[test]
    fn no_blur_keeps_the_bytes_and_the_cut_off_is_not_seen() {
        let picture = picture(8, 8);
        let mut pixels = Pixels::from_rgb8(&picture);
        blur(&mut pixels, 0.0);
        assert_eq!(pixels.to_rgb8(), picture);
        assert!(kernel(LEAST_SIGMA)[0] < 0.5 / 16_777_216.0);
    }
}
