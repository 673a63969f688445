//! Floats on a scalar FPU in single precision: the Cortex-M4 and M7, and what Helium leaves to scalars.
//!
//! There is no arithmetic in halves: they are converted, `vcvtb` and `vcvtt`.

mod convert;
mod depthwise;
mod tile;

pub(crate) use tile::Scalars;

use core::arch::asm;

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
        fold(row, 0.0, |sum, x| sum + x, |a, b| a + b)
    }
    fn squares(row: &[f32], shift: f32) -> f32 {
        let square = |sum, x| sum + (x - shift) * (x - shift);
        fold(row, 0.0, square, |a, b| a + b)
    }
    fn largest(row: &[f32]) -> f32 {
        fold(row, f32::NEG_INFINITY, max, max)
    }
    #[inline(always)]
    unsafe fn depthwise<T: Number>(block: &DepthwiseBlock) {
        // SAFETY: The caller vouches for the block.
        unsafe { depthwise::depthwise::<T>(block) };
    }
}

/// Folds a row in four strands, so that an instruction need not wait for the one before.
#[inline(always)]
fn fold(
    row: &[f32],
    start: f32,
    take: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut state = [start; 4];
    let (fours, rest) = row.as_chunks::<4>();
    for four in fours {
        for (state, x) in state.iter_mut().zip(four) {
            *state = take(*state, *x);
        }
    }
    for (state, x) in state.iter_mut().zip(rest) {
        *state = take(*state, *x);
    }
    join(join(state[0], state[1]), join(state[2], state[3]))
}

/// The root, rounded once.
#[inline(always)]
pub(in crate::kernel::cortex_m) fn sqrt(x: f32) -> f32 {
    let mut bits = x.to_bits();
    // SAFETY: Computes on registers.
    unsafe {
        asm!(
            "vmov s0, {bits}",
            "vsqrt.f32 s0, s0",
            "vmov {bits}, s0",
            bits = inout(reg) bits, out("s0") _,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    f32::from_bits(bits)
}
