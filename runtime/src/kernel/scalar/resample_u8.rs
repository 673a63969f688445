//! Weighted sums of the rows and columns of a picture.

use crate::kernel::resample::{CHANNELS, ROUNDING, ResampleColumnsU8, ResampleRowU8, clip8};

/// A sum per output pixel and channel over the pixels of its span.
pub fn resample_row_u8(args: ResampleRowU8<'_>) {
    for column in 0..args.spans.len() {
        let (pixels, weights) = args.column(column);
        let mut sums = [ROUNDING; CHANNELS];
        for (pixel, &weight) in pixels.as_chunks::<CHANNELS>().0.iter().zip(weights) {
            for (sum, &sample) in sums.iter_mut().zip(pixel) {
                *sum = sum.wrapping_add(weight.wrapping_mul(sample.into()));
            }
        }
        args.dst[column * CHANNELS..][..CHANNELS].copy_from_slice(&sums.map(clip8));
    }
}

/// A sum per output sample over the rows.
pub fn resample_columns_u8(args: ResampleColumnsU8<'_>) {
    for place in 0..args.dst.len() {
        let mut sum = ROUNDING;
        for (index, &weight) in args.weights.iter().enumerate() {
            sum = sum.wrapping_add(weight.wrapping_mul(args.row(index)[place].into()));
        }
        args.dst[place] = clip8(sum);
    }
}

/// `sums[i] += weight · src[i]`.
#[inline]
pub fn add_weighted_u8(weight: i32, src: &[u8], sums: &mut [i32]) {
    for (sum, &sample) in sums.iter_mut().zip(src) {
        *sum = sum.wrapping_add(weight.wrapping_mul(sample.into()));
    }
}

/// `dst[i]` = [`clip8`]`(sums[i])`.
#[inline]
pub fn clip_sums_u8(sums: &[i32], dst: &mut [u8]) {
    for (dst, &sum) in dst.iter_mut().zip(sums) {
        *dst = clip8(sum);
    }
}
