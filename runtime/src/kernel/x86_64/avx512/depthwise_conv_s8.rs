//! Integer depthwise convolution by `vpdpbusd` over taps that stand above each other.
//!
//! Channels are taken 64 at a time. Bytes of up to 4 rows at one column are interleaved, so that a dot product sums 4 taps
//! of 16 channels, and one interleaved column serves every output whose window covers it:
//!
//! ```text
//! for 64 channels: for each output row: sums of the next ⌈kernel / stride⌉ outputs = bias − 128 · Σ weights
//!     for each input column: interleave its rows, raised by 128
//!         for each of those outputs: its sums += column · weights of the tap that the column is for it
//!         write the output that has seen its last column
//! ```
//!
//! At most 32 channels (all, or the last ones) take two output rows at a time, one in each half of a vector. Windows other
//! than dense 3×3 and 5×5 with steps of 1 and 2 interleave anew for every output.

use core::arch::x86_64::*;

use super::dot_tile::raise;
use super::memory::{load_i8, load_i8x32, store_i8, store_i8x32};
use super::requantize::{Channels, Outputs8, Path, requantize_sums};
use crate::kernel::{DepthwiseConvS8, Requantize, Window, scalar};

/// Rows of taps that one dot product sums.
const GROUP_ROWS: usize = 4;
/// Interleaved taps that fit the stack; a window with more is left to the scalar kernel.
const MAX_GROUPS: usize = 64;

/// One interleaved column, or the weights for it: 64 channels by 4 taps. Each quarter of vector `q` holds channels
/// `4q..4q + 4` of the 16 channels of that quarter, which is how bytes unpack and how [`Outputs8::pack`] wants sums.
type Column = [__m512i; 4];

/// See [`DepthwiseConvS8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn depthwise_conv_s8(mut args: DepthwiseConvS8<'_>) {
    let Requantize {
        zero_point,
        clamp_min,
        clamp_max,
        ..
    } = args.requantize;
    let Window {
        kernel,
        stride,
        dilation,
        output,
        ..
    } = args.window;
    let groups = kernel[0].div_ceil(GROUP_ROWS).saturating_mul(kernel[1]);
    let Some(outputs) = Outputs8::new(zero_point, clamp_min, clamp_max) else {
        return scalar::depthwise_conv_s8(args);
    };
    if groups > MAX_GROUPS || output.contains(&0) {
        return scalar::depthwise_conv_s8(args);
    }
    let mut channel = 0;
    while channel < args.channels {
        let left = args.channels - channel;
        let block = Block::new(&args, outputs, channel, left.min(64));
        match (left <= 32, kernel, stride, dilation) {
            (false, [3, 3], [1, 1], [1, 1]) => block.slide::<3, 1, false>(&mut args),
            (false, [3, 3], [2, 2], [1, 1]) => block.slide::<3, 2, false>(&mut args),
            (false, [5, 5], [1, 1], [1, 1]) => block.slide::<5, 1, false>(&mut args),
            (false, [5, 5], [2, 2], [1, 1]) => block.slide::<5, 2, false>(&mut args),
            (true, [3, 3], [1, 1], [1, 1]) => block.slide::<3, 1, true>(&mut args),
            (true, [3, 3], [2, 2], [1, 1]) => block.slide::<3, 2, true>(&mut args),
            (true, [5, 5], [1, 1], [1, 1]) => block.slide::<5, 1, true>(&mut args),
            (true, [5, 5], [2, 2], [1, 1]) => block.slide::<5, 2, true>(&mut args),
            _ => block.jump(&mut args),
        }
        channel += 64;
    }
}

/// Up to 64 channels, ready to be convolved.
#[derive(Debug)]
struct Block {
    channel: usize,
    len: usize,
    /// (⌈kh / 4⌉, kw); with at most 32 channels, both halves of the vectors hold the same ones.
    weights: [Column; MAX_GROUPS],
    channels: [Channels; 4],
    /// Exact for all of them.
    path: Path,
    outputs: Outputs8,
    /// What a tap outside the picture reads, raised by 128.
    outside: __m512i,
    /// Such a tap adds nothing.
    outside_is_zero: bool,
}

/// One row of the input at the channels of a block: the pixel at x begins at `x · step`. A row outside the picture repeats
/// one pixel.
#[derive(Clone, Copy, Debug)]
struct Row<'a> {
    data: &'a [i8],
    step: usize,
}

impl<'a> Row<'a> {
    /// The first `len` channels of the pixel at `x`.
    #[inline]
    fn pixel(self, x: usize, len: usize) -> &'a [i8] {
        &self.data[x * self.step..][..len]
    }
}

