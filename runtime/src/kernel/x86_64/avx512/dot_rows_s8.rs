//! One vector times many, four rows at a time.
//!
//! `vpdpbusd` wants one side unsigned, which are the rows, raised by 128: every sum is too large by 128 · Σ lhs, which is the
//! same for all of them.

use core::arch::x86_64::*;

use super::super::numbers;
use super::memory::load_i8;
use crate::kernel::DotRowsS8;

/// Rows at a time.
const ROWS: usize = 4;

/// See [`DotRowsS8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn dot_rows_s8(args: DotRowsS8<'_>) {
    let raise = _mm_set1_epi32(sum(args.lhs) << 7);
    let lhs = args.lhs;
    args.run_in_tiles(|rows| numbers(_mm_sub_epi32(sum_rows(dot_raised(lhs, rows)), raise)));
}

/// The sum of the elements, at most 2¹⁶ of them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn sum(elements: &[i8]) -> i32 {
    let mut sums = _mm512_setzero_si512();
    for elements in elements.chunks(64) {
        sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), load_i8(elements));
    }
    _mm512_reduce_add_epi32(sums)
}

/// Σ (row + 128) · lhs in 16 lanes, for each row; all slices have the same length.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot_raised(lhs: &[i8], rows: [&[i8]; ROWS]) -> [__m512i; ROWS] {
    let mut sums = [_mm512_setzero_si512(); ROWS];
    for start in (0..lhs.len()).step_by(64) {
        let end = lhs.len().min(start + 64);
        // Zeros beyond the slice: whatever they are multiplied with.
        let left = load_i8(&lhs[start..end]);
        for (sum, row) in sums.iter_mut().zip(rows) {
            let right = _mm512_xor_si512(load_i8(&row[start..end]), _mm512_set1_epi8(i8::MIN));
            *sum = _mm512_dpbusd_epi32(*sum, right, left);
        }
    }
    sums
}

/// The sum of the lanes of each vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn sum_rows([a, b, c, d]: [__m512i; ROWS]) -> __m128i {
    let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (ab, cd) = (pairs(a, b), pairs(c, d));
    // In each quarter, a sum of each row.
    let rows = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    let half = _mm256_add_epi32(
        _mm512_castsi512_si256(rows),
        _mm512_extracti64x4_epi64::<1>(rows),
    );
    _mm_add_epi32(
        _mm256_castsi256_si128(half),
        _mm256_extracti128_si256::<1>(half),
    )
}
