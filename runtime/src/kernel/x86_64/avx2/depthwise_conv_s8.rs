//! Integer depthwise convolution, 16 channels at a time: pairs of taps are interleaved in 16 bits, so that one `vpmaddwd`
//! sums both for 8 channels.

use core::arch::x86_64::*;

use super::memory::{load_i8x16, load_i32x8, store_i8x16};
use super::requantize::{Channels, Outputs};
use crate::kernel::{DepthwiseConvS8, Requantize, scalar};

/// Taps that fit the stack; a window with more is left to the scalar kernel.
const MAX_TAPS: usize = 128;

/// Interleaved pairs of taps of 16 channels, or the sums of them: channels 0..4 and 8..12, then 4..8 and 12..16, which is
/// how words unpack.
type Pair = [__m256i; 2];

/// See [`DepthwiseConvS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn depthwise_conv_s8(mut args: DepthwiseConvS8<'_>) {
    let Requantize {
        zero_point,
        clamp_min,
        clamp_max,
        ..
    } = args.requantize;
    let taps = args.window.kernel[0].saturating_mul(args.window.kernel[1]);
    let outputs = Outputs::new(zero_point, [clamp_min, clamp_max], [-128, 127]);
    let (true, Some(outputs)) = (taps <= MAX_TAPS, outputs) else {
        return scalar::depthwise_conv_s8(args);
    };
    for channel in (0..args.channels).step_by(16) {
        let block = Block::new(&args, outputs, channel, taps);
        for y in 0..args.window.output[0] {
            for x in 0..args.window.output[1] {
                block.convolve(&mut args, [y, x]);
            }
        }
    }
}

/// Up to 16 channels, ready to be convolved.
#[derive(Debug)]
struct Block {
    channel: usize,
    len: usize,
    taps: usize,
    /// Of each tap from the first one, in a window inside the picture.
    offsets: [usize; MAX_TAPS],
    weights: [Pair; MAX_TAPS / 2],
    bias: Pair,
    channels: [Channels; 2],
    outputs: Outputs,
    /// What a tap outside the picture reads.
    outside: __m256i,
}

impl Block {
    #[target_feature(enable = "avx2")]
    fn new(args: &DepthwiseConvS8<'_>, outputs: Outputs, channel: usize, taps: usize) -> Self {
        let len = (args.channels - channel).min(16);
        let mut weights = [[_mm256_setzero_si256(); 2]; MAX_TAPS / 2];
        for (index, pair) in weights[..taps.div_ceil(2)].iter_mut().enumerate() {
            let tap = |tap: usize| match tap < taps {
                true => widen(&args.weights[tap * args.channels + channel..][..len]),
                false => _mm256_setzero_si256(),
            };
            *pair = interleave(tap(2 * index), tap(2 * index + 1));
        }
        let (width, dilation) = (args.window.kernel[1], args.window.dilation);
        let mut offsets = [0; MAX_TAPS];
        for (tap, offset) in offsets[..taps].iter_mut().enumerate() {
            let down = tap / width * dilation[0] * args.window.input[1];
            *offset = (down + tap % width * dilation[1]) * args.channels;
        }
        let (mut bias, mut multiplier, mut shift) = ([[0; 8]; 2], [[0; 8]; 2], [[0; 8]; 2]);
        for of_block in 0..len {
            let [vector, lane] = [of_block / 4 % 2, of_block / 8 * 4 + of_block % 4];
            bias[vector][lane] = args.requantize.bias[channel + of_block];
            multiplier[vector][lane] = args.requantize.multiplier[channel + of_block];
            shift[vector][lane] = i32::from(args.requantize.shift[channel + of_block]);
        }
        Self {
            channel,
            len,
            taps,
            offsets,
            weights,
            bias: [load_i32x8(&bias[0]), load_i32x8(&bias[1])],
            channels: core::array::from_fn(|vector| {
                Channels::new(load_i32x8(&multiplier[vector]), load_i32x8(&shift[vector]))
            }),
            outputs,
            outside: _mm256_set1_epi16(args.input_zero_point.into()),
        }
    }

    /// The output at `position`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn convolve(&self, args: &mut DepthwiseConvS8<'_>, position: [usize; 2]) {
        let last = [
            args.window.kernel[0].wrapping_sub(1),
            args.window.kernel[1].wrapping_sub(1),
        ];
        let first = args.window.pixel(position, [0, 0]);
        let sums = match (first, args.window.pixel(position, last)) {
            (Some(first), Some(_)) => {
                let start = first * args.channels + self.channel;
                self.sum(|tap| widen(&args.src[start + self.offsets[tap]..][..self.len]))
            }
            _ => self.sum(|tap| self.tap(args, position, tap)),
        };
        let low = self.channels[0].apply(sums[0]);
        let high = self.channels[1].apply(sums[1]);
        let in_order = [
            _mm256_permute2x128_si256::<0x20>(low, high),
            _mm256_permute2x128_si256::<0x31>(low, high),
        ];
        let bytes = self.outputs.to_i8(in_order);
        let pixel = position[0] * args.window.output[1] + position[1];
        let start = pixel * args.channels + self.channel;
        store_i8x16(&mut args.dst[start..][..self.len], bytes);
    }

    /// The sums over all taps, the bias in them.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum(&self, tap: impl Fn(usize) -> __m256i) -> Pair {
        let mut sums = self.bias;
        for (index, weights) in self.weights[..self.taps.div_ceil(2)].iter().enumerate() {
            // Past the last tap, the weight is zero.
            let second = (2 * index + 1).min(self.taps - 1);
            let pair = interleave(tap(2 * index), tap(second));
            for half in 0..2 {
                let products = _mm256_madd_epi16(pair[half], weights[half]);
                sums[half] = _mm256_add_epi32(sums[half], products);
            }
        }
        sums
    }

    /// What `tap` of the output at `position` reads.
    #[target_feature(enable = "avx2")]
    fn tap(&self, args: &DepthwiseConvS8<'_>, position: [usize; 2], tap: usize) -> __m256i {
        let width = args.window.kernel[1];
        match args.window.pixel(position, [tap / width, tap % width]) {
            Some(pixel) => widen(&args.src[pixel * args.channels + self.channel..][..self.len]),
            None => self.outside,
        }
    }
}

/// Up to 16 bytes in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(bytes: &[i8]) -> __m256i {
    _mm256_cvtepi8_epi16(load_i8x16(bytes))
}

/// Two taps of a channel side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(first: __m256i, second: __m256i) -> Pair {
    [
        _mm256_unpacklo_epi16(first, second),
        _mm256_unpackhi_epi16(first, second),
    ]
}
