//! Integer attention and softmax: products by byte dot products, exponentials of [`crate::kernel::softmax`] 8 at a time.
//!
//! ```text
//! for each window, for each head
//!     lay out keys as weights of a product (n = keys, k = head_width), values as weights (n = head_width, k = keys)
//!     for 4 queries: scores = queries · keys + bias
//!         e = 2^−(largest − score), as two limbs of 7 bits
//!         dst = (limbs₁ · values · 128 + limbs₀ · values) / Σ e
//! ```
//!
//! Both products are tiles of [`super::gemm_s8`] or, with `smmla`, of [`super::matmul_s8`], with keys and head rounded up to 16.
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use super::depthwise_conv_s8::interleave;
use super::gemm_s8::dot_tile;
use super::level::Level;
use super::neon::*;
use super::requantize::{Factor, Outputs8, Path, Write, store_low};
use super::{Dotprod, I8mm, Neon};
use crate::kernel::softmax::{EXP2_COEFFICIENTS, ScoreScale, normalized_quotient, row_multiplier};
use crate::kernel::transformer::MAX_KEYS;
use crate::kernel::{AttentionS8, ScoreBias, SoftmaxS8, attention_s8_scratch_bytes, scalar};

/// Queries at a time.
const ROWS: usize = 4;
/// Channels of a block of weights.
const BLOCK: usize = 16;
/// Keys or inputs that stand together.
const GROUP: usize = 4;
/// Bytes of a group of a block.
const GROUP_BYTES: usize = BLOCK * GROUP;
/// Bits of the lower limb of a weight.
const LIMB_BITS: u32 = 7;

/// See [`AttentionS8`].
pub(super) fn attention_s8<L: Products>(level: L, mut args: AttentionS8<'_>) {
    let (keys, head_width) = (args.keys, args.head_width);
    let outputs = Outputs8::new(args.output_zero_point, -128, 127);
    let bytes = attention_s8_scratch_bytes(keys, head_width);
    let sound = (1..=MAX_KEYS).contains(&keys)
        && head_width > 0
        && bytes.is_some_and(|bytes| bytes <= args.scratch.len() * 4);
    let Some(outputs) = outputs.filter(|_| sound) else {
        return scalar::attention_s8(args);
    };
    let head = Head {
        level,
        keys,
        keys_up: keys.next_multiple_of(BLOCK),
        width_up: head_width.next_multiple_of(BLOCK),
        outputs,
    };
    let scratch = core::mem::take(&mut args.scratch);
    let mut buffers = head.buffers(scratch);
    for window in 0..args.windows {
        for number in 0..args.heads.len() {
            head.pack_keys(&args, window, number, buffers.keys);
            head.pack_values(&args, window, number, buffers.values);
            for query in (0..args.queries).step_by(ROWS) {
                let count = (args.queries - query).min(ROWS);
                head.queries(
                    &mut args,
                    &mut buffers,
                    window,
                    number,
                    query..query + count,
                );
            }
        }
    }
}

/// The two products, and how their operands lie: rows of inputs, and blocks of 16 keys or channels of values.
pub(super) trait Products: Level {
    /// Where 8 inputs of a row from `input` on lie, of `rows` rows of so many inputs.
    fn row_at(rows: [usize; 2], row: usize, input: usize) -> usize;

    /// Lays out 16 inputs from `input` on of four keys from `key` on, in a block of keys.
    fn pack_keys(rows: [int8x16_t; GROUP], block: &mut [i8], key: usize, input: usize);

    /// Lays out 16 channels of eight keys from `key` on, a block of values.
    fn pack_values(rows: [int8x16_t; 2 * GROUP], block: &mut [i8], key: usize);

    /// Queries times a block of keys.
    fn scores(self, queries: &[i8], keys: &[i8]) -> [[int32x4_t; 4]; ROWS];

    /// Weights, as limbs, times a block of values.
    fn values(self, limbs: &[i8], values: &[i8]) -> [[int32x4_t; 4]; ROWS];
}

