//! Integer pooling: 32 channels side by side, in loops that the compiler turns into vectors.

use crate::kernel::requantize::multiply_by_quantized_multiplier;
use crate::kernel::scalar::rounded_mean;
use crate::kernel::{MeanS8, PoolS8, Window};

/// Channels that are pooled at once.
const BLOCK: usize = 32;

/// See [`crate::kernel::scalar::avg_pool_s8`].
#[target_feature(enable = "avx2")]
pub(crate) fn avg_pool_s8(args: PoolS8<'_>) {
    pool(args, 0, |sum, value| sum.wrapping_add(value), rounded_mean);
}

/// See [`crate::kernel::scalar::max_pool_s8`].
#[target_feature(enable = "avx2")]
pub(crate) fn max_pool_s8(args: PoolS8<'_>) {
    pool(args, i32::from(i8::MIN), i32::max, |largest, _| largest);
}

/// See [`MeanS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn mean_s8(args: MeanS8<'_>) {
    for (block, dst) in args.dst[..args.channels].chunks_mut(BLOCK).enumerate() {
        let mut sums = [0i32; BLOCK];
        for pixel in 0..args.pixels {
            let values = &args.src[pixel * args.channels + block * BLOCK..][..dst.len()];
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += i32::from(value) - args.input_zero_point;
            }
        }
        for (dst, sum) in dst.iter_mut().zip(sums) {
            let scaled = multiply_by_quantized_multiplier(sum, args.multiplier, args.shift);
            let mean = scaled.saturating_add(args.output_zero_point);
            *dst = mean.clamp(args.clamp_min, args.clamp_max) as i8;
        }
    }
}

/// Folds the taps of each window from `start`, then makes the output of the result and the number of taps.
#[inline]
#[target_feature(enable = "avx2")]
fn pool(
    args: PoolS8<'_>,
    start: i32,
    fold: impl Fn(i32, i32) -> i32,
    finish: impl Fn(i32, i32) -> i32,
) {
    let PoolS8 {
        window,
        channels,
        clamp_min,
        clamp_max,
        src,
        dst,
    } = args;
    for position in 0..window.output[0] * window.output[1] {
        let dst = &mut dst[position * channels..][..channels];
        for (block, dst) in dst.chunks_mut(BLOCK).enumerate() {
            let mut states = [start; BLOCK];
            let mut count = 0;
            for pixel in pixels(&window, position) {
                let values = &src[pixel * channels + block * BLOCK..][..dst.len()];
                for (state, &value) in states.iter_mut().zip(values) {
                    *state = fold(*state, i32::from(value));
                }
                count += 1;
            }
            for (dst, state) in dst.iter_mut().zip(states) {
                let output = finish(state, count).max(clamp_min).min(clamp_max);
                *dst = output.clamp(-128, 127) as i8;
            }
        }
    }
}

/// The pixels of the picture under the window of an output.
fn pixels(window: &Window, position: usize) -> impl Iterator<Item = usize> {
    let position = [position / window.output[1], position % window.output[1]];
    let taps = (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| [y, x]));
    taps.filter_map(move |tap| window.pixel(position, tap))
}
