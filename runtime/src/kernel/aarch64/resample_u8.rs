//! Weighted sums of the rows and columns of a picture.
//!
//! Along a row, the samples of a pixel are the lanes: `sums += (r g b 0) · w` for each pixel of the span of a column. Down a
//! column, neighbouring samples are the lanes, and the compiler makes the vectors; so it does of the scalar functions for sums
//! of whole rows.

use super::level::Level;
use super::neon::*;
use crate::kernel::resample::{
    CHANNELS, ROUNDING, ResampleColumnsU8, ResampleRowU8, WEIGHT_BITS, resample_columns_in_blocks,
};
use crate::kernel::scalar;

/// Pixels of a span at a time.
const GROUP: usize = 4;
/// Bytes that are read for a group.
const GROUP_BYTES: usize = 16;
/// Samples of a column at a time: as many sums as fit the registers.
const BLOCK: usize = 64;

/// The places of the samples of one of four pixels, as numbers of 32 bits; a place beyond the vector gives 0.
const PIXELS: [[i8; 16]; GROUP] = {
    let mut pixels = [[-1; 16]; GROUP];
    let mut sample = 0;
    while sample < GROUP * CHANNELS {
        pixels[sample / CHANNELS][sample % CHANNELS * 4] = sample as i8;
        sample += 1;
    }
    pixels
};

/// See [`ResampleRowU8`]. Columns whose samples end with the row are left to the scalar kernel.
pub(super) fn resample_row_u8<L: Level>(_: L, mut args: ResampleRowU8<'_>) {
    let pixels = PIXELS.map(|pixel| vreinterpretq_u8_s8(load_i8x16(&pixel)));
    for column in 0..args.spans.len() {
        let (start, len) = args.span(column);
        let read = len.next_multiple_of(GROUP) * CHANNELS + GROUP_BYTES - GROUP * CHANNELS;
        if start + read > args.src.len() {
            scalar::resample_row_u8(args.part(column, 1));
            continue;
        }
        let samples = &args.src[start..][..read];
        let weights = &args.weights[column * args.taps..][..args.taps];
        let pixel = sum_span(&pixels, samples, weights, len);
        args.dst[column * CHANNELS..][..CHANNELS].copy_from_slice(&pixel);
    }
}

/// The pixel of a column; `samples` has whole groups and what is read beyond the last one.
#[inline(always)]
fn sum_span(
    pixels: &[uint8x16_t; GROUP],
    samples: &[u8],
    weights: &[i32],
    len: usize,
) -> [u8; CHANNELS] {
    let mut sums = [vdupq_n_s32(ROUNDING), vdupq_n_s32(0)];
    for first in (0..len).step_by(GROUP) {
        let of_group = match weights.get(first..first + GROUP) {
            Some(weights) => load_i32x4(weights),
            None => load_up_to_i32x8(&weights[first..])[0],
        };
        let samples = load_u8x16(&samples[first * CHANNELS..]);
        let pixel = |index: usize| vreinterpretq_s32_s8(vqtbl1q_s8(samples, pixels[index]));
        sums[0] = multiply_add_lane::<0>(sums[0], pixel(0), of_group);
        sums[1] = multiply_add_lane::<1>(sums[1], pixel(1), of_group);
        sums[0] = multiply_add_lane::<2>(sums[0], pixel(2), of_group);
        sums[1] = multiply_add_lane::<3>(sums[1], pixel(3), of_group);
    }
    let sums = shift_right::<{ WEIGHT_BITS as i32 }>(vaddq_s32(sums[0], sums[1]));
    let words = vqmovun_s32(sums);
    let [r, g, b, _] = lowest_four(vqmovn_u16(vcombine_u16(words, words)));
    [r, g, b]
}

/// See [`ResampleColumnsU8`].
pub(super) fn resample_columns_u8<L: Level>(_: L, args: ResampleColumnsU8<'_>) {
    resample_columns_in_blocks::<BLOCK>(args);
}
