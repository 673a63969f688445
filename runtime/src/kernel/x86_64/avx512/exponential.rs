//! The exponential of [`crate::kernel::softmax`], 32 scores at once in 16-bit lanes.

use core::arch::x86_64::*;

use crate::kernel::softmax::{EXP2_COEFFICIENTS, ScoreScale};

/// A [`ScoreScale`] and the polynomial in vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exponential {
    limit: __m512i,
    left: __m128i,
    right: __m128i,
    multiplier: __m512i,
    coefficients: [__m512i; 4],
}

impl Exponential {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new(score_multiplier: i32, score_shift: i32) -> Self {
        let ScoreScale {
            multiplier,
            limit,
            left,
            right,
        } = ScoreScale::new(score_multiplier, score_shift);
        Self {
            limit: _mm512_set1_epi32(limit),
            left: _mm_cvtsi32_si128(left as i32),
            right: _mm_cvtsi32_si128(right as i32),
            multiplier: _mm512_set1_epi16(multiplier as i16),
            coefficients: EXP2_COEFFICIENTS.map(|coefficient| _mm512_set1_epi16(coefficient)),
        }
    }

    /// [`crate::kernel::softmax::exp2_negative`] of the halvings of 32 distances.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn exp2_negative(&self, distances: [__m512i; 2]) -> __m512i {
        let [low, high] = distances.map(|distance| {
            let limited = _mm512_min_epi32(distance, self.limit);
            _mm512_srl_epi32(_mm512_sll_epi32(limited, self.left), self.right)
        });
        // Saturates to 16 bits; a quarter then has 4 of either vector.
        let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
        let shifted = _mm512_permutexvar_epi64(order, _mm512_packus_epi32(low, high));
        let halvings = _mm512_mulhi_epu16(shifted, self.multiplier);
        // 15 halvings leave nothing, as do more. Without the limit, the compiler takes pains over shifts that clear a lane.
        let whole = _mm512_min_epu16(_mm512_srli_epi16::<11>(halvings), _mm512_set1_epi16(15));
        let fraction = _mm512_and_si512(halvings, _mm512_set1_epi16(0x7FF));
        let fraction = _mm512_slli_epi16::<4>(fraction);
        let [c0, c1, c2, c3] = self.coefficients;
        let inner = _mm512_sub_epi16(c2, _mm512_mulhrs_epi16(c3, fraction));
        let middle = _mm512_sub_epi16(c1, _mm512_mulhrs_epi16(inner, fraction));
        let mantissa = _mm512_sub_epi16(c0, _mm512_mulhrs_epi16(middle, fraction));
        _mm512_srlv_epi16(mantissa, whole)
    }

    /// [`crate::kernel::softmax::weight`] of the halvings of 32 distances.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn weights(&self, distances: [__m512i; 2]) -> __m512i {
        // The average with 0 rounds halves up.
        _mm512_avg_epu16(self.exp2_negative(distances), _mm512_setzero_si512())
    }
}

/// Adds 32 numbers of 15 bits to 16 sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn add_words(sums: __m512i, words: __m512i) -> __m512i {
    _mm512_add_epi32(sums, _mm512_madd_epi16(words, _mm512_set1_epi16(1)))
}
