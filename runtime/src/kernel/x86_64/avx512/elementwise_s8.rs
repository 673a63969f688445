//! Integer operations without a window, 64 elements at a time.

use core::arch::x86_64::*;

use super::memory::{load_f32, load_i8, load_i8x16, load_i16, load_i16x16, store_f32, store_i8};
use super::requantize::{Channels, Outputs8};
use crate::kernel::{AddS8, MulS8, scalar};

/// Largest magnitude of an input offset that the bounds below count on.
const MAX_OFFSET: u32 = 128;

/// See [`AddS8`]. Sums stay below 2³⁰ with offsets and a left shift as TFLite has them; others are left to the scalar
/// kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn add_s8(args: AddS8<'_>) {
    let shifts = [args.input_shift[0], args.input_shift[1], args.output_shift];
    let bounded = args
        .input_offset
        .iter()
        .all(|offset| offset.unsigned_abs() <= MAX_OFFSET)
        && (0..=20).contains(&args.left_shift)
        && shifts.iter().all(|shift| (-31..=0).contains(shift))
        && args
            .input_multiplier
            .iter()
            .all(|&multiplier| multiplier >= 0)
        && args.output_multiplier >= 0;
    let outputs = Outputs8::new(args.output_offset, args.clamp_min, args.clamp_max);
    let (true, Some(outputs)) = (bounded, outputs) else {
        return scalar::add_s8(args);
    };
    let inputs: [Channels; 2] = core::array::from_fn(|side| {
        Channels::uniform(args.input_multiplier[side], args.input_shift[side])
    });
    let output = Channels::uniform(args.output_multiplier, args.output_shift);
    // One more: see [`Channels::half_away_of_half`].
    let left_shift = _mm_cvtsi32_si128(args.left_shift + 1);
    let offsets = args.input_offset.map(|offset| _mm512_set1_epi32(offset));
    let chunks = args
        .dst
        .chunks_mut(64)
        .zip(args.lhs.chunks(64))
        .zip(args.rhs.chunks(64));
    for ((dst, lhs), rhs) in chunks {
        let sides = [widen(load_i8(lhs)), widen(load_i8(rhs))];
        let mut sums = [_mm512_setzero_si512(); 4];
        for (part, sum) in sums.iter_mut().enumerate() {
            let lhs = _mm512_add_epi32(sides[0][part], offsets[0]);
            let lhs = inputs[0].half_away_of_half(_mm512_sll_epi32(lhs, left_shift));
            let rhs = _mm512_add_epi32(sides[1][part], offsets[1]);
            let rhs = inputs[1].half_away_of_half(_mm512_sll_epi32(rhs, left_shift));
            *sum = output.half_away(_mm512_add_epi32(lhs, rhs));
        }
        store_i8(dst, outputs.pack_in_order(sums));
    }
}

/// See [`MulS8`]. Products are below 2¹⁷ with offsets as TFLite has them; others are left to the scalar kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn mul_s8(args: MulS8<'_>) {
    let bounded = args
        .input_offset
        .iter()
        .all(|offset| offset.unsigned_abs() <= MAX_OFFSET)
        && (-31..=12).contains(&args.shift)
        && args.multiplier >= 0
        && !args.rhs.is_empty();
    let outputs = Outputs8::new(args.output_offset, args.clamp_min, args.clamp_max);
    let (true, Some(outputs)) = (bounded, outputs) else {
        return scalar::mul_s8(args);
    };
    let product = Channels::uniform(args.multiplier, args.shift);
    let offsets = args.input_offset.map(|offset| _mm512_set1_epi32(offset));
    let period = args.rhs.len();
    for (dst, lhs) in args.dst.chunks_mut(period).zip(args.lhs.chunks(period)) {
        let chunks = dst
            .chunks_mut(64)
            .zip(lhs.chunks(64))
            .zip(args.rhs.chunks(64));
        for ((dst, lhs), rhs) in chunks {
            let [lhs, rhs] = [widen(load_i8(lhs)), widen(load_i8(rhs))];
            let products = core::array::from_fn(|part| {
                let lhs = _mm512_add_epi32(lhs[part], offsets[0]);
                let rhs = _mm512_add_epi32(rhs[part], offsets[1]);
                product.half_away(_mm512_mullo_epi32(lhs, rhs))
            });
            store_i8(dst, outputs.pack_in_order(products));
        }
    }
}

/// 64 bytes to 4 vectors of 16, in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn widen(bytes: __m512i) -> [__m512i; 4] {
    [
        _mm512_cvtepi8_epi32(_mm512_castsi512_si128(bytes)),
        _mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32::<1>(bytes)),
        _mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32::<2>(bytes)),
        _mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32::<3>(bytes)),
    ]
}

