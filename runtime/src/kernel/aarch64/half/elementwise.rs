//! Functions of one or two halves.
//!
//! An arithmetic operation on halves, rounded once, has the bits of the f32 operation rounded to a half afterwards: f32 has
//! more than twice the bits. The functions that need more than one run in f32, but for the GELUs, see [`super::math`].

use core::arch::aarch64::*;

use half::f16;

use super::super::Neon;
use super::math::{gelu, quick_gelu};
use super::vector::{LANES, load_up_to, store_up_to};
use crate::kernel::Kernels;
use crate::model::op::{BinaryKind, UnaryKind};

/// See [`crate::kernel::scalar::unary_float`]. What vision transformers compute much of has a form of its own.
#[target_feature(enable = "neon,fp16")]
pub(in super::super) fn unary_f16(
    function: UnaryKind,
    constants: [f32; 2],
    src: &[f16],
    dst: &mut [f16],
) {
    match function {
        UnaryKind::Gelu => map(src, dst, |x| gelu(x)),
        UnaryKind::QuickGelu => map(src, dst, |x| quick_gelu(x)),
        _ => Neon(()).unary_f16(function, constants, src, dst),
    }
}

/// See [`crate::kernel::scalar::binary_float`]; powers are left to it.
#[target_feature(enable = "neon,fp16")]
pub(in super::super) fn binary_f16(
    function: BinaryKind,
    lhs: &[f16],
    rhs: &[f16],
    dst: &mut [f16],
) {
    match function {
        BinaryKind::Add => zip(lhs, rhs, dst, |a, b| vaddq_f16(a, b)),
        BinaryKind::Sub => zip(lhs, rhs, dst, |a, b| vsubq_f16(a, b)),
        BinaryKind::Mul => zip(lhs, rhs, dst, |a, b| vmulq_f16(a, b)),
        BinaryKind::Div => zip(lhs, rhs, dst, |a, b| vdivq_f16(a, b)),
        BinaryKind::Max => zip(lhs, rhs, dst, |a, b| vmaxq_f16(a, b)),
        BinaryKind::Min => zip(lhs, rhs, dst, |a, b| vminq_f16(a, b)),
        BinaryKind::Pow => Neon(()).binary_f16(function, lhs, rhs, dst),
    }
}

/// `dst[i] = operation(src[i])`.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn map(src: &[f16], dst: &mut [f16], operation: impl Fn(float16x8_t) -> float16x8_t) {
    for (src, dst) in src.chunks(LANES).zip(dst.chunks_mut(LANES)) {
        store_up_to(operation(load_up_to(src)), dst);
    }
}

/// `dst[i] = operation(lhs[i], rhs[i])`.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn zip(
    lhs: &[f16],
    rhs: &[f16],
    dst: &mut [f16],
    operation: impl Fn(float16x8_t, float16x8_t) -> float16x8_t,
) {
    let chunks = lhs.chunks(LANES).zip(rhs.chunks(LANES));
    for ((lhs, rhs), dst) in chunks.zip(dst.chunks_mut(LANES)) {
        store_up_to(operation(load_up_to(lhs), load_up_to(rhs)), dst);
    }
}
