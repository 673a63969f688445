//! What the float kernels need of a CPU's vectors of f32.
//!
//! Not a general vector library. A kernel is written once over [`Lanes`] and compiled once per set; a value of the set
//! proves the CPU, so that methods are safe to call. They are `inline(always)` because only inside a function with the
//! target feature do they become single instructions. Masks instead of padding: a partial load reads nothing behind its
//! slice.

use half::f16;

/// A vector of [`Lanes::LANES`] numbers and what can be done with it.
pub(crate) trait Lanes: Copy {
    /// Numbers of a vector; divides the 16 channels of a block of weights.
    const LANES: usize;
    /// Rows of the largest register tile with two vectors a row: all sums and both weights stay in registers.
    const TILE_ROWS: usize;
    /// The vector.
    type F32: Copy;

    fn splat(self, x: f32) -> Self::F32;
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

    /// [`Lanes::load`], or [`Lanes::load_partial`] when fewer are left.
    #[inline(always)]
    fn load_up_to(self, src: &[f32]) -> Self::F32 {
        if src.len() >= Self::LANES {
            self.load(src)
        } else {
            self.load_partial(src)
        }
    }

    /// [`Lanes::store`], or [`Lanes::store_partial`] when fewer are left.
    #[inline(always)]
    fn store_up_to(self, x: Self::F32, dst: &mut [f32]) {
        if dst.len() >= Self::LANES {
            self.store(x, dst);
        } else {
            self.store_partial(x, dst);
        }
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
