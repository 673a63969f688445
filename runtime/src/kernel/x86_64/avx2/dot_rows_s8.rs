//! One vector times many, four rows at a time.

use core::arch::x86_64::*;

use super::super::numbers;
use super::memory::load_i8x16;
use crate::kernel::DotRowsS8;

/// Rows at a time.
const ROWS: usize = 4;

/// See [`DotRowsS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn dot_rows_s8(args: DotRowsS8<'_>) {
    let lhs = args.lhs;
    args.run_in_tiles(|rows| numbers(sum_rows(dot(lhs, rows))));
}

/// Sums of products in 8 lanes, for each row; all slices have the same length.
#[inline]
#[target_feature(enable = "avx2")]
fn dot(lhs: &[i8], rows: [&[i8]; ROWS]) -> [__m256i; ROWS] {
    let mut sums = [_mm256_setzero_si256(); ROWS];
    for start in (0..lhs.len()).step_by(16) {
        let end = lhs.len().min(start + 16);
        let left = _mm256_cvtepi8_epi16(load_i8x16(&lhs[start..end]));
        for (sum, row) in sums.iter_mut().zip(rows) {
            let right = _mm256_cvtepi8_epi16(load_i8x16(&row[start..end]));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(left, right));
        }
    }
    sums
}

/// The sum of the lanes of each vector.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_rows([a, b, c, d]: [__m256i; ROWS]) -> __m128i {
    let fours = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    _mm_add_epi32(
        _mm256_castsi256_si128(fours),
        _mm256_extracti128_si256::<1>(fours),
    )
}
