//! Depthwise convolution of a 16-bit stream, 64 channels at a time.

use core::arch::x86_64::*;

use super::memory::{load_i32, store_i8, store_i16x16};
use super::requantize::{Channels, Outputs8, Path};
use crate::kernel::depthwise_s16::{Taps, sum_taps};
use crate::kernel::{DepthwiseConvS16, DstS8, Requantize, scalar};

/// Channels at a time.
const BLOCK: usize = 64;
/// Channels of a vector.
const LANES: usize = 16;
/// How many products of two bytes are as large as one of 16 and 8 bits.
const PRODUCTS: usize = 256;

/// See [`DepthwiseConvS16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn depthwise_conv_s16(mut args: DepthwiseConvS16<'_>) {
    let requantize = args.requantize;
    let Requantize {
        zero_point,
        clamp_min,
        clamp_max,
        ..
    } = requantize;
    let outputs8 = Outputs8::new(zero_point, clamp_min, clamp_max);
    let Some(outputs8) = outputs8.filter(|_| zero_point == 0 || matches!(args.dst, DstS8::I8(_)))
    else {
        return scalar::depthwise_conv_s16(args);
    };
    let [min, max] =
        [clamp_min, clamp_max].map(|bound| _mm256_set1_epi16(bound.clamp(-32768, 32767) as i16));
    let mut dst = core::mem::take(&mut args.dst);
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
            let first = pixel * args.channels + channel;
            match &mut dst {
                DstS8::I8(dst) => {
                    let values = [
                        scaled(&of_block[0], &sums[..LANES]),
                        scaled(&of_block[1], &sums[LANES..2 * LANES]),
                        scaled(&of_block[2], &sums[2 * LANES..3 * LANES]),
                        scaled(&of_block[3], &sums[3 * LANES..]),
                    ];
                    store_i8(&mut dst[first..][..len], outputs8.pack_in_order(values));
                }
                DstS8::I16(dst) => {
                    let vectors = dst[first..][..len].chunks_mut(LANES);
                    for ((dst, sums), channels) in vectors.zip(sums.chunks(LANES)).zip(&of_block) {
                        let values = _mm512_cvtsepi32_epi16(scaled(channels, sums));
                        store_i16x16(dst, _mm256_min_epi16(_mm256_max_epi16(values, min), max));
                    }
                }
            }
        }
    }
}

/// 16 sums, biases in them, by the factors of their channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn scaled(channels: &Channels, sums: &[i32]) -> __m512i {
    let sums = load_i32(sums);
    match channels.path {
        Path::HalfUp => channels.half_up(sums),
        Path::HalfAway => channels.half_away(sums),
        Path::Any => channels.any(sums),
    }
}
