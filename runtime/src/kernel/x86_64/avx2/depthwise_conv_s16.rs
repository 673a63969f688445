//! Depthwise convolution of a 16-bit stream, 32 channels at a time.

use core::arch::x86_64::*;

use super::memory::{load_i8x16, load_i32x8, store_i8x16, store_i16x8};
use super::requantize::{Channels, Outputs};
use crate::kernel::depthwise_s16::{Taps, sum_taps};
use crate::kernel::{DepthwiseConvS16, DstS8, Requantize, scalar};

/// Channels at a time.
const BLOCK: usize = 32;
/// Channels of a vector.
const LANES: usize = 8;

/// See [`DepthwiseConvS16`].
#[target_feature(enable = "avx2")]
pub(crate) fn depthwise_conv_s16(mut args: DepthwiseConvS16<'_>) {
    let requantize = args.requantize;
    let clamp = [requantize.clamp_min, requantize.clamp_max];
    let outputs = Outputs::new(requantize.zero_point, clamp, args.dst.limits());
    let Some(outputs) = outputs else {
        return scalar::depthwise_conv_s16(args);
    };
    let mut dst = core::mem::take(&mut args.dst);
    let [height, width] = args.window.output;
    for channel in (0..args.channels).step_by(BLOCK) {
        let len = (args.channels - channel).min(BLOCK);
        let mut of_block = [Channels::uniform(0, 0); BLOCK / LANES];
        for (index, channels) in of_block[..len.div_ceil(LANES)].iter_mut().enumerate() {
            *channels = load_channels(&requantize, channel + index * LANES);
        }
        for pixel in 0..height * width {
            let taps = Taps::inside(&args.window, [pixel / width, pixel % width]);
            let sums = sum_taps::<BLOCK>(&args, &taps, channel, len);
            let first = pixel * args.channels + channel;
            match &mut dst {
                DstS8::I8(dst) => {
                    let vectors = dst[first..][..len].chunks_mut(2 * LANES);
                    let pairs = sums.chunks(2 * LANES).zip(of_block.chunks(2));
                    for (dst, (sums, channels)) in vectors.zip(pairs) {
                        let low = channels[0].apply(load_i32x8(&sums[..LANES]));
                        let high = channels[1].apply(load_i32x8(&sums[LANES..]));
                        store_i8x16(dst, outputs.to_i8([low, high]));
                    }
                }
                DstS8::I16(dst) => {
                    let vectors = dst[first..][..len]
                        .chunks_mut(LANES)
                        .zip(sums.chunks(LANES));
                    for ((dst, sums), channels) in vectors.zip(&of_block) {
                        store_i16x8(dst, outputs.to_i16(channels.apply(load_i32x8(sums))));
                    }
                }
            }
        }
    }
}

/// Factors of up to 8 channels.
#[target_feature(enable = "avx2")]
fn load_channels(requantize: &Requantize<'_>, channel: usize) -> Channels {
    let len = (requantize.multiplier.len() - channel).min(LANES);
    let multiplier = load_i32x8(&requantize.multiplier[channel..][..len]);
    let shift = load_i8x16(&requantize.shift[channel..][..len]);
    Channels::new(multiplier, _mm256_cvtepi8_epi32(shift))
}
