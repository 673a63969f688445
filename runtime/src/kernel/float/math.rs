//! Transcendental functions over vectors. The coefficients are minimax fits made for this file; `docs/numerics.md` states
//! the errors, measured over a dense grid by the test `vector_functions_keep_their_stated_errors`.

use super::lanes::Lanes;

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
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const P: [f32; 5] = [
        0.499_999_94,
        0.166_665_15,
        0.041_668_456,
        0.008_369_419,
        0.001_381_314_5,
    ];
    let x = v.clamp(x, [-104.0, 89.0]);
    let n = v.round(v.mul(x, v.splat(core::f32::consts::LOG2_E)));
    let r = v.mul_add(n, v.splat(-LN_2_HIGH), x);
    let r = v.mul_add(n, v.splat(-LN_2_LOW), r);
    let tail = v.mul_add(v.mul(r, r), polynomial(v, r, P), r);
    v.scale_pow2(v.add(tail, v.splat(1.0)), n)
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(super) fn sigmoid<V: Lanes>(v: V, x: V::F32) -> V::F32 {
    let one = v.splat(1.0);
    v.div(one, v.add(one, exp(v, v.neg(x))))
}

/// An odd function that is x·P(x²)/Q(x²) up to ±`limit` and ±1 beyond.
#[inline(always)]
fn saturating_rational<V: Lanes, const P: usize, const Q: usize>(
    v: V,
    x: V::F32,
    limit: f32,
    numerator: [f32; P],
    denominator: [f32; Q],
) -> V::F32 {
    let bounded = v.clamp(x, [-limit, limit]);
    let square = v.mul(bounded, bounded);
    let y = v.mul(bounded, polynomial(v, square, numerator));
    let y = v.div(y, polynomial(v, square, denominator));
    let one = v.copysign(v.splat(1.0), x);
    v.select_less(v.splat(limit), v.abs(x), one, y)
}

/// The error function; f32 rounds it to ±1 from 3.92 on.
#[inline(always)]
pub(super) fn erf<V: Lanes>(v: V, x: V::F32) -> V::F32 {
    saturating_rational(
        v,
        x,
        3.919_3,
        [
            core::f32::consts::FRAC_2_SQRT_PI,
            0.190_380_63,
            0.052_745_905,
            0.003_764_665,
            2.848_89e-4,
            2.050_658e-6,
        ],
        [
            1.0,
            0.502_053_2,
            0.114_098_97,
            0.014_967_297,
            0.001_162_355_6,
            3.809_793_3e-5,
        ],
    )
}

/// The hyperbolic tangent; f32 rounds it to ±1 from 9 on.
#[inline(always)]
pub(super) fn tanh<V: Lanes>(v: V, x: V::F32) -> V::F32 {
    saturating_rational(
        v,
        x,
        9.0,
        [
            1.0,
            0.133_810_27,
            0.003_495_59,
            2.060_911_2e-5,
            1.335_469_9e-8,
        ],
        [1.0, 0.467_143_42, 0.025_876_99, 3.285_638e-4, 7.776_574e-7],
    )
}