/// Rows as they are, blocks in groups of four inputs: layout `generic`.
macro_rules! dot_products {
    ($level:ty) => {
        impl Products for $level {
            #[inline(always)]
            fn row_at([_, width]: [usize; 2], row: usize, input: usize) -> usize {
                row * width + input
            }

            #[inline(always)]
            fn pack_keys(rows: [int8x16_t; GROUP], block: &mut [i8], key: usize, input: usize) {
                let groups = transpose(rows.map(vreinterpretq_s32_s8));
                for (index, group) in groups.into_iter().enumerate() {
                    let at = (input / GROUP + index) * GROUP_BYTES + key * GROUP;
                    store_i8x16(&mut block[at..], vreinterpretq_s8_s32(group));
                }
            }

            #[inline(always)]
            fn pack_values([a, b, c, d, e, f, g, h]: [int8x16_t; 8], block: &mut [i8], key: usize) {
                let groups = [interleave([a, b, c, d]), interleave([e, f, g, h])];
                let block = block[key * BLOCK..].chunks_exact_mut(16);
                for (block, &bytes) in block.zip(groups.as_flattened()) {
                    store_i8x16(block, bytes);
                }
            }

            #[inline(always)]
            fn scores(self, queries: &[i8], keys: &[i8]) -> [[int32x4_t; 4]; ROWS] {
                let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
                dot_tile::<_, ROWS, 4>(self, queries, keys, &mut sums);
                sums
            }

            #[inline(always)]
            fn values(self, limbs: &[i8], values: &[i8]) -> [[int32x4_t; 4]; ROWS] {
                let (high, low) = limbs.split_at(limbs.len() / 2);
                let mut sums = self.scores(high, values);
                for sum in sums.as_flattened_mut() {
                    *sum = vshlq_s32(*sum, vdupq_n_s32(LIMB_BITS as i32));
                }
                dot_tile::<_, ROWS, 4>(self, low, values, &mut sums);
                sums
            }
        }
    };
}

dot_products!(&Neon);
dot_products!(&Dotprod);

/// Pairs of rows and halves of blocks in groups of eight inputs: layout `aarch64`.
impl Products for &I8mm {
    #[inline(always)]
    fn row_at([rows, _]: [usize; 2], row: usize, input: usize) -> usize {
        input * rows + row * 8
    }

    #[inline(always)]
    fn pack_keys(rows: [int8x16_t; GROUP], block: &mut [i8], key: usize, input: usize) {
        let half = block.len() / 2;
        let [a, b, c, d] = rows.map(vreinterpretq_s64_s8);
        let groups = [
            [vzip1q_s64(a, b), vzip1q_s64(c, d)],
            [vzip2q_s64(a, b), vzip2q_s64(c, d)],
        ];
        for (index, group) in groups.into_iter().enumerate() {
            let at = key / 8 * half + (input + 8 * index) * 8 + key % 8 * 8;
            let [low, high] = group.map(vreinterpretq_s8_s64);
            store_i8x16(&mut block[at..], low);
            store_i8x16(&mut block[at + 16..], high);
        }
    }

    #[inline(always)]
    fn pack_values([a, b, c, d, e, f, g, h]: [int8x16_t; 8], block: &mut [i8], key: usize) {
        let halves = block.split_at_mut(block.len() / 2);
        let low = interleave([a, b, c, d]).map(vreinterpretq_s32_s8);
        let high = interleave([e, f, g, h]).map(vreinterpretq_s32_s8);
        for (v, (low, high)) in low.into_iter().zip(high).enumerate() {
            let half = if v < 2 {
                &mut *halves.0
            } else {
                &mut *halves.1
            };
            let half = &mut half[key * 8 + v % 2 * 32..];
            store_i8x16(half, vreinterpretq_s8_s32(vzip1q_s32(low, high)));
            store_i8x16(&mut half[16..], vreinterpretq_s8_s32(vzip2q_s32(low, high)));
        }
    }

    #[inline(always)]
    fn scores(self, queries: &[i8], keys: &[i8]) -> [[int32x4_t; 4]; ROWS] {
        let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
        for (half, keys) in keys.chunks_exact(keys.len() / 2).enumerate() {
            put_half(&mut sums, half, matmul::<2>(self, queries, keys));
        }
        sums
    }

    #[inline(always)]
    fn values(self, limbs: &[i8], values: &[i8]) -> [[int32x4_t; 4]; ROWS] {
        let shift = vdupq_n_s32(LIMB_BITS as i32);
        let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
        for (half, values) in values.chunks_exact(values.len() / 2).enumerate() {
            let tile = matmul::<4>(self, limbs, values);
            let mut pairs = [tile[2], tile[3]];
            for p in 0..2 {
                for q in 0..4 {
                    pairs[p][q] = vaddq_s32(pairs[p][q], vshlq_s32(tile[p][q], shift));
                }
            }
            put_half(&mut sums, half, pairs);
        }
        sums
    }
}