impl Block {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn new(args: &DepthwiseConvS8<'_>, outputs: Outputs8, channel: usize, len: usize) -> Self {
        let [kernel_height, kernel_width] = args.window.kernel;
        let mut weights = [[_mm512_setzero_si512(); 4]; MAX_GROUPS];
        let mut sums = [_mm512_setzero_si512(); 4];
        for group in 0..kernel_height.div_ceil(GROUP_ROWS) {
            for x in 0..kernel_width {
                let taps = core::array::from_fn(|row| {
                    let y = group * GROUP_ROWS + row;
                    if y < kernel_height {
                        let tap = y * kernel_width + x;
                        load_twice(&args.weights[tap * args.channels + channel..][..len])
                    } else {
                        _mm512_setzero_si512()
                    }
                });
                let column = interleave(taps);
                weights[group * kernel_width + x] = column;
                for (sum, taps) in sums.iter_mut().zip(column) {
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi8(1), taps);
                }
            }
        }
        let mut channels = requantize_in_column_order(args, channel, len);
        for (channels, sum) in channels.iter_mut().zip(sums) {
            channels.bias = _mm512_sub_epi32(channels.bias, _mm512_slli_epi32::<7>(sum));
        }
        let path = channels
            .iter()
            .map(|channels| channels.path)
            .max()
            .unwrap_or(Path::Any);
        let outside = raise(_mm512_set1_epi8(args.input_zero_point));
        let outside_is_zero = args.input_zero_point == i8::MIN;
        Self {
            channel,
            len,
            weights,
            channels,
            path,
            outputs,
            outside,
            outside_is_zero,
        }
    }

    /// Dense windows of `K`×`K` with steps of `S`; two output rows at a time when `PAIR`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn slide<const K: usize, const S: usize, const PAIR: bool>(
        &self,
        args: &mut DepthwiseConvS8<'_>,
    ) {
        let height = args.window.output[0];
        let border = [args.input_zero_point; 64];
        for y in (0..height).step_by(if PAIR { 2 } else { 1 }) {
            let first = self.rows::<K>(args, &border, y);
            let second = self.rows::<K>(args, &border, (y + 1).min(height - 1));
            self.slide_row::<K, S, PAIR>(args, y, [first, second]);
        }
    }

    /// The rows that the window at output row `y` covers.
    fn rows<'a, const K: usize>(
        &self,
        args: &DepthwiseConvS8<'a>,
        border: &'a [i8],
        y: usize,
    ) -> [Row<'a>; K] {
        let row_len = args.window.input[1] * args.channels;
        core::array::from_fn(|tap| match args.window.coordinate(0, y, tap) {
            Some(y) => Row {
                data: &args.src[y * row_len + self.channel..],
                step: args.channels,
            },
            None => Row {
                data: border,
                step: 0,
            },
        })
    }

    /// Output row `y`, and the next one when `PAIR`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn slide_row<const K: usize, const S: usize, const PAIR: bool>(
        &self,
        args: &mut DepthwiseConvS8<'_>,
        y: usize,
        rows: [[Row<'_>; K]; 2],
    ) {
        let [width, input_width] = [args.window.output[1], args.window.input[1]];
        let left = args.window.padding[1];
        // Outputs that one column is part of; the oldest is last.
        let live = K.div_ceil(S);
        let starts = self.channels.each_ref().map(|channels| channels.bias);
        let mut sums = [starts; K];
        for step in 0..width + live - 1 {
            for phase in 0..S {
                let x = (step * S + phase).wrapping_sub(left);
                if x >= input_width {
                    if !self.outside_is_zero {
                        let columns = [[self.outside; 4]; 2];
                        self.add_column::<K, S>(&mut sums, &columns, phase);
                    }
                    continue;
                }
                let columns = self.columns::<K, S, PAIR>(&rows, x);
                self.add_column::<K, S>(&mut sums, &columns, phase);
            }
            if let Some(x) = (step + 1).checked_sub(live) {
                self.write::<K, S, PAIR>(args, sums[live - 1], y, x);
            }
            for index in (1..live).rev() {
                sums[index] = sums[index - 1];
            }
            sums[0] = starts;
        }
    }

    /// The interleaved taps at column `x`: rows 0..4, then row 4.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn columns<const K: usize, const S: usize, const PAIR: bool>(
        &self,
        rows: &[[Row<'_>; K]; 2],
        x: usize,
    ) -> [Column; 2] {
        let tap = |y: usize| {
            raise(if PAIR {
                let first = _mm512_castsi256_si512(load_i8x32(rows[0][y].pixel(x, self.len)));
                _mm512_inserti64x4::<1>(first, load_i8x32(rows[1][y].pixel(x, self.len)))
            } else {
                load_i8(rows[0][y].pixel(x, self.len))
            })
        };
        // Weights beyond the kernel are zeros, so any row may stand in there.
        let mut columns = [interleave([tap(0), tap(1), tap(2), tap(3.min(K - 1))]); 2];
        if K > GROUP_ROWS {
            columns[1] = interleave([tap(4); GROUP_ROWS]);
        }
        columns
    }

    /// Adds a column to the sums of every output that it is part of.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn add_column<const K: usize, const S: usize>(
        &self,
        sums: &mut [Column; K],
        columns: &[Column; 2],
        phase: usize,
    ) {
        for (age, sums) in sums[..K.div_ceil(S)].iter_mut().enumerate() {
            let tap = age * S + phase;
            if tap < K {
                for (group, column) in columns.iter().enumerate().take(K.div_ceil(GROUP_ROWS)) {
                    accumulate(sums, column, &self.weights[group * K + tap]);
                }
            }
        }
    }

    /// Any window.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn jump(&self, args: &mut DepthwiseConvS8<'_>) {
        let window = args.window;
        for y in 0..window.output[0] {
            for x in 0..window.output[1] {
                let mut sums = self.channels.each_ref().map(|channels| channels.bias);
                for group in 0..window.kernel[0].div_ceil(GROUP_ROWS) {
                    for tap in 0..window.kernel[1] {
                        let taps = core::array::from_fn(|row| {
                            let row = group * GROUP_ROWS + row;
                            match window.pixel([y, x], [row, tap]) {
                                Some(pixel) => {
                                    let start = pixel * args.channels + self.channel;
                                    raise(load_i8(&args.src[start..][..self.len]))
                                }
                                None => self.outside,
                            }
                        });
                        let weights = &self.weights[group * window.kernel[1] + tap];
                        accumulate(&mut sums, &interleave(taps), weights);
                    }
                }
                self.write::<0, 0, false>(args, sums, y, x);
            }
        }
    }

    /// Requantises the sums of the output at (y, x), and when `PAIR` at (y + 1, x), and writes them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn write<const K: usize, const S: usize, const PAIR: bool>(
        &self,
        args: &mut DepthwiseConvS8<'_>,
        sums: Column,
        y: usize,
        x: usize,
    ) {
        let [height, width] = args.window.output;
        let mut values = sums;
        requantize_sums!(self.path, values.iter_mut().zip(&self.channels));
        let bytes = self.outputs.pack(values);
        let start = (y * width + x) * args.channels + self.channel;
        if PAIR {
            store_i8x32(
                &mut args.dst[start..][..self.len],
                _mm512_castsi512_si256(bytes),
            );
            if y + 1 < height {
                let start = start + width * args.channels;
                let second = _mm512_extracti64x4_epi64::<1>(bytes);
                store_i8x32(&mut args.dst[start..][..self.len], second);
            }
        } else {
            store_i8(&mut args.dst[start..][..self.len], bytes);
        }
    }
}

