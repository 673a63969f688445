//! Sinks that turn rows of 8-bit RGB into the input tensor of a model, shape (height, width, 3).
//!
//! Normalisation is `(pixel / 255 - mean) / std` in f32, in that order, which is what training pipelines compute. The int8
//! tensor holds `round(normalised / scale) + zero_point`, rounded half away from zero and clamped. A pixel has 256 values,
//! so the whole of it is a table of 768 bytes that is computed once per frame.

use super::{InputError, InputGeometry, RowSink};
use crate::kernel::Kernels;
use crate::kernel::resample::CHANNELS;

/// Writes an int8 input tensor.
#[derive(Debug)]
pub struct S8Sink<'a> {
    kernels: &'a dyn Kernels,
    tables: [[i8; 256]; CHANNELS],
    width: usize,
    dst: &'a mut [i8], // (height, width, 3)
}

impl<'a> S8Sink<'a> {
    /// A sink for a tensor with the given quantisation.
    ///
    /// # Errors
    /// When the normalisation, the scale or the zero point is out of range, or `dst` is not (height, width, 3).
    pub fn new(
        kernels: &'a dyn Kernels,
        geometry: &InputGeometry,
        scale: f32,
        zero_point: i32,
        dst: &'a mut [i8],
    ) -> Result<Self, InputError> {
        check_tensor(geometry, dst.len())?;
        Ok(Self {
            kernels,
            tables: quantisation_table(geometry, scale, zero_point)?,
            width: usize::from(geometry.width),
            dst,
        })
    }
}

impl RowSink for S8Sink<'_> {
    fn row(&mut self, y: usize, rgb: &[u8]) {
        let row = self
            .dst
            .chunks_exact_mut(self.width * CHANNELS)
            .nth(y)
            .unwrap_or_default();
        let len = row.len().min(rgb.len());
        if let (Some(dst), Some(src)) = (row.get_mut(..len), rgb.get(..len)) {
            self.kernels.lut_rgb_u8(&self.tables, src, dst);
        }
    }
}

/// Writes an f32 input tensor.
#[derive(Debug)]
pub struct F32Sink<'a> {
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
    width: usize,
    dst: &'a mut [f32], // (height, width, 3)
}

impl<'a> F32Sink<'a> {
    /// A sink for a float tensor.
    ///
    /// # Errors
    /// When the normalisation is out of range, or `dst` is not (height, width, 3).
    pub fn new(geometry: &InputGeometry, dst: &'a mut [f32]) -> Result<Self, InputError> {
        check_tensor(geometry, dst.len())?;
        Ok(Self {
            mean: geometry.mean,
            std: geometry.std,
            width: usize::from(geometry.width),
            dst,
        })
    }
}

impl RowSink for F32Sink<'_> {
    fn row(&mut self, y: usize, rgb: &[u8]) {
        let row = self
            .dst
            .chunks_exact_mut(self.width * CHANNELS)
            .nth(y)
            .unwrap_or_default();
        for (dst, px) in row
            .as_chunks_mut::<CHANNELS>()
            .0
            .iter_mut()
            .zip(rgb.as_chunks::<CHANNELS>().0)
        {
            for channel in 0..CHANNELS {
                dst[channel] = normalise(px[channel], self.mean[channel], self.std[channel]);
            }
        }
    }
}

fn check_tensor(geometry: &InputGeometry, found: usize) -> Result<(), InputError> {
    geometry.check()?;
    let expected = usize::from(geometry.width)
        .saturating_mul(usize::from(geometry.height))
        .saturating_mul(CHANNELS);
    if found != expected {
        return Err(InputError::TensorLength { expected, found });
    }
    Ok(())
}

fn normalise(pixel: u8, mean: f32, std: f32) -> f32 {
    (f32::from(pixel) / 255.0 - mean) / std
}

/// The int8 value of each pixel value, per channel.
///
/// # Errors
/// When the normalisation, the scale or the zero point is out of range.
pub fn quantisation_table(
    geometry: &InputGeometry,
    scale: f32,
    zero_point: i32,
) -> Result<[[i8; 256]; 3], InputError> {
    geometry.check()?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(InputError::BadScale { scale });
    }
    if i8::try_from(zero_point).is_err() {
        return Err(InputError::BadZeroPoint { zero_point });
    }
    let mut lut = [[0; 256]; CHANNELS];
    for (channel, table) in lut.iter_mut().enumerate() {
        for (pixel, quantised) in (0..=255u8).zip(table) {
            let real = normalise(pixel, geometry.mean[channel], geometry.std[channel]);
            // The cast saturates, so a scale that is far too small ends at a bound.
            let rounded = libm::roundf(real / scale) as i32;
            *quantised = rounded.saturating_add(zero_point).clamp(-128, 127) as i8;
        }
    }
    Ok(lut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Scalar;

    const GEOMETRY: InputGeometry = InputGeometry {
        width: 2,
        height: 2,
        resize_shorter: 2,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    #[test]
    fn int8_values_are_within_half_a_step_of_the_float_values() {
        let (scale, zero_point) = (0.0187, -14);
        let mut s8 = [0i8; 12];
        let mut f32s = [0f32; 12];
        let row = [0, 127, 255, 3, 200, 90];
        let mut sink = S8Sink::new(&Scalar, &GEOMETRY, scale, zero_point, &mut s8).unwrap();
        sink.row(1, &row);
        let mut sink = F32Sink::new(&GEOMETRY, &mut f32s).unwrap();
        sink.row(1, &row);
        assert_eq!(&s8[..6], &[0; 6]);
        for (quantised, real) in s8[6..].iter().zip(&f32s[6..]) {
            let back = (f32::from(*quantised) - zero_point as f32) * scale;
            assert!((back - real).abs() <= scale * 0.5001, "{back} {real}");
        }
    }

    #[test]
    fn values_outside_int8_are_clamped() {
        let lut = quantisation_table(&GEOMETRY, 1e-30, 5).unwrap();
        assert_eq!((lut[0][0], lut[2][255]), (-128, 127));
    }

    #[test]
    fn bad_numbers_are_refused() {
        let nan = InputGeometry {
            mean: [0.0, f32::NAN, 0.0],
            ..GEOMETRY
        };
        assert_eq!(
            quantisation_table(&nan, 0.1, 0),
            Err(InputError::BadNormalisation { channel: 1 })
        );
        let zero = InputGeometry {
            std: [1.0, 1.0, 0.0],
            ..GEOMETRY
        };
        assert_eq!(
            quantisation_table(&zero, 0.1, 0),
            Err(InputError::BadNormalisation { channel: 2 })
        );
        assert_eq!(
            quantisation_table(&GEOMETRY, 0.0, 0),
            Err(InputError::BadScale { scale: 0.0 })
        );
        assert_eq!(
            quantisation_table(&GEOMETRY, 0.1, 128),
            Err(InputError::BadZeroPoint { zero_point: 128 })
        );
        assert_eq!(
            S8Sink::new(&Scalar, &GEOMETRY, 0.1, 0, &mut [0; 11]).err(),
            Some(InputError::TensorLength {
                expected: 12,
                found: 11
            })
        );
    }

    #[test]
    fn a_row_outside_the_tensor_is_ignored() {
        let mut dst = [7i8; 12];
        S8Sink::new(&Scalar, &GEOMETRY, 0.1, 0, &mut dst)
            .unwrap()
            .row(2, &[0; 6]);
        assert_eq!(dst, [7; 12]);
    }
}
