//! The exponential of an integer softmax: 2^(−u) from 16-bit products, the same bits in every kernel set.
//!
//! A score's distance t from the largest of its row becomes u, a number of halvings with 11 fraction bits: t is limited
//! so that it fits 16 bits after a shift, and one 16-bit product scales it. 2^(−fraction) is a cubic polynomial in
//! rounded 16-bit products (`pmulhrsw`, `vqrdmulh.s16`), at most 1.5·10⁻⁴ off; a shift does the whole halvings.

use super::transformer::HeadScale;

/// Weight of the largest score: 14 bits, two limbs of 7, so that signed byte products can take either.
pub const LARGEST_WEIGHT: i32 = 16383;
/// Coefficients of 32766 · 2^(−f) = C0 − f · (C1 − f · (C2 − f · C3)), found by a search over integers.
pub const EXP2_COEFFICIENTS: [i16; 4] = [32766, 22663, 7577, 1298];

/// How far scores are apart, in halvings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreScale {
    /// In 2¹⁵..2¹⁶.
    pub multiplier: u32,
    /// Distances are limited to this before the shifts, so that they do not overflow.
    pub limit: i32,
    /// Left shift; 0 when `right` is not. What it makes larger than 16 bits is limited to them.
    pub left: u32,
    /// Right shift; what it leaves fits 16 bits.
    pub right: u32,
}

impl ScoreScale {
    /// `halvings = t · multiplier · 2^(−16 − shift − 11)`, for a shift in −15..=15.
    pub fn new(multiplier: i32, shift: i32) -> Self {
        let (left, right) = ((-shift).max(0) as u32 & 15, shift.max(0) as u32 & 15);
        Self {
            multiplier: multiplier as u32 & 0xFFFF,
            limit: ((1u32 << (16 + right)) - 1) as i32,
            left,
            right,
        }
    }

    /// The scale for scores of which one unit is `real` (natural logarithm); `None` when no shift reaches it.
    pub fn quantize(real: f64) -> Option<(i32, i32)> {
        let factor = real * core::f64::consts::LOG2_E * 2048.0;
        if !(factor.is_finite() && factor > 0.0) {
            return None;
        }
        let (fraction, exponent) = libm::frexp(factor);
        let mut multiplier = libm::round(fraction * 65536.0) as i32;
        let mut shift = -exponent;
        if multiplier == 1 << 16 {
            multiplier = 1 << 15;
            shift -= 1;
        }
        (-15..=15).contains(&shift).then_some((multiplier, shift))
    }

    /// Halvings of a distance of 0 or more, 11 fraction bits, in 16 bits. At the limit they are at least 15.
    pub fn halvings(&self, distance: i32) -> u16 {
        let limited = distance.min(self.limit) as u32;
        let shifted = ((limited << self.left) >> self.right).min(0xFFFF);
        ((shifted * self.multiplier) >> 16) as u16
    }
}

/// `(a · b + 2¹⁴) >> 15` of numbers that are 0 or more.
fn rounded_product(a: i32, b: i32) -> i32 {
    (a * b + (1 << 14)) >> 15
}

/// 32766 · 2^(−halvings), rounded down after the whole halvings.
pub fn exp2_negative(halvings: u16) -> i32 {
    let [c0, c1, c2, c3] = EXP2_COEFFICIENTS.map(i32::from);
    let fraction = i32::from(halvings & 0x7FF) << 4;
    let inner = c2 - rounded_product(c3, fraction);
    let middle = c1 - rounded_product(inner, fraction);
    let mantissa = c0 - rounded_product(middle, fraction);
    mantissa >> (halvings >> 11)
}

/// The weight of a key in attention: 16383 · 2^(−halvings), halves up.
pub fn weight(halvings: u16) -> i32 {
    (exp2_negative(halvings) + 1) >> 1
}

