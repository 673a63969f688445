//! Rotation about the centre by an angle.
//!
//! Bilinear; what comes from beyond the edges is the picture mirrored there, so that no black corner tells the angle.

use serde::Deserialize;

use super::super::pixels::{CHANNELS, Pixels, mirrored};
use super::super::seed::uniform;
use super::Invariance;
use super::range::Faults;
use crate::rng::Rng;

/// How far pictures are turned.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How often.
    pub probability: f32,
    /// The angle counter-clockwise, −180 to 180.
    pub degrees: [f32; 2],
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            probability: 1.0,
            degrees: [-15.0, 15.0],
        }
    }
}

impl Invariance for Rotation {
    fn probability(&self) -> f32 {
        self.probability
    }

    fn check(&self, faults: &mut Faults) {
        faults.range("degrees", self.degrees, [-180.0, 180.0]);
    }

    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng) {
        rotate(pixels, uniform(rng, self.degrees));
    }
}

pub(super) fn rotate(pixels: &mut Pixels, degrees: f32) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (pixels.width, pixels.height);
    let source = std::mem::replace(pixels, Pixels::black(width, height));
    let centre = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
    for (index, pixel) in pixels.each().enumerate() {
        let x = (index % width) as f32 - centre[0];
        let y = (index / width) as f32 - centre[1];
        // Rows count downwards, so a turn to the left takes from (x·cos − y·sin, x·sin + y·cos).
        let from_x = x * cos - y * sin + centre[0];
        let from_y = x * sin + y * cos + centre[1];
        *pixel = bilinear(&source, from_x, from_y);
    }
}

fn bilinear(source: &Pixels, x: f32, y: f32) -> [f32; CHANNELS] {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let columns = [0, 1].map(|i| mirrored(left as isize + i, source.width));
    let rows = [0, 1].map(|i| mirrored(top as isize + i, source.height));
    let [upper, lower] = rows.map(|row| {
        let [a, b] = columns.map(|column| source.at(column, row));
        std::array::from_fn::<_, CHANNELS, _>(|c| a[c] + (b[c] - a[c]) * fx)
    });
    std::array::from_fn(|c| (upper[c] + (lower[c] - upper[c]) * fy).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::super::super::pixels::tests::picture;
    use super::*;
    use crate::loss::Transform;

    #[test]
    fn no_angle_and_a_whole_turn_keep_the_bytes() {
        let picture = picture(9, 6);
        for degrees in [0.0, 360.0, -360.0] {
            let mut pixels = Pixels::from_rgb8(&picture);
            rotate(&mut pixels, degrees);
            assert_eq!(pixels.to_rgb8(), picture, "{degrees}");
        }
    }

    #[test]
    fn quarters_are_those_of_the_equivariant_head() {
        let picture = picture(8, 8);
        let start = Pixels::from_rgb8(&picture);
        for quarters in 1..4 {
            let mut pixels = start.clone();
            rotate(&mut pixels, 90.0 * quarters as f32);
            let transform = Transform {
                quarters,
                flipped: false,
            };
            let expected = transform.apply(&start.values, 8).unwrap();
            for (a, b) in pixels.values.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{quarters}");
            }
        }
    }

    #[test]
    fn one_colour_stays_up_to_the_corners() {
        let plain = image::RgbImage::from_pixel(7, 5, image::Rgb([9, 99, 250]));
        let mut pixels = Pixels::from_rgb8(&plain);
        rotate(&mut pixels, 33.0);
        assert_eq!(pixels.to_rgb8(), plain);
    }
}
