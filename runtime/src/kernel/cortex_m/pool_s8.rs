//! Integer pooling: the taps of a window one behind the other, each over a chunk of channels.

use super::level::{CHUNK, Level, Scale};
use crate::kernel::{MeanS8, PoolS8, Window, scalar};

/// Taps whose sum fits 16 bits: 255 · 128 < 2¹⁵.
const MAX_TAPS: usize = 255;

/// The taps of a window that lie inside the picture: first input pixel, and number, down and across. Without dilation they are
/// neighbours.
#[inline]
fn taps_inside(window: &Window, position: [usize; 2]) -> [[usize; 2]; 2] {
    [0, 1].map(|axis| {
        let start = position[axis] * window.stride[axis];
        let end = (start + window.kernel[axis]).saturating_sub(window.padding[axis]);
        let first = start.saturating_sub(window.padding[axis]);
        [first, end.min(window.input[axis]).saturating_sub(first)]
    })
}

/// `sum / count`, halves away from zero; `count` is not 0.
#[inline(always)]
fn rounded_mean(sum: i32, count: i32) -> i32 {
    let half = count / 2;
    (sum + if sum > 0 { half } else { -half }) / count
}

/// Mean of the taps inside the picture.
pub(super) fn avg_pool_s8<L: Level>(args: PoolS8<'_>) {
    let (window, channels) = (args.window, args.channels);
    let taps = window.kernel[0].saturating_mul(window.kernel[1]);
    if window.dilation != [1, 1] || taps > MAX_TAPS {
        return scalar::avg_pool_s8(args);
    }
    let [min, max] = [args.clamp_min, args.clamp_max].map(|limit| limit.clamp(-128, 127));
    for pixel in 0..window.output[0] * window.output[1] {
        let position = [pixel / window.output[1], pixel % window.output[1]];
        let [[y, height], [x, width]] = taps_inside(&window, position);
        let count = (height * width) as i32;
        let dst = &mut args.dst[pixel * channels..][..channels];
        if count == 0 {
            dst.fill(0.max(min).min(max) as i8);
            continue;
        }
        for (start, dst) in (0..).step_by(CHUNK).zip(dst.chunks_mut(CHUNK)) {
            let mut sums = [0; CHUNK / 2];
            for row in y..y + height {
                let first = (row * window.input[1] + x) * channels + start;
                let pixels = &args.src[first..][..(width - 1) * channels + dst.len()];
                L::add_pixels(&mut sums, pixels, dst.len(), channels);
            }
            for (dst, &words) in dst.chunks_mut(4).zip(sums.as_chunks::<2>().0) {
                for (dst, sum) in dst.iter_mut().zip(L::unpack(words)) {
                    *dst = rounded_mean(sum.into(), count).max(min).min(max) as i8;
                }
            }
        }
    }
}

/// Largest tap inside the picture.
pub(super) fn max_pool_s8<L: Level>(args: PoolS8<'_>) {
    let (window, channels) = (args.window, args.channels);
    if window.dilation != [1, 1] {
        return scalar::max_pool_s8(args);
    }
    for pixel in 0..window.output[0] * window.output[1] {
        let position = [pixel / window.output[1], pixel % window.output[1]];
        let dst = &mut args.dst[pixel * channels..][..channels];
        dst.fill(i8::MIN);
        let [[y, height], [x, width]] = taps_inside(&window, position);
        for tap in 0..height * width {
            let pixel = (y + tap / width) * window.input[1] + x + tap % width;
            L::max_bytes(dst, &args.src[pixel * channels..][..channels]);
        }
        if args.clamp_min > -128 || args.clamp_max < 127 {
            for dst in dst {
                let limited = i32::from(*dst).max(args.clamp_min).min(args.clamp_max);
                *dst = limited.clamp(-128, 127) as i8;
            }
        }
    }
}

/// See [`MeanS8`].
pub(super) fn mean_s8<L: Level>(args: MeanS8<'_>) {
    let (pixels, channels) = (args.pixels, args.channels);
    let within = -128 <= args.clamp_min
        && args.clamp_min <= args.clamp_max
        && args.clamp_max <= 127
        && pixels <= 1 << 16
        && (-128..=127).contains(&args.input_zero_point);
    if !within {
        return scalar::mean_s8(args);
    }
    let factor = [args.multiplier, args.shift];
    let clamp = [args.clamp_min, args.clamp_max];
    let scale = Scale::new_i8(factor, args.output_zero_point, clamp);
    let zeros = -(pixels as i32 * args.input_zero_point);
    for start in (0..channels).step_by(CHUNK) {
        let len = (channels - start).min(CHUNK);
        let mut sums = [zeros; CHUNK];
        for pixel in 0..pixels {
            let src = &args.src[pixel * channels + start..][..len];
            for (sum, &src) in sums.iter_mut().zip(src) {
                *sum += i32::from(src);
            }
        }
        scale.write_i8::<L>(&sums[..len], &mut args.dst[start..][..len]);
    }
}
