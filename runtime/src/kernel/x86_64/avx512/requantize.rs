//! Requantisation of 16 sums at once, to the bit what [`crate::kernel::requantize`] computes.
//!
//! gemmlowp's high product rounds `sum · multiplier` at bit 31. Doubling the sum first moves that to bit 32, where the
//! result of an odd lane already stands in place; this needs sums below 2³⁰, which [`Channels::new`] proves from the bias
//! and the number of products. Then a rounding shift: halves go away from zero, except that with a fused ReLU
//! (`clamp_min >= zero_point`) every negative result becomes `clamp_min` anyway, so halves may go up, which is cheaper. The
//! half of either rounding is added to the 64-bit product at once. Multipliers of 0 or more keep the sign of a sum.

use core::arch::x86_64::*;

use super::memory::{load_i8x16, load_i32};
use crate::kernel::Requantize;

/// How the sums of a block of channels become outputs, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    /// Sums below 2³⁰, no left shift, halves up.
    HalfUp,
    /// Sums below 2³⁰ after the left shift, halves away from zero.
    HalfAway,
    /// Any sum and any multiplier.
    Any,
}

/// Requantises sums in place by a [`Path`], the bias already in them; without zero point and clamp. `$sums` yields a vector
/// and its [`Channels`].
///
/// A macro, because the compiler does not inline a function of this size, and then vectors travel through memory.
macro_rules! requantize_sums {
    ($path:expr, $sums:expr) => {
        match $path {
            $crate::kernel::x86_64::avx512::requantize::Path::HalfUp => {
                for (sum, channels) in $sums {
                    *sum = channels.half_up(*sum);
                }
            }
            $crate::kernel::x86_64::avx512::requantize::Path::HalfAway => {
                for (sum, channels) in $sums {
                    *sum = channels.half_away(*sum);
                }
            }
            $crate::kernel::x86_64::avx512::requantize::Path::Any => {
                for (sum, channels) in $sums {
                    *sum = channels.any(*sum);
                }
            }
        }
    };
}
pub(super) use requantize_sums;

/// Requantisation of 16 channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    /// What a sum starts from.
    pub(super) bias: __m512i,
    multiplier: __m512i,
    left_shift: __m512i,
    right_shift: __m512i,
    /// Of the odd lanes, in even ones.
    odd_multiplier: __m512i,
    /// What the products of even and of odd lanes, doubled, are raised by: half of 2³² for the first rounding, and 2³²
    /// times half of a unit of the result before the right shift, 0 where nothing is shifted out.
    rounding: [__m512i; 2],
    /// Lanes with a right shift.
    shifted: __mmask16,
    /// The cheapest path that is exact; a dearer one is exact too.
    pub(super) path: Path,
}