/// `P` pairs of rows times 8 keys or channels.
#[inline(always)]
fn matmul<const P: usize>(level: &I8mm, rows: &[i8], block: &[i8]) -> [[int32x4_t; 4]; P] {
    let groups = block.len() / 64;
    assert!(rows.len() >= groups * P * 16);
    // SAFETY: The rows have 16 · `P` bytes for each group, asserted above, and the block 64.
    unsafe { level.matmul_tile::<P>(&[0; 8], rows.as_ptr(), block.as_ptr(), groups) }
}

/// Puts 8 columns of pairs of rows, each vector two rows by two columns, to where they belong in rows of 16.
#[inline(always)]
fn put_half(sums: &mut [[int32x4_t; 4]; ROWS], half: usize, pairs: [[int32x4_t; 4]; 2]) {
    for (p, pair) in pairs.into_iter().enumerate() {
        let [a, b, c, d] = pair.map(vreinterpretq_s64_s32);
        let columns = [[a, b], [c, d]];
        for (v, [low, high]) in columns.into_iter().enumerate() {
            sums[2 * p][2 * half + v] = vreinterpretq_s32_s64(vzip1q_s64(low, high));
            sums[2 * p + 1][2 * half + v] = vreinterpretq_s32_s64(vzip2q_s64(low, high));
        }
    }
}

/// The sizes that all heads share.
struct Head<L> {
    level: L,
    keys: usize,
    /// Rounded up to [`BLOCK`].
    keys_up: usize,
    /// Rounded up to [`BLOCK`].
    width_up: usize,
    outputs: Outputs8,
}

/// The scratch of one head.
struct Buffers<'a> {
    /// (keys / 16, head_width, 16), a block of keys as [`Products`] wants them.
    keys: &'a mut [i8],
    /// (head_width / 16, keys, 16), the same.
    values: &'a mut [i8],
    /// Four rows of head_width, as [`Products`] wants them.
    queries: &'a mut [i8],
    /// (4, keys)
    scores: &'a mut [i32],
    /// Eight rows of keys, the same: upper limbs of four queries, then lower ones.
    limbs: &'a mut [i8],
}

