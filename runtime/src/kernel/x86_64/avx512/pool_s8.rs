//! Integer pooling, vectorised over channels.

use core::arch::x86_64::*;

use super::elementwise_s8::widen;
use super::memory::{load_i8, load_i8x16, store_i8};
use super::requantize::{Channels, Outputs8};
use crate::kernel::{MeanS8, PoolS8, Window, scalar};

/// See [`crate::kernel::scalar::avg_pool_s8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn avg_pool_s8(args: PoolS8<'_>) {
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
        for (block, dst) in dst.chunks_mut(16).enumerate() {
            let mut sums = _mm512_setzero_si512();
            let mut count = 0;
            for pixel in pixels(&window, position) {
                let values = load_i8x16(&src[pixel * channels + block * 16..][..dst.len()]);
                sums = _mm512_add_epi32(sums, _mm512_cvtepi8_epi32(values));
                count += 1;
            }
            let mut lanes = [0i32; 16];
            // SAFETY: `lanes` has the size of a vector.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), sums) };
            for (dst, sum) in dst.iter_mut().zip(lanes) {
                let mean = scalar::rounded_mean(sum, count)
                    .max(clamp_min)
                    .min(clamp_max);
                *dst = mean.clamp(-128, 127) as i8;
            }
        }
    }
}

/// See [`crate::kernel::scalar::max_pool_s8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn max_pool_s8(args: PoolS8<'_>) {
    let PoolS8 {
        window,
        channels,
        src,
        dst,
        ..
    } = args;
    let clamp_min = _mm512_set1_epi8(args.clamp_min.clamp(-128, 127) as i8);
    let clamp_max = _mm512_set1_epi8(args.clamp_max.clamp(-128, 127) as i8);
    for position in 0..window.output[0] * window.output[1] {
        let dst = &mut dst[position * channels..][..channels];
        for (block, dst) in dst.chunks_mut(64).enumerate() {
            let mut largest = clamp_min;
            for pixel in pixels(&window, position) {
                let values = load_i8(&src[pixel * channels + block * 64..][..dst.len()]);
                largest = _mm512_max_epi8(largest, values);
            }
            store_i8(dst, _mm512_min_epi8(largest, clamp_max));
        }
    }
}

/// See [`MeanS8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn mean_s8(args: MeanS8<'_>) {
    let outputs = Outputs8::new(args.output_zero_point, args.clamp_min, args.clamp_max);
    let limits = -128..=127;
    let (true, true, Some(outputs)) = (
        limits.contains(&args.clamp_min),
        limits.contains(&args.clamp_max),
        outputs,
    ) else {
        return scalar::mean_s8(args);
    };
    let factor = Channels::uniform(args.multiplier, args.shift);
    let start = (args.pixels as i32).wrapping_mul(args.input_zero_point);
    let start = _mm512_set1_epi32(start.wrapping_neg());
    for (block, dst) in args.dst[..args.channels].chunks_mut(64).enumerate() {
        let mut sums = [start; 4];
        for pixel in 0..args.pixels {
            let bytes = load_i8(&args.src[pixel * args.channels + block * 64..][..dst.len()]);
            for (sum, values) in sums.iter_mut().zip(widen(bytes)) {
                *sum = _mm512_add_epi32(*sum, values);
            }
        }
        store_i8(dst, outputs.pack_in_order(sums.map(|sum| factor.any(sum))));
    }
}

/// The pixels of the picture under the window of an output.
fn pixels(window: &Window, position: usize) -> impl Iterator<Item = usize> {
    let position = [position / window.output[1], position % window.output[1]];
    let taps = (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| [y, x]));
    taps.filter_map(move |tap| window.pixel(position, tap))
}
