//! Transcendental functions over vectors; `docs/numerics.md` states the errors, measured over a dense grid by the test
//! `unary_functions_keep_their_stated_errors`.

use super::lanes::Lanes;
use crate::kernel::minimax::{ERF, EXP, LN_2, SaturatingRational, TANH};

/// Horner's scheme; `coefficients` from the constant up.
#[inline(always)]
fn polynomial<V: Lanes, const N: usize>(v: V, x: V::F32, coefficients: [f32; N]) -> V::F32 {
    let mut y = v.splat(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        y = v.mul_add(y, x, v.splat(coefficients[i]));
    }
    y
}

/// eˣ. With x = n·ln 2 + r and |r| ≤ ln 2 / 2, it is 2ⁿ · (1 + r + r²·p(r)); ln 2 in two parts keeps r exact.
///
/// Overflows to inf, underflows through the subnormal numbers to 0; NaN stays NaN.
#[inline(always)]
pub(super) fn exp<V: Lanes>(v: V, x: V::F32) -> V::F32 {
    let [high, low] = LN_2;
    let x = v.clamp(x, [-104.0, 89.0]);
    let n = v.round(v.mul(x, v.splat(core::f32::consts::LOG2_E)));
    let r = v.mul_add(n, v.splat(-high), x);
    let r = v.mul_add(n, v.splat(-low), r);
    let tail = v.mul_add(v.mul(r, r), polynomial(v, r, EXP), r);
    v.scale_pow2(v.add(tail, v.splat(1.0)), n)
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(super) fn sigmoid<V: Lanes>(v: V, x: V::F32) -> V::F32 {
    let one = v.splat(1.0);
    v.div(one, v.add(one, exp(v, v.neg(x))))
}

#[inline(always)]
fn saturating_rational<V: Lanes, const N: usize>(
    v: V,
    x: V::F32,
    function: SaturatingRational<N>,
) -> V::F32 {
    let limit = function.limit;
    let bounded = v.clamp(x, [-limit, limit]);
    let square = v.mul(bounded, bounded);
    let y = v.mul(bounded, polynomial(v, square, function.numerator));
    let y = v.div(y, polynomial(v, square, function.denominator));
    let one = v.copysign(v.splat(1.0), x);
    v.select_less(v.splat(limit), v.abs(x), one, y)
}

/// The error function; f32 rounds it to ±1 from 3.92 on.
#[inline(always)]
pub(super) fn erf<V: Lanes>(v: V, x: V::F32) -> V::F32 {
    saturating_rational(v, x, ERF)
}

/// The hyperbolic tangent; f32 rounds it to ±1 from 9 on.
#[inline(always)]
pub(super) fn tanh<V: Lanes>(v: V, x: V::F32) -> V::F32 {
    saturating_rational(v, x, TANH)
}
