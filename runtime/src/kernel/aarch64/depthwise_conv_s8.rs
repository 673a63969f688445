//! Integer depthwise convolution: a dot product sums four taps that stand above each other.
//!
//! Dense windows of 3×3 and 5×5 take 8 channels of two output rows at a time. Bytes of the input rows at one column are
//! interleaved once, into a table on the stack, for every output whose window covers the column:
//!
//! ```text
//! for 8 channels: for 2 output rows: for up to 32 outputs of a row
//!     for each column of the input: table[column] = interleaved bytes of its rows
//!     for each output: sums = bias; for each column of the window: sums[row] += table[column] · weights[row]
//!         dst = requantize(sums)
//! ```
//!
//! The fifth rows of a 5×5 window are interleaved with each other, two columns at a time. Other windows interleave four taps
//! of 16 channels for every output.
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use super::gemm_s8::load_low;
use super::level::Level;
use super::neon::*;
use super::requantize::{Channels, Outputs8, Path, store_high, store_low};
use crate::kernel::{DepthwiseConvS8, scalar};

/// Channels at a time in [`Strip`].
const STRIP: usize = 8;
/// Channels at a time in [`Block`].
const BLOCK: usize = 16;
/// Taps that a dot product sums.
const GROUP_TAPS: usize = 4;
/// Groups of taps that fit the stack; a window with more is left to the scalar kernel.
const MAX_GROUPS: usize = 64;
/// Input rows under two output rows: of 5×5 windows with steps of 2.
const MAX_ROWS: usize = 7;
/// Columns of the widest window of a strip.
const MAX_COLUMNS: usize = 5;
/// Pairs of such columns.
const MAX_PAIRS: usize = 3;
/// Columns of the table: those of 32 outputs with steps of 1, or 16 with steps of 2.
const TABLE_COLUMNS: usize = 36;

/// See [`DepthwiseConvS8`].
pub(super) fn depthwise_conv_s8<L: Level>(level: L, mut args: DepthwiseConvS8<'_>) {
    let requantize = args.requantize;
    let taps = args.window.kernel[0].saturating_mul(args.window.kernel[1]);
    let outputs = Outputs8::new(
        requantize.zero_point,
        requantize.clamp_min,
        requantize.clamp_max,
    );
    let Some(outputs) = outputs.filter(|_| taps.div_ceil(GROUP_TAPS) <= MAX_GROUPS) else {
        return scalar::depthwise_conv_s8(args);
    };
    let path = Path::of(&requantize, [i8::MIN.into(), i8::MAX.into()]);
    let dense =
        args.window.dilation == [1, 1] && args.channels >= STRIP && !args.window.input.contains(&0);
    let kernel = (args.window.kernel, args.window.stride);
    let slide = match kernel {
        ([3, 3], [1, 1]) if dense => Strip::slide::<3, 1, 2>,
        ([3, 3], [2, 2]) if dense => Strip::slide::<3, 2, 4>,
        ([5, 5], [1, 1]) if dense => Strip::slide::<5, 1, 6>,
        ([5, 5], [2, 2]) if dense => Strip::slide::<5, 2, 6>,
        _ => {
            for channel in (0..args.channels).step_by(BLOCK) {
                let block = Block {
                    level,
                    channel,
                    len: (args.channels - channel).min(BLOCK),
                    channels: Channels::new(&requantize, channel),
                    path,
                    outputs,
                };
                block.any_window(&mut args);
            }
            return;
        }
    };
    for channel in (0..args.channels).step_by(STRIP) {
        // The last strip may overlap the one before it: its outputs are written twice.
        let channel = channel.min(args.channels - STRIP);
        let strip = Strip {
            level,
            channel,
            channels: Channels::new(&requantize, channel),
            path,
            outputs,
        };
        slide(&strip, &mut args);
    }
}

/// Four taps of 8 channels, side by side.
type Column = [int8x16_t; 2];

/// 8 channels of two output rows.
#[derive(Clone, Copy, Debug)]
struct Strip<L> {
    level: L,
    channel: usize,
    channels: Channels<2>,
    path: Path,
    outputs: Outputs8,
}

/// What the columns of a window are multiplied with.
#[derive(Clone, Copy)]
struct Weights {
    /// Up to four taps of a column: for the first output row, and for the second where that reads the same bytes, but begins
    /// one row below.
    columns: [[Column; MAX_COLUMNS]; 2],
    /// (2 output rows, pairs of columns): the fifth taps of both columns, and zeros for those of the other output row.
    fifth: [[Column; MAX_PAIRS]; 2],
}