/// The pair for `requantize` that divides by `sum` and multiplies by the head's output factor: the quotient rounded down
/// to 31 bits. `sum` is the sum of the weights of a row, at least [`LARGEST_WEIGHT`].
pub fn row_multiplier(head: &HeadScale, sum: u32) -> (i32, i32) {
    normalized_quotient(head.output_multiplier, head.output_shift, sum)
}

/// `multiplier · 2^(shift − 31) / divisor` as such a pair again, rounded down.
pub(crate) fn normalized_quotient(multiplier: i32, shift: i32, divisor: u32) -> (i32, i32) {
    let numerator = (multiplier.max(0) as u64) << 32;
    let quotient = numerator.checked_div(divisor.into()).unwrap_or(0);
    if quotient == 0 {
        return (0, 0);
    }
    let bits = 64 - quotient.leading_zeros() as i32;
    let drop = bits - 31;
    let normalized = if drop >= 0 {
        quotient >> drop
    } else {
        quotient << -drop
    };
    (normalized as i32, shift + drop - 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_near_and_never_rises() {
        let mut last = i32::MAX;
        for halvings in 0..=u16::MAX {
            let found = exp2_negative(halvings);
            assert!(found <= last && found >= 0, "{halvings}: {found}");
            last = found;
            let real = 32766.0 * libm::exp2(-f64::from(halvings) / 2048.0);
            assert!(
                (f64::from(found) - real).abs() <= 1.0 + 1.5e-4 * real,
                "{halvings}: {found}, {real}"
            );
        }
        assert_eq!(weight(0), LARGEST_WEIGHT);
        assert_eq!(weight(16 << 11), 0);
    }

    #[test]
    fn distances_become_halvings_for_every_scale() {
        for exponent in -28..=0 {
            for step in 0..16 {
                let real = (1.0 + f64::from(step) / 16.0) * libm::exp2(f64::from(exponent));
                let Some((multiplier, shift)) = ScoreScale::quantize(real) else {
                    continue;
                };
                assert!((1 << 15..1 << 16).contains(&multiplier));
                let scale = ScoreScale::new(multiplier, shift);
                for distance in (0..31).flat_map(|bit| [(1i32 << bit) - 1, 1 << bit, i32::MAX]) {
                    let found = scale.halvings(distance);
                    let expected = f64::from(distance) * real * core::f64::consts::LOG2_E;
                    if expected < 15.0 {
                        // A step of t after its shift, one of u, and the rounding of the multiplier.
                        let error = f64::from(found) / 2048.0 - expected;
                        assert!(
                            error.abs() <= 2.0 / 2048.0 + 2e-5 * expected,
                            "{real} · {distance}: {error}"
                        );
                    } else {
                        assert!(found >= 15 << 11, "{real} · {distance}: {found}");
                    }
                }
            }
        }
    }

    #[test]
    fn scales_that_no_shift_reaches_are_none() {
        for real in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9, 1e-12] {
            assert_eq!(ScoreScale::quantize(real), None);
        }
        assert_eq!(
            ScoreScale::quantize(1.0 / (2048.0 * core::f64::consts::LOG2_E)),
            Some((1 << 15, -1))
        );
    }

    #[test]
    fn a_row_divides_by_its_sum() {
        let mut sum = LARGEST_WEIGHT as u32;
        while sum < 1 << 24 {
            for multiplier in [1 << 30, (1 << 30) + 12345, i32::MAX] {
                let head = HeadScale {
                    score_multiplier: 1 << 15,
                    score_shift: 0,
                    output_multiplier: multiplier,
                    output_shift: 2,
                };
                let (found, shift) = row_multiplier(&head, sum);
                assert!((1 << 30..=i32::MAX).contains(&found) && (-31..=0).contains(&shift));
                let real = f64::from(multiplier) * libm::exp2(2.0 - 31.0) / f64::from(sum);
                let back = f64::from(found) * libm::exp2(f64::from(shift) - 31.0);
                assert!((back / real - 1.0).abs() <= libm::exp2(-30.0), "{sum}");
            }
            sum += sum / 3 + 1;
        }
    }
}
