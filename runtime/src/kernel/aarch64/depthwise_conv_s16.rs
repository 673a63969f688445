//! Depthwise convolution of a 16-bit stream, 16 channels at a time.

use super::level::Level;
use super::neon::*;
use super::requantize::{Channels, Outputs, Path};
use crate::kernel::depthwise_s16::{Taps, sum_taps};
use crate::kernel::{DepthwiseConvS16, DstS8, scalar};

/// Channels at a time.
const BLOCK: usize = 16;

/// See [`DepthwiseConvS16`].
pub(super) fn depthwise_conv_s16<L: Level>(_: L, mut args: DepthwiseConvS16<'_>) {
    let Some(outputs) = Outputs::new(&args.requantize, &args.dst) else {
        return scalar::depthwise_conv_s16(args);
    };
    let path = Path::of(&args.requantize, outputs.limits());
    let mut dst = core::mem::take(&mut args.dst);
    let [height, width] = args.window.output;
    for channel in (0..args.channels).step_by(BLOCK) {
        let len = (args.channels - channel).min(BLOCK);
        let factors = Channels::<4>::new(&args.requantize, channel).factor;
        for pixel in 0..height * width {
            let taps = Taps::inside(&args.window, [pixel / width, pixel % width]);
            // Biases are in the sums.
            let sums = sum_taps::<BLOCK>(&args, &taps, channel, len);
            let mut values = [load_i32x4(&sums); BLOCK / 4];
            for (index, value) in values.iter_mut().enumerate() {
                *value = factors[index].apply(path, load_i32x4(&sums[4 * index..]));
            }
            let first = pixel * args.channels + channel;
            match (&mut dst, &outputs) {
                (DstS8::I8(dst), Outputs::I8(outputs)) => {
                    let dst = &mut dst[first..][..len];
                    store_up_to_i8x16(dst, outputs.pack(path, values));
                }
                (DstS8::I16(dst), Outputs::I16(outputs)) => {
                    let halves = dst[first..][..len].chunks_mut(8);
                    for (dst, values) in halves.zip(values.as_chunks().0) {
                        store_up_to_i16x8(dst, outputs.pack(path, *values));
                    }
                }
                _ => {}
            }
        }
    }
}
