//! From int32 sums to quantised outputs, as TFLite's reference kernels do it.
//!
//! Source: `MultiplyByQuantizedMultiplier` and `QuantizeMultiplier` of TFLite (double rounding), which stand on gemmlowp's
//! `SaturatingRoundingDoublingHighMul` and `RoundingDivideByPOT`. A real factor is written as `multiplier · 2^(shift − 31)`
//! with a multiplier in [2³⁰, 2³¹) or 0. Every function here is total: where TFLite's C++ would overflow, the arithmetic
//! wraps, and every kernel set wraps in the same place.

use super::Requantize;

/// Smallest shift that a requantisation tells from its neighbours; smaller ones are raised to it.
pub const SHIFT_MIN: i32 = -31;
/// Largest shift; larger ones are lowered to it.
pub const SHIFT_MAX: i32 = 30;

/// The high half of `2 · a · b`, halves rounded up; `i32::MIN · i32::MIN` saturates. gemmlowp's
/// `SaturatingRoundingDoublingHighMul`.
pub fn saturating_rounding_doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    // gemmlowp adds a nudge with the sign of the product and divides towards zero, which is this shift.
    ((i64::from(a) * i64::from(b) + (1 << 30)) >> 31) as i32
}

/// `x / 2^exponent`, halves rounded away from zero; `exponent` in 0..=31. gemmlowp's `RoundingDivideByPOT`.
pub fn rounding_divide_by_pot(x: i32, exponent: u32) -> i32 {
    let mask = ((1i64 << exponent) - 1) as i32;
    let remainder = x & mask;
    let threshold = (mask >> 1) + i32::from(x < 0);
    (x >> exponent) + i32::from(remainder > threshold)
}

/// `x · multiplier · 2^(shift − 31)`, rounded twice. TFLite's `MultiplyByQuantizedMultiplier`.
pub fn multiply_by_quantized_multiplier(x: i32, multiplier: i32, shift: i32) -> i32 {
    let shift = shift.clamp(SHIFT_MIN, SHIFT_MAX);
    let shifted = x.wrapping_shl(shift.max(0) as u32);
    let product = saturating_rounding_doubling_high_mul(shifted, multiplier);
    rounding_divide_by_pot(product, (-shift).max(0) as u32)
}

/// The `(multiplier, shift)` nearest to `real`. TFLite's `QuantizeMultiplier`.
///
/// Factors below 2⁻³², negative ones and those that are not finite give `(0, 0)`; factors of 2³⁰ and more give the largest
/// pair.
pub fn quantize_multiplier(real: f64) -> (i32, i8) {
    if !real.is_finite() || real <= 0.0 {
        return (0, 0);
    }
    let (fraction, exponent) = libm::frexp(real);
    let mut shift = exponent;
    let mut fixed = libm::round(fraction * (1u64 << 31) as f64) as i64;
    if fixed == 1 << 31 {
        fixed /= 2;
        shift += 1;
    }
    if shift < SHIFT_MIN {
        return (0, 0);
    }
    if shift > SHIFT_MAX {
        return (i32::MAX, SHIFT_MAX as i8);
    }
    (fixed as i32, shift as i8)
}

impl Requantize<'_> {
    /// The output of `channel` whose products sum to `sum`; the sum with the bias wraps.
    pub fn apply(&self, channel: usize, sum: i32) -> i32 {
        let sum = sum.wrapping_add(self.bias[channel]);
        let shift = i32::from(self.shift[channel]);
        multiply_by_quantized_multiplier(sum, self.multiplier[channel], shift)
            .saturating_add(self.zero_point)
            .max(self.clamp_min)
            .min(self.clamp_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantize_multiplier_is_undone_within_half_a_unit() {
        for exponent in -30..30 {
            for step in 0..64 {
                let real = (1.0 + f64::from(step) / 64.0) * libm::exp2(f64::from(exponent));
                let (multiplier, shift) = quantize_multiplier(real);
                assert!(
                    (1 << 30..=i32::MAX).contains(&multiplier),
                    "{real}: {multiplier}"
                );
                let back = f64::from(multiplier) * libm::exp2(f64::from(shift) - 31.0);
                assert!(
                    (back / real - 1.0).abs() <= libm::exp2(-31.0),
                    "{real} became {back}"
                );
            }
        }
    }

    #[test]
    fn quantize_multiplier_carries_into_the_shift() {
        // 1 − 2⁻⁴⁰ rounds up to 2³¹, which does not fit.
        assert_eq!(quantize_multiplier(1.0 - libm::exp2(-40.0)), (1 << 30, 1));
        assert_eq!(quantize_multiplier(0.5), (1 << 30, 0));
        assert_eq!(quantize_multiplier(1.0), (1 << 30, 1));
    }

    #[test]
    fn factors_outside_the_range_become_zero_or_the_largest() {
        for real in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-12] {
            assert_eq!(quantize_multiplier(real), (0, 0), "{real}");
        }
        assert_eq!(quantize_multiplier(1e300), (i32::MAX, 30));
    }

    #[test]
    fn division_rounds_halves_away_from_zero() {
        for (x, exponent, expected) in [
            (5, 1, 3),
            (-5, 1, -3),
            (4, 1, 2),
            (6, 2, 2),
            (-6, 2, -2),
            (i32::MAX, 31, 1),
            (i32::MIN, 31, -1),
            (i32::MAX, 0, i32::MAX),
            (1 << 30, 31, 1),
            ((1 << 30) - 1, 31, 0),
            (-(1 << 30), 31, -1),
            (1 - (1 << 30), 31, 0),
        ] {
            assert_eq!(
                rounding_divide_by_pot(x, exponent),
                expected,
                "{x} / 2^{exponent}"
            );
        }
    }
}
