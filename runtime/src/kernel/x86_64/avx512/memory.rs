//! Loads and stores that never leave their slice: a mask switches off the lanes that lie beyond it.

use core::arch::x86_64::*;

/// Mask of the first `len` of 16 lanes.
pub(super) fn mask16(len: usize) -> __mmask16 {
    if len >= 16 { !0 } else { (1 << len) - 1 }
}

/// Mask of the first `len` of 64 lanes.
pub(super) fn mask64(len: usize) -> __mmask64 {
    if len >= 64 { !0 } else { (1 << len) - 1 }
}

/// Up to 64 bytes, zeros beyond the slice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn load_i8(src: &[i8]) -> __m512i {
    // SAFETY: lanes at and beyond `src.len()` are switched off, and such lanes are not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask64(src.len()), src.as_ptr()) }
}

/// Up to 16 elements, zeros beyond the slice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn load_i32(src: &[i32]) -> __m512i {
    // SAFETY: lanes at and beyond `src.len()` are switched off, and such lanes are not accessed.
    unsafe { _mm512_maskz_loadu_epi32(mask16(src.len()), src.as_ptr()) }
}

/// Up to 16 bytes, zeros beyond the slice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn load_i8x16(src: &[i8]) -> __m128i {
    // SAFETY: lanes at and beyond `src.len()` are switched off, and such lanes are not accessed.
    unsafe { _mm_maskz_loadu_epi8(mask16(src.len()), src.as_ptr()) }
}

/// Up to 16 bytes; what lies beyond the slice is dropped.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn store_i8x16(dst: &mut [i8], value: __m128i) {
    // SAFETY: lanes at and beyond `dst.len()` are switched off, and such lanes are not accessed.
    unsafe { _mm_mask_storeu_epi8(dst.as_mut_ptr(), mask16(dst.len()), value) }
}

/// Up to 16 elements; what lies beyond the slice is dropped.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn store_i16x16(dst: &mut [i16], value: __m256i) {
    // SAFETY: lanes at and beyond `dst.len()` are switched off, and such lanes are not accessed.
    unsafe { _mm256_mask_storeu_epi16(dst.as_mut_ptr(), mask16(dst.len()), value) }
}
