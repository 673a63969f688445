//! A box of a picture resampled to any size: bicubic with antialiasing, in f32.
//!
//! The filter is Keys' cubic with a = −0.5, widened by the reduction along each axis, as in Pillow's `BICUBIC`; weights
//! beyond the box count nothing, so that the crop sees nothing of what lies around it. The two axes may be scaled
//! differently, which [`pinhole_runtime::preprocess`] does not do.

use image::RgbImage;

use super::pixels::{CHANNELS, Pixels};

/// A box inside a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crop {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// What one output pixel reads along one axis.
struct Taps {
    start: usize,
    weights: Vec<f32>,
}

/// The `crop` of a picture at `width` × `height` pixels.
pub(crate) fn resample(picture: &RgbImage, crop: Crop, width: usize, height: usize) -> Pixels {
    let columns = taps(crop.width, width);
    let row_bytes = picture.width() as usize * CHANNELS;
    let mut rows = Vec::with_capacity(crop.height * width * CHANNELS); // (crop.height, width, 3)
    for row in picture.as_raw()[crop.y * row_bytes..]
        .chunks_exact(row_bytes)
        .take(crop.height)
    {
        let row = &row[crop.x * CHANNELS..][..crop.width * CHANNELS];
        for column in &columns {
            let mut sum = [0.0; CHANNELS];
            let pixels = row.as_chunks::<CHANNELS>().0[column.start..].iter();
            for (pixel, weight) in pixels.zip(&column.weights) {
                for c in 0..CHANNELS {
                    sum[c] += f32::from(pixel[c]) * weight;
                }
            }
            rows.extend_from_slice(&sum);
        }
    }
    let mut out = Pixels::black(width, height);
    let len = width * CHANNELS;
    for (line, out) in taps(crop.height, height)
        .iter()
        .zip(out.values.chunks_exact_mut(len))
    {
        for (row, weight) in rows[line.start * len..]
            .chunks_exact(len)
            .zip(&line.weights)
        {
            for (sum, value) in out.iter_mut().zip(row) {
                *sum += value * weight;
            }
        }
        for value in out {
            *value = (*value / 255.0).clamp(0.0, 1.0);
        }
    }
    out
}

/// The weights along an axis, of sum 1 for each of the `to` pixels.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widened = scale.max(1.0);
    (0..to)
        .map(|index| {
            let center = (index as f64 + 0.5) * scale;
            let start = (center - 2.0 * widened + 0.5).max(0.0) as usize;
            let end = ((center + 2.0 * widened + 0.5) as usize).min(from);
            let weights: Vec<f64> = (start..end)
                .map(|at| cubic((at as f64 + 0.5 - center) / widened))
                .collect();
            let sum: f64 = weights.iter().sum();
            Taps {
                start,
                weights: weights.iter().map(|w| (w / sum) as f32).collect(),
            }
        })
        .collect()
}

/// Keys' cubic convolution kernel (1981) with a = −0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((x - 5.0) * x + 8.0) * x * A - 4.0 * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pixels::tests::{geometry, picture};
    use super::*;

    #[test]
    fn a_box_at_its_own_size_keeps_its_bytes() {
        let picture = picture(9, 7);
        let crop = Crop {
            x: 2,
            y: 1,
            width: 5,
            height: 6,
        };
        let expected = image::imageops::crop_imm(&picture, 2, 1, 5, 6).to_image();
        assert_eq!(resample(&picture, crop, 5, 6).to_rgb8(), expected);
    }

    #[test]
    fn a_whole_square_is_resized_as_the_runtime_does_it_to_one_level() {
        let picture = image::imageops::blur(&picture(64, 64), 1.5);
        let whole = Crop {
            x: 0,
            y: 0,
            width: 64,
            height: 64,
        };
        for side in [20, 64, 100] {
            let found = resample(&picture, whole, side, side).to_rgb8();
            let expected = Pixels::fitted(&picture, &geometry(side as u16))
                .unwrap()
                .to_rgb8();
            for (a, b) in found.iter().zip(expected.iter()) {
                assert!(a.abs_diff(*b) <= 1, "{side}: {a} {b}");
            }
        }
    }

    #[test]
    fn what_lies_around_a_box_does_not_show() {
        let mut picture = RgbImage::from_pixel(10, 10, image::Rgb([255, 0, 0]));
        for y in 4..9 {
            for x in 3..7 {
                picture.put_pixel(x, y, image::Rgb([10, 20, 30]));
            }
        }
        let crop = Crop {
            x: 3,
            y: 4,
            width: 4,
            height: 5,
        };
        for (width, height) in [(2, 3), (9, 2), (1, 20)] {
            let out = resample(&picture, crop, width, height).to_rgb8();
            assert!(out.pixels().all(|p| p.0 == [10, 20, 30]));
        }
    }
}
