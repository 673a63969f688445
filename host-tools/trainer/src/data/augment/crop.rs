//! A random part of a picture, resized to the encoder's input (Szegedy et al., 2015, arXiv 1409.4842, section 6).
//!
//! The part's share of the area is uniform and the logarithm of its aspect is uniform. A part that does not fit is
//! drawn again, ten times; then it is the largest one in the middle whose aspect is in range.

use serde::Deserialize;

use super::super::resample::Crop;
use super::super::seed::{log_uniform, uniform};
use super::range::Faults;
use crate::rng::Rng;

const ATTEMPTS: usize = 10;

/// Parameters of the crop.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomResizedCrop {
    /// How often; otherwise the picture is fitted as in use.
    pub probability: f32,
    /// Share of the picture's area, 0.01 to 1.
    pub scale: [f32; 2],
    /// Width by height, 0.1 to 10.
    pub ratio: [f32; 2],
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self {
            probability: 1.0,
            scale: [0.35, 1.0],
            ratio: [0.75, 4.0 / 3.0],
        }
    }
}

impl RandomResizedCrop {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.number("probability", self.probability, [0.0, 1.0]);
        faults.range("scale", self.scale, [0.01, 1.0]);
        faults.range("ratio", self.ratio, [0.1, 10.0]);
    }

    /// A part of a picture of this size, `None` where it is to be fitted instead.
    pub(super) fn draw(&self, (width, height): (u32, u32), rng: &mut Rng) -> Option<Crop> {
        if rng.unit() >= self.probability {
            return None;
        }
        let (width, height) = (width as usize, height as usize);
        let area = width as f32 * height as f32;
        for _ in 0..ATTEMPTS {
            let area = area * uniform(rng, self.scale);
            let ratio = log_uniform(rng, self.ratio);
            let w = (area * ratio).sqrt().round() as usize;
            let h = (area / ratio).sqrt().round() as usize;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                return Some(Crop {
                    x: rng.index(width - w + 1),
                    y: rng.index(height - h + 1),
                    width: w,
                    height: h,
                });
            }
        }
        let ratio = width as f32 / height as f32;
        let [narrow, wide] = self.ratio;
        let (w, h) = if ratio < narrow {
            (width, (width as f32 / narrow).round() as usize)
        } else if ratio > wide {
            ((height as f32 * wide).round() as usize, height)
        } else {
            (width, height)
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        Some(Crop {
            x: (width - w) / 2,
            y: (height - h) / 2,
            width: w,
            height: h,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_inside_the_picture_with_scale_and_ratio_in_range() {
        let crop = RandomResizedCrop {
            scale: [0.1, 0.9],
            ..RandomResizedCrop::default()
        };
        let mut rng = Rng::new(3);
        for size in [(200, 300), (301, 199), (256, 256)] {
            let mut touched = [false; 2];
            for _ in 0..2000 {
                let part = crop.draw(size, &mut rng).unwrap();
                let (width, height) = (size.0 as usize, size.1 as usize);
                assert!(part.x + part.width <= width && part.y + part.height <= height);
                let share = (part.width * part.height) as f32 / (width * height) as f32;
                let ratio = part.width as f32 / part.height as f32;
                assert!((0.095..0.91).contains(&share), "{share}");
                assert!((0.73..1.36).contains(&ratio), "{ratio}");
                touched[0] |= part.x + part.width == width;
                touched[1] |= part.y == 0;
            }
            assert_eq!(touched, [true; 2]);
        }
    }

    #[test]
    fn a_picture_too_long_for_any_part_gives_its_middle() {
        let crop = RandomResizedCrop {
            scale: [1.0, 1.0],
            ..RandomResizedCrop::default()
        };
        let part = crop.draw((900, 30), &mut Rng::new(0)).unwrap();
        let expected = Crop {
            x: 430,
            y: 0,
            width: 40,
            height: 30,
        };
        assert_eq!(part, expected);
        let part = crop.draw((1, 900), &mut Rng::new(0)).unwrap();
        assert_eq!((part.width, part.height), (1, 1));
    }
}
