//! Floats on a scalar FPU in single precision: the Cortex-M4 and M7, and what Helium leaves to scalars.
//!
//! There is no arithmetic in halves: they are converted, `vcvtb` and `vcvtt`.

/// What an instruction makes of the bits in s0.
macro_rules! on_s0 {
    ($instruction:literal, $bits:expr) => {{
        let mut bits: u32 = $bits;
        // SAFETY: Computes on registers.
        unsafe {
            core::arch::asm!(
                "vmov s0, {bits}",
                $instruction,
                "vmov {bits}, s0",
                bits = inout(reg) bits, out("s0") _,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        bits
    }};
}

mod convert;
mod depthwise;
mod row;
mod tile;

pub(crate) use tile::Scalars;

use half::f16;

use super::Dsp;
use crate::kernel::cortex_m::float::{DepthwiseBlock, FloatLevel, Number, max};

impl FloatLevel for Dsp {
    type Single = Scalars<f32, f32>;
    type SingleByHalf = Scalars<f32, f16>;
    type SingleByByte = Scalars<f32, i8>;
    type Half = Scalars<f16, f16>;

    fn copy(src: &[u8], dst: &mut [u8]) {
        dst.copy_from_slice(src);
    }
    fn widen(src: &[f16], dst: &mut [f32]) {
        convert::widen(src, dst);
    }
    fn narrow(src: &[f32], dst: &mut [f16]) {
        convert::narrow(src, dst);
    }
    #[inline(always)]
    fn reciprocal(x: f32) -> f32 {
        1.0 / x
    }
    #[inline(always)]
    fn sqrt(x: f32) -> f32 {
        sqrt(x)
    }
    fn sum(row: &[f32]) -> f32 {
        row::sum(row)
    }
    fn squares(row: &[f32], shift: f32) -> f32 {
        row::squares(row, shift)
    }
    fn largest(row: &[f32]) -> f32 {
        row.iter().copied().fold(f32::NEG_INFINITY, max)
    }
    #[inline(always)]
    unsafe fn depthwise<T: Number>(block: &DepthwiseBlock) {
        // SAFETY: The caller vouches for the block.
        unsafe { depthwise::depthwise::<T>(block) };
    }
}

/// The root, rounded once.
#[inline(always)]
pub(in crate::kernel::cortex_m) fn sqrt(x: f32) -> f32 {
    f32::from_bits(on_s0!("vsqrt.f32 s0, s0", x.to_bits()))
}
