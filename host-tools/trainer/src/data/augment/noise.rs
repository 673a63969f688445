//! Shot and read noise of an image sensor (Foi et al., 2008, "Practical Poissonian-Gaussian noise modeling").
//!
//! A sensor whose pixels hold `W` electrons, read at gain `g`, shows white at `W/g` electrons. A pixel of linear
//! light `x` then holds `n = x·W/g` of them, their number varies by `n` (Poisson) and reading adds `r²`, so that of
//! full scale
//!
//! ```text
//! mean = x,   variance = x·g/W + (r·g/W)²
//! ```
//!
//! The noise is drawn from the normal distribution of that variance, which stands for Poisson's from about ten
//! electrons on, added in linear light and clipped as a sensor clips. The channels are independent, as without
//! demosaicing.

use serde::Deserialize;

use super::super::pixels::{Pixels, to_linear, to_srgb};
use super::super::seed::{log_uniform, normal_pair};
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// The sensor and how far its gain is turned up.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraNoise {
    /// How often.
    pub probability: f32,
    /// Electrons of a full pixel at gain 1, 100 to 1,000,000.
    pub full_well_electrons: f32,
    /// Standard deviation of what reading adds, in electrons, 0 to 1000.
    pub read_noise_electrons: f32,
    /// The gain, 1 to 1000; its logarithm is uniform.
    pub gain: [f32; 2],
}

impl Default for CameraNoise {
    fn default() -> Self {
        Self {
            probability: 1.0,
            full_well_electrons: 5000.0,
            read_noise_electrons: 4.0,
            gain: [1.0, 32.0],
        }
    }
}

impl Invariance for CameraNoise {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, faults: &mut Faults) {
        faults.number(
            "full_well_electrons",
            self.full_well_electrons,
            [100.0, 1e6],
        );
        faults.number(
            "read_noise_electrons",
            self.read_noise_electrons,
            [0.0, 1000.0],
        );
        faults.range("gain", self.gain, [1.0, 1000.0]);
    }

    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng) {
        let noise = self.at_gain(log_uniform(rng, self.gain));
        for pair in pixels.values.chunks_mut(2) {
            let normal = normal_pair(rng);
            for (value, normal) in pair.iter_mut().zip(normal) {
                let light = to_linear(*value);
                *value = to_srgb(light + noise.deviation(light) * normal);
            }
        }
    }
}

/// The noise of full scale 1.
struct Noise {
    /// Variance by light.
    shot: f32,
    /// Variance in the dark.
    read: f32,
}

impl CameraNoise {
    fn at_gain(&self, gain: f32) -> Noise {
        let white_electrons = self.full_well_electrons / gain;
        Noise {
            shot: white_electrons.recip(),
            read: (self.read_noise_electrons / white_electrons).powi(2),
        }
    }
}

impl Noise {
    /// Standard deviation of the light that is read where `light` is.
    fn deviation(&self, light: f32) -> f32 {
        (self.shot * light + self.read).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of the linear light of a grey area after noise.
    fn moments(noise: &CameraNoise, light: f32) -> [f64; 2] {
        let mut pixels = Pixels {
            values: vec![to_srgb(light); 256 * 256 * 3],
            ..Pixels::black(256, 256)
        };
        noise.apply(&mut pixels, &mut Rng::new(11));
        let count = pixels.values.len() as f64;
        let lights = pixels.values.iter().map(|v| f64::from(to_linear(*v)));
        let mean = lights.clone().sum::<f64>() / count;
        [
            mean,
            lights.map(|x| (x - mean).powi(2)).sum::<f64>() / count,
        ]
    }

    #[test]
    fn mean_and_variance_are_those_of_the_model() {
        for (gain, light, read) in [(1.0, 0.5, 0.0), (8.0, 0.5, 4.0), (4.0, 0.2, 40.0)] {
            let noise = CameraNoise {
                read_noise_electrons: read,
                gain: [gain; 2],
                ..CameraNoise::default()
            };
            let [mean, variance] = moments(&noise, light);
            let white = f64::from(5000.0 / gain);
            let expected = f64::from(light) / white + (f64::from(read) / white).powi(2);
            // Of 196,608 numbers: five standard errors of the mean, and 1.6 % where the variance has 0.3 %.
            let error = 5.0 * (expected / 196_608.0).sqrt();
            assert!((mean - f64::from(light)).abs() < error, "{mean} {light}");
            assert!(
                (variance / expected - 1.0).abs() < 0.016,
                "{variance} {expected}"
            );
        }
    }

    #[test]
    fn noise_is_clipped_and_the_dark_has_only_that_of_reading() {
        let loud = CameraNoise {
            gain: [1000.0; 2],
            read_noise_electrons: 0.0,
            ..CameraNoise::default()
        };
        let mut pixels = Pixels::black(8, 8);
        loud.apply(&mut pixels, &mut Rng::new(2));
        assert_eq!(pixels, Pixels::black(8, 8));
        pixels.values.fill(0.9);
        loud.apply(&mut pixels, &mut Rng::new(2));
        assert!(pixels.values.iter().all(|v| (0.0..=1.0).contains(v)));
        assert!(pixels.values.contains(&1.0));
    }
}
