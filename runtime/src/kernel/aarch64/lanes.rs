//! Vectors of f32 for the float kernels: [`Lanes`] of NEON, two registers at a time, so that a tile of 6 rows by 2 vectors
//! keeps 24 registers of sums.
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a method is one expression of intrinsics, which share one proof"
)]

use core::arch::aarch64::*;

use ::half::f16;

use super::Neon;
use crate::kernel::float::Lanes;

/// Two registers.
type Pair = [float32x4_t; 2];

/// Methods that are one intrinsic, or an expression of them, on each register. The proof is the same for all of them: the
/// target has NEON, and the intrinsic has no other condition.
macro_rules! intrinsics {
    ($($name:ident($($arg:ident),*) => $intrinsic:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Pair),*) -> Pair {
            core::array::from_fn(|half| {
                $(let $arg = $arg[half];)*
                // SAFETY: The target has NEON; the operands are values, not memory.
                unsafe { $intrinsic }
            })
        }
    )* };
}

impl Lanes for &Neon {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type F32 = Pair;

    intrinsics! {
        add(a, b) => vaddq_f32(a, b);
        sub(a, b) => vsubq_f32(a, b);
        mul(a, b) => vmulq_f32(a, b);
        div(a, b) => vdivq_f32(a, b);
        mul_add(a, b, c) => vfmaq_f32(c, a, b);
        max(a, b) => vbslq_f32(vcgtq_f32(a, b), a, b);
        min(a, b) => vbslq_f32(vcltq_f32(a, b), a, b);
        sqrt(x) => vsqrtq_f32(x);
        round(x) => vrndnq_f32(x);
        abs(x) => vabsq_f32(x);
        neg(x) => vnegq_f32(x);
        copysign(x, sign) => vbslq_f32(vdupq_n_u32(1 << 31), sign, x);
        select_less(a, b, x, y) => vbslq_f32(vcltq_f32(a, b), x, y);
        nan_or(x, y) => vbslq_f32(vceqq_f32(x, x), y, x);
        // Two factors, because 2ⁿ itself may be outside the normal numbers while the product is not.
        scale_pow2(x, n) => {
            let n = vcvtq_s32_f32(n);
            let half = vshrq_n_s32::<1>(n);
            let rest = vsubq_s32(n, half);
            let bias = vdupq_n_s32(127);
            let first = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(half, bias)));
            let second = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(rest, bias)));
            vmulq_f32(vmulq_f32(x, first), second)
        };
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: The target has NEON; the operand is a value.
        [unsafe { vdupq_n_f32(x) }; 2]
    }

    #[inline(always)]
    fn splat_f16(self, x: f16) -> Pair {
        // SAFETY: The target has NEON; the operand is a value.
        [unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(x.to_bits()))) }; 2]
    }

    #[inline(always)]
    fn load(self, src: &[f32]) -> Pair {
        let src = &src[..8];
        // SAFETY: The target has NEON, and `src` was just cut to the 8 numbers that are read.
        unsafe { [vld1q_f32(src.as_ptr()), vld1q_f32(src.as_ptr().add(4))] }
    }

    #[inline(always)]
    fn load_f16(self, src: &[f16]) -> Pair {
        let src = &src[..8];
        // SAFETY: The target has NEON, and `src` was just cut to the 16 bytes that are read.
        unsafe {
            let halves = vld1q_u16(src.as_ptr().cast());
            let halves = vreinterpretq_f16_u16(halves);
            [
                vcvt_f32_f16(vget_low_f16(halves)),
                vcvt_high_f32_f16(halves),
            ]
        }
    }

    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> Pair {
        let src = &src[..8];
        // SAFETY: The target has NEON, and `src` was just cut to the 8 bytes that are read.
        unsafe {
            let words = vmovl_s8(vld1_s8(src.as_ptr()));
            [vmovl_s16(vget_low_s16(words)), vmovl_high_s16(words)].map(|half| vcvtq_f32_s32(half))
        }
    }

    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> Pair {
        let mut numbers = [0.0; 8];
        let count = src.len().min(8);
        numbers[..count].copy_from_slice(&src[..count]);
        self.load(&numbers)
    }

    #[inline(always)]
    fn store(self, x: Pair, dst: &mut [f32]) {
        let dst = &mut dst[..8];
        // SAFETY: The target has NEON, and `dst` was just cut to the 8 numbers that are written.
        unsafe {
            vst1q_f32(dst.as_mut_ptr(), x[0]);
            vst1q_f32(dst.as_mut_ptr().add(4), x[1]);
        }
    }

    #[inline(always)]
    fn store_partial(self, x: Pair, dst: &mut [f32]) {
        let mut numbers = [0.0; 8];
        self.store(x, &mut numbers);
        let count = dst.len().min(8);
        dst[..count].copy_from_slice(&numbers[..count]);
    }

    #[inline(always)]
    fn store_f16(self, x: Pair, dst: &mut [f16]) {
        let dst = &mut dst[..8];
        // SAFETY: The target has NEON, and `dst` was just cut to the 16 bytes that are written.
        unsafe {
            let halves = vcvt_high_f16_f32(vcvt_f16_f32(x[0]), x[1]);
            vst1q_u16(dst.as_mut_ptr().cast(), vreinterpretq_u16_f16(halves));
        }
    }

    #[inline(always)]
    fn sum(self, x: Pair) -> f32 {
        // SAFETY: The target has NEON; the operands are values.
        unsafe { vaddvq_f32(vaddq_f32(x[0], x[1])) }
    }
}
