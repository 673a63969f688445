//! Weighted sums of the rows and columns of a picture: a load and a `mla` for each product, whose weights have too many bits
//! for the 16-bit products of the extension.

use super::instruction::clip8;
use crate::kernel::resample::{CHANNELS, ROUNDING, ResampleColumnsU8, ResampleRowU8};

/// Samples of a column at a time.
const BLOCK: usize = 4;

/// See [`ResampleRowU8`].
pub(super) fn resample_row_u8(mut args: ResampleRowU8<'_>) {
    let dst = core::mem::take(&mut args.dst);
    for (column, dst) in dst.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
        let (pixels, weights) = args.column(column);
        let mut sums = [ROUNDING; CHANNELS];
        let (fours, rest) = pixels.as_chunks::<{ 4 * CHANNELS }>();
        let (of_fours, of_rest) = weights.as_chunks::<4>();
        for (pixels, weights) in fours.iter().zip(of_fours) {
            add_pixels(&mut sums, pixels, weights);
        }
        add_pixels(&mut sums, rest, of_rest);
        *dst = sums.map(clip8);
    }
}

/// Adds pixels times their weights.
#[inline(always)]
fn add_pixels(sums: &mut [i32; CHANNELS], pixels: &[u8], weights: &[i32]) {
    for (pixel, &weight) in pixels.as_chunks::<CHANNELS>().0.iter().zip(weights) {
        for (sum, &sample) in sums.iter_mut().zip(pixel) {
            *sum = sum.wrapping_add(weight.wrapping_mul(sample.into()));
        }
    }
}

/// See [`ResampleColumnsU8`].
pub(super) fn resample_columns_u8(args: ResampleColumnsU8<'_>) {
    let len = args.dst.len();
    let (before, after) = args.ring.split_at(args.first * len);
    let (of_after, of_before) = args.weights.split_at(
        args.weights
            .len()
            .min(after.len().checked_div(len).unwrap_or(0)),
    );
    for (start, dst) in (0..).step_by(BLOCK).zip(args.dst.chunks_mut(BLOCK)) {
        let mut sums = [ROUNDING; BLOCK];
        if let Ok(dst) = <&mut [u8; BLOCK]>::try_from(&mut *dst) {
            add_rows(&mut sums, after, of_after, len, start);
            add_rows(&mut sums, before, of_before, len, start);
            *dst = sums.map(clip8);
            continue;
        }
        for (index, dst) in (start..).zip(dst) {
            let rows = after.chunks_exact(len).chain(before.chunks_exact(len));
            let products = rows
                .zip(args.weights)
                .map(|(row, &weight)| weight.wrapping_mul(row[index].into()));
            *dst = clip8(products.fold(ROUNDING, i32::wrapping_add));
        }
    }
}

/// Adds samples of rows, from `start` on in each, times the weights of the rows.
#[inline(always)]
fn add_rows(
    sums: &mut [i32; BLOCK],
    rows: &[u8], // (rows, len)
    weights: &[i32],
    len: usize,
    start: usize,
) {
    for (row, &weight) in rows.chunks_exact(len).zip(weights) {
        for (sum, &sample) in sums.iter_mut().zip(&row[start..start + BLOCK]) {
            *sum = sum.wrapping_add(weight.wrapping_mul(sample.into()));
        }
    }
}

/// `dst[i] = clip8(sums[i])`.
pub(super) fn clip_sums_u8(sums: &[i32], dst: &mut [u8]) {
    for (dst, &sum) in dst.iter_mut().zip(sums) {
        *dst = clip8(sum);
    }
}
