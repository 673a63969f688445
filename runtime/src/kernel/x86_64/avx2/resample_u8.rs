//! Weighted sums of the rows and columns of a picture.
//!
//! Along a row, each half of a vector is a column of the output, a sample of three in a lane:
//!
//! ```text
//! for 2 columns: sums = ROUNDING; for each pixel of their spans: sums += (r g b 0) · (w w w w) of each column
//! ```
//!
//! Down a column, neighbouring samples are the lanes, and the compiler makes the vectors.

use core::arch::x86_64::*;

use crate::kernel::resample::{
    CHANNELS, ColumnsU8, ROUNDING, ResampleColumnsU8, ResampleRowU8, WEIGHT_BITS,
    resample_columns_in_blocks,
};
use crate::kernel::scalar;

/// Columns at a time.
const COLUMNS: usize = 2;

/// See [`ResampleRowU8`]. Columns whose samples end with the row, and the last one, are left to the scalar kernel.
#[target_feature(enable = "avx2")]
pub(crate) fn resample_row_u8(mut args: ResampleRowU8<'_>) {
    let columns = args.spans.len() / COLUMNS * COLUMNS;
    for column in (0..columns).step_by(COLUMNS) {
        let Some(columns) = ColumnsU8::new(&args, column) else {
            scalar::resample_row_u8(args.part(column, COLUMNS));
            continue;
        };
        let pixels = resample_two(&columns);
        args.dst[column * CHANNELS..][..COLUMNS * CHANNELS].copy_from_slice(&pixels);
    }
    scalar::resample_row_u8(args.part(columns, args.spans.len() - columns));
}

/// The pixels of two columns, one behind the other.
#[inline]
#[target_feature(enable = "avx2")]
fn resample_two(columns: &ColumnsU8<'_, COLUMNS>) -> [u8; COLUMNS * CHANNELS] {
    let mut sums = [_mm256_set1_epi32(ROUNDING), _mm256_setzero_si256()];
    for first in columns.groups() {
        let (mut of_columns, mut samples) = ([_mm_setzero_si128(); 2], [_mm_setzero_si128(); 2]);
        for column in 0..COLUMNS {
            let (weights, count, bytes) = columns.group(column, first);
            let left = _mm_set1_epi32(count.min(4) as i32);
            let there = _mm_cmpgt_epi32(left, _mm_setr_epi32(0, 1, 2, 3));
            // SAFETY: `first` is one of the groups: `count` weights can be read, and the mask has no more lanes.
            of_columns[column] = unsafe { _mm_maskload_epi32(weights, there) };
            // SAFETY: As it is one of the groups, 16 bytes can be read.
            samples[column] = unsafe { _mm_loadu_si128(bytes.cast()) };
        }
        let weights = _mm256_set_m128i(of_columns[1], of_columns[0]);
        let samples = _mm256_set_m128i(samples[1], samples[0]);
        macro_rules! add_pixel {
            ($pixel:literal) => {
                let samples = _mm256_shuffle_epi8(samples, pixel($pixel));
                let weights = _mm256_shuffle_epi32::<{ $pixel * 0x55 }>(weights);
                let products = _mm256_mullo_epi32(samples, weights);
                sums[$pixel % 2] = _mm256_add_epi32(sums[$pixel % 2], products);
            };
        }
        add_pixel!(0);
        add_pixel!(1);
        add_pixel!(2);
        add_pixel!(3);
    }
    let sums = _mm256_add_epi32(sums[0], sums[1]);
    let sums = _mm256_srai_epi32::<{ WEIGHT_BITS as i32 }>(sums);
    let words = _mm256_packus_epi32(sums, sums);
    let bytes = _mm256_packus_epi16(words, words);
    let left = _mm_cvtsi128_si32(_mm256_castsi256_si128(bytes)).to_le_bytes();
    let right = _mm_cvtsi128_si32(_mm256_extracti128_si256::<1>(bytes)).to_le_bytes();
    [left[0], left[1], left[2], right[0], right[1], right[2]]
}

/// The places of the samples of one of four pixels, as numbers of 32 bits, in each half.
#[inline]
#[target_feature(enable = "avx2")]
fn pixel(index: i8) -> __m256i {
    let [r, g, b] = [3 * index, 3 * index + 1, 3 * index + 2];
    let half = _mm_setr_epi8(r, -1, -1, -1, g, -1, -1, -1, b, -1, -1, -1, -1, -1, -1, -1);
    _mm256_broadcastsi128_si256(half)
}

/// See [`ResampleColumnsU8`].
#[target_feature(enable = "avx2")]
pub(crate) fn resample_columns_u8(args: ResampleColumnsU8<'_>) {
    resample_columns_in_blocks::<64>(args);
}

/// `sums[i] += weight · src[i]`.
#[target_feature(enable = "avx2")]
pub(crate) fn add_weighted_u8(weight: i32, src: &[u8], sums: &mut [i32]) {
    scalar::add_weighted_u8(weight, src, sums);
}

/// `dst[i] = clip8(sums[i])`.
#[target_feature(enable = "avx2")]
pub(crate) fn clip_sums_u8(sums: &[i32], dst: &mut [u8]) {
    scalar::clip_sums_u8(sums, dst);
}