/// Interleaved bytes of one column of the input: up to four taps of the first output row, then of the second where those are
/// other bytes, then the fifth taps of both at this column and the next.
type Seen<const V: usize> = [int8x16_t; V];

/// The input rows under two output rows, from the strip's channels of the first pixel on.
struct Rows<'a> {
    /// Long enough for the last pixel; zero points for a row outside the picture.
    data: [&'a [i8]; MAX_ROWS],
    /// Takes the offset of a pixel to 0 where the row is outside.
    mask: [usize; MAX_ROWS],
}

impl<L: Level> Strip<L> {
    /// Dense windows of `K`×`K` with steps of `S`; `V` vectors for a column.
    #[inline(never)]
    fn slide<const K: usize, const S: usize, const V: usize>(
        &self,
        args: &mut DepthwiseConvS8<'_>,
    ) {
        let [height, width] = args.window.output;
        let mut table = [[vdupq_n_s8(0); V]; TABLE_COLUMNS];
        let tile = (TABLE_COLUMNS - K) / S + 1;
        let weights = self.weights::<K, S>(args);
        let border = [args.input_zero_point; STRIP];
        for y in (0..height).step_by(2) {
            let rows = self.rows::<K, S>(args, &border, y);
            let inside = rows.mask[..K + S].iter().all(|&mask| mask != 0);
            for x in (0..width).step_by(tile) {
                let count = (width - x).min(tile);
                let columns = &mut table[..(count - 1) * S + K];
                if inside {
                    self.fill::<K, S, V, false>(args, &rows, x * S, columns);
                } else {
                    self.fill::<K, S, V, true>(args, &rows, x * S, columns);
                }
                let start = (y * width + x) * args.channels + self.channel;
                let second = if y + 1 < height {
                    width * args.channels
                } else {
                    0
                };
                let dst = Strided {
                    data: &mut args.dst[start..],
                    step: args.channels,
                    second,
                };
                match self.path {
                    Path::Relu => {
                        self.outputs::<K, S, V>(Path::Relu, columns, count, &weights, dst);
                    }
                    Path::HalfUp => {
                        self.outputs::<K, S, V>(Path::HalfUp, columns, count, &weights, dst);
                    }
                    path => self.outputs::<K, S, V>(path, columns, count, &weights, dst),
                }
            }
        }
    }

