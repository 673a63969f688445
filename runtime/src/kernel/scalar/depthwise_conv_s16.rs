//! Depthwise convolution of 16-bit values: between the blocks of a transformer it leaves a stream its bits, behind
//! the stem of a convolutional network it ends them.

use crate::kernel::DepthwiseConvS16;

/// One sum over the window per output pixel and channel, in int32 that wraps; a tap outside the picture reads 0.
pub fn depthwise_conv_s16(args: DepthwiseConvS16<'_>) {
    let DepthwiseConvS16 {
        window,
        channels,
        src,
        weights,
        requantize,
        mut dst,
    } = args;
    let [kernel_height, kernel_width] = window.kernel;
    for y in 0..window.output[0] {
        for x in 0..window.output[1] {
            for channel in 0..channels {
                let mut sum = 0i32;
                for tap in 0..kernel_height * kernel_width {
                    let tap_at = [tap / kernel_width, tap % kernel_width];
                    if let Some(pixel) = window.pixel([y, x], tap_at) {
                        let value = i32::from(src[pixel * channels + channel]);
                        let weight = i32::from(weights[tap * channels + channel]);
                        sum = sum.wrapping_add(value * weight);
                    }
                }
                let pixel = y * window.output[1] + x;
                dst.set(pixel * channels + channel, requantize.apply(channel, sum));
            }
        }
    }
}
