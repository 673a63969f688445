//! Loads and stores that never leave their slice: a mask switches off the lanes that lie beyond it.
//!
//! Full stores have a branch of their own, because masked stores of bytes are slow on some CPUs.

use core::arch::x86_64::*;

/// Mask of the first `len` of 16 lanes.
pub(super) fn mask16(len: usize) -> __mmask16 {
    if len >= 16 { !0 } else { (1 << len) - 1 }
}

/// Mask of the first `len` of 32 lanes.
pub(super) fn mask32(len: usize) -> __mmask32 {
    if len >= 32 { !0 } else { (1 << len) - 1 }
}

/// Mask of the first `len` of 64 lanes.
pub(super) fn mask64(len: usize) -> __mmask64 {
    if len >= 64 { !0 } else { (1 << len) - 1 }
}

macro_rules! loads {
    ($($(#[$doc:meta])* $name:ident($element:ty) -> $vector:ty
        = $len:literal: $full:ident, $intrinsic:ident($mask:ident);)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(super) fn $name(src: &[$element]) -> $vector {
            if src.len() >= $len {
                // SAFETY: the slice has the elements of a whole vector.
                unsafe { $full(src.as_ptr().cast()) }
            } else {
                // SAFETY: lanes at and beyond `src.len()` are switched off, and such lanes are not accessed.
                unsafe { $intrinsic($mask(src.len()), src.as_ptr().cast()) }
            }
        }
    )*};
}

loads! {
    /// Up to 64 bytes, zeros beyond the slice.
    load_i8(i8) -> __m512i = 64: _mm512_loadu_si512, _mm512_maskz_loadu_epi8(mask64);
    /// Up to 64 bytes, zeros beyond the slice.
    load_u8(u8) -> __m512i = 64: _mm512_loadu_si512, _mm512_maskz_loadu_epi8(mask64);
    /// Up to 32 bytes, zeros beyond the slice.
    load_i8x32(i8) -> __m256i = 32: _mm256_loadu_si256, _mm256_maskz_loadu_epi8(mask32);
    /// Up to 16 bytes, zeros beyond the slice.
    load_i8x16(i8) -> __m128i = 16: _mm_loadu_si128, _mm_maskz_loadu_epi8(mask16);
    /// Up to 16 elements, zeros beyond the slice.
    load_i32(i32) -> __m512i = 16: _mm512_loadu_si512, _mm512_maskz_loadu_epi32(mask16);
    /// Up to 32 elements, zeros beyond the slice.
    load_i16(i16) -> __m512i = 32: _mm512_loadu_si512, _mm512_maskz_loadu_epi16(mask32);
    /// Up to 16 elements, zeros beyond the slice.
    load_i16x16(i16) -> __m256i = 16: _mm256_loadu_si256, _mm256_maskz_loadu_epi16(mask16);
    /// Up to 16 elements, zeros beyond the slice.
    load_f32(f32) -> __m512 = 16: _mm512_loadu_ps, _mm512_maskz_loadu_ps(mask16);
}

macro_rules! stores {
    ($($(#[$doc:meta])* $name:ident($element:ty, $vector:ty)
        = $len:literal: $full:ident, $intrinsic:ident($mask:ident);)*) => {$(
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        pub(super) fn $name(dst: &mut [$element], value: $vector) {
            if dst.len() >= $len {
                // SAFETY: the slice has the elements of a whole vector.
                unsafe { $full(dst.as_mut_ptr().cast(), value) }
            } else {
                // SAFETY: lanes at and beyond `dst.len()` are switched off, and such lanes are not accessed.
                unsafe { $intrinsic(dst.as_mut_ptr().cast(), $mask(dst.len()), value) }
            }
        }
    )*};
}

stores! {
    /// Up to 64 bytes; what lies beyond the slice is dropped.
    store_i8(i8, __m512i) = 64: _mm512_storeu_si512, _mm512_mask_storeu_epi8(mask64);
    /// Up to 64 bytes; what lies beyond the slice is dropped.
    store_u8(u8, __m512i) = 64: _mm512_storeu_si512, _mm512_mask_storeu_epi8(mask64);
    /// Up to 32 bytes; what lies beyond the slice is dropped.
    store_i8x32(i8, __m256i) = 32: _mm256_storeu_si256, _mm256_mask_storeu_epi8(mask32);
    /// Up to 16 bytes; what lies beyond the slice is dropped.
    store_i8x16(i8, __m128i) = 16: _mm_storeu_si128, _mm_mask_storeu_epi8(mask16);
    /// Up to 16 elements; what lies beyond the slice is dropped.
    store_i16x16(i16, __m256i) = 16: _mm256_storeu_si256, _mm256_mask_storeu_epi16(mask16);
    /// Up to 32 elements; what lies beyond the slice is dropped.
    store_i16(i16, __m512i) = 32: _mm512_storeu_si512, _mm512_mask_storeu_epi16(mask32);
    /// Up to 16 elements; what lies beyond the slice is dropped.
    store_i32(i32, __m512i) = 16: _mm512_storeu_si512, _mm512_mask_storeu_epi32(mask16);
    /// Up to 16 elements; what lies beyond the slice is dropped.
    store_f32(f32, __m512) = 16: _mm512_storeu_ps, _mm512_mask_storeu_ps(mask16);
}
