//! Depthwise convolution, eight channels at a time: seven neighbouring pixels together, so that a tap is loaded once for all of
//! the pixels that see it, and a weight once for all seven. The sides of the pictures of a network are multiples of seven.
//!
//! ```text
//! for a band of output rows, for a strip of output columns, for 8 channels
//!   for a row of the output
//!     the input rows that it sees first go between zeros into a ring of rows
//!     for 7 pixels
//!       sums = bias                                          halves: a window has at most 49 taps
//!       for a row of the window
//!         x = the taps of all seven                          one register a column
//!         sums[pixel] += x[pixel · stride + kx] · weights[kx]
//!       dst = clamp(sums)
//! ```
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use core::arch::aarch64::*;
use core::ops::Range;

use half::f16;

use super::super::Neon;
use super::vector::{
    LANES, load, load_from, load_up_to, load_wide, narrow, store, store_to, store_up_to,
};
use crate::kernel::float::taps_inside;
use crate::kernel::{DepthwiseConvF16, Kernels, Window};

/// Output pixels computed together.
const PIXELS: usize = 7;
/// The largest window, down and across.
const MAX_KERNEL: usize = 7;
/// Columns that the pixels of the largest window with stride 2 see.
const MAX_TAPS: usize = 2 * (PIXELS - 1) + MAX_KERNEL;
/// Output rows of a band: few enough that the input under a band stays in the second-level cache from one group of channels to
/// the next.
const BAND_ROWS: usize = 16;
/// Rows of the ring, at least those of a window.
const RING_ROWS: usize = 8;
/// Columns of the ring: a row of a picture 112 wide, and what lies beside it.
const RING_COLUMNS: usize = 128;

/// Eight channels of a pixel.
type Pixel = [f16; LANES];

/// See [`DepthwiseConvF16`]. Windows 3, 5 and 7 wide with strides of 1 and 2; others are left to NEON.
#[target_feature(enable = "neon,fp16")]
pub(in super::super) fn depthwise_conv_f16(args: DepthwiseConvF16<'_>) {
    let window = &args.window;
    if window.dilation != [1, 1] || window.kernel[0] > MAX_KERNEL {
        return Neon(()).depthwise_conv_f16(args);
    }
    match (window.kernel[1], window.stride[1]) {
        (3, 1) => convolve::<3, 1>(args),
        (3, 2) => convolve::<3, 2>(args),
        (5, 1) => convolve::<5, 1>(args),
        (5, 2) => convolve::<5, 2>(args),
        (7, 1) => convolve::<7, 1>(args),
        (7, 2) => convolve::<7, 2>(args),
        _ => Neon(()).depthwise_conv_f16(args),
    }
}

/// A window `KW` wide with stride `S`.
#[target_feature(enable = "neon,fp16")]
fn convolve<const KW: usize, const S: usize>(mut args: DepthwiseConvF16<'_>) {
    let mut block = Block::<KW, S> {
        channel: 0,
        count: 0,
        columns: 0..0,
        ring: [[[f16::ZERO; LANES]; RING_COLUMNS]; RING_ROWS],
        weights: [[f16::ZERO; LANES]; MAX_KERNEL * MAX_KERNEL],
    };
    let [height, width] = args.window.output;
    // Whole groups of pixels, whose taps fit into a row of the ring.
    let strip = ((RING_COLUMNS - KW) / S + 1) / PIXELS * PIXELS;
    for y in (0..height).step_by(BAND_ROWS) {
        for x in (0..width).step_by(strip) {
            block.columns = x..width.min(x + strip);
            for channel in (0..args.channels).step_by(LANES) {
                block.channel = channel;
                block.count = LANES.min(args.channels - channel);
                block.rows(&mut args, y..height.min(y + BAND_ROWS));
            }
        }
    }
}

/// A part of the output: eight channels of some columns, with copies of what they are made of.
struct Block<const KW: usize, const S: usize> {
    /// The first channel.
    channel: usize,
    /// Channels that there are, at most eight.
    count: usize,
    /// Columns of the output.
    columns: Range<usize>,
    /// Input row i, from the first tap of `columns` on, is row i modulo [`RING_ROWS`].
    ring: [[Pixel; RING_COLUMNS]; RING_ROWS],
    /// (kernel height, KW)
    weights: [Pixel; MAX_KERNEL * MAX_KERNEL],
}

