//! The exponential of [`crate::kernel::softmax`], 16 scores at once in 16-bit lanes.

use core::arch::x86_64::*;

use crate::kernel::softmax::{EXP2_COEFFICIENTS, ScoreScale};

/// A [`ScoreScale`] and the polynomial in vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exponential {
    limit: __m256i,
    left: __m128i,
    right: __m128i,
    multiplier: __m256i,
    coefficients: [__m256i; 4],
}

impl Exponential {
    #[target_feature(enable = "avx2")]
    pub(super) fn new(score_multiplier: i32, score_shift: i32) -> Self {
        let ScoreScale {
            multiplier,
            limit,
            left,
            right,
        } = ScoreScale::new(score_multiplier, score_shift);
        Self {
            limit: _mm256_set1_epi32(limit),
            left: _mm_cvtsi32_si128(left as i32),
            right: _mm_cvtsi32_si128(right as i32),
            multiplier: _mm256_set1_epi16(multiplier as i16),
            coefficients: EXP2_COEFFICIENTS.map(|coefficient| _mm256_set1_epi16(coefficient)),
        }
    }

    /// [`crate::kernel::softmax::exp2_negative`] of the halvings of 16 distances.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn exp2_negative(&self, distances: [__m256i; 2]) -> __m256i {
        let [low, high] = distances.map(|distance| {
            let limited = _mm256_min_epi32(distance, self.limit);
            _mm256_srl_epi32(_mm256_sll_epi32(limited, self.left), self.right)
        });
        // Saturates to 16 bits; a half then has 4 of either vector.
        let shifted = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high));
        let halvings = _mm256_mulhi_epu16(shifted, self.multiplier);
        // 15 halvings leave nothing, as do more. Without the limit, the compiler takes pains over shifts that clear a lane.
        let whole = _mm256_min_epu16(_mm256_srli_epi16::<11>(halvings), _mm256_set1_epi16(15));
        let fraction = _mm256_and_si256(halvings, _mm256_set1_epi16(0x7FF));
        let fraction = _mm256_slli_epi16::<4>(fraction);
        let [c0, c1, c2, c3] = self.coefficients;
        let inner = _mm256_sub_epi16(c2, _mm256_mulhrs_epi16(c3, fraction));
        let middle = _mm256_sub_epi16(c1, _mm256_mulhrs_epi16(inner, fraction));
        let mantissa = _mm256_sub_epi16(c0, _mm256_mulhrs_epi16(middle, fraction));
        // Lanes of 16 bits have no shifts of their own.
        let zero = _mm256_setzero_si256();
        let low = _mm256_srlv_epi32(
            _mm256_unpacklo_epi16(mantissa, zero),
            _mm256_unpacklo_epi16(whole, zero),
        );
        let high = _mm256_srlv_epi32(
            _mm256_unpackhi_epi16(mantissa, zero),
            _mm256_unpackhi_epi16(whole, zero),
        );
        _mm256_packus_epi32(low, high)
    }

    /// [`crate::kernel::softmax::weight`] of the halvings of 16 distances.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn weights(&self, distances: [__m256i; 2]) -> __m256i {
        // The average with 0 rounds halves up.
        _mm256_avg_epu16(self.exp2_negative(distances), _mm256_setzero_si256())
    }
}
