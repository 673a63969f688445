//! Integer 2-D convolution, as TFLite's `CONV_2D` with per-channel weights.

use crate::kernel::ConvS8;

/// One product per output pixel over the taps of its window; a tap outside the picture reads the zero point.
pub fn conv_s8(args: ConvS8<'_>) {
    let ConvS8 {
        window,
        in_channels,
        out_channels,
        src,
        weights,
        requantize,
        mut dst,
        ..
    } = args;
    let [kernel_height, kernel_width] = window.kernel;
    let k = kernel_height * kernel_width * in_channels;
    for y in 0..window.output[0] {
        for x in 0..window.output[1] {
            for channel in 0..out_channels {
                let mut sum = 0i32;
                for input in 0..k {
                    let tap = input / in_channels;
                    let pixel = window.pixel([y, x], [tap / kernel_width, tap % kernel_width]);
                    let value = match pixel {
                        Some(pixel) => src[pixel * in_channels + input % in_channels],
                        None => args.input_zero_point,
                    };
                    let weight = weights[args.layout.offset_s8(out_channels, k, channel, input)];
                    sum = sum.wrapping_add(i32::from(value) * i32::from(weight));
                }
                let pixel = y * window.output[1] + x;
                dst.set(
                    pixel * out_channels + channel,
                    requantize.apply(channel, sum),
                );
            }
        }
    }
}
