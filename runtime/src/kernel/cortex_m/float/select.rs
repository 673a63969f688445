//! Limits and maxima that keep NaN.
//!
//! For Helium, LLVM takes `vcmp` with `lt` and `le` for false where a number is NaN, but they are the inverse of `ge`
//! and `gt` and true: some loops over the scalar forms lose NaN. What becomes vectors there is `vmaxnm` and `vminnm`,
//! which pass over NaN, and a selection by the bits of the number.

#[cfg(not(cortex_m_helium))]
pub(crate) use crate::kernel::scalar::float::{clamp_f32 as clamp, max_f32 as max, min_f32 as min};

/// `x` where it is NaN, else `y`.
#[cfg(cortex_m_helium)]
#[inline(always)]
fn nan_or(x: f32, y: f32) -> f32 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    if magnitude > f32::INFINITY.to_bits() {
        x
    } else {
        y
    }
}

/// `x` limited to [low, high]; NaN stays NaN.
#[cfg(cortex_m_helium)]
#[inline(always)]
pub(crate) fn clamp(x: f32, [low, high]: [f32; 2]) -> f32 {
    nan_or(x, x.max(low).min(high))
}

/// The larger; NaN when either is NaN.
#[cfg(cortex_m_helium)]
#[inline(always)]
pub(crate) fn max(lhs: f32, rhs: f32) -> f32 {
    nan_or(lhs, nan_or(rhs, lhs.max(rhs)))
}

/// The smaller; NaN when either is NaN.
#[cfg(cortex_m_helium)]
#[inline(always)]
pub(crate) fn min(lhs: f32, rhs: f32) -> f32 {
    nan_or(lhs, nan_or(rhs, lhs.min(rhs)))
}

/// Whether the magnitude of `x` is above `limit`, which is positive; so is that of NaN.
#[inline(always)]
pub(super) fn is_beyond(x: f32, limit: f32) -> bool {
    x.to_bits() & 0x7fff_ffff > limit.to_bits()
}
