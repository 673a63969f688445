//! Depthwise convolution of a 16-bit stream: convolutions between the blocks of a transformer leave it its bits.

use crate::kernel::DepthwiseConvS16;

/// One sum over the window per output pixel and channel, in int32 that wraps; a tap outside the picture reads 0.
pub fn depthwise_conv_s16(args: DepthwiseConvS16<'_>) {
    let DepthwiseConvS16 {
        window,
        channels,
        src,
        weights,
        requantize,
        dst,
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
                let output = requantize.apply(channel, sum);
                dst[pixel * channels + channel] = output.clamp(-32768, 32767) as i16;
            }
        }
    }
}