impl<const KW: usize, const S: usize> Block<KW, S> {
    /// Computes `rows` of the output.
    #[target_feature(enable = "neon,fp16")]
    fn rows(&mut self, args: &mut DepthwiseConvF16<'_>, rows: Range<usize>) {
        let window = args.window;
        let channels = self.channel..self.channel + self.count;
        for (weights, copy) in args
            .weights
            .chunks_exact(args.channels)
            .zip(&mut self.weights)
        {
            store(load_up_to(&weights[channels.clone()]), copy);
        }
        let bias = narrow(load_wide(args.bias.get(channels).unwrap_or_default()));
        let [low, high] = args.clamp.map(|limit| f16::from_f32(limit).to_bits());
        let limits = [low, high].map(|bits| vreinterpretq_f16_u16(vdupq_n_u16(bits)));
        let mut copied = 0;
        for y in rows {
            let down = taps_inside(&window, 0, y);
            let top = (y * window.stride[0] + down.start).saturating_sub(window.padding[0]);
            for row in copied.max(top)..top + down.len() {
                self.copy_row(args, row);
                copied = row + 1;
            }
            for x in self.columns.clone().step_by(PIXELS) {
                let first = (x - self.columns.start) * S;
                let pixels = PIXELS.min(self.columns.end - x);
                let from = (y * window.output[1] + x) * args.channels + self.channel;
                let len = (pixels - 1) * args.channels + self.count;
                let dst = Output {
                    data: &mut args.dst[from..from + len],
                    channels: args.channels,
                    pixels,
                };
                self.pixels([top, first], &down, bias, limits, dst);
            }
        }
    }

    /// Copies what the block sees of an input row.
    #[target_feature(enable = "neon,fp16")]
    fn copy_row(&mut self, args: &DepthwiseConvF16<'_>, row: usize) {
        let Window { input, padding, .. } = args.window;
        let taps = (self.columns.len().next_multiple_of(PIXELS) - 1) * S + KW;
        let start = self.columns.start * S;
        let before = padding[1].saturating_sub(start).min(taps);
        let end = (input[1] + padding[1])
            .saturating_sub(start)
            .clamp(before, taps);
        let ring = &mut self.ring[row % RING_ROWS][..taps];
        ring[..before].fill([f16::ZERO; LANES]);
        ring[end..].fill([f16::ZERO; LANES]);
        if before == end {
            return;
        }
        let first = row * input[1] + start + before - padding[1];
        let src = &args.src[first * args.channels..][..(end - before) * args.channels];
        let ring = &mut ring[before..end];
        if self.count < LANES {
            for (copy, src) in ring.iter_mut().zip(src.chunks_exact(args.channels)) {
                store(load_up_to(&src[self.channel..]), copy);
            }
            return;
        }
        let mut from = src[self.channel..].as_ptr();
        let mut next = || {
            // SAFETY: `src` are as many pixels as `ring`, each with the eight channels from `channel` on.
            let pixel = unsafe { load_from(from) };
            from = from.wrapping_add(args.channels);
            pixel
        };
        let (pairs, last) = ring.as_chunks_mut::<2>();
        for pair in pairs {
            let pixels = [next(), next()];
            store(pixels[0], &mut pair[0]);
            store(pixels[1], &mut pair[1]);
        }
        for copy in last {
            store(next(), copy);
        }
    }

    /// Computes the pixels whose first tap is (`top`, `first`) in the ring, and which see the rows `down` of the window.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    fn pixels(
        &self,
        [top, first]: [usize; 2],
        down: &Range<usize>,
        bias: float16x8_t,
        limits: [float16x8_t; 2],
        dst: Output<'_>,
    ) {
        let columns = S * (PIXELS - 1) + KW;
        let mut sums = [bias; PIXELS];
        for (row, ky) in down.clone().enumerate() {
            let taps = &self.ring[(top + row) % RING_ROWS][first..first + columns];
            let weights = &self.weights[ky * KW..(ky + 1) * KW];
            let mut x = [bias; MAX_TAPS];
            for column in 0..columns {
                x[column] = load(&taps[column]);
            }
            for kx in 0..KW {
                let weight = load(&weights[kx]);
                for p in 0..PIXELS {
                    sums[p] = vfmaq_f16(sums[p], x[p * S + kx], weight);
                }
            }
        }
        for p in 0..PIXELS {
            sums[p] = vminq_f16(vmaxq_f16(sums[p], limits[0]), limits[1]);
        }
        if dst.pixels == PIXELS && self.count == LANES {
            let to = dst.data.as_mut_ptr();
            for p in 0..PIXELS {
                // SAFETY: `data` ends with the eight channels of the last of seven pixels.
                unsafe { store_to(sums[p], to.wrapping_add(p * dst.channels)) };
            }
            return;
        }
        for (p, sum) in sums.into_iter().enumerate().take(dst.pixels) {
            let at = p * dst.channels;
            store_up_to(sum, &mut dst.data[at..at + self.count]);
        }
    }
}

/// The channels of a block in at most seven neighbouring pixels of the output.
struct Output<'a> {
    /// From the first of them to the last.
    data: &'a mut [f16],
    /// Of a pixel.
    channels: usize,
    pixels: usize,
}
