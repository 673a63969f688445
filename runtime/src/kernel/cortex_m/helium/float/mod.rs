//! Floats on Helium: four f32 or eight halves an instruction.
//!
//! Vectors round to nearest even and have one NaN, whatever FPSCR says. Those of f32 flush subnormal numbers to zero,
//! operands and results; those of halves keep them while FPSCR.FZ16 is 0, as after a reset, and so do the conversions.

mod depthwise;
mod finish;
mod row;
mod sums;
mod tile;

use half::f16;

use super::Helium;
use crate::kernel::cortex_m::dsp;
use crate::kernel::cortex_m::float::{DepthwiseBlock, FloatLevel, Number};
use crate::model::op::BinaryKind;
use tile::Vectors;

impl FloatLevel for Helium {
    type Single = Vectors<f32, f32>;
    type SingleByHalf = Vectors<f32, f16>;
    type SingleByByte = Vectors<f32, i8>;
    type Half = Vectors<f16, f16>;

    fn copy(src: &[u8], dst: &mut [u8]) {
        super::conv_s8::copy(dst, src);
    }
    fn widen(src: &[f16], dst: &mut [f32]) {
        row::widen(src, dst);
    }
    fn narrow(src: &[f32], dst: &mut [f16]) {
        row::narrow(src, dst);
    }
    #[inline(always)]
    fn reciprocal(x: f32) -> f32 {
        reciprocal(x)
    }
    #[inline(always)]
    fn sqrt(x: f32) -> f32 {
        dsp::sqrt(x)
    }
    fn sum(row: &[f32]) -> f32 {
        row::sum(row)
    }
    fn squares(row: &[f32], shift: f32) -> f32 {
        row::squares(row, shift)
    }
    fn largest(row: &[f32]) -> f32 {
        row::largest(row)
    }
    fn binary_half(function: BinaryKind, lhs: &[f16], rhs: &[f16], dst: &mut [f16]) -> bool {
        row::binary(function, lhs, rhs, dst)
    }
    #[inline(always)]
    unsafe fn depthwise<T: Number>(block: &DepthwiseBlock) {
        // SAFETY: The caller vouches for the block.
        unsafe { depthwise::depthwise::<T>(block) };
    }
}

/// 1 / x for x of at least 1, or NaN; 0 from 2¹²⁶ on. There is no division of vectors: from an estimate that is 12 %
/// off, each step of Newton's method squares the error.
#[inline(always)]
fn reciprocal(x: f32) -> f32 {
    const TOO_LARGE: f32 = 8.507_059e37;
    let mut y = f32::from_bits(0x7ef3_11c7_u32.wrapping_sub(x.to_bits()));
    for _ in 0..3 {
        y += y * (1.0 - x * y);
    }
    // NaN has gone through the arithmetic.
    if x.to_bits().wrapping_sub(TOO_LARGE.to_bits())
        <= f32::INFINITY.to_bits() - TOO_LARGE.to_bits()
    {
        0.0
    } else {
        y
    }
}
