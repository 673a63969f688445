//! Vectors of f32 for the float kernels: [`Lanes`] for AVX2 and for AVX-512F.
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a method is one expression of intrinsics, which share one proof"
)]

use core::arch::x86_64::*;

use half::f16;

use super::{Avx2, Avx512Vnni};
use crate::kernel::float::Lanes;

/// Methods that are one intrinsic each. The proof is the same for all of them: a reference to the set exists only when
/// its `detect` found the features, and the intrinsic has no other condition.
macro_rules! intrinsics {
    ($($name:ident($($arg:ident),*) => $intrinsic:expr;)*) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Self::F32),*) -> Self::F32 {
            // SAFETY: `self` proves that the CPU has the features; the operands are values, not memory.
            unsafe { $intrinsic }
        }
    )* };
}

impl Lanes for &Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type F32 = __m256;

    intrinsics! {
        add(a, b) => _mm256_add_ps(a, b);
        sub(a, b) => _mm256_sub_ps(a, b);
        mul(a, b) => _mm256_mul_ps(a, b);
        div(a, b) => _mm256_div_ps(a, b);
        mul_add(a, b, c) => _mm256_fmadd_ps(a, b, c);
        max(a, b) => _mm256_max_ps(a, b);
        min(a, b) => _mm256_min_ps(a, b);
        sqrt(x) => _mm256_sqrt_ps(x);
        round(x) => _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        abs(x) => _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
        neg(x) => _mm256_xor_ps(_mm256_set1_ps(-0.0), x);
        copysign(x, sign) => _mm256_or_ps(
            _mm256_andnot_ps(_mm256_set1_ps(-0.0), x),
            _mm256_and_ps(_mm256_set1_ps(-0.0), sign),
        );
        select_less(a, b, x, y) => _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b));
        nan_or(x, y) => _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        // Two factors, because 2ⁿ itself may be outside the normal numbers while the product is not.
        scale_pow2(x, n) => {
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let rest = _mm256_sub_epi32(n, half);
            let bias = _mm256_set1_epi32(127);
            let first = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
            let second = _mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias));
            _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second))
        };
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves AVX.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn splat_f16(self, x: f16) -> __m256 {
        // SAFETY: `self` proves F16C; the operand is a value.
        unsafe { _mm256_cvtph_ps(_mm_set1_epi16(x.to_bits().cast_signed())) }
    }

    #[inline(always)]
    fn load(self, src: &[f32]) -> __m256 {
        let src = &src[..8];
        // SAFETY: `self` proves AVX, and `src` was just cut to the 8 numbers that are read.
        unsafe { _mm256_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, src: &[f16]) -> __m256 {
        let src = &src[..8];
        // SAFETY: `self` proves F16C, and `src` was just cut to the 16 bytes that are read.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> __m256 {
        let src = &src[..8];
        // SAFETY: `self` proves AVX2, and `src` was just cut to the 8 bytes that are read.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(src.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> __m256 {
        let src = &src[..src.len().min(8)];
        // SAFETY: `self` proves AVX2; lanes from `src.len()` on are masked and not read.
        unsafe { _mm256_maskload_ps(src.as_ptr(), mask256(src.len())) }
    }

    #[inline(always)]
    fn store(self, x: __m256, dst: &mut [f32]) {
        let dst = &mut dst[..8];
        // SAFETY: `self` proves AVX, and `dst` was just cut to the 8 numbers that are written.
        unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_partial(self, x: __m256, dst: &mut [f32]) {
        let count = dst.len().min(8);
        // SAFETY: `self` proves AVX2; lanes from `dst.len()` on are masked and not written.
        unsafe { _mm256_maskstore_ps(dst.as_mut_ptr(), mask256(count), x) }
    }

    #[inline(always)]
    fn store_f16(self, x: __m256, dst: &mut [f16]) {
        let dst = &mut dst[..8];
        // SAFETY: `self` proves F16C, and `dst` was just cut to the 16 bytes that are written.
        unsafe {
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm_storeu_si128(dst.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn sum(self, x: __m256) -> f32 {
        // SAFETY: `self` proves AVX; the operands are values, not memory.
        unsafe {
            let quarter = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        }
    }
}

/// All ones in the first `count` lanes.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn mask256(count: usize) -> __m256i {
    // SAFETY: the caller proves AVX2; the operands are values, not memory.
    unsafe {
        _mm256_cmpgt_epi32(
            _mm256_set1_epi32(count as i32),
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        )
    }
}

impl Lanes for &Avx512Vnni {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;
    type F32 = __m512;

    intrinsics! {
        add(a, b) => _mm512_add_ps(a, b);
        sub(a, b) => _mm512_sub_ps(a, b);
        mul(a, b) => _mm512_mul_ps(a, b);
        div(a, b) => _mm512_div_ps(a, b);
        mul_add(a, b, c) => _mm512_fmadd_ps(a, b, c);
        max(a, b) => _mm512_max_ps(a, b);
        min(a, b) => _mm512_min_ps(a, b);
        sqrt(x) => _mm512_sqrt_ps(x);
        round(x) => _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        scale_pow2(x, n) => _mm512_scalef_ps(x, n);
        abs(x) => _mm512_abs_ps(x);
        neg(x) => _mm512_xor_ps(_mm512_set1_ps(-0.0), x);
        copysign(x, sign) => _mm512_or_ps(
            _mm512_andnot_ps(_mm512_set1_ps(-0.0), x),
            _mm512_and_ps(_mm512_set1_ps(-0.0), sign),
        );
        select_less(a, b, x, y) => _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x);
        nan_or(x, y) => _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), y, x);
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn splat_f16(self, x: f16) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the operand is a value.
        unsafe { _mm512_cvtph_ps(_mm256_set1_epi16(x.to_bits().cast_signed())) }
    }

    #[inline(always)]
    fn load(self, src: &[f32]) -> __m512 {
        let src = &src[..16];
        // SAFETY: `self` proves AVX-512F, and `src` was just cut to the 16 numbers that are read.
        unsafe { _mm512_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, src: &[f16]) -> __m512 {
        let src = &src[..16];
        // SAFETY: `self` proves AVX-512F, and `src` was just cut to the 32 bytes that are read.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(src.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> __m512 {
        let src = &src[..16];
        // SAFETY: `self` proves AVX-512F, and `src` was just cut to the 16 bytes that are read.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(src.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn load_partial(self, src: &[f32]) -> __m512 {
        let src = &src[..src.len().min(16)];
        // SAFETY: `self` proves AVX-512F; lanes from `src.len()` on are masked and not read.
        unsafe { _mm512_maskz_loadu_ps(mask16(src.len()), src.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: __m512, dst: &mut [f32]) {
        let dst = &mut dst[..16];
        // SAFETY: `self` proves AVX-512F, and `dst` was just cut to the 16 numbers that are written.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_partial(self, x: __m512, dst: &mut [f32]) {
        let count = dst.len().min(16);
        // SAFETY: `self` proves AVX-512F; lanes from `dst.len()` on are masked and not written.
        unsafe { _mm512_mask_storeu_ps(dst.as_mut_ptr(), mask16(count), x) }
    }

    #[inline(always)]
    fn store_f16(self, x: __m512, dst: &mut [f16]) {
        let dst = &mut dst[..16];
        // SAFETY: `self` proves AVX-512F, and `dst` was just cut to the 32 bytes that are written.
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
            _mm256_storeu_si256(dst.as_mut_ptr().cast(), halves);
        }
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512F; the operand is a value, not memory.
        unsafe { _mm512_reduce_add_ps(x) }
    }
}

/// Ones in the low `count` bits, `count` at most 16.
fn mask16(count: usize) -> u16 {
    ((1u32 << count) - 1) as u16
}
