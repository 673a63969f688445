//! One axis of the resize: which source samples an output sample reads, and with which weights.
//!
//! The filter is the cubic convolution of Keys 1981, "Cubic convolution interpolation for digital image processing", with
//! a = -0.5. When the picture shrinks, the filter is stretched by the scale, which is the antialiasing. Positions, weights
//! and their rounding to 22 fractional bits follow Pillow's `Resample.c` operation for operation in IEEE f64 (add,
//! subtract, multiply, divide), so that the integers are the same as Pillow's on a host and on a microcontroller with or
//! without a double precision unit.

use crate::kernel::resample::WEIGHT_BITS;

/// Half width of the cubic filter, in output samples when shrinking and in source samples when growing.
const FILTER_SUPPORT: f64 = 2.0;

/// Weights of a window that are kept while they are added up; further ones are computed twice.
const KEPT_WEIGHTS: usize = 16;

/// The outputs of one axis that survive the centre crop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    source_len: u32,
    /// Source samples for one output sample.
    scale: f64,
    /// 1 over the scale, or over 1 where that is less: a growing picture is interpolated with the plain filter.
    inverse_filter_scale: f64,
    support: f64,
    /// Where the crop starts in the resized axis.
    crop_start: u64,
    /// Outputs before the picture starts, when the crop is larger than the resized picture.
    pub(super) padding: usize,
    /// Outputs that are computed; the rest of `out_len` is padding.
    pub(super) count: usize,
    /// Upper bound on the samples that one output reads.
    pub(super) taps: usize,
}

/// The source samples that one output reads: `start..start + len`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) start: u32,
    pub(super) len: u32,
    center: f64,
}

impl Window {
    /// One past the last source sample that is read.
    pub(super) fn end(&self) -> u32 {
        self.start + self.len
    }
}

impl Axis {
    /// The axis that resizes `source_len` samples to `resized_len` and keeps the middle `out_len` of them.
    ///
    /// All lengths are at least 1; `source_len` is at most [`super::MAX_SOURCE_SIDE`], which [`super::Preprocessor`] checks.
    pub(super) fn new(source_len: u32, resized_len: u64, out_len: u16) -> Self {
        let scale = f64::from(source_len) / resized_len as f64;
        let filter_scale = if scale < 1.0 { 1.0 } else { scale };
        let support = FILTER_SUPPORT * filter_scale;
        let (crop_start, padding) = centre(resized_len, u64::from(out_len));
        let count = resized_len.min(u64::from(out_len)) as usize;
        Self {
            source_len,
            scale,
            inverse_filter_scale: 1.0 / filter_scale,
            support,
            crop_start,
            padding: padding as usize,
            count,
            taps: libm::ceil(support) as usize * 2 + 1,
        }
    }

    /// True when one output reads a span of at most four source samples and their neighbour.
    pub(super) fn grows(&self) -> bool {
        self.scale < 1.0
    }

    /// The source samples of computed output `index` (0 is the first after the padding).
    ///
    /// Monotone in `index` at both ends, never empty, and never past `source_len`.
    pub(super) fn window(&self, index: usize) -> Window {
        let center = ((self.crop_start + index as u64) as f64 + 0.5) * self.scale;
        // A float to integer cast truncates towards zero and saturates, so that a negative start becomes 0.
        let start = (center - self.support + 0.5) as u32;
        let end = ((center + self.support + 0.5) as u32).min(self.source_len);
        Window {
            start,
            len: end.saturating_sub(start),
            center,
        }
    }

    fn weight(&self, window: &Window, tap: u32) -> f64 {
        let position = f64::from(window.start + tap) - window.center + 0.5;
        cubic(position * self.inverse_filter_scale)
    }

    /// Sum of the weights of a window, in the order in which Pillow adds them.
    pub(super) fn weight_sum(&self, window: &Window) -> f64 {
        let mut sum = 0.0;
        for tap in 0..window.len {
            sum += self.weight(window, tap);
        }
        sum
    }

