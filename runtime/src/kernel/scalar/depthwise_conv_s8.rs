//! Integer depthwise convolution, as TFLite's `DEPTHWISE_CONV_2D` with depth multiplier 1.

use crate::kernel::DepthwiseConvS8;

/// One sum over the window per output pixel and channel; a tap outside the picture reads the zero point.
pub fn depthwise_conv_s8(args: DepthwiseConvS8<'_>) {
    let DepthwiseConvS8 {
        window,
        channels,
        src,
        weights,
        requantize,
        ..
    } = args;
    let [kernel_height, kernel_width] = window.kernel;
    for y in 0..window.output[0] {
        for x in 0..window.output[1] {
            for channel in 0..channels {
                let mut sum = 0i32;
                for tap in 0..kernel_height * kernel_width {
                    let pixel = window.pixel([y, x], [tap / kernel_width, tap % kernel_width]);
                    let value = match pixel {
                        Some(pixel) => src[pixel * channels + channel],
                        None => args.input_zero_point,
                    };
                    let weight = weights[tap * channels + channel];
                    sum = sum.wrapping_add(i32::from(value) * i32::from(weight));
                }
                let pixel = y * window.output[1] + x;
                let output = requantize.apply(channel, sum).clamp(-128, 127);
                args.dst[pixel * channels + channel] = output as i8;
            }
        }
    }
}
