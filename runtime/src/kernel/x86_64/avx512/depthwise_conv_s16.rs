//! Depthwise convolution of a 16-bit stream, 64 channels at a time.

use core::arch::x86_64::*;

use super::memory::{load_i32, store_i16x16};
use super::requantize::{Channels, Path};
use crate::kernel::depthwise_s16::{Taps, sum_taps};
use crate::kernel::{DepthwiseConvS16, scalar};

/// Channels at a time.
const BLOCK: usize = 64;
/// Channels of a vector.
const LANES: usize = 16;
/// How many products of two bytes are as large as one of 16 and 8 bits.
const PRODUCTS: usize = 256;

/// See [`DepthwiseConvS16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn depthwise_conv_s16(args: DepthwiseConvS16<'_>) {
    let requantize = args.requantize;
    if requantize.zero_point != 0 {
        return scalar::depthwise_conv_s16(args);
    }
    let [min, max] = [requantize.clamp_min, requantize.clamp_max]
        .map(|bound| _mm256_set1_epi16(bound.clamp(-32768, 32767) as i16));
    let products = args.window.kernel[0]
        .saturating_mul(args.window.kernel[1])
        .saturating_mul(PRODUCTS);
    let [height, width] = args.window.output;
    for channel in (0..args.channels).step_by(BLOCK) {
        let len = (args.channels - channel).min(BLOCK);
        let of_lanes = |index: usize| {
            let first = (channel + index * LANES).min(args.channels);
            Channels::new(&requantize, first, args.channels, products)
        };
        let of_block = [of_lanes(0), of_lanes(1), of_lanes(2), of_lanes(3)];
        for pixel in 0..height * width {
            let taps = Taps::inside(&args.window, [pixel / width, pixel % width]);
            let sums = sum_taps::<BLOCK>(&args, &taps, channel, len);
            let dst = &mut args.dst[pixel * args.channels + channel..][..len];
            let vectors = dst.chunks_mut(LANES).zip(sums.chunks(LANES));
            for ((dst, sums), channels) in vectors.zip(&of_block) {
                let sums = load_i32(sums);
                let values = match channels.path {
                    Path::HalfUp => channels.half_up(sums),
                    Path::HalfAway => channels.half_away(sums),
                    Path::Any => channels.any(sums),
                };
                let values = _mm512_cvtsepi32_epi16(values);
                store_i16x16(dst, _mm256_min_epi16(_mm256_max_epi16(values, min), max));
            }
        }
    }
}