/// Exact sum of products: Σ (lhs + 128) · rhs − 128 · Σ rhs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn dot_s8(lhs: &[i8], rhs: &[i8]) -> i32 {
    let len = lhs.len().min(rhs.len());
    let mut products = _mm512_setzero_si512();
    let mut sums = _mm512_setzero_si512();
    for (lhs, rhs) in lhs[..len].chunks(64).zip(rhs[..len].chunks(64)) {
        let lhs = _mm512_xor_si512(load_i8(lhs), _mm512_set1_epi8(i8::MIN));
        let rhs = load_i8(rhs);
        products = _mm512_dpbusd_epi32(products, lhs, rhs);
        sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), rhs);
    }
    _mm512_reduce_add_epi32(_mm512_sub_epi32(products, _mm512_slli_epi32::<7>(sums)))
}

/// `clamp(round(src / scale) + zero_point, −128, 127)`.
///
/// Adding the largest number below one half and cutting off rounds halves away from zero.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn quantize_f32(src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
    let Some(outputs) = Outputs8::new(zero_point, -128, 127) else {
        return scalar::quantize_f32(src, scale, zero_point, dst);
    };
    let scale = _mm512_set1_ps(scale);
    let sign = _mm512_set1_ps(-0.0);
    let below_half = _mm512_set1_ps(0.5f32.next_down());
    for (dst, src) in dst.chunks_mut(64).zip(src.chunks(64)) {
        let mut parts = [_mm512_setzero_si512(); 4];
        for (part, src) in parts.iter_mut().zip(src.chunks(16)) {
            let value = _mm512_div_ps(load_f32(src), scale);
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(value, value);
            // Beyond ±1000 every zero point leaves the output at its limit, and the conversion cannot overflow.
            let value = _mm512_maskz_min_ps(number, value, _mm512_set1_ps(1000.0));
            let value = _mm512_max_ps(value, _mm512_set1_ps(-1000.0));
            let nudge = _mm512_or_ps(_mm512_and_ps(value, sign), below_half);
            *part = _mm512_cvttps_epi32(_mm512_add_ps(value, nudge));
        }
        store_i8(dst, outputs.pack_in_order(parts));
    }
}

/// `scale · (src − zero_point)`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn dequantize_s8(src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]) {
    let zero_point = _mm512_set1_epi32(zero_point);
    for (dst, src) in dst.chunks_mut(16).zip(src.chunks(16)) {
        let value = _mm512_sub_epi32(_mm512_cvtepi8_epi32(load_i8x16(src)), zero_point);
        store_f32(
            dst,
            _mm512_mul_ps(_mm512_cvtepi32_ps(value), _mm512_set1_ps(scale)),
        );
    }
}

/// `src · 127 / max |src|`, halves away from zero.
///
/// In f32: numerators and denominators are below 2²⁴, and a quotient below an integer n ≤ 127 stays below it when it is
/// rounded, because it is at least 2⁻¹⁶ away.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn normalize_s16(src: &[i16], dst: &mut [i8]) {
    let Some(outputs) = Outputs8::new(0, -128, 127) else {
        return scalar::normalize_s16(src, dst);
    };
    let mut largest = _mm512_setzero_si512();
    for src in src.chunks(32) {
        largest = _mm512_max_epu16(largest, _mm512_abs_epi16(load_i16(src)));
    }
    let halves = [
        _mm512_castsi512_si256(largest),
        _mm512_extracti64x4_epi64::<1>(largest),
    ];
    let [low, high] = halves.map(|half| _mm512_cvtepu16_epi32(half));
    let largest = _mm512_set1_epi32(_mm512_reduce_max_epi32(_mm512_max_epi32(low, high)));
    let divisor = _mm512_cvtepi32_ps(_mm512_slli_epi32::<1>(largest));
    for (dst, src) in dst.chunks_mut(64).zip(src.chunks(64)) {
        let mut parts = [_mm512_setzero_si512(); 4];
        for (part, src) in parts.iter_mut().zip(src.chunks(16)) {
            let value = _mm512_cvtepi16_epi32(load_i16x16(src));
            let doubled = _mm512_mullo_epi32(_mm512_abs_epi32(value), _mm512_set1_epi32(254));
            let numerator = _mm512_cvtepi32_ps(_mm512_add_epi32(doubled, largest));
            // Nothing but zeros: the quotient, not a number, counts as 0.
            let nonzero = _mm512_test_epi32_mask(largest, largest);
            let quotient = _mm512_maskz_div_ps(nonzero, numerator, divisor);
            let rounded = _mm512_cvttps_epi32(quotient);
            let negative = _mm512_movepi32_mask(value);
            *part = _mm512_mask_sub_epi32(rounded, negative, _mm512_setzero_si512(), rounded);
        }
        store_i8(dst, outputs.pack_in_order(parts));
    }
}
