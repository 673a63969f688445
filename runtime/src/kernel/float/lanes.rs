//! What the float kernels need of a CPU's vectors of f32, and of the numbers that lie in memory.
//!
//! Not a general vector library. A kernel is written once over [`Lanes`] and compiled once per set; a value of the set
//! proves the CPU, so that methods are safe to call. They are `inline(always)` because only inside a function with the
//! target feature do they become single instructions. Masks instead of padding: a partial load reads nothing behind its
//! slice.

use half::f16;

use crate::kernel::Element;

/// Numbers of the longest vector.
pub(super) const MAX_LANES: usize = 16;

/// A vector of [`Lanes::LANES`] numbers and what can be done with it.
pub(crate) trait Lanes: Copy {
    /// Numbers of a vector; divides the 16 channels of a block of weights.
    const LANES: usize;
    /// Rows of the largest register tile with two vectors a row: all sums and both weights stay in registers.
    const TILE_ROWS: usize;
    /// The vector.
    type F32: Copy;

    fn splat(self, x: f32) -> Self::F32;
    /// [`Lanes::splat`] of an IEEE half.
    fn splat_f16(self, x: f16) -> Self::F32;
    /// The first [`Lanes::LANES`] of `src`; panics when there are fewer.
    fn load(self, src: &[f32]) -> Self::F32;
    /// [`Lanes::load`] of IEEE halves.
    fn load_f16(self, src: &[f16]) -> Self::F32;
    /// [`Lanes::load`] of bytes.
    fn load_i8(self, src: &[i8]) -> Self::F32;
    /// All of `src`, at most [`Lanes::LANES`], then zeros.
    fn load_partial(self, src: &[f32]) -> Self::F32;
    /// Into the first [`Lanes::LANES`] of `dst`; panics when there are fewer.
    fn store(self, x: Self::F32, dst: &mut [f32]);
    /// Fills `dst`, at most [`Lanes::LANES`].
    fn store_partial(self, x: Self::F32, dst: &mut [f32]);
    /// [`Lanes::store`] of the nearest halves, ties to even.
    fn store_f16(self, x: Self::F32, dst: &mut [f16]);

    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a · b + c`, rounded once.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The larger, and `b` when either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller, and `b` when either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sqrt(self, x: Self::F32) -> Self::F32;
    /// To the nearest integer, halves to even.
    fn round(self, x: Self::F32) -> Self::F32;
    /// `x · 2ⁿ` for integers n in −252..=254.
    fn scale_pow2(self, x: Self::F32, n: Self::F32) -> Self::F32;
    fn abs(self, x: Self::F32) -> Self::F32;
    fn neg(self, x: Self::F32) -> Self::F32;
    /// The magnitude of `x` with the sign of `sign`.
    fn copysign(self, x: Self::F32, sign: Self::F32) -> Self::F32;
    /// `x` where `a < b`, else `y`; NaN is not less.
    fn select_less(self, a: Self::F32, b: Self::F32, x: Self::F32, y: Self::F32) -> Self::F32;
    /// `x` where `x` is NaN, else `y`.
    fn nan_or(self, x: Self::F32, y: Self::F32) -> Self::F32;
    /// Sum of the lanes.
    fn sum(self, x: Self::F32) -> f32;

    /// The larger; NaN when either is NaN.
    #[inline(always)]
    fn max_nan(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        self.nan_or(a, self.max(a, b))
    }

    /// The smaller; NaN when either is NaN.
    #[inline(always)]
    fn min_nan(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        self.nan_or(a, self.min(a, b))
    }

    /// `x` limited to [low, high]; NaN stays NaN.
    #[inline(always)]
    fn clamp(self, x: Self::F32, [low, high]: [f32; 2]) -> Self::F32 {
        self.min(self.splat(high), self.max(self.splat(low), x))
    }
}

/// A number that weights are stored as.
pub(crate) trait Stored: Copy + Default {
    /// The first [`Lanes::LANES`] of `src` as f32; panics when there are fewer.
    fn load<V: Lanes>(v: V, src: &[Self]) -> V::F32;
}

impl Stored for f32 {
    #[inline(always)]
    fn load<V: Lanes>(v: V, src: &[Self]) -> V::F32 {
        v.load(src)
    }
}

impl Stored for f16 {
    #[inline(always)]
    fn load<V: Lanes>(v: V, src: &[Self]) -> V::F32 {
        v.load_f16(src)
    }
}

impl Stored for i8 {
    #[inline(always)]
    fn load<V: Lanes>(v: V, src: &[Self]) -> V::F32 {
        v.load_i8(src)
    }
}

/// A number that activations are stored as.
pub(crate) trait Number: Stored + Element {
    /// The numbers themselves, where they need no widening.
    fn as_f32s(numbers: &[Self]) -> Option<&[f32]>;
    /// The number in every lane.
    fn splat<V: Lanes>(v: V, x: Self) -> V::F32;
    /// All of `src`, at most [`Lanes::LANES`], then zeros.
    fn load_partial<V: Lanes>(v: V, src: &[Self]) -> V::F32;
    /// Into the first [`Lanes::LANES`] of `dst`; panics when there are fewer.
    fn store<V: Lanes>(v: V, x: V::F32, dst: &mut [Self]);
    /// Fills `dst`, at most [`Lanes::LANES`].
    fn store_partial<V: Lanes>(v: V, x: V::F32, dst: &mut [Self]);

    /// [`Stored::load`], or [`Number::load_partial`] when fewer are left.
    #[inline(always)]
    fn load_up_to<V: Lanes>(v: V, src: &[Self]) -> V::F32 {
        if src.len() >= V::LANES {
            Self::load(v, src)
        } else {
            Self::load_partial(v, src)
        }
    }

    /// [`Number::store`], or [`Number::store_partial`] when fewer are left.
    #[inline(always)]
    fn store_up_to<V: Lanes>(v: V, x: V::F32, dst: &mut [Self]) {
        if dst.len() >= V::LANES {
            Self::store(v, x, dst);
        } else {
            Self::store_partial(v, x, dst);
        }
    }
}

impl Number for f32 {
    #[inline(always)]
    fn as_f32s(numbers: &[Self]) -> Option<&[f32]> {
        Some(numbers)
    }
    #[inline(always)]
    fn splat<V: Lanes>(v: V, x: Self) -> V::F32 {
        v.splat(x)
    }
    #[inline(always)]
    fn load_partial<V: Lanes>(v: V, src: &[Self]) -> V::F32 {
        v.load_partial(src)
    }
    #[inline(always)]
    fn store<V: Lanes>(v: V, x: V::F32, dst: &mut [Self]) {
        v.store(x, dst);
    }
    #[inline(always)]
    fn store_partial<V: Lanes>(v: V, x: V::F32, dst: &mut [Self]) {
        v.store_partial(x, dst);
    }
}

impl Number for f16 {
    #[inline(always)]
    fn as_f32s(_: &[Self]) -> Option<&[f32]> {
        None
    }
    #[inline(always)]
    fn splat<V: Lanes>(v: V, x: Self) -> V::F32 {
        v.splat_f16(x)
    }
    #[inline(always)]
    fn load_partial<V: Lanes>(v: V, src: &[Self]) -> V::F32 {
        let mut padded = [Self::ZERO; MAX_LANES];
        let count = src.len().min(V::LANES);
        padded[..count].copy_from_slice(&src[..count]);
        v.load_f16(&padded)
    }
    #[inline(always)]
    fn store<V: Lanes>(v: V, x: V::F32, dst: &mut [Self]) {
        v.store_f16(x, dst);
    }
    #[inline(always)]
    fn store_partial<V: Lanes>(v: V, x: V::F32, dst: &mut [Self]) {
        let mut padded = [Self::ZERO; MAX_LANES];
        v.store_f16(x, &mut padded);
        let count = dst.len().min(V::LANES);
        dst[..count].copy_from_slice(&padded[..count]);
    }
}

/// `dst[i] = src[i]`, as another of the two.
#[inline(always)]
pub(super) fn convert<V: Lanes, A: Number, B: Number>(v: V, src: &[A], dst: &mut [B]) {
    for (src, dst) in src.chunks(V::LANES).zip(dst.chunks_mut(V::LANES)) {
        B::store_up_to(v, A::load_up_to(v, src), dst);
    }
}
