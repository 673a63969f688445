//! Integer pooling, 16 channels at a time.

use super::elementwise_s8::widen;
use super::level::Level;
use super::neon::*;
use super::requantize::{Factor, Outputs8, Path};
use crate::kernel::scalar::{self, rounded_mean};
use crate::kernel::{MeanS8, PoolS8, Window};

/// Channels at a time.
const BLOCK: usize = 16;

/// See [`scalar::avg_pool_s8`].
pub(super) fn avg_pool_s8<L: Level>(_: L, args: PoolS8<'_>) {
    let (window, channels, src) = (args.window, args.channels, args.src);
    for position in 0..window.output[0] * window.output[1] {
        let dst = &mut args.dst[position * channels..][..channels];
        for (block, dst) in dst.chunks_mut(BLOCK).enumerate() {
            let mut sums = [vdupq_n_s32(0); 4];
            let mut count = 0;
            for pixel in pixels(&window, position) {
                let start = pixel * channels + block * BLOCK;
                add(&mut sums, load_up_to_i8x16(&src[start..][..dst.len()]));
                count += 1;
            }
            let mut lanes = [0; BLOCK];
            for (lanes, sums) in lanes.chunks_exact_mut(4).zip(sums) {
                store_i32x4(lanes, sums);
            }
            for (dst, sum) in dst.iter_mut().zip(lanes) {
                let mean = rounded_mean(sum, count);
                let mean = mean.max(args.clamp_min).min(args.clamp_max);
                *dst = mean.clamp(-128, 127) as i8;
            }
        }
    }
}

/// See [`scalar::max_pool_s8`].
pub(super) fn max_pool_s8<L: Level>(_: L, args: PoolS8<'_>) {
    let (window, channels, src) = (args.window, args.channels, args.src);
    let [clamp_min, clamp_max] =
        [args.clamp_min, args.clamp_max].map(|limit| vdupq_n_s8(limit.clamp(-128, 127) as i8));
    for position in 0..window.output[0] * window.output[1] {
        let dst = &mut args.dst[position * channels..][..channels];
        for (block, dst) in dst.chunks_mut(BLOCK).enumerate() {
            let mut largest = clamp_min;
            for pixel in pixels(&window, position) {
                let start = pixel * channels + block * BLOCK;
                let values = load_up_to_i8x16(&src[start..][..dst.len()]);
                largest = vmaxq_s8(largest, values);
            }
            store_up_to_i8x16(dst, vminq_s8(largest, clamp_max));
        }
    }
}

/// See [`MeanS8`].
pub(super) fn mean_s8<L: Level>(_: L, args: MeanS8<'_>) {
    let outputs = Outputs8::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    let bytes = -128..=127;
    let bounded = bytes.contains(&args.clamp_min) && bytes.contains(&args.clamp_max);
    let Some(outputs) = outputs.filter(|_| bounded && args.pixels <= 1 << 16) else {
        return scalar::mean_s8(args);
    };
    let factor = Factor::uniform(args.multiplier, args.shift);
    let start =
        vdupq_n_s32((args.pixels as i32).wrapping_mul(args.input_zero_point.wrapping_neg()));
    let dst = &mut args.dst[..args.channels];
    for (block, dst) in dst.chunks_mut(BLOCK).enumerate() {
        let mut sums = [start; 4];
        for pixel in 0..args.pixels {
            let start = pixel * args.channels + block * BLOCK;
            add(&mut sums, load_up_to_i8x16(&args.src[start..][..dst.len()]));
        }
        let means = sums.map(|sum| factor.apply(Path::Any, sum));
        store_up_to_i8x16(dst, outputs.pack(Path::Any, means));
    }
}

/// Adds 16 bytes to 16 sums.
#[inline(always)]
fn add(sums: &mut [int32x4_t; 4], bytes: int8x16_t) {
    for (sum, bytes) in sums.iter_mut().zip(widen(bytes)) {
        *sum = vaddq_s32(*sum, bytes);
    }
}

/// The pixels of the picture under the window of an output.
fn pixels(window: &Window, position: usize) -> impl Iterator<Item = usize> {
    let position = [position / window.output[1], position % window.output[1]];
    let taps = (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| [y, x]));
    taps.filter_map(move |tap| window.pixel(position, tap))
}
