//! Weighted sums of the rows and columns of a picture, by byte dot products.
//!
//! A weight is the sum of three signed digits: `w = d₀ + 2⁸ · d₁ + 2¹⁶ · d₂`, so that three dot products of four samples and
//! four digits make a sum of 32 bits. Along a row, each quarter of a vector is a column of the output:
//!
//! ```text
//! for 4 columns: sums = 0; for 4 pixels of their spans:
//!     samples = (r₀₁₂₃ g₀₁₂₃ b₀₁₂₃ 0) of each column; for each digit d: sums[d] += dot(samples, digits[d])
//!     dst = clip8(ROUNDING + sums[0] + 2⁸ · sums[1] + 2¹⁶ · sums[2])
//! ```
//!
//! Down a column, the bytes of four rows are interleaved.

use core::arch::x86_64::*;

use super::memory::{load_i32, load_u8, mask16, store_i32, store_u8};
use crate::kernel::resample::{
    CHANNELS, ColumnsU8, MAX_WEIGHT, ROUNDING, ResampleColumnsU8, ResampleRowU8, WEIGHT_BITS,
    resample_columns_in_blocks,
};
use crate::kernel::scalar;

/// Columns at a time.
const COLUMNS: usize = 4;
/// Samples of a dot product.
const GROUP: usize = 4;
/// Digits of a weight.
const DIGITS: usize = 3;
/// Rows whose digits fit the stack; a window with more takes the long way.
const MAX_ROWS: usize = 64;
/// What makes unsigned bytes of the digits: the highest bit of each.
const RAISE: i32 = 0x0080_8080;

// The digits of every weight are three.
const _: () = assert!(MAX_WEIGHT < RAISE && MAX_WEIGHT + RAISE < 1 << 24);

/// Digits of 16 weights, in a quarter of the result those of four: lowest, middle, highest, 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn digits(weights: __m512i) -> __m512i {
    let raise = _mm512_set1_epi32(RAISE);
    let digits = _mm512_xor_si512(_mm512_add_epi32(weights, raise), raise);
    let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, -1, -1, -1, -1);
    _mm512_shuffle_epi8(digits, _mm512_broadcast_i32x4(order))
}

/// The sums that the sums of three digits stand for, without the bits below a sample.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn finish([low, middle, high]: [__m512i; DIGITS]) -> __m512i {
    let upper = _mm512_add_epi32(_mm512_slli_epi32::<8>(high), middle);
    let sums = _mm512_add_epi32(_mm512_slli_epi32::<8>(upper), low);
    let sums = _mm512_add_epi32(sums, _mm512_set1_epi32(ROUNDING));
    _mm512_srai_epi32::<{ WEIGHT_BITS }>(sums)
}

/// See [`ResampleRowU8`]. Columns whose samples end with the row, and the last ones, are left to the scalar kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn resample_row_u8(mut args: ResampleRowU8<'_>) {
    let columns = args.spans.len() / COLUMNS * COLUMNS;
    for column in (0..columns).step_by(COLUMNS) {
        let Some(columns) = ColumnsU8::new(&args, column) else {
            scalar::resample_row_u8(args.part(column, COLUMNS));
            continue;
        };
        let pixels = resample_four(&columns);
        args.dst[column * CHANNELS..][..COLUMNS * CHANNELS].copy_from_slice(&pixels);
    }
    scalar::resample_row_u8(args.part(columns, args.spans.len() - columns));
}

