//! What the float kernels of this folder leave to the instructions of a level.

use half::f16;

use super::{DepthwiseBlock, Number, Tile};
use crate::model::op::BinaryKind;

/// A level of instructions on floats.
pub(crate) trait FloatLevel: Sized {
    /// Products of f32 with f32.
    type Single: Tile<Lhs = f32, Rhs = f32>;
    /// Products of f32 with weights in halves.
    type SingleByHalf: Tile<Lhs = f32, Rhs = f16>;
    /// Products of f32 with weights in bytes.
    type SingleByByte: Tile<Lhs = f32, Rhs = i8>;
    /// Products of halves with halves.
    type Half: Tile<Lhs = f16, Rhs = f16>;

    /// `dst[i] = src[i]`, without the way to `memcpy` that short pieces do not pay for.
    fn copy(src: &[u8], dst: &mut [u8]);
    /// `dst[i] = src[i]`.
    fn widen(src: &[f16], dst: &mut [f32]);
    /// `dst[i]` = the half nearest to `src[i]`.
    fn narrow(src: &[f32], dst: &mut [f16]);
    /// 1 / x for x of at least 1, or NaN, within 2 units in the last place; 0 from 2¹²⁶ on if need be.
    fn reciprocal(x: f32) -> f32;
    /// The root, rounded once.
    fn sqrt(x: f32) -> f32;
    /// Σ x
    fn sum(row: &[f32]) -> f32;
    /// Σ (x − shift)²
    fn squares(row: &[f32], shift: f32) -> f32;
    /// The largest number, −inf of none, NaN when there is one.
    fn largest(row: &[f32]) -> f32;
    /// Computes a function of halves for which there is an instruction; false for the others.
    fn binary_half(_function: BinaryKind, _lhs: &[f16], _rhs: &[f16], _dst: &mut [f16]) -> bool {
        false
    }

    /// The outputs of a block of channels of a pixel.
    ///
    /// # Safety
    /// As [`DepthwiseBlock`] says.
    unsafe fn depthwise<T: Number>(block: &DepthwiseBlock);
}
