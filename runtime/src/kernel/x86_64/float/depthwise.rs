//! Depthwise convolution: a vector of channels at four neighbouring pixels, so that a weight is loaded once for all four.

use core::ops::Range;

use super::lanes::Lanes;
use crate::kernel::{DepthwiseConvF32, Window};

/// Output pixels computed together where all of their taps lie inside the picture.
const PIXELS: usize = 4;

/// See [`DepthwiseConvF32`].
#[inline(always)]
pub(crate) fn depthwise_conv_f32<V: Lanes>(v: V, mut args: DepthwiseConvF32<'_>) {
    let [height, width] = args.window.output;
    for y in 0..height {
        let down = taps_inside(&args.window, 0, y);
        let mut x = 0;
        while x < width {
            let across = taps_inside(&args.window, 1, x);
            let last = x + PIXELS - 1;
            let together = last < width
                && across == (0..args.window.kernel[1])
                && taps_inside(&args.window, 1, last) == across;
            if together {
                pixels::<V, PIXELS>(v, &mut args, [y, x], [down.clone(), across]);
                x += PIXELS;
            } else {
                pixels::<V, 1>(v, &mut args, [y, x], [down.clone(), across]);
                x += 1;
            }
        }
    }
}

/// Taps along `axis` that the window at `position` has inside the picture.
#[inline(always)]
pub(super) fn taps_inside(window: &Window, axis: usize, position: usize) -> Range<usize> {
    let first = position * window.stride[axis];
    let step = window.dilation[axis].max(1);
    let begin = window.padding[axis].saturating_sub(first).div_ceil(step);
    let end = (window.input[axis] + window.padding[axis])
        .saturating_sub(first)
        .div_ceil(step);
    let end = end.min(window.kernel[axis]);
    begin.min(end)..end
}

/// All channels of `P` neighbouring output pixels whose taps inside the picture are `taps` (down, across).
#[inline(always)]
fn pixels<V: Lanes, const P: usize>(
    v: V,
    args: &mut DepthwiseConvF32<'_>,
    [y, x]: [usize; 2],
    [down, across]: [Range<usize>; 2],
) {
    let Window {
        input,
        output,
        kernel,
        stride,
        padding,
        dilation,
    } = args.window;
    let channels = args.channels;
    let first_output = (y * output[1] + x) * channels;
    let mut channel = 0;
    while channel < channels {
        let count = V::LANES.min(channels - channel);
        let bias = match args.bias.get(channel..channel + count) {
            Some(bias) => v.load_up_to(bias),
            None => v.splat(0.0),
        };
        let mut sums = [bias; P];
        for ky in down.clone() {
            let row = (y * stride[0] + ky * dilation[0] - padding[0]) * input[1];
            for kx in across.clone() {
                let weights = &args.weights[(ky * kernel[1] + kx) * channels + channel..][..count];
                let weights = v.load_up_to(weights);
                let first = row + x * stride[1] + kx * dilation[1] - padding[1];
                for (p, sum) in sums.iter_mut().enumerate() {
                    let src = &args.src[(first + p * stride[1]) * channels + channel..][..count];
                    *sum = v.mul_add(v.load_up_to(src), weights, *sum);
                }
            }
        }
        for (p, sum) in sums.into_iter().enumerate() {
            let dst = &mut args.dst[first_output + p * channels + channel..][..count];
            v.store_up_to(v.clamp(sum, args.clamp), dst);
        }
        channel += count;
    }
}