/// The pixels of four columns, one behind the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn resample_four(columns: &ColumnsU8<'_, COLUMNS>) -> [u8; COLUMNS * CHANNELS] {
    let order = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
    let order = _mm512_broadcast_i32x4(order);
    let mut sums = [_mm512_setzero_si512(); DIGITS];
    for first in columns.groups() {
        let (mut of_columns, mut samples) = ([_mm_setzero_si128(); 4], [_mm_setzero_si128(); 4]);
        for column in 0..COLUMNS {
            let (weights, count, bytes) = columns.group(column, first);
            let there = mask16(count) as __mmask8;
            // SAFETY: `first` is one of the groups: `count` weights can be read, and the mask has no more lanes.
            of_columns[column] = unsafe { _mm_maskz_loadu_epi32(there, weights) };
            // SAFETY: As it is one of the groups, 16 bytes can be read.
            samples[column] = unsafe { _mm_loadu_si128(bytes.cast()) };
        }
        let samples = _mm512_shuffle_epi8(join(samples), order);
        let digits = digits(join(of_columns));
        sums[0] = _mm512_dpbusd_epi32(sums[0], samples, _mm512_shuffle_epi32::<0x00>(digits));
        sums[1] = _mm512_dpbusd_epi32(sums[1], samples, _mm512_shuffle_epi32::<0x55>(digits));
        sums[2] = _mm512_dpbusd_epi32(sums[2], samples, _mm512_shuffle_epi32::<0xAA>(digits));
    }
    let positive = _mm512_max_epi32(finish(sums), _mm512_setzero_si512());
    let order = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    let bytes = _mm_shuffle_epi8(_mm512_cvtusepi32_epi8(positive), order);
    let mut pixels = [0; 16];
    // SAFETY: `pixels` has 16 bytes.
    unsafe { _mm_storeu_si128(pixels.as_mut_ptr().cast(), bytes) };
    core::array::from_fn(|sample| pixels[sample])
}

/// Four quarters of a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn join([a, b, c, d]: [__m128i; COLUMNS]) -> __m512i {
    let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b);
    let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(c), d);
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// See [`ResampleColumnsU8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn resample_columns_u8(args: ResampleColumnsU8<'_>) {
    if args.weights.len() > MAX_ROWS || args.weights.is_empty() {
        return resample_columns_in_blocks::<64>(args);
    }
    let mut of_groups = [[0; 4]; MAX_ROWS / GROUP];
    let groups = args.weights.len().div_ceil(GROUP);
    for (of_groups, weights) in of_groups.chunks_mut(4).zip(args.weights.chunks(16)) {
        store_i32(of_groups.as_flattened_mut(), digits(load_i32(weights)));
    }
    let of_groups = &of_groups[..groups];
    let last = args.weights.len() - 1;
    for start in (0..args.dst.len()).step_by(64) {
        let len = (args.dst.len() - start).min(64);
        let mut sums = [[_mm512_setzero_si512(); DIGITS]; 4];
        for (group, digits) in of_groups.iter().enumerate() {
            let mut rows = [_mm512_setzero_si512(); GROUP];
            for (index, row) in rows.iter_mut().enumerate() {
                // A weight beyond the last one is 0, whatever the row.
                let samples = args.row((group * GROUP + index).min(last));
                *row = load_u8(&samples[start..][..len]);
            }
            add_rows(&mut sums, rows, digits);
        }
        let samples = pack(sums);
        store_u8(&mut args.dst[start..][..len], samples);
    }
}

/// Adds 64 samples of four rows, of 16 in each quarter of a vector the first four to the first sums, and so on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_rows(
    sums: &mut [[__m512i; DIGITS]; 4],
    [a, b, c, d]: [__m512i; GROUP],
    digits: &[i32; 4], // and a zero
) {
    let (low, high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (lower, higher) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    let interleaved = [
        _mm512_unpacklo_epi16(low, lower),
        _mm512_unpackhi_epi16(low, lower),
        _mm512_unpacklo_epi16(high, higher),
        _mm512_unpackhi_epi16(high, higher),
    ];
    for (sums, samples) in sums.iter_mut().zip(interleaved) {
        for (sum, &digit) in sums.iter_mut().zip(digits) {
            *sum = _mm512_dpbusd_epi32(*sum, samples, _mm512_set1_epi32(digit));
        }
    }
}

/// The samples of sums as [`add_rows`] leaves them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn pack([a, b, c, d]: [[__m512i; DIGITS]; 4]) -> __m512i {
    let low = _mm512_packus_epi32(finish(a), finish(b));
    let high = _mm512_packus_epi32(finish(c), finish(d));
    _mm512_packus_epi16(low, high)
}

/// `sums[i] += weight · src[i]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn add_weighted_u8(weight: i32, src: &[u8], sums: &mut [i32]) {
    scalar::add_weighted_u8(weight, src, sums);
}

/// `dst[i] = clip8(sums[i])`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn clip_sums_u8(sums: &[i32], dst: &mut [u8]) {
    scalar::clip_sums_u8(sums, dst);
}
