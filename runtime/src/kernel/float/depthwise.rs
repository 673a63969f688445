//! Depthwise convolution: a vector of channels at four neighbouring pixels, so that a weight is loaded once for all four.
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators"
)]

use core::ops::Range;

use super::lanes::{Lanes, Number};
use crate::kernel::{DepthwiseConvFloat, Window};

/// Output pixels computed together where all of their taps lie inside the picture.
const PIXELS: usize = 4;

/// See [`DepthwiseConvFloat`].
#[inline(always)]
pub(crate) fn depthwise_conv_float<V: Lanes, E: Number>(v: V, mut args: DepthwiseConvFloat<'_, E>) {
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
                pixels::<V, E, PIXELS>(v, &mut args, [y, x], [down.clone(), across]);
                x += PIXELS;
            } else {
                pixels::<V, E, 1>(v, &mut args, [y, x], [down.clone(), across]);
                x += 1;
            }
        }
    }
}

/// Taps along `axis` that the window at `position` has inside the picture.
#[inline(always)]
pub(crate) fn taps_inside(window: &Window, axis: usize, position: usize) -> Range<usize> {
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
fn pixels<V: Lanes, E: Number, const P: usize>(
    v: V,
    args: &mut DepthwiseConvFloat<'_, E>,
    position: [usize; 2],
    taps: [Range<usize>; 2],
) {
    let mut channel = 0;
    while channel + V::LANES <= args.channels {
        channels::<V, E, P, true>(v, args, position, &taps, channel, V::LANES);
        channel += V::LANES;
    }
    if channel < args.channels {
        let count = args.channels - channel;
        channels::<V, E, P, false>(v, args, position, &taps, channel, count);
    }
}

/// `count` channels from `channel` on of [`pixels`]; `WHOLE` says that they fill a vector, which saves a branch a load.
#[inline(always)]
fn channels<V: Lanes, E: Number, const P: usize, const WHOLE: bool>(
    v: V,
    args: &mut DepthwiseConvFloat<'_, E>,
    [y, x]: [usize; 2],
    [down, across]: &[Range<usize>; 2],
    channel: usize,
    count: usize,
) {
    let load = if WHOLE { E::load } else { E::load_partial };
    let count = if WHOLE { V::LANES } else { count };
    let Window {
        input,
        output,
        kernel,
        stride,
        padding,
        dilation,
    } = args.window;
    let step = stride[1] * args.channels;
    let bias = match args.bias.get(channel..channel + count) {
        Some(bias) => f32::load_up_to(v, bias),
        None => v.splat(0.0),
    };
    let mut sums = [bias; P];
    for ky in down.clone() {
        let row = (y * stride[0] + ky * dilation[0] - padding[0]) * input[1];
        for kx in across.clone() {
            let weights = &args.weights[(ky * kernel[1] + kx) * args.channels + channel..][..count];
            let weights = load(v, weights);
            let first = row + x * stride[1] + kx * dilation[1] - padding[1];
            let src = &args.src[first * args.channels + channel..][..(P - 1) * step + count];
            for p in 0..P {
                let taps = load(v, &src[p * step..p * step + count]);
                sums[p] = v.mul_add(taps, weights, sums[p]);
            }
        }
    }
    for (p, sum) in sums.into_iter().enumerate() {
        let first = (y * output[1] + x + p) * args.channels + channel;
        let dst = &mut args.dst[first..first + count];
        E::store_up_to(v, v.clamp(sum, args.clamp), dst);
    }
}
