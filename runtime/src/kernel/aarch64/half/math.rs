//! Functions of halves that are accurate to a few units of a half, for what attention and vision transformers compute much of.

use core::arch::aarch64::*;

use half::f16;

use super::vector::{narrow, splat, widen};

/// eˣ for x ≤ 0. With x = n·ln 2 + r and |r| ≤ ln 2 / 2, it is 2ⁿ · p(r); ln 2 in two parts keeps r exact.
///
/// Underflows through the subnormal halves to 0; NaN stays NaN.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn exp(x: float16x8_t) -> float16x8_t {
    let constant = |x: f32| splat(f16::from_f32(x));
    // e⁻¹⁷·⁵ rounds to 0.
    let x = vmaxq_f16(x, constant(-17.5));
    let n = vrndnq_f16(vmulq_f16(x, constant(core::f32::consts::LOG2_E)));
    // The high part has 6 bits, so that n · high is exact.
    let r = vfmsq_f16(x, n, constant(0.6875));
    let r = vfmsq_f16(r, n, constant(core::f32::consts::LN_2 - 0.6875));
    let p = vfmaq_f16(constant(0.500_2), r, constant(0.167_6));
    let p = vfmaq_f16(constant(1.0), r, p);
    let p = vfmaq_f16(constant(1.0), r, p);
    // Two factors, since 2ⁿ itself may be below the normal halves.
    let n = vcvtq_s16_f16(n);
    let first = vmaxq_s16(n, vdupq_n_s16(-14));
    let second = vsubq_s16(n, first);
    let power = |n| vreinterpretq_f16_s16(vshlq_n_s16::<10>(vaddq_s16(n, vdupq_n_s16(15))));
    vmulq_f16(vmulq_f16(p, power(first)), power(second))
}

/// x · Φ(x), in f32.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn gelu(x: float16x8_t) -> float16x8_t {
    let [low, high] = widen(x);
    narrow([gelu_quad(low), gelu_quad(high)])
}

/// x · Φ(x) with Φ(x) − ½ as x·P(x²) up to ±3.8, where Φ is nearly 0 or 1, which it is beyond. The error of Φ is at most 0.17 · 2⁻¹¹.
///
/// NaN stays NaN, and −∞ · 0 is one.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn gelu_quad(x: float32x4_t) -> float32x4_t {
    const LIMIT: f32 = 3.8;
    // From the constant up; P(LIMIT²) · LIMIT is a little above ½, so that Φ(−LIMIT) is 0.
    const P: [f32; 8] = [
        0.399_010_7,
        -0.066_580_58,
        0.009_955_543,
        -0.001_139_938_2,
        9.549_117e-5,
        -5.380_429e-6,
        1.778_194_6e-7,
        -2.562_58e-9,
    ];
    let bounded = vminq_f32(vmaxq_f32(x, vdupq_n_f32(-LIMIT)), vdupq_n_f32(LIMIT));
    let square = vmulq_f32(bounded, bounded);
    let mut p = vdupq_n_f32(P[7]);
    for coefficient in P[..7].iter().rev() {
        p = vfmaq_f32(vdupq_n_f32(*coefficient), p, square);
    }
    let phi = vfmaq_f32(vdupq_n_f32(0.5), bounded, p);
    vmulq_f32(x, vmaxq_f32(phi, vdupq_n_f32(0.0)))
}

/// x / (1 + e⁻ᶻ) with z = 1.702 · x, in halves: e^−|z|, which cannot overflow, stands above or below the line.
///
/// NaN stays NaN, and −∞ · 0 is one.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn quick_gelu(x: float16x8_t) -> float16x8_t {
    let one = splat(f16::ONE);
    let power = exp(vnegq_f16(vabsq_f16(vmulq_f16(
        x,
        splat(f16::from_f32(1.702)),
    ))));
    let gate = vdivq_f16(vbslq_f16(vcltzq_f16(x), power, one), vaddq_f16(one, power));
    vmulq_f16(x, gate)
}
