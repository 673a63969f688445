//! Loads and stores that never leave their slice: a short slice goes through a whole vector on the stack.

use core::arch::x86_64::*;

/// Up to 16 bytes, zeros beyond the slice.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i8x16(src: &[i8]) -> __m128i {
    let mut whole = [0i8; 16];
    let from = if src.len() >= 16 {
        src
    } else {
        whole[..src.len()].copy_from_slice(src);
        &whole
    };
    // SAFETY: `from` has at least 16 bytes.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// Up to 16 elements, zeros beyond the slice.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i16x16(src: &[i16]) -> __m256i {
    let mut whole = [0i16; 16];
    let from = if src.len() >= 16 {
        src
    } else {
        whole[..src.len()].copy_from_slice(src);
        &whole
    };
    // SAFETY: `from` has at least 16 elements.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// All bits of the first `len` of 16 words.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn first_words(len: usize) -> __m256i {
    const ONES_THEN_ZEROS: [i16; 32] = {
        let mut words = [0; 32];
        let mut index = 0;
        while index < 16 {
            words[index] = -1;
            index += 1;
        }
        words
    };
    load_i16x16(&ONES_THEN_ZEROS[16 - len.min(16)..][..16])
}

/// Up to 8 elements, zeros beyond the slice.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i32x8(src: &[i32]) -> __m256i {
    let mut whole = [0i32; 8];
    let from = if src.len() >= 8 {
        src
    } else {
        whole[..src.len()].copy_from_slice(src);
        &whole
    };
    // SAFETY: `from` has at least 8 elements.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Up to 8 elements, zeros beyond the slice.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_f32x8(src: &[f32]) -> __m256 {
    let mut whole = [0f32; 8];
    let from = if src.len() >= 8 {
        src
    } else {
        whole[..src.len()].copy_from_slice(src);
        &whole
    };
    // SAFETY: `from` has at least 8 elements.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

/// Up to 16 bytes; what lies beyond the slice is dropped.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_i8x16(dst: &mut [i8], value: __m128i) {
    if dst.len() >= 16 {
        // SAFETY: `dst` has at least 16 bytes.
        unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), value) }
    } else {
        let mut whole = [0i8; 16];
        // SAFETY: `whole` has 16 bytes.
        unsafe { _mm_storeu_si128(whole.as_mut_ptr().cast(), value) }
        dst.copy_from_slice(&whole[..dst.len()]);
    }
}

/// Up to 8 elements; what lies beyond the slice is dropped.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_i16x8(dst: &mut [i16], value: __m128i) {
    let mut whole = [0i16; 8];
    // SAFETY: `whole` has 16 bytes.
    unsafe { _mm_storeu_si128(whole.as_mut_ptr().cast(), value) }
    let len = dst.len().min(8);
    dst[..len].copy_from_slice(&whole[..len]);
}

/// Up to 16 elements; what lies beyond the slice is dropped.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_i16x16(dst: &mut [i16], value: __m256i) {
    if dst.len() >= 16 {
        // SAFETY: `dst` has at least 16 elements.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), value) }
    } else {
        let mut whole = [0i16; 16];
        // SAFETY: `whole` has 32 bytes.
        unsafe { _mm256_storeu_si256(whole.as_mut_ptr().cast(), value) }
        dst.copy_from_slice(&whole[..dst.len()]);
    }
}

/// 8 elements.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_i32x8(dst: &mut [i32], value: __m256i) {
    assert!(dst.len() >= 8);
    // SAFETY: `dst` has at least 8 elements, asserted above.
    unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), value) }
}

/// Up to 8 elements; what lies beyond the slice is dropped.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_f32x8(dst: &mut [f32], value: __m256) {
    let mut whole = [0f32; 8];
    // SAFETY: `whole` has 32 bytes.
    unsafe { _mm256_storeu_ps(whole.as_mut_ptr(), value) }
    let len = dst.len().min(8);
    dst[..len].copy_from_slice(&whole[..len]);
}
