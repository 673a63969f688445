//! The two floats that activations are stored as, a chunk at a time.

use half::f16;

use super::{FloatLevel, Tile};
use crate::kernel::Element;
use crate::model::op::BinaryKind;

/// Numbers that are widened, or kept before they are finished, at once; whole blocks of channels.
pub(crate) const CHUNK: usize = 64;

/// What the kernels of this folder want of an [`Element`].
pub(crate) trait Number: Element {
    /// Products of such numbers.
    type Product<L: FloatLevel>: Tile<Lhs = Self, Rhs = Self>;

    /// Its bits.
    fn bits(self) -> u32;
    /// The number with these bits, as an f32.
    fn from_bits(bits: u32) -> f32;
    /// At most [`CHUNK`] numbers as f32: where they lie, or in `buffer`.
    fn wide<'a, L: FloatLevel>(src: &'a [Self], buffer: &'a mut [f32; CHUNK]) -> &'a [f32];
    /// `dst[i]` = `src[i]`, rounded once.
    fn store<L: FloatLevel>(src: &[f32], dst: &mut [Self]);
    /// Lets `fill` write at most [`CHUNK`] numbers, where they shall lie, or to a buffer from which they are rounded
    /// once.
    fn write<L: FloatLevel>(dst: &mut [Self], fill: impl FnOnce(&mut [f32]));
    /// `dst[i] = function(src[i])`, rounded once.
    fn map<L: FloatLevel>(src: &[Self], dst: &mut [Self], function: impl Fn(f32) -> f32);
    /// `dst[i] = function(lhs[i], rhs[i])`, rounded once.
    fn zip<L: FloatLevel>(
        lhs: &[Self],
        rhs: &[Self],
        dst: &mut [Self],
        function: impl Fn(f32, f32) -> f32,
    );
    /// Computes a function that is no slower, and no less exact, without f32 in between; false where there is none.
    fn binary<L: FloatLevel>(
        _function: BinaryKind,
        _lhs: &[Self],
        _rhs: &[Self],
        _dst: &mut [Self],
    ) -> bool {
        false
    }
}

impl Number for f32 {
    type Product<L: FloatLevel> = L::Single;

    fn bits(self) -> u32 {
        self.to_bits()
    }
    fn from_bits(bits: u32) -> f32 {
        Self::from_bits(bits)
    }
    #[inline(always)]
    fn wide<'a, L: FloatLevel>(src: &'a [Self], _: &'a mut [f32; CHUNK]) -> &'a [f32] {
        src
    }
    #[inline(always)]
    fn store<L: FloatLevel>(src: &[f32], dst: &mut [Self]) {
        for (src, dst) in src.iter().zip(dst) {
            *dst = *src;
        }
    }
    #[inline(always)]
    fn write<L: FloatLevel>(dst: &mut [Self], fill: impl FnOnce(&mut [f32])) {
        fill(dst);
    }
    #[inline(always)]
    fn map<L: FloatLevel>(src: &[Self], dst: &mut [Self], function: impl Fn(f32) -> f32) {
        for (src, dst) in src.iter().zip(dst) {
            *dst = function(*src);
        }
    }
    #[inline(always)]
    fn zip<L: FloatLevel>(
        lhs: &[Self],
        rhs: &[Self],
        dst: &mut [Self],
        function: impl Fn(f32, f32) -> f32,
    ) {
        for ((lhs, rhs), dst) in lhs.iter().zip(rhs).zip(dst) {
            *dst = function(*lhs, *rhs);
        }
    }
}

impl Number for f16 {
    type Product<L: FloatLevel> = L::Half;

    fn bits(self) -> u32 {
        self.to_bits().into()
    }
    fn from_bits(bits: u32) -> f32 {
        Self::from_bits(bits as u16).to_f32()
    }
    fn binary<L: FloatLevel>(
        function: BinaryKind,
        lhs: &[Self],
        rhs: &[Self],
        dst: &mut [Self],
    ) -> bool {
        L::binary_half(function, lhs, rhs, dst)
    }
    #[inline(always)]
    fn wide<'a, L: FloatLevel>(src: &'a [Self], buffer: &'a mut [f32; CHUNK]) -> &'a [f32] {
        let wide = &mut buffer[..src.len()];
        L::widen(src, wide);
        wide
    }
    #[inline(always)]
    fn store<L: FloatLevel>(src: &[f32], dst: &mut [Self]) {
        L::narrow(src, dst);
    }
    #[inline(always)]
    fn write<L: FloatLevel>(dst: &mut [Self], fill: impl FnOnce(&mut [f32])) {
        let mut wide = [0.0; CHUNK];
        let wide = &mut wide[..dst.len()];
        fill(wide);
        L::narrow(wide, dst);
    }
    #[inline(always)]
    fn map<L: FloatLevel>(src: &[Self], dst: &mut [Self], function: impl Fn(f32) -> f32) {
        let mut wide = [0.0; CHUNK];
        for (src, dst) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)) {
            let wide = &mut wide[..src.len()];
            L::widen(src, wide);
            for x in wide.iter_mut() {
                *x = function(*x);
            }
            L::narrow(wide, dst);
        }
    }
    #[inline(always)]
    fn zip<L: FloatLevel>(
        lhs: &[Self],
        rhs: &[Self],
        dst: &mut [Self],
        function: impl Fn(f32, f32) -> f32,
    ) {
        let mut wide = [[0.0; CHUNK]; 2];
        let sides = lhs.chunks(CHUNK).zip(rhs.chunks(CHUNK));
        for ((lhs, rhs), dst) in sides.zip(dst.chunks_mut(CHUNK)) {
            let [left, right] = wide.each_mut().map(|wide| &mut wide[..lhs.len()]);
            L::widen(lhs, left);
            L::widen(rhs, right);
            for (left, right) in left.iter_mut().zip(right) {
                *left = function(*left, *right);
            }
            L::narrow(left, dst);
        }
    }
}