    /// The input rows under output rows `y` and `y + 1`.
    fn rows<'a, const K: usize, const S: usize>(
        &self,
        args: &DepthwiseConvS8<'a>,
        border: &'a [i8; STRIP],
        y: usize,
    ) -> Rows<'a> {
        let [height, width] = args.window.input;
        let mut mask = [0; MAX_ROWS];
        let data = core::array::from_fn(|row| {
            let row_y = (y * S + row).wrapping_sub(args.window.padding[0]);
            if row_y >= height {
                return &border[..];
            }
            mask[row] = usize::MAX;
            let start = row_y * width * args.channels + self.channel;
            &args.src[start..][..((width - 1) * args.channels + STRIP)]
        });
        Rows { data, mask }
    }

    fn weights<const K: usize, const S: usize>(&self, args: &DepthwiseConvS8<'_>) -> Weights {
        let zero = vdupq_n_s8(0);
        let tap = |y: usize, x: usize| {
            let weights = load_i8x8(&args.weights[(y * K + x) * args.channels + self.channel..]);
            vcombine_s8(weights, weights)
        };
        let mut columns = [[[zero; 2]; MAX_COLUMNS]; 2];
        let mut fifth_taps = [zero; 2 * MAX_PAIRS];
        for x in 0..K {
            let fourth = if K > 3 { tap(3, x) } else { zero };
            columns[0][x] = interleave_low([tap(0, x), tap(1, x), tap(2, x), fourth]);
            columns[1][x] = interleave_low([zero, tap(0, x), tap(1, x), tap(2, x)]);
            if K > GROUP_TAPS {
                fifth_taps[x] = tap(GROUP_TAPS, x);
            }
        }
        let mut fifth = [[[zero; 2]; MAX_PAIRS]; 2];
        for pair in 0..MAX_PAIRS {
            let [first, second] = [fifth_taps[2 * pair], fifth_taps[2 * pair + 1]];
            fifth[0][pair] = interleave_low([first, zero, second, zero]);
            fifth[1][pair] = interleave_low([zero, first, zero, second]);
        }
        Weights { columns, fifth }
    }

    /// Fills the table with the columns from `first` on, counted from the left end of the padding. Without `EDGE` all rows
    /// are inside the picture.
    #[inline(always)]
    fn fill<const K: usize, const S: usize, const V: usize, const EDGE: bool>(
        &self,
        args: &DepthwiseConvS8<'_>,
        rows: &Rows<'_>,
        first: usize,
        table: &mut [Seen<V>],
    ) {
        let (padding, width) = (args.window.padding[1], args.window.input[1]);
        let left = padding.saturating_sub(first).min(table.len());
        let right = (padding + width)
            .saturating_sub(first)
            .clamp(left, table.len());
        let outside = vdupq_n_s8(args.input_zero_point);
        table[..left].fill([outside; V]);
        table[right..].fill([outside; V]);
        let mut at = (first + left).saturating_sub(padding) * args.channels;
        for column in &mut table[left..right] {
            // SAFETY: `at` is the start of a pixel, for which every row inside is long enough (`rows`); without `EDGE` all are.
            *column = unsafe { see::<K, S, V, EDGE>(rows, at) };
            at += args.channels;
        }
        if K > GROUP_TAPS {
            pair_fifth_taps(table);
        }
    }

    /// Writes `count` outputs of two rows, whose windows begin at every `S`th column of the table.
    #[inline(always)]
    fn outputs<const K: usize, const S: usize, const V: usize>(
        &self,
        path: Path,
        table: &[Seen<V>],
        count: usize,
        weights: &Weights,
        dst: Strided<'_>,
    ) {
        let weights = *weights;
        let [low, high] = self.channels.factor;
        assert!(table.len() >= (count - 1) * S + K);
        assert!(dst.data.len() >= dst.second + (count - 1) * dst.step + STRIP);
        for index in 0..count {
            // SAFETY: `index < count`, for whose last window the table is long enough, asserted above.
            let window = unsafe { table.get_unchecked(index * S..index * S + K) };
            let sums = self.sums::<K, S, V>(window, &weights);
            let values = [
                low.apply(path, sums[0][0]),
                high.apply(path, sums[0][1]),
                low.apply(path, sums[1][0]),
                high.apply(path, sums[1][1]),
            ];
            let bytes = self.outputs.pack(path, values);
            let at = index * dst.step;
            // SAFETY: `index < count`, for whose last output `dst` is long enough, asserted above.
            unsafe { store_high(dst.data, dst.second + at, bytes) };
            // SAFETY: as above. Without a second row this is the same place.
            unsafe { store_low(dst.data, at, bytes) };
        }
    }

    /// Sums of both output rows, 8 channels each.
    #[inline(always)]
    fn sums<const K: usize, const S: usize, const V: usize>(
        &self,
        window: &[Seen<V>],
        weights: &Weights,
    ) -> [[int32x4_t; 2]; 2] {
        let mut sums = [self.channels.bias; 2];
        for x in 0..K {
            for output in 0..2 {
                for v in 0..2 {
                    let (taps, weights) = if V > 2 {
                        (window[x][2 * output + v], weights.columns[0][x][v])
                    } else {
                        (window[x][v], weights.columns[output][x][v])
                    };
                    sums[output][v] = self.level.dot(sums[output][v], taps, weights);
                }
            }
        }
        if K > GROUP_TAPS {
            for pair in 0..MAX_PAIRS {
                for output in 0..2 {
                    for v in 0..2 {
                        let taps = window[2 * pair][V - 2 + v];
                        let weights = weights.fifth[output][pair][v];
                        sums[output][v] = self.level.dot(sums[output][v], taps, weights);
                    }
                }
            }
        }
        sums
    }
}

/// Where two rows of outputs go.
struct Strided<'a> {
    /// From the first output on.
    data: &'a mut [i8],
    /// From one output to the next.
    step: usize,
    /// From the first row to the second; 0 where there is none, and the first is written last.
    second: usize,
}

/// Interleaves a column; the fifth taps of both output rows, not yet those of the next column, are last but one.
///
/// # Safety
/// Every row has 8 bytes from `at` on, or, with `EDGE`, has a mask of 0 and 8 bytes.
#[inline(always)]
unsafe fn see<const K: usize, const S: usize, const V: usize, const EDGE: bool>(
    rows: &Rows<'_>,
    at: usize,
) -> Seen<V> {
    let row = |index: usize| {
        let at = if EDGE { at & rows.mask[index] } else { at };
        // SAFETY: the caller vouches for 8 bytes.
        unsafe { load_low(rows.data[index], at) }
    };
    let zero = vdupq_n_s8(0);
    let mut seen = [zero; V];
    // Four rows serve both outputs of a 3×3 window when the second begins one row below the first.
    let fourth = if K == 3 && S == 2 { zero } else { row(3) };
    seen[..2].copy_from_slice(&interleave_low([row(0), row(1), row(2), fourth]));
    if V > 2 {
        let fourth = if K == 3 { zero } else { row(S + 3) };
        seen[2..4].copy_from_slice(&interleave_low([row(S), row(S + 1), row(S + 2), fourth]));
    }
    if K > GROUP_TAPS {
        seen[V - 2] = vzip1q_s8(row(4), row(S + 4));
    }
    seen
}