impl<L: Products> Head<L> {
    /// Cuts up scratch of [`attention_s8_scratch_bytes`].
    fn buffers<'a>(&self, scratch: &'a mut [i32]) -> Buffers<'a> {
        let packed = self.keys_up * self.width_up / 4;
        let (keys, rest) = scratch.split_at_mut(packed);
        let (values, rest) = rest.split_at_mut(packed);
        let (queries, rest) = rest.split_at_mut(ROWS * self.width_up / 4);
        let (scores, rest) = rest.split_at_mut(ROWS * self.keys_up);
        let limbs = &mut rest[..2 * ROWS * self.keys_up / 4];
        Buffers {
            keys: as_i8(keys),
            values: as_i8(values),
            queries: as_i8(queries),
            scores,
            limbs: as_i8(limbs),
        }
    }

    /// Lays out the keys of a head; zeros for those beyond the last and for inputs beyond the width.
    fn pack_keys(&self, args: &AttentionS8<'_>, window: usize, number: usize, packed: &mut [i8]) {
        let zero = vdupq_n_s8(0);
        let block_bytes = self.width_up * BLOCK;
        for key in (0..self.keys_up).step_by(GROUP) {
            let block = &mut packed[key / BLOCK * block_bytes..][..block_bytes];
            for start in (0..self.width_up).step_by(BLOCK) {
                let mut rows = [zero; GROUP];
                for (index, row) in rows.iter_mut().enumerate() {
                    let key = key + index;
                    if key < self.keys {
                        let all = number * args.head_width;
                        let all = args.k.row(window * self.keys + key, all, args.head_width);
                        *row = load_up_to_i8x16(&all[start..]);
                    }
                }
                L::pack_keys(rows, block, key % BLOCK, start);
            }
        }
    }

    /// Lays out the values of a head, as [`Self::pack_keys`].
    fn pack_values(&self, args: &AttentionS8<'_>, window: usize, number: usize, packed: &mut [i8]) {
        let block_bytes = self.keys_up * BLOCK;
        for key in (0..self.keys_up).step_by(2 * GROUP) {
            for start in (0..args.head_width).step_by(BLOCK) {
                let mut rows = [vdupq_n_s8(0); 2 * GROUP];
                for (index, row) in rows.iter_mut().enumerate() {
                    let key = key + index;
                    if key < self.keys {
                        let all = number * args.head_width;
                        let all = args.v.row(window * self.keys + key, all, args.head_width);
                        *row = load_up_to_i8x16(&all[start..]);
                    }
                }
                let block = &mut packed[start / BLOCK * block_bytes..][..block_bytes];
                L::pack_values(rows, block, key);
            }
        }
    }

    /// Up to four queries of a head.
    fn queries(
        &self,
        args: &mut AttentionS8<'_>,
        buffers: &mut Buffers<'_>,
        window: usize,
        number: usize,
        queries: core::ops::Range<usize>,
    ) {
        let start = number * args.head_width;
        for index in 0..ROWS {
            // Missing queries repeat the last one.
            let query = (queries.start + index).min(queries.end - 1);
            let row = window * args.queries + query;
            let row = args.q.row(row, start, args.head_width);
            for first in (0..self.width_up).step_by(8) {
                let bytes = load_up_to_i8x8(row.get(first..).unwrap_or_default());
                let at = L::row_at([ROWS, self.width_up], index, first);
                store_i8x8(&mut buffers.queries[at..], bytes);
            }
        }
        self.scores(args, buffers, number, queries.clone());
        // Missing queries see what the last one sees.
        let seen = |index: usize| args.seen_keys((queries.start + index).min(queries.end - 1));
        let head = &args.heads[number];
        let scale = ScoreScale::new(head.score_multiplier, head.score_shift);
        let mut factors = [Factor::uniform(0, 0); ROWS];
        let scores = buffers.scores.chunks_exact(self.keys_up);
        for (row, (scores, factor)) in scores.zip(&mut factors).enumerate() {
            let sum = weights::<L>(scores, seen(row), &scale, row, buffers.limbs);
            let (multiplier, shift) = row_multiplier(head, sum);
            *factor = Factor::uniform(multiplier, shift);
        }
        let row = window * args.queries + queries.start;
        self.outputs(args, buffers, &factors, [row, queries.len(), start]);
    }

    /// Scores of four queries and all keys; those of keys that a query does not see repeat its first one.
    #[inline(never)]
    fn scores(
        &self,
        args: &AttentionS8<'_>,
        buffers: &mut Buffers<'_>,
        number: usize,
        queries: core::ops::Range<usize>,
    ) {
        let block_bytes = self.width_up * BLOCK;
        let (low, high) = buffers.scores.split_at_mut(2 * self.keys_up);
        let (low, high) = (
            low.split_at_mut(self.keys_up),
            high.split_at_mut(self.keys_up),
        );
        let mut rows =
            [low.0, low.1, high.0, high.1].map(|scores| scores.as_chunks_mut::<BLOCK>().0);
        for (block, packed) in buffers.keys.chunks_exact(block_bytes).enumerate() {
            let mut sums = self.level.scores(buffers.queries, packed);
            if !matches!(args.bias, ScoreBias::None) {
                let biases = self.biases(args, number, &queries, block * BLOCK);
                for (sum, &bias) in sums
                    .as_flattened_mut()
                    .iter_mut()
                    .zip(biases.as_flattened())
                {
                    *sum = vaddq_s32(*sum, bias);
                }
            }
            for (scores, sums) in rows.iter_mut().zip(sums) {
                let scores = scores[block].as_chunks_mut().0;
                for (scores, sum) in scores.iter_mut().zip(sums) {
                    let scores: &mut [i32; 4] = scores;
                    store_i32x4(scores, sum);
                }
            }
        }
        let rows = buffers.scores.chunks_exact_mut(self.keys_up);
        for (index, scores) in rows.enumerate() {
            let query = (queries.start + index).min(queries.end - 1);
            let first = scores[0];
            scores[args.seen_keys(query)..].fill(first);
        }
    }

    /// What is added to the scores of four queries and the keys from `first` on.
    #[inline(never)]
    fn biases(
        &self,
        args: &AttentionS8<'_>,
        number: usize,
        queries: &core::ops::Range<usize>,
        first: usize,
    ) -> [[int32x4_t; 4]; ROWS] {
        let sizes = [args.queries, self.keys];
        core::array::from_fn(|index| {
            let query = (queries.start + index).min(queries.end - 1);
            let mut biases = [0; BLOCK];
            for (key, bias) in (first..self.keys).zip(&mut biases) {
                *bias = args.bias.at(number, query, key, sizes) << args.bias_shift;
            }
            core::array::from_fn(|v| load_i32x4(&biases[4 * v..]))
        })
    }

    /// Weighted sums of the values, requantised: `count` rows from `row` on, columns from `start` on.
    #[inline(never)]
    fn outputs(
        &self,
        args: &mut AttentionS8<'_>,
        buffers: &Buffers<'_>,
        factors: &[Factor; ROWS],
        [row, count, start]: [usize; 3],
    ) {
        let pitch = args.heads.len() * args.head_width;
        let block_bytes = self.keys_up * BLOCK;
        for (block, packed) in buffers.values.chunks_exact(block_bytes).enumerate() {
            let sums = self.level.values(buffers.limbs, packed);
            let first = block * BLOCK;
            let width = (args.head_width - first).min(BLOCK);
            for (index, (sums, factor)) in sums.iter().zip(factors).take(count).enumerate() {
                let values = sums.map(|sum| factor.apply(Path::Any, sum));
                let at = (row + index) * pitch + start + first;
                store_up_to_i8x16(
                    &mut args.dst[at..][..width],
                    self.outputs.pack(Path::Any, values),
                );
            }
        }
    }
}