    /// The fixed-point weights of the samples of a window, to the first elements of `dst`.
    ///
    /// A weighted sum of samples cannot leave i32: the absolute weights of a cubic window add up to less than 1.6, times 255 in
    /// 22 fractional bits is below 2³¹.
    pub(super) fn coefficients(&self, window: &Window, dst: &mut [i32]) {
        let mut kept = [0.0; KEPT_WEIGHTS];
        let mut sum = 0.0;
        for tap in 0..window.len {
            let weight = self.weight(window, tap);
            sum += weight;
            if let Some(kept) = kept.get_mut(tap as usize) {
                *kept = weight;
            }
        }
        for (tap, dst) in (0..window.len).zip(dst) {
            let kept = kept.get(tap as usize).copied();
            let weight = kept.unwrap_or_else(|| self.weight(window, tap));
            *dst = to_fixed(weight, sum);
        }
    }

    /// The `tap`-th of [`Axis::coefficients`], of a window whose weights add up to `sum`.
    pub(super) fn coefficient(&self, window: &Window, sum: f64, tap: u32) -> i32 {
        to_fixed(self.weight(window, tap), sum)
    }
}

/// A weight as a part of the sum of all weights, in fixed point.
fn to_fixed(weight: f64, sum: f64) -> i32 {
    let normalised = if sum != 0.0 { weight / sum } else { weight };
    let fixed = normalised * f64::from(1u32 << WEIGHT_BITS);
    // Rounds half away from zero.
    if normalised < 0.0 {
        (-0.5 + fixed) as i32
    } else {
        (0.5 + fixed) as i32
    }
}

/// Where a centre crop of `out` samples starts in `len` samples, and the padding in front when `out` is the larger.
///
/// As in torchvision's `CenterCrop`: a crop rounds half to even, a padding rounds down.
fn centre(len: u64, out: u64) -> (u64, u64) {
    if out > len {
        return (0, (out - len) / 2);
    }
    let twice = len - out;
    let floor = twice / 2;
    let half_rounds_up = twice % 2 == 1 && floor % 2 == 1;
    (floor + u64::from(half_rounds_up), 0)
}

/// Keys' cubic with a = -0.5, evaluated in Pillow's order.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = if x < 0.0 { -x } else { x };
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::resample::{MAX_WEIGHT, ROUNDING};

    #[test]
    fn a_crop_starts_where_torchvision_starts_it() {
        // Python: int(round((len - out) / 2.0)) rounds half to even.
        for (len, out, start) in [
            (224, 224, 0),
            (225, 224, 0),
            (227, 224, 2),
            (229, 224, 2),
            (231, 224, 4),
        ] {
            assert_eq!(centre(len, out), (start, 0), "{len} -> {out}");
        }
        assert_eq!(centre(5, 8), (0, 1));
    }

    #[test]
    fn windows_are_monotone_within_the_source_and_no_longer_than_the_bound() {
        for source_len in [1, 2, 3, 5, 31, 32, 224, 256, 1023, 20_000, 65_535] {
            for resized_len in [1u64, 2, 7, 224, 256, 1_000_000] {
                let axis = Axis::new(source_len, resized_len, 224);
                let mut before = axis.window(0);
                for index in 0..axis.count {
                    let window = axis.window(index);
                    assert!(window.len >= 1 && window.len as usize <= axis.taps);
                    assert!(window.end() <= source_len);
                    assert!(window.start >= before.start && window.end() >= before.end());
                    before = window;
                }
            }
        }
    }

    #[test]
    fn absolute_coefficients_of_any_window_cannot_overflow_the_sum() {
        for source_len in [1u32, 2, 3, 4, 5, 6, 7, 13, 100, 997, 65_535] {
            for resized_len in [1u64, 2, 3, 5, 10, 64, 224, 1000] {
                let axis = Axis::new(source_len, resized_len, 1000);
                for index in 0..axis.count {
                    let window = axis.window(index);
                    let sum = axis.weight_sum(&window);
                    let weights = (0..window.len).map(|tap| axis.coefficient(&window, sum, tap));
                    let mut together = [0; 64];
                    axis.coefficients(&window, &mut together);
                    assert!(
                        weights
                            .clone()
                            .zip(together)
                            .all(|(one, other)| one == other)
                    );
                    assert!(weights.clone().all(|weight| weight.abs() <= MAX_WEIGHT));
                    let absolute: i64 = weights.map(|weight| i64::from(weight).abs()).sum();
                    assert!(absolute * 255 + i64::from(ROUNDING) <= i64::from(i32::MAX));
                }
            }
        }
    }
}