/// Completes the fifth taps of each column with those of the next; behind the last one the weights are 0.
#[inline(always)]
fn pair_fifth_taps<const V: usize>(table: &mut [Seen<V>]) {
    let mut next = vdupq_n_s16(0);
    for column in table.iter_mut().rev() {
        let taps = vreinterpretq_s16_s8(column[V - 2]);
        column[V - 2] = vreinterpretq_s8_s16(vzip1q_s16(taps, next));
        column[V - 1] = vreinterpretq_s8_s16(vzip2q_s16(taps, next));
        next = taps;
    }
}

/// Bytes of four taps of a channel side by side, of 8 channels in the low halves.
#[inline(always)]
fn interleave_low([a, b, c, d]: [int8x16_t; GROUP_TAPS]) -> Column {
    let [first, second] = [vzip1q_s8(a, b), vzip1q_s8(c, d)].map(vreinterpretq_s16_s8);
    [vzip1q_s16(first, second), vzip2q_s16(first, second)].map(vreinterpretq_s8_s16)
}

/// Up to 16 channels, ready to be convolved with any window.
#[derive(Clone, Copy, Debug)]
struct Block<L> {
    level: L,
    channel: usize,
    len: usize,
    channels: Channels<4>,
    path: Path,
    outputs: Outputs8,
}

impl<L: Level> Block<L> {
    /// Windows of every kind, each output on its own.
    #[inline(never)]
    fn any_window(&self, args: &mut DepthwiseConvS8<'_>) {
        let [height, width] = args.window.kernel;
        let taps = height * width;
        let groups = taps.div_ceil(GROUP_TAPS);
        let zero = vdupq_n_s8(0);
        let mut weights = [[zero; 4]; MAX_GROUPS];
        for (group, weights) in weights[..groups].iter_mut().enumerate() {
            *weights = interleave(core::array::from_fn(|tap| {
                let tap = group * GROUP_TAPS + tap;
                if tap < taps {
                    let start = tap * args.channels + self.channel;
                    load_up_to_i8x16(&args.weights[start..][..self.len])
                } else {
                    zero
                }
            }));
        }
        let outside = vdupq_n_s8(args.input_zero_point);
        for y in 0..args.window.output[0] {
            for x in 0..args.window.output[1] {
                let mut sums = self.channels.bias;
                for (group, weights) in weights[..groups].iter().enumerate() {
                    let column = interleave(core::array::from_fn(|tap| {
                        let tap = group * GROUP_TAPS + tap;
                        match args.window.pixel([y, x], [tap / width, tap % width]) {
                            Some(pixel) if tap < taps => {
                                let start = pixel * args.channels + self.channel;
                                load_up_to_i8x16(&args.src[start..][..self.len])
                            }
                            _ => outside,
                        }
                    }));
                    for v in 0..4 {
                        sums[v] = self.level.dot(sums[v], column[v], weights[v]);
                    }
                }
                let pixel = y * args.window.output[1] + x;
                let dst = &mut args.dst[pixel * args.channels + self.channel..][..self.len];
                store_up_to_i8x16(dst, self.finish(sums));
            }
        }
    }

    /// Outputs of the sums.
    #[inline(always)]
    fn finish(&self, sums: [int32x4_t; 4]) -> int8x16_t {
        let values = core::array::from_fn(|v| self.channels.factor[v].apply(self.path, sums[v]));
        self.outputs.pack(self.path, values)
    }
}

/// Bytes of four taps of a channel side by side: vector `v` holds channels `4v..4v + 4`.
#[inline(always)]
pub(super) fn interleave([a, b, c, d]: [int8x16_t; GROUP_TAPS]) -> [int8x16_t; 4] {
    let high = [vzip2q_s8(a, b), vzip2q_s8(c, d)].map(vreinterpretq_s16_s8);
    let [low, middle] = interleave_low([a, b, c, d]);
    [
        low,
        middle,
        vreinterpretq_s8_s16(vzip1q_s16(high[0], high[1])),
        vreinterpretq_s8_s16(vzip2q_s16(high[0], high[1])),
    ]
}
