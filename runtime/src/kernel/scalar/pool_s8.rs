//! Integer pooling, as TFLite's `AVERAGE_POOL_2D` and `MAX_POOL_2D`.

use crate::kernel::requantize::multiply_by_quantized_multiplier;
use crate::kernel::{MeanS8, PoolS8};

/// Mean of the taps inside the picture, halves rounded away from zero; 0 where a window has no such tap.
pub fn avg_pool_s8(args: PoolS8<'_>) {
    pool(args, 0, |sum, value| sum.wrapping_add(value), rounded_mean);
}

/// Largest tap inside the picture; −128 where a window has none.
pub fn max_pool_s8(args: PoolS8<'_>) {
    pool(args, i32::from(i8::MIN), i32::max, |largest, _| largest);
}

/// See [`MeanS8`].
pub fn mean_s8(args: MeanS8<'_>) {
    for channel in 0..args.channels {
        let sum: i32 = (0..args.pixels)
            .map(|pixel| {
                i32::from(args.src[pixel * args.channels + channel]) - args.input_zero_point
            })
            .sum();
        let scaled = multiply_by_quantized_multiplier(sum, args.multiplier, args.shift);
        let mean = scaled.saturating_add(args.output_zero_point);
        args.dst[channel] = mean.clamp(args.clamp_min, args.clamp_max) as i8;
    }
}

/// `sum / count`, halves away from zero.
pub(crate) fn rounded_mean(sum: i32, count: i32) -> i32 {
    match count {
        0 => 0,
        _ if sum > 0 => (sum + count / 2) / count,
        _ => (sum - count / 2) / count,
    }
}

/// Folds the taps of each window from `start`, then makes the output of the result and the number of taps.
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
    let [kernel_height, kernel_width] = window.kernel;
    for y in 0..window.output[0] {
        for x in 0..window.output[1] {
            for channel in 0..channels {
                let mut state = start;
                let mut count = 0;
                for tap in 0..kernel_height * kernel_width {
                    if let Some(pixel) =
                        window.pixel([y, x], [tap / kernel_width, tap % kernel_width])
                    {
                        state = fold(state, i32::from(src[pixel * channels + channel]));
                        count += 1;
                    }
                }
                let output = finish(state, count).max(clamp_min).min(clamp_max);
                let pixel = y * window.output[1] + x;
                dst[pixel * channels + channel] = output.clamp(-128, 127) as i8;
            }
        }
    }
}