impl Channels {
    /// Of the up to 16 channels beginning at `channel`, for sums of `products` products of two signed bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new(
        requantize: &Requantize<'_>,
        channel: usize,
        n: usize,
        products: usize,
    ) -> Self {
        let channels = channel..n.min(channel + 16);
        let bias = load_i32(&requantize.bias[channels.clone()]);
        let multiplier = load_i32(&requantize.multiplier[channels.clone()]);
        let shift = _mm512_cvtepi8_epi32(load_i8x16(&requantize.shift[channels]));
        let shift = _mm512_max_epi32(
            shift,
            _mm512_set1_epi32(crate::kernel::requantize::SHIFT_MIN),
        );
        let shift = _mm512_min_epi32(
            shift,
            _mm512_set1_epi32(crate::kernel::requantize::SHIFT_MAX),
        );
        let zero = _mm512_setzero_si512();
        let left_shift = _mm512_max_epi32(shift, zero);
        let right_shift = _mm512_max_epi32(_mm512_sub_epi32(zero, shift), zero);
        let signs = _mm512_movepi32_mask(multiplier);
        let path = if signs != 0 || !sums_are_bounded(bias, left_shift, products) {
            Path::Any
        } else if requantize.clamp_min >= requantize.zero_point
            && _mm512_test_epi32_mask(left_shift, left_shift) == 0
        {
            Path::HalfUp
        } else {
            Path::HalfAway
        };
        let one = _mm512_set1_epi32(1);
        let half = _mm512_srli_epi32::<1>(_mm512_sllv_epi32(one, right_shift));
        let nudge = _mm512_set1_epi64(1 << 31);
        Self {
            bias,
            multiplier,
            odd_multiplier: _mm512_srli_epi64::<32>(multiplier),
            rounding: [
                _mm512_add_epi64(nudge, _mm512_slli_epi64::<32>(half)),
                _mm512_add_epi64(nudge, _mm512_maskz_mov_epi32(0xAAAA, half)),
            ],
            left_shift,
            right_shift,
            shifted: _mm512_cmpgt_epi32_mask(right_shift, zero),
            path,
        }
    }

    /// Of elements that share one factor of 0 or more; `shift` is in −31..=30, and sums shifted left by it stay below 2³⁰.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn uniform(multiplier: i32, shift: i32) -> Self {
        let right_shift = (-shift).max(0);
        let half = (1i64 << right_shift) >> 1;
        let rounding = _mm512_set1_epi64((1 << 31) + (half << 32));
        Self {
            bias: _mm512_setzero_si512(),
            multiplier: _mm512_set1_epi32(multiplier),
            odd_multiplier: _mm512_set1_epi32(multiplier),
            rounding: [rounding; 2],
            left_shift: _mm512_set1_epi32(shift.max(0)),
            right_shift: _mm512_set1_epi32(right_shift),
            shifted: if right_shift > 0 { !0 } else { 0 },
            path: Path::HalfAway,
        }
    }

    /// Halves up; see [`Path::HalfUp`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn half_up(&self, sum: __m512i) -> __m512i {
        let raised = self.raised_high_product(_mm512_add_epi32(sum, sum));
        _mm512_srav_epi32(raised, self.right_shift)
    }

    /// Halves away from zero; see [`Path::HalfAway`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn half_away(&self, sum: __m512i) -> __m512i {
        let left_shift = _mm512_add_epi32(self.left_shift, _mm512_set1_epi32(1));
        self.half_away_of_half(_mm512_sllv_epi32(sum, left_shift))
    }

    /// [`Self::half_away`] of half of a sum that is shifted left already.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn half_away_of_half(&self, doubled: __m512i) -> __m512i {
        let raised = self.raised_high_product(doubled);
        // −1 where the sum is negative: a half then goes down. Nothing to round where nothing is shifted out.
        let down = _mm512_srai_epi32::<31>(doubled);
        let rounded = _mm512_mask_add_epi32(raised, self.shifted, raised, down);
        _mm512_srav_epi32(rounded, self.right_shift)
    }

    /// gemmlowp's high product of half of `doubled`, and half of a unit of the result.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn raised_high_product(&self, doubled: __m512i) -> __m512i {
        let even = _mm512_mul_epi32(doubled, self.multiplier);
        let even = _mm512_add_epi64(even, self.rounding[0]);
        let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(doubled), self.odd_multiplier);
        let odd = _mm512_add_epi64(odd, self.rounding[1]);
        _mm512_mask_shuffle_epi32::<0xF5>(odd, 0x5555, even)
    }

    /// Word for word [`crate::kernel::requantize::multiply_by_quantized_multiplier`].
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn any(&self, sum: __m512i) -> __m512i {
        let shifted = _mm512_sllv_epi32(sum, self.left_shift);
        let nudge = _mm512_set1_epi64(1 << 30);
        let even = _mm512_add_epi64(_mm512_mul_epi32(shifted, self.multiplier), nudge);
        let even = _mm512_srli_epi64::<31>(even);
        let odd_shifted = _mm512_srli_epi64::<32>(shifted);
        let odd_multiplier = _mm512_srli_epi64::<32>(self.multiplier);
        let odd = _mm512_add_epi64(_mm512_mul_epi32(odd_shifted, odd_multiplier), nudge);
        let odd = _mm512_slli_epi64::<1>(odd);
        let product = _mm512_mask_blend_epi32(0xAAAA, even, odd);
        let lowest = _mm512_set1_epi32(i32::MIN);
        let saturates = _mm512_cmpeq_epi32_mask(shifted, lowest)
            & _mm512_cmpeq_epi32_mask(self.multiplier, lowest);
        let product = _mm512_mask_blend_epi32(saturates, product, _mm512_set1_epi32(i32::MAX));

        let one = _mm512_set1_epi32(1);
        let mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, self.right_shift), one);
        let remainder = _mm512_and_si512(product, mask);
        let negative = _mm512_srli_epi32::<31>(product);
        let threshold = _mm512_add_epi32(_mm512_srli_epi32::<1>(mask), negative);
        let up = _mm512_cmpgt_epi32_mask(remainder, threshold);
        let quotient = _mm512_srav_epi32(product, self.right_shift);
        _mm512_mask_add_epi32(quotient, up, quotient, one)
    }
}

/// Whether |bias| plus `products` products of two signed bytes, shifted left, stays below 2³⁰ in every lane.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sums_are_bounded(bias: __m512i, left_shift: __m512i, products: usize) -> bool {
    let Some(largest) = products
        .checked_mul(1 << 14)
        .filter(|&largest| largest < 1 << 30)
    else {
        return false;
    };
    let largest = _mm512_add_epi32(_mm512_abs_epi32(bias), _mm512_set1_epi32(largest as i32));
    let limit = _mm512_srlv_epi32(_mm512_set1_epi32(1 << 30), left_shift);
    _mm512_cmplt_epu32_mask(largest, limit) == !0
}

/// Zero point and clamp of 8-bit outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs8 {
    zero_point: __m512i,
    clamp_min: __m512i,
    clamp_max: __m512i,
}

impl Outputs8 {
    /// `None` when the zero point is no signed byte.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn new(zero_point: i32, clamp_min: i32, clamp_max: i32) -> Option<Self> {
        let zero_point = i8::try_from(zero_point).ok()?;
        Some(Self {
            zero_point: _mm512_set1_epi16(zero_point.into()),
            clamp_min: _mm512_set1_epi8(clamp_min.clamp(-128, 127) as i8),
            clamp_max: _mm512_set1_epi8(clamp_max.clamp(-128, 127) as i8),
        })
    }

    /// Bytes of four vectors: in each quarter of the result, 4 of the first vector, 4 of the second, and so on.
    ///
    /// Both packings saturate, which changes nothing: the zero point moves a saturated value by at most 128, and what was
    /// outside 16 bits stays outside 8.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn pack(&self, values: [__m512i; 4]) -> __m512i {
        let low = _mm512_packs_epi32(values[0], values[1]);
        let high = _mm512_packs_epi32(values[2], values[3]);
        let low = _mm512_adds_epi16(low, self.zero_point);
        let high = _mm512_adds_epi16(high, self.zero_point);
        let bytes = _mm512_packs_epi16(low, high);
        _mm512_min_epi8(_mm512_max_epi8(bytes, self.clamp_min), self.clamp_max)
    }

    /// As [`Self::pack`], then 16 bytes of the first vector, 16 of the second, and so on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn pack_in_order(&self, values: [__m512i; 4]) -> __m512i {
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, self.pack(values))
    }
}
