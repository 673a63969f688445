//! What the depthwise convolutions of 16 bits share: the taps of a window that lie inside the picture, and sums over blocks
//! of channels in loops that the compiler turns into vectors.

use super::{DepthwiseConvS16, Window};

/// The taps of an output pixel that lie inside the picture: a rectangle of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    /// The first one, down and across.
    first: [usize; 2],
    /// How many, down and across.
    pub(super) count: [usize; 2],
    /// Input pixel of the first one, down and across.
    pixel: [usize; 2],
}

impl Taps {
    /// Of the output at `position`.
    #[inline]
    pub(super) fn inside(window: &Window, position: [usize; 2]) -> Self {
        let mut taps = Self {
            first: [0; 2],
            count: [0; 2],
            pixel: [0; 2],
        };
        for (axis, position) in position.into_iter().enumerate() {
            for tap in 0..window.kernel[axis] {
                let Some(coordinate) = window.coordinate(axis, position, tap) else {
                    continue;
                };
                if taps.count[axis] == 0 {
                    (taps.first[axis], taps.pixel[axis]) = (tap, coordinate);
                }
                taps.count[axis] += 1;
            }
        }
        taps
    }

    /// Indices of the first channel in the source and in the weights, for the first tap of row `down` of the rectangle.
    #[inline(always)]
    pub(super) fn row(&self, args: &DepthwiseConvS16<'_>, down: usize) -> [usize; 2] {
        let y = self.pixel[0] + down * args.window.dilation[0];
        let pixel = y * args.window.input[1] + self.pixel[1];
        let tap = (self.first[0] + down) * args.window.kernel[1] + self.first[1];
        [pixel * args.channels, tap * args.channels]
    }
}

/// The sums over `taps`, biases in them: `len` ≤ `BLOCK` channels from `channel` on, then zeros.
#[cfg(not(cortex_m_dsp))]
#[inline(always)]
pub(super) fn sum_taps<const BLOCK: usize>(
    args: &DepthwiseConvS16<'_>,
    taps: &Taps,
    channel: usize,
    len: usize,
) -> [i32; BLOCK] {
    let mut sums = [0; BLOCK];
    sums[..len].copy_from_slice(&args.requantize.bias[channel..][..len]);
    let step = args.window.dilation[1] * args.channels;
    for down in 0..taps.count[0] {
        let [src, weights] = taps.row(args, down);
        for across in 0..taps.count[1] {
            let src = &args.src[src + across * step + channel..][..len];
            let weights = &args.weights[weights + across * args.channels + channel..][..len];
            match (src.first_chunk(), weights.first_chunk()) {
                (Some(src), Some(weights)) => add_products::<BLOCK>(&mut sums, src, weights),
                _ => {
                    for ((sum, &src), &weight) in sums.iter_mut().zip(src).zip(weights) {
                        *sum = sum.wrapping_add(i32::from(src) * i32::from(weight));
                    }
                }
            }
        }
    }
    sums
}

#[cfg(not(cortex_m_dsp))]
#[inline(always)]
fn add_products<const BLOCK: usize>(
    sums: &mut [i32; BLOCK],
    src: &[i16; BLOCK],
    weights: &[i8; BLOCK],
) {
    for ((sum, &src), &weight) in sums.iter_mut().zip(src).zip(weights) {
        *sum = sum.wrapping_add(i32::from(src) * i32::from(weight));
    }
}