/// Requantisation of `len` channels in the order of the lanes of a [`Column`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn requantize_in_column_order(
    args: &DepthwiseConvS8<'_>,
    channel: usize,
    len: usize,
) -> [Channels; 4] {
    let (mut bias, mut multiplier, mut shift) = ([0; 64], [0; 64], [0; 64]);
    for lane in 0..64 {
        let [vector, quarter, element] = [lane / 16, lane / 4 % 4, lane % 4];
        let mut of_block = quarter * 16 + vector * 4 + element;
        if len <= 32 {
            of_block %= 32;
        }
        if of_block < len {
            bias[lane] = args.requantize.bias[channel + of_block];
            multiplier[lane] = args.requantize.multiplier[channel + of_block];
            shift[lane] = args.requantize.shift[channel + of_block];
        }
    }
    let requantize = Requantize {
        bias: &bias,
        multiplier: &multiplier,
        shift: &shift,
        ..args.requantize
    };
    let taps = args.window.kernel[0] * args.window.kernel[1];
    core::array::from_fn(|vector| Channels::new(&requantize, vector * 16, 64, taps))
}

/// Up to 64 bytes; up to 32 bytes in both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load_twice(src: &[i8]) -> __m512i {
    if src.len() <= 32 {
        _mm512_broadcast_i64x4(load_i8x32(src))
    } else {
        load_i8(src)
    }
}

/// Bytes of four taps of a channel side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn interleave(taps: [__m512i; GROUP_ROWS]) -> Column {
    let low = _mm512_unpacklo_epi8(taps[0], taps[1]);
    let high = _mm512_unpackhi_epi8(taps[0], taps[1]);
    let low2 = _mm512_unpacklo_epi8(taps[2], taps[3]);
    let high2 = _mm512_unpackhi_epi8(taps[2], taps[3]);
    [
        _mm512_unpacklo_epi16(low, low2),
        _mm512_unpackhi_epi16(low, low2),
        _mm512_unpacklo_epi16(high, high2),
        _mm512_unpackhi_epi16(high, high2),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn accumulate(sums: &mut Column, column: &Column, weights: &Column) {
    for (sum, (&taps, &weights)) in sums.iter_mut().zip(column.iter().zip(weights)) {
        *sum = _mm512_dpbusd_epi32(*sum, taps, weights);
    }
}
