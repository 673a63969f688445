//! A rectangle without content (DeVries and Taylor, 2017, arXiv 1708.04552; Zhong et al., 2017, arXiv 1708.04896).

use serde::Deserialize;

use super::super::pixels::{CHANNELS, Pixels};
use super::super::seed::{log_uniform, uniform};
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// How much is cut out, and what is there instead.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CutOut {
    /// How often.
    pub probability: f32,
    /// Share of the picture's area, 0 to 1.
    pub area: [f32; 2],
    /// Width by height, 0.1 to 10.
    pub ratio: [f32; 2],
    /// The colour that is put there, 0 to 1.
    pub fill: [f32; CHANNELS],
}

impl Default for CutOut {
    fn default() -> Self {
        Self {
            probability: 1.0,
            area: [0.02, 0.25],
            ratio: [0.5, 2.0],
            fill: [0.5; CHANNELS],
        }
    }
}

impl Invariance for CutOut {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, faults: &mut Faults) {
        faults.range("area", self.area, [0.0, 1.0]);
        faults.range("ratio", self.ratio, [0.1, 10.0]);
        for value in self.fill {
            faults.number("fill", value, [0.0, 1.0]);
        }
    }

    /// The rectangle lies inside the picture whole; one that would be longer than a side is cut to it.
    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng) {
        let area = uniform(rng, self.area) * (pixels.width * pixels.height) as f32;
        let ratio = log_uniform(rng, self.ratio);
        let width = ((area * ratio).sqrt().round() as usize).min(pixels.width);
        let height = ((area / ratio).sqrt().round() as usize).min(pixels.height);
        let x = rng.index(pixels.width - width + 1);
        let y = rng.index(pixels.height - height + 1);
        let len = pixels.width;
        let all = pixels.values.as_chunks_mut().0;
        for row in all.chunks_exact_mut(len).skip(y).take(height) {
            row[x..x + width].fill(self.fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rectangle_of_the_area_is_filled_and_the_rest_stays() {
        let cut = CutOut {
            area: [0.1, 0.1],
            fill: [0.25, 0.5, 1.0],
            ..CutOut::default()
        };
        for seed in 0..200 {
            let mut pixels = Pixels::black(40, 30);
            cut.apply(&mut pixels, &mut Rng::new(seed));
            let filled: Vec<usize> = (0..1200)
                .filter(|i| pixels.at(i % 40, i / 40) != [0.0; 3])
                .collect();
            assert!((110..=130).contains(&filled.len()), "{}", filled.len());
            assert!(filled.iter().all(|i| pixels.at(i % 40, i / 40) == cut.fill));
            let columns = filled.iter().map(|i| i % 40);
            let width = columns.clone().max().unwrap() - columns.min().unwrap() + 1;
            let height = filled[filled.len() - 1] / 40 - filled[0] / 40 + 1;
            assert_eq!(width * height, filled.len());
        }
    }

    #[test]
    fn no_area_and_all_of_it() {
        for (area, expected) in [(0.0, 0.0), (1.0, 0.5)] {
            let cut = CutOut {
                area: [area; 2],
                ratio: [1.0; 2],
                ..CutOut::default()
            };
            let mut pixels = Pixels::black(6, 6);
            cut.apply(&mut pixels, &mut Rng::new(1));
            assert_eq!(pixels.values, [expected; 108]);
        }
    }
}
