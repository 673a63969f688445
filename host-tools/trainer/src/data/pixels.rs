//! The picture that augmentations change: RGB in f32 at the encoder's resolution.

use image::RgbImage;
use pinhole_runtime::kernel;
use pinhole_runtime::preprocess::{InputGeometry, PixelFormat, Preprocessor, RowSink};

use super::error::LoadError;

/// Red, green and blue.
pub(crate) const CHANNELS: usize = 3;

/// Weights of red, green and blue in the luma of ITU-R BT.601, which Pillow and torchvision make grey of.
const LUMA: [f32; CHANNELS] = [0.299, 0.587, 0.114];

/// sRGB-coded pixels, each number in 0..=1.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) values: Vec<f32>, // (height, width, 3)
}

impl Pixels {
    /// The pixels of an 8-bit picture as they are.
    pub fn from_rgb8(picture: &RgbImage) -> Self {
        let (width, height) = picture.dimensions();
        Self {
            width: width as usize,
            height: height as usize,
            values: picture
                .as_raw()
                .iter()
                .map(|v| f32::from(*v) / 255.0)
                .collect(),
        }
    }

    /// The picture as an encoder sees it where it is used: its shorter side resized, its middle cut out, with the
    /// bits of [`pinhole_runtime::preprocess`].
    ///
    /// # Errors
    /// [`LoadError::Geometry`] where the geometry is out of range or the picture too large.
    pub fn fitted(picture: &RgbImage, geometry: &InputGeometry) -> Result<Self, LoadError> {
        let (width, height) = picture.dimensions();
        let words =
            Preprocessor::scratch_len(geometry, width, height).map_err(LoadError::Geometry)?;
        let mut scratch = vec![0; words];
        let mut pixels = Self::black(geometry.width.into(), geometry.height.into());
        let mut preprocessor = Preprocessor::new(
            kernel::detect(),
            geometry,
            width,
            height,
            PixelFormat::Rgb888,
            &mut scratch,
        )
        .map_err(LoadError::Geometry)?;
        for row in picture.as_raw().chunks_exact(width as usize * CHANNELS) {
            preprocessor
                .push_row(row, &mut pixels)
                .map_err(LoadError::Geometry)?;
        }
        preprocessor
            .finish(&mut pixels)
            .map_err(LoadError::Geometry)?;
        Ok(pixels)
    }

    /// A black picture.
    pub(crate) fn black(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            values: vec![0.0; width * height * CHANNELS],
        }
    }

    /// The nearest 8-bit picture.
    pub fn to_rgb8(&self) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let at = (y as usize * self.width + x as usize) * CHANNELS;
            image::Rgb(std::array::from_fn(|c| {
                (self.values[at + c] * 255.0).round() as u8
            }))
        })
    }

    /// The pixels one by one.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut [f32; CHANNELS]> {
        self.values.as_chunks_mut().0.iter_mut()
    }

    /// The pixel in column `x` of row `y`.
    pub(crate) fn at(&self, x: usize, y: usize) -> [f32; CHANNELS] {
        let start = (y * self.width + x) * CHANNELS;
        std::array::from_fn(|c| self.values[start + c])
    }

    /// `(value − mean) / std` of every number, the input tensor of an encoder.
    pub(crate) fn normalised(mut self, geometry: &InputGeometry) -> Vec<f32> {
        for pixel in self.each() {
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = (*value - geometry.mean[c]) / geometry.std[c];
            }
        }
        self.values
    }
}

impl RowSink for Pixels {
    fn row(&mut self, y: usize, rgb: &[u8]) {
        let len = self.width * CHANNELS;
        for (value, byte) in self.values[y * len..][..len].iter_mut().zip(rgb) {
            *value = f32::from(*byte) / 255.0;
        }
    }
}

/// The luma of a pixel.
pub(crate) fn luma(pixel: &[f32; CHANNELS]) -> f32 {
    pixel.iter().zip(LUMA).map(|(v, weight)| v * weight).sum()
}

/// sRGB-coded to linear light (IEC 61966-2-1), both in 0..=1.
pub(crate) fn to_linear(value: f32) -> f32 {
    if value <= 0.04045 {
        value / 12.92
    } else {
        ((value + 0.055) / 1.055).powf(2.4)
    }
}

/// Linear light to sRGB-coded (IEC 61966-2-1), clipped to 0..=1 as a sensor clips.
pub(crate) fn to_srgb(light: f32) -> f32 {
    if light >= 1.0 {
        // The formula ends one rounding below.
        1.0
    } else if light <= 0.003_130_8 {
        light.max(0.0) * 12.92
    } else {
        1.055 * light.powf(1.0 / 2.4) - 0.055
    }
}

/// The pixel that stands at `index` of a line of `len` pixels which is mirrored at both ends.
pub(crate) fn mirrored(index: isize, len: usize) -> usize {
    let at = index.rem_euclid(2 * len as isize) as usize;
    at.min(2 * len - 1 - at)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pinhole_runtime::preprocess::F32Sink;

    /// A picture whose bytes differ from pixel to pixel.
    pub(crate) fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([
                (x * 37 + y * 11 + 5) as u8,
                (x * y * 3 + 90) as u8,
                (255 + x * 201 + y * 20 % 200) as u8,
            ])
        })
    }

    pub(crate) fn geometry(side: u16) -> InputGeometry {
        InputGeometry {
            width: side,
            height: side,
            resize_shorter: side,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    #[test]
    fn bytes_come_back_as_they_went_in_also_through_linear_light() {
        let all = RgbImage::from_fn(256, 1, |x, _| image::Rgb([x as u8; 3]));
        let mut pixels = Pixels::from_rgb8(&all);
        assert_eq!(pixels.to_rgb8(), all);
        pixels
            .each()
            .flatten()
            .for_each(|v| *v = to_srgb(to_linear(*v)));
        assert_eq!(pixels.to_rgb8(), all);
    }

    #[test]
    fn a_fitted_picture_has_the_bits_of_the_encoder_s_input() {
        let (picture, geometry) = (picture(23, 17), geometry(8));
        let fitted = Pixels::fitted(&picture, &geometry).unwrap();
        let mut expected = vec![0.0; 8 * 8 * 3];
        let mut sink = F32Sink::new(&geometry, &mut expected).unwrap();
        for (y, row) in fitted.to_rgb8().as_raw().chunks_exact(24).enumerate() {
            sink.row(y, row);
        }
        assert_eq!(fitted.normalised(&geometry), expected);
    }

    #[test]
    fn known_values_of_srgb_luma_and_mirroring() {
        assert!((to_linear(0.5) - 0.214_041).abs() < 1e-5);
        assert!((to_srgb(0.214_041) - 0.5).abs() < 1e-5);
        assert_eq!(to_srgb(1.5), 1.0);
        assert!((luma(&[1.0, 0.0, 0.5]) - 0.356).abs() < 1e-6);
        let line: Vec<_> = (-3..6).map(|i| mirrored(i, 3)).collect();
        assert_eq!(line, [2, 1, 0, 0, 1, 2, 2, 1, 0]);
    }
}
