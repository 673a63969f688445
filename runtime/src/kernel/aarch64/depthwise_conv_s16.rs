//! Depthwise convolution of a 16-bit stream, 16 channels at a time.

use super::level::Level;
use super::neon::*;
use super::requantize::{Channels, Outputs16, Path};
use crate::kernel::depthwise_s16::{Taps, sum_taps};
use crate::kernel::{DepthwiseConvS16, Requantize, scalar};

/// Channels at a time.
const BLOCK: usize = 16;

/// See [`DepthwiseConvS16`].
pub(super) fn depthwise_conv_s16<L: Level>(_: L, args: DepthwiseConvS16<'_>) {
    let Requantize {
        zero_point,
        clamp_min,
        clamp_max,
        ..
    } = args.requantize;
    let Some(outputs) = Outputs16::new(zero_point, clamp_min, clamp_max) else {
        return scalar::depthwise_conv_s16(args);
    };
    let path = Path::of(&args.requantize, [i16::MIN.into(), i16::MAX.into()]);
    let [height, width] = args.window.output;
    for channel in (0..args.channels).step_by(BLOCK) {
        let len = (args.channels - channel).min(BLOCK);
        let factors = Channels::<4>::new(&args.requantize, channel).factor;
        for pixel in 0..height * width {
            let taps = Taps::inside(&args.window, [pixel / width, pixel % width]);
            // Biases are in the sums.
            let sums = sum_taps::<BLOCK>(&args, &taps, channel, len);
            let dst = &mut args.dst[pixel * args.channels + channel..][..len];
            let halves = dst.chunks_mut(8).zip(sums.chunks(8));
            for ((dst, sums), factors) in halves.zip(factors.chunks(2)) {
                let low = factors[0].apply(path, load_i32x4(sums));
                let high = factors[1].apply(path, load_i32x4(&sums[4..]));
                store_up_to_i16x8(dst, outputs.pack(path, [low, high]));
            }
        }
    }
}
