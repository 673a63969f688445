//! Requantisation of 8 sums at once, word for word [`crate::kernel::requantize`].

use core::arch::x86_64::*;

use crate::kernel::requantize::{SHIFT_MAX, SHIFT_MIN};

/// Requantisation of 8 channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    multiplier: __m256i,
    left_shift: __m256i,
    right_shift: __m256i,
}

impl Channels {
    /// Of lanes with these multipliers and shifts.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(multiplier: __m256i, shift: __m256i) -> Self {
        let shift = _mm256_max_epi32(shift, _mm256_set1_epi32(SHIFT_MIN));
        let shift = _mm256_min_epi32(shift, _mm256_set1_epi32(SHIFT_MAX));
        let zero = _mm256_setzero_si256();
        let left_shift = _mm256_max_epi32(shift, zero);
        let right_shift = _mm256_max_epi32(_mm256_sub_epi32(zero, shift), zero);
        Self {
            multiplier,
            left_shift,
            right_shift,
        }
    }

    /// One factor for every lane.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn uniform(multiplier: i32, shift: i32) -> Self {
        Self::new(_mm256_set1_epi32(multiplier), _mm256_set1_epi32(shift))
    }

    /// Requantises sums, the bias already in them; without zero point and clamp.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn apply(&self, sum: __m256i) -> __m256i {
        let shifted = _mm256_sllv_epi32(sum, self.left_shift);
        let nudge = _mm256_set1_epi64x(1 << 30);
        let even = _mm256_add_epi64(_mm256_mul_epi32(shifted, self.multiplier), nudge);
        let even = _mm256_srli_epi64::<31>(even);
        let odd_shifted = _mm256_srli_epi64::<32>(shifted);
        let odd_multiplier = _mm256_srli_epi64::<32>(self.multiplier);
        let odd = _mm256_add_epi64(_mm256_mul_epi32(odd_shifted, odd_multiplier), nudge);
        let odd = _mm256_slli_epi64::<1>(odd);
        let product = _mm256_blend_epi32::<0b1010_1010>(even, odd);
        let lowest = _mm256_set1_epi32(i32::MIN);
        let saturates = _mm256_and_si256(
            _mm256_cmpeq_epi32(shifted, lowest),
            _mm256_cmpeq_epi32(self.multiplier, lowest),
        );
        // The product there is i32::MIN; the complement of it is i32::MAX.
        let product = _mm256_xor_si256(product, saturates);

        let one = _mm256_set1_epi32(1);
        let mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, self.right_shift), one);
        let remainder = _mm256_and_si256(product, mask);
        let negative = _mm256_srli_epi32::<31>(product);
        let threshold = _mm256_add_epi32(_mm256_srli_epi32::<1>(mask), negative);
        let up = _mm256_cmpgt_epi32(remainder, threshold);
        _mm256_sub_epi32(_mm256_srav_epi32(product, self.right_shift), up)
    }
}

/// Zero point and clamp of outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs {
    zero_point: __m256i,
    /// The clamp before the zero point is added.
    min: __m256i,
    max: __m256i,
}

impl Outputs {
    /// Of outputs within `limits`, the range of their type. `None` for a zero point far outside of it.
    #[target_feature(enable = "avx2")]
    pub(super) fn new(zero_point: i32, clamp: [i32; 2], limits: [i32; 2]) -> Option<Self> {
        if zero_point.unsigned_abs() > 1 << 16 {
            return None;
        }
        let [min, max] = clamp.map(|bound| bound.clamp(limits[0], limits[1]) - zero_point);
        Some(Self {
            zero_point: _mm256_set1_epi32(zero_point),
            min: _mm256_set1_epi32(min),
            max: _mm256_set1_epi32(max),
        })
    }

    /// Clamped values with the zero point.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(&self, value: __m256i) -> __m256i {
        let value = _mm256_min_epi32(_mm256_max_epi32(value, self.min), self.max);
        _mm256_add_epi32(value, self.zero_point)
    }

    /// 8 outputs of 16 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn to_i16(self, value: __m256i) -> __m128i {
        let value = self.finish(value);
        _mm_packs_epi32(
            _mm256_castsi256_si128(value),
            _mm256_extracti128_si256::<1>(value),
        )
    }

    /// 16 outputs of 8 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn to_i8(self, values: [__m256i; 2]) -> __m128i {
        _mm_packs_epi16(self.to_i16(values[0]), self.to_i16(values[1]))
    }
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_lanes(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(
        _mm256_castsi256_si128(lanes),
        _mm256_extracti128_si256::<1>(lanes),
    );
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}
