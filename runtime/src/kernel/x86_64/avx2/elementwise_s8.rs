//! Integer operations without a window, 16 elements at a time.

use core::arch::x86_64::*;

use super::memory::{load_f32x8, load_i8x16, store_f32x8, store_i8x16};
use super::requantize::{Channels, Outputs, sum_lanes};
use crate::kernel::{AddS8, MulS8, scalar};

/// See [`AddS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn add_s8(args: AddS8<'_>) {
    let clamp = [args.clamp_min, args.clamp_max];
    let Some(outputs) = Outputs::new(args.output_offset, clamp, [-128, 127]) else {
        return scalar::add_s8(args);
    };
    let inputs: [Channels; 2] = core::array::from_fn(|side| {
        Channels::uniform(args.input_multiplier[side], args.input_shift[side])
    });
    let output = Channels::uniform(args.output_multiplier, args.output_shift);
    // The scalar shift takes its count modulo 32.
    let left_shift = _mm256_set1_epi32(args.left_shift & 31);
    let chunks = args
        .dst
        .chunks_mut(16)
        .zip(args.lhs.chunks(16))
        .zip(args.rhs.chunks(16));
    for ((dst, lhs), rhs) in chunks {
        let sides = [widen(load_i8x16(lhs)), widen(load_i8x16(rhs))];
        let sums = core::array::from_fn(|part| {
            let common = |side: usize| {
                let offset = _mm256_set1_epi32(args.input_offset[side]);
                let value = _mm256_add_epi32(sides[side][part], offset);
                inputs[side].apply(_mm256_sllv_epi32(value, left_shift))
            };
            output.apply(_mm256_add_epi32(common(0), common(1)))
        });
        store_i8x16(dst, outputs.to_i8(sums));
    }
}

/// See [`MulS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn mul_s8(args: MulS8<'_>) {
    let clamp = [args.clamp_min, args.clamp_max];
    let outputs = Outputs::new(args.output_offset, clamp, [-128, 127]);
    let (false, Some(outputs)) = (args.rhs.is_empty(), outputs) else {
        return scalar::mul_s8(args);
    };
    let product = Channels::uniform(args.multiplier, args.shift);
    let offsets = args.input_offset.map(|offset| _mm256_set1_epi32(offset));
    let period = args.rhs.len();
    for (dst, lhs) in args.dst.chunks_mut(period).zip(args.lhs.chunks(period)) {
        let chunks = dst
            .chunks_mut(16)
            .zip(lhs.chunks(16))
            .zip(args.rhs.chunks(16));
        for ((dst, lhs), rhs) in chunks {
            let [lhs, rhs] = [widen(load_i8x16(lhs)), widen(load_i8x16(rhs))];
            let products = core::array::from_fn(|part| {
                let lhs = _mm256_add_epi32(lhs[part], offsets[0]);
                let rhs = _mm256_add_epi32(rhs[part], offsets[1]);
                product.apply(_mm256_mullo_epi32(lhs, rhs))
            });
            store_i8x16(dst, outputs.to_i8(products));
        }
    }
}

/// 16 bytes to 2 vectors of 8, in order.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(bytes: __m128i) -> [__m256i; 2] {
    [
        _mm256_cvtepi8_epi32(bytes),
        _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes)),
    ]
}

/// Exact sum of products.
#[target_feature(enable = "avx2")]
pub(crate) fn dot_s8(lhs: &[i8], rhs: &[i8]) -> i32 {
    let len = lhs.len().min(rhs.len());
    let mut sums = _mm256_setzero_si256();
    for (lhs, rhs) in lhs[..len].chunks(16).zip(rhs[..len].chunks(16)) {
        let lhs = _mm256_cvtepi8_epi16(load_i8x16(lhs));
        let rhs = _mm256_cvtepi8_epi16(load_i8x16(rhs));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(lhs, rhs));
    }
    sum_lanes(sums)
}

/// `clamp(round(src / scale) + zero_point, −128, 127)`.
///
/// Adding the largest number below one half and cutting off rounds halves away from zero.
#[target_feature(enable = "avx2")]
pub(crate) fn quantize_f32(src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
    let outputs = Outputs::new(zero_point, [-128, 127], [-128, 127]);
    let (true, Some(outputs)) = ((-128..=127).contains(&zero_point), outputs) else {
        return scalar::quantize_f32(src, scale, zero_point, dst);
    };
    let scale = _mm256_set1_ps(scale);
    let sign = _mm256_set1_ps(-0.0);
    let below_half = _mm256_set1_ps(0.5f32.next_down());
    for (dst, src) in dst.chunks_mut(16).zip(src.chunks(16)) {
        let mut parts = [_mm256_setzero_si256(); 2];
        for (part, src) in parts.iter_mut().zip(src.chunks(8)) {
            let value = _mm256_div_ps(load_f32x8(src), scale);
            // NaN becomes 0.
            let value = _mm256_and_ps(value, _mm256_cmp_ps::<_CMP_ORD_Q>(value, value));
            // Beyond ±1000 every zero point leaves the output at its limit, and the conversion cannot overflow.
            let value = _mm256_min_ps(value, _mm256_set1_ps(1000.0));
            let value = _mm256_max_ps(value, _mm256_set1_ps(-1000.0));
            let nudge = _mm256_or_ps(_mm256_and_ps(value, sign), below_half);
            *part = _mm256_cvttps_epi32(_mm256_add_ps(value, nudge));
        }
        store_i8x16(dst, outputs.to_i8(parts));
    }
}

/// `scale · (src − zero_point)`.
#[target_feature(enable = "avx2")]
pub(crate) fn dequantize_s8(src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]) {
    for (dst, src) in dst.chunks_mut(8).zip(src.chunks(8)) {
        let value = _mm256_cvtepi8_epi32(load_i8x16(src));
        let value = _mm256_sub_epi32(value, _mm256_set1_epi32(zero_point));
        store_f32x8(
            dst,
            _mm256_mul_ps(_mm256_cvtepi32_ps(value), _mm256_set1_ps(scale)),
        );
    }
}

/// `src · 127 / max |src|`, halves away from zero.
///
/// In f32: numerators and denominators are below 2²⁴, and a quotient below an integer n ≤ 127 stays below it when it is
/// rounded, because it is at least 2⁻¹⁶ away. Of nothing but zeros the quotient is not a number, which becomes 0.
#[target_feature(enable = "avx2")]
pub(crate) fn normalize_s16(src: &[i16], dst: &mut [i8]) {
    let magnitude = |src: i16| i32::from(src).abs();
    let largest = src.iter().map(|&src| magnitude(src)).max().unwrap_or(0);
    for (dst, &src) in dst.iter_mut().zip(src) {
        let numerator = (magnitude(src) * 127 * 2 + largest) as f32;
        let rounded = (numerator / (2 * largest) as f32) as i8;
        *dst = if src < 0 { -rounded } else { rounded };
    }
}