/// Weights of the scores of row `row` as two limbs, zeros beyond the last of `keys`; gives their sum.
#[inline(never)]
fn weights<L: Products>(
    scores: &[i32],
    keys: usize,
    scale: &ScoreScale,
    row: usize,
    limbs: &mut [i8],
) -> u32 {
    let mut largest = vdupq_n_s32(i32::MIN);
    for scores in scores.chunks_exact(4) {
        largest = vmaxq_s32(largest, load_i32x4(scores));
    }
    let largest = vdupq_n_s32(vmaxvq_s32(largest));
    let exponential = Exponential::new(scale);
    let limb = vdupq_n_s16((1 << LIMB_BITS) - 1);
    let mut sum = vdupq_n_s32(0);
    let rows = [2 * ROWS, scores.len()];
    let [high, low] = [row, ROWS + row].map(|row| L::row_at(rows, row, 0));
    let (step, count) = (L::row_at(rows, 0, 8), scores.len() / 8);
    assert!(high.max(low) + count * step + 8 <= limbs.len() + step);
    for (index, scores) in scores.chunks_exact(8).enumerate() {
        let distances = [scores, &scores[4..]].map(|scores| vsubq_s32(largest, load_i32x4(scores)));
        // (e + 1) >> 1
        let mut weights = vrshlq_s16(exponential.of(distances), vdupq_n_s16(-1));
        if 8 * index + 8 > keys {
            weights = first_of(weights, keys.saturating_sub(8 * index));
        }
        sum = vpadalq_s16(sum, weights);
        let upper = vshlq_s16(weights, vdupq_n_s16(-(LIMB_BITS as i16)));
        let [upper, lower] = [upper, vandq_s16(weights, limb)].map(|limb| {
            let bytes = vmovn_s16(limb);
            vcombine_s8(bytes, bytes)
        });
        // SAFETY: `index < count`, for which both rows have 8 bytes, asserted above.
        unsafe { store_low(limbs, high + index * step, upper) };
        // SAFETY: as above.
        unsafe { store_low(limbs, low + index * step, lower) };
    }
    vaddvq_s32(sum) as u32
}

/// The first `count` of 8 words, then zeros.
fn first_of(words: int16x8_t, count: usize) -> int16x8_t {
    let mut lanes = [0; 8];
    store_i16x8(&mut lanes, words);
    lanes[count..].fill(0);
    load_i16x8(&lanes)
}

/// 32766 · 2^(−halvings) of distances from the largest score, 8 at a time, to the bit [`crate::kernel::softmax`].
#[derive(Clone, Copy)]
struct Exponential {
    limit: int32x4_t,
    /// Right where negative.
    shift: int32x4_t,
    multiplier: u16,
}

