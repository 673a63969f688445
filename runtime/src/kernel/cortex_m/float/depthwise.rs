//! Depthwise convolution: a block of channels of one output pixel at a time, over a table of the taps inside the
//! picture.
//!
//! One table serves all windows that lie inside the picture; another one is filled for each at its border. What a level
//! brings along is the sum of one block ([`FloatLevel::depthwise`]).

use super::{FloatLevel, Number};
use crate::kernel::{DepthwiseConvFloat, Window, scalar};

/// Taps that fit the stack; a window with more is left to the scalar kernel.
const MAX_TAPS: usize = 64;
/// Bytes of the channels of a whole block.
pub(crate) const BLOCK_BYTES: usize = 64;
/// Channels of a whole block of halves.
const MAX_BLOCK: usize = BLOCK_BYTES / 2;

/// Bytes from the start of the picture, or from the first tap of a window, and from the start of the weights.
pub(crate) type Tap = [usize; 2];

/// A block of channels of one output pixel.
///
/// # Safety
/// It is sound when for each of the `taps` entries of `table`, `src` and `weights` have `channels` elements at these
/// distances, `bias` has as many as a whole block and `dst` has `channels`; `channels` is at least 1 and at most
/// [`BLOCK_BYTES`] bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct DepthwiseBlock {
    pub(crate) table: *const Tap,
    pub(crate) taps: usize,
    pub(crate) src: *const u8,
    pub(crate) weights: *const u8,
    pub(crate) bias: *const f32,
    pub(crate) dst: *mut u8,
    pub(crate) channels: usize,
    /// Bits of the smallest and the largest output, in the type of the elements.
    pub(crate) clamp: [u32; 2],
}

#[cfg(cortex_m_helium)]
impl DepthwiseBlock {
    /// What is left of it from a channel on.
    pub(crate) fn from<T>(&self, channel: usize) -> Self {
        let bytes = channel * size_of::<T>();
        Self {
            src: self.src.wrapping_add(bytes),
            weights: self.weights.wrapping_add(bytes),
            bias: self.bias.wrapping_add(channel),
            dst: self.dst.wrapping_add(bytes),
            channels: self.channels - channel,
            ..*self
        }
    }
}

/// See [`DepthwiseConvFloat`].
pub(crate) fn depthwise_conv<L: FloatLevel, T: Number>(args: DepthwiseConvFloat<'_, T>) {
    let Some(mut tables) = Tables::new(&args) else {
        return scalar::depthwise_conv_float(args);
    };
    let channels = args.channels;
    let whole = BLOCK_BYTES / size_of::<T>();
    let clamp = args.clamp.map(|limit| T::narrow(limit).bits());
    // Where the bias is missing or shorter than a block.
    let mut padded = [0.0; MAX_BLOCK];
    if channels < whole {
        for (padded, bias) in padded.iter_mut().zip(args.bias) {
            *padded = *bias;
        }
    }
    for (pixel, dst) in args.dst.chunks_exact_mut(channels).enumerate() {
        let position = [pixel / args.window.output[1], pixel % args.window.output[1]];
        let (table, first) = tables.at(position);
        for channel in (0..channels).step_by(whole) {
            // The last block overlaps the one before it, where there is one: its outputs are written twice.
            let channel = channel.min(channels.saturating_sub(whole));
            let count = whole.min(channels);
            let block = DepthwiseBlock {
                table: table.as_ptr(),
                taps: table.len(),
                src: args.src[first + channel..].as_ptr().cast(),
                weights: args.weights[channel..].as_ptr().cast(),
                bias: match args.bias.get(channel..channel + whole) {
                    Some(bias) => bias.as_ptr(),
                    None => padded.as_ptr(),
                },
                dst: dst[channel..][..count].as_mut_ptr().cast(),
                channels: count,
                clamp,
            };
            // SAFETY: Each tap of the table, from `first` on, is a pixel of the picture and a row of the weights, which
            // have `channels` elements: `Tables::new` checked the lengths. `channel + count ≤ channels`. The bias has
            // `whole` elements, for `padded` has those of a block of halves; `dst` was cut to `count`, which is not 0.
            unsafe { L::depthwise::<T>(&block) };
        }
    }
}

/// The taps of windows inside the picture and of one at its border.
struct Tables {
    window: Window,
    channels: usize,
    element_bytes: usize,
    count: usize,
    inside: [Tap; MAX_TAPS],
    border: [Tap; MAX_TAPS],
}

impl Tables {
    /// `None` where a window has no taps or too many, or where a slice is shorter than its shape.
    fn new<T>(args: &DepthwiseConvFloat<'_, T>) -> Option<Self> {
        let (window, channels) = (args.window, args.channels);
        let count = window.kernel[0].checked_mul(window.kernel[1])?;
        let pixels = window.input[0].checked_mul(window.input[1])?;
        let sound = (1..=MAX_TAPS).contains(&count)
            && channels > 0
            && pixels > 0
            && args.src.len() >= pixels.checked_mul(channels)?
            && args.weights.len() >= count.checked_mul(channels)?;
        if !sound {
            return None;
        }
        let mut tables = Self {
            window,
            channels,
            element_bytes: size_of::<T>(),
            count,
            inside: [[0; 2]; MAX_TAPS],
            border: [[0; 2]; MAX_TAPS],
        };
        for tap in 0..count {
            let [down, across] = [tap / window.kernel[1], tap % window.kernel[1]];
            let pixel = down * window.dilation[0] * window.input[1] + across * window.dilation[1];
            tables.inside[tap] = tables.tap(pixel, tap);
        }
        Some(tables)
    }

    fn tap(&self, pixel: usize, tap: usize) -> Tap {
        [pixel, tap].map(|row| row * self.channels * self.element_bytes)
    }

    /// The taps inside the picture of the output at `position`, and the element of the picture that they count from.
    #[inline]
    fn at(&mut self, position: [usize; 2]) -> (&[Tap], usize) {
        let [height, width] = self.window.kernel;
        let first = self.window.pixel(position, [0, 0]);
        let last = self.window.pixel(position, [height - 1, width - 1]);
        match (first, last) {
            (Some(first), Some(_)) => (&self.inside[..self.count], first * self.channels),
            _ => (self.fill_border(position), 0),
        }
    }

    #[inline(never)]
    fn fill_border(&mut self, position: [usize; 2]) -> &[Tap] {
        let width = self.window.kernel[1];
        let mut inside = 0;
        for tap in 0..self.count {
            if let Some(pixel) = self.window.pixel(position, [tap / width, tap % width]) {
                self.border[inside] = self.tap(pixel, tap);
                inside += 1;
            }
        }
        &self.border[..inside]
    }
}
