//! Products with constant weights (linear layers and convolutions) and of two computed matrices.

use super::clamp_f32;
use crate::kernel::{
    ConvF32, DepthwiseConvFloat, Element, GemmF32, MatmulFloat, WeightsF32, packing,
};

impl WeightsF32<'_> {
    /// The stored number at `offset`, without its channel's scale.
    fn stored(&self, offset: usize) -> f32 {
        match *self {
            Self::F32(data) => data[offset],
            Self::F16(data) => data[offset].to_f32(),
            Self::I8 { data, .. } => f32::from(data[offset]),
        }
    }

    /// What a sum of products with stored numbers is multiplied by.
    fn scale(&self, channel: usize) -> f32 {
        match *self {
            Self::I8 { scales, .. } => scales[channel],
            Self::F32(_) | Self::F16(_) => 1.0,
        }
    }
}

/// The bias of `channel`; an empty slice is no bias.
fn bias_of(bias: &[f32], channel: usize) -> f32 {
    if bias.is_empty() { 0.0 } else { bias[channel] }
}

/// See [`GemmF32`]. A scale of i8 weights multiplies the finished sum.
pub fn gemm_f32(args: GemmF32<'_>) {
    let GemmF32 {
        rows,
        k,
        n,
        lhs,
        weights,
        bias,
        clamp,
        dst,
        ..
    } = args;
    for row in 0..rows {
        for channel in 0..n {
            let mut sum = 0.0;
            for input in 0..k {
                sum += lhs[row * k + input]
                    * weights.stored(packing::offset_float(n, k, channel, input));
            }
            let sum = sum * weights.scale(channel) + bias_of(bias, channel);
            dst[row * n + channel] = clamp_f32(sum, clamp);
        }
    }
}

/// See [`ConvF32`]. A tap outside the picture adds nothing.
pub fn conv_f32(args: ConvF32<'_>) {
    let ConvF32 {
        window,
        in_channels,
        out_channels,
        src,
        weights,
        bias,
        clamp,
        dst,
        ..
    } = args;
    let [kernel_height, kernel_width] = window.kernel;
    let taps = kernel_height * kernel_width;
    for y in 0..window.output[0] {
        for x in 0..window.output[1] {
            for channel in 0..out_channels {
                let mut sum = 0.0;
                for tap in 0..taps {
                    let Some(pixel) =
                        window.pixel([y, x], [tap / kernel_width, tap % kernel_width])
                    else {
                        continue;
                    };
                    for input in 0..in_channels {
                        let offset = packing::offset_float(
                            out_channels,
                            taps * in_channels,
                            channel,
                            tap * in_channels + input,
                        );
                        sum += src[pixel * in_channels + input] * weights.stored(offset);
                    }
                }
                let sum = sum * weights.scale(channel) + bias_of(bias, channel);
                dst[(y * window.output[1] + x) * out_channels + channel] = clamp_f32(sum, clamp);
            }
        }
    }
}

/// See [`DepthwiseConvFloat`]. A tap outside the picture adds nothing.
pub fn depthwise_conv_float<T: Element>(args: DepthwiseConvFloat<'_, T>) {
    let DepthwiseConvFloat {
        window,
        channels,
        src,
        weights,
        bias,
        clamp,
        dst,
    } = args;
    let [kernel_height, kernel_width] = window.kernel;
    for y in 0..window.output[0] {
        for x in 0..window.output[1] {
            for channel in 0..channels {
                let mut sum = 0.0;
                for tap in 0..kernel_height * kernel_width {
                    if let Some(pixel) =
                        window.pixel([y, x], [tap / kernel_width, tap % kernel_width])
                    {
                        sum += src[pixel * channels + channel].widen()
                            * weights[tap * channels + channel].widen();
                    }
                }
                let sum = sum + bias_of(bias, channel);
                dst[(y * window.output[1] + x) * channels + channel] =
                    T::narrow(clamp_f32(sum, clamp));
            }
        }
    }
}

/// See [`MatmulFloat`].
pub fn matmul_float<T: Element>(args: MatmulFloat<'_, T>) {
    let MatmulFloat {
        m,
        k,
        n,
        lhs,
        rhs,
        transpose_rhs,
        scale,
        dst,
    } = args;
    for row in 0..m {
        for column in 0..n {
            let mut sum = 0.0;
            for inner in 0..k {
                let offset = if transpose_rhs {
                    column * k + inner
                } else {
                    inner * n + column
                };
                sum += lhs[row * k + inner].widen() * rhs[offset].widen();
            }
            dst[row * n + column] = T::narrow(sum * scale);
        }
    }
}
