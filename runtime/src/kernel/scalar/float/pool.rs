//! Average and maximum over windows; a tap outside the picture does not count.

use super::max_f32;
use crate::kernel::{Element, PoolFloat};

/// Mean of the taps inside the picture; 0 where a window has no such tap.
pub fn avg_pool_float<T: Element>(args: PoolFloat<'_, T>) {
    let mean = |sum: f32, count: usize| if count == 0 { 0.0 } else { sum / count as f32 };
    pool(args, 0.0, |sum, x| sum + x, mean);
}

/// Largest tap inside the picture; −inf where a window has none.
pub fn max_pool_float<T: Element>(args: PoolFloat<'_, T>) {
    pool(args, f32::NEG_INFINITY, max_f32, |largest, _| largest);
}

/// Folds the taps of each window from `start`, then makes the output of the result and the number of taps.
fn pool<T: Element>(
    args: PoolFloat<'_, T>,
    start: f32,
    fold: impl Fn(f32, f32) -> f32,
    finish: impl Fn(f32, usize) -> f32,
) {
    let PoolFloat {
        window,
        channels,
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
                        state = fold(state, src[pixel * channels + channel].widen());
                        count += 1;
                    }
                }
                dst[(y * window.output[1] + x) * channels + channel] =
                    T::narrow(finish(state, count));
            }
        }
    }
}
