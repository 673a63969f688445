//! Transcendental functions of one number, without branches and without calls, so that a loop over them becomes
//! vectors. The coefficients are those of the other architectures; `docs/numerics.md` states the errors.

use super::FloatLevel;
use super::select::{clamp, is_beyond};
use crate::kernel::minimax::{ERF, EXP, LN_2, SaturatingRational, TANH};

/// Horner's scheme; `coefficients` from the constant up.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut y = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        y = y * x + coefficients[i];
    }
    y
}

/// eˣ. With x = n·ln 2 + r and |r| ≤ ln 2 / 2, it is 2ⁿ · (1 + r + r²·p(r)); ln 2 in two parts keeps r exact.
///
/// Overflows to inf, underflows to 0 through the subnormal numbers where there are any; NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: added to a small number it leaves its nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let [high, low] = LN_2;
    let x = clamp(x, [-104.0, 89.0]);
    let rounded = x * core::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * high - n * low;
    let tail = polynomial(r, EXP);
    scale_pow2(
        tail * (r * r) + r + 1.0,
        rounded.to_bits().wrapping_sub(ROUND.to_bits()),
    )
}

/// `x · 2ⁿ` for n in −252..=254, in two factors, because 2ⁿ itself may be outside the normal numbers.
#[inline(always)]
fn scale_pow2(x: f32, n: u32) -> f32 {
    let n = n as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    x * power(half) * power(n.wrapping_sub(half))
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(super) fn sigmoid<L: FloatLevel>(x: f32) -> f32 {
    L::reciprocal(1.0 + exp(-x))
}

#[inline(always)]
fn saturating_rational<L: FloatLevel, const N: usize>(
    x: f32,
    function: SaturatingRational<N>,
) -> f32 {
    let limit = function.limit;
    let bounded = clamp(x, [-limit, limit]);
    let square = bounded * bounded;
    let y = bounded
        * polynomial(square, function.numerator)
        * L::reciprocal(polynomial(square, function.denominator));
    // The bits of NaN are beyond every limit; it stays as it came out of the clamp.
    let one = f32::from_bits(1.0_f32.to_bits() | (x.to_bits() & 0x8000_0000));
    let saturated = is_beyond(x, limit) && !is_beyond(x, f32::INFINITY);
    if saturated { one } else { y }
}

/// The error function; f32 rounds it to ±1 from 3.92 on.
#[inline(always)]
pub(super) fn erf<L: FloatLevel>(x: f32) -> f32 {
    saturating_rational::<L, 6>(x, ERF)
}

/// The hyperbolic tangent; f32 rounds it to ±1 from 9 on.
#[inline(always)]
pub(super) fn tanh<L: FloatLevel>(x: f32) -> f32 {
    saturating_rational::<L, 5>(x, TANH)
}
