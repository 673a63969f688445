//! Depthwise convolution of a 16-bit stream, 32 channels at a time.

use core::arch::x86_64::*;

use super::memory::{load_i8x16, load_i32x8, store_i16x8};
use super::requantize::{Channels, Outputs};
use crate::kernel::depthwise_s16::{Taps, sum_taps};
use crate::kernel::{DepthwiseConvS16, Requantize, scalar};

/// Channels at a time.
const BLOCK: usize = 32;
/// Channels of a vector.
const LANES: usize = 8;

/// See [`DepthwiseConvS16`].
#[target_feature(enable = "avx2")]
pub(crate) fn depthwise_conv_s16(args: DepthwiseConvS16<'_>) {
    let requantize = args.requantize;
    let clamp = [requantize.clamp_min, requantize.clamp_max];
    let outputs = Outputs::new(requantize.zero_point, clamp, [-32768, 32767]);
    let Some(outputs) = outputs else {
        return scalar::depthwise_conv_s16(args);
    };
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
            let dst = &mut args.dst[pixel * args.channels + channel..][..len];
            let vectors = dst.chunks_mut(LANES).zip(sums.chunks(LANES));
            for ((dst, sums), channels) in vectors.zip(&of_block) {
                store_i16x8(dst, outputs.to_i16(channels.apply(load_i32x8(sums))));
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