impl Exponential {
    fn new(scale: &ScoreScale) -> Self {
        Self {
            limit: vdupq_n_s32(scale.limit),
            shift: vdupq_n_s32(scale.left as i32 - scale.right as i32),
            multiplier: scale.multiplier as u16,
        }
    }

    #[inline(always)]
    fn of(&self, distances: [int32x4_t; 2]) -> int16x8_t {
        let [low, high] = distances.map(|distance| {
            let limited = vreinterpretq_u32_s32(vminq_s32(distance, self.limit));
            vshlq_u32(limited, self.shift)
        });
        // Narrowing limits to 16 bits.
        let shifted = vqmovn_high_u32(vqmovn_u32(low), high);
        let multiplier = vdupq_n_u16(self.multiplier);
        let low = vmull_u16(vget_low_u16(shifted), vget_low_u16(multiplier));
        let high = vmull_high_u16(shifted, multiplier);
        let halvings = vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
        let whole = vreinterpretq_s16_u16(vshlq_u16(halvings, vdupq_n_s16(-11)));
        let fraction = vandq_s16(vreinterpretq_s16_u16(halvings), vdupq_n_s16(0x7FF));
        let fraction = vshlq_s16(fraction, vdupq_n_s16(4));
        let [c0, c1, c2, c3] = EXP2_COEFFICIENTS.map(vdupq_n_s16);
        let inner = vsubq_s16(c2, vqrdmulhq_s16(c3, fraction));
        let middle = vsubq_s16(c1, vqrdmulhq_s16(inner, fraction));
        let mantissa = vsubq_s16(c0, vqrdmulhq_s16(middle, fraction));
        vshlq_s16(mantissa, vnegq_s16(whole))
    }
}

/// See [`SoftmaxS8`].
pub(super) fn softmax_s8<L: Level>(_: L, args: SoftmaxS8<'_>) {
    let columns = args.columns.max(1);
    let scale = ScoreScale::new(args.score_multiplier, args.score_shift);
    let exponential = Exponential::new(&scale);
    let Some(outputs) = Outputs8::new(-128, -128, 127) else {
        return scalar::softmax_s8(args);
    };
    let rows = args.src.chunks_exact(columns);
    for (src, dst) in rows.zip(args.dst.chunks_exact_mut(columns)) {
        let largest = src
            .iter()
            .fold(i8::MIN, |largest, &value| largest.max(value));
        let largest = vdupq_n_s32(largest.into());
        let of = |src: &[i8]| {
            let words = vmovl_s8(load_up_to_i8x8(src));
            let values = [vmovl_s16(vget_low_s16(words)), vmovl_high_s16(words)];
            exponential.of(values.map(|value| vsubq_s32(largest, value)))
        };
        let mut sum = vdupq_n_s32(0);
        for src in src.chunks(8) {
            let exponentials = of(src);
            sum = vpadalq_s16(
                sum,
                if src.len() < 8 {
                    first_of(exponentials, src.len())
                } else {
                    exponentials
                },
            );
        }
        // 256 = 2³⁰ · 2^(9 − 31)
        let (multiplier, shift) = normalized_quotient(1 << 30, 9, vaddvq_s32(sum) as u32);
        let factor = Factor::uniform(multiplier, shift);
        for (dst, src) in dst.chunks_mut(8).zip(src.chunks(8)) {
            let words = of(src);
            let values = [vmovl_s16(vget_low_s16(words)), vmovl_high_s16(words)];
            outputs.write_eight(values.map(|value| factor.apply(Path::Any, value)), dst);
        }
    }
}

/// Rows and columns of four by four words change places.
#[inline(always)]
fn transpose([a, b, c, d]: [int32x4_t; 4]) -> [int32x4_t; 4] {
    let [low, high] = [
        [vzip1q_s32(a, c), vzip1q_s32(b, d)],
        [vzip2q_s32(a, c), vzip2q_s32(b, d)],
    ];
    [
        vzip1q_s32(low[0], low[1]),
        vzip2q_s32(low[0], low[1]),
        vzip1q_s32(high[0], high[1]),
        vzip2q_s32(high[0], high[1]),
    ]
}

/// Words as bytes.
fn as_i8(words: &mut [i32]) -> &mut [i8] {
    // SAFETY: Every byte of an i32 is an i8, which has no alignment, and the borrow is handed on.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 4) }
}
