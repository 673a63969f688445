//! Integer attention and softmax.
//!
//! ```text
//! for each window, each head: pack its keys and its values like weights
//!     for 4 queries: raise them by 128
//!         scores = bias − 128 · Σ keys + raised · keys                        both products: see super::dot_tile
//!         weights = exponential(largest − score), 14 bits, as two rows of bytes
//!         dst = requantize(low bytes · values + 2⁸ · (high bytes · values))
//! ```
//!
//! In scratch: packed keys; packed values; raised queries; a word for each key, −128 · Σ of it; scores of 4 rows; and the
//! bytes of their weights in the place of the other 4 rows of scores. Keys are rounded up to 16; the missing ones are
//! zeros, and so are their weights.

use core::arch::x86_64::*;

use super::super::attention::{Place, Scratch, signed};
use super::dot_tile::{GROUP_BYTES, Rows, dot_tile, raise_row, sum_weights};
use super::elementwise_s8::widen;
use super::exponential::{Exponential, add_words};
use super::memory::{
    load_i8, load_i8x16, load_i32, mask16, mask32, store_i8, store_i8x16, store_i8x32, store_i32,
};
use super::requantize::{Channels, Outputs8};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS};
use crate::kernel::softmax::{normalized_quotient, row_multiplier};
use crate::kernel::{AttentionS8, SoftmaxS8, scalar};

/// Queries at once: their weights are 8 rows of bytes.
const ROWS: usize = 4;
/// Sums of weights below this keep every weighted sum of bytes below 2³⁰.
const SMALL_SUM: u32 = 1 << 23;

/// See [`AttentionS8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn attention_s8(mut args: AttentionS8<'_>) {
    let Some(outputs) = Outputs8::new(args.output_zero_point, -128, 127) else {
        return scalar::attention_s8(args);
    };
    let whole = core::mem::take(&mut args.scratch);
    let mut scratch = Scratch::split(whole, args.keys, args.head_width);
    for window in 0..args.windows {
        for head in 0..args.heads.len() {
            let place = Place {
                window,
                number: head,
                start: head * args.head_width,
            };
            let this = Head::pack(&args, outputs, place, &mut scratch);
            for query in (0..args.queries).step_by(ROWS) {
                this.attend(&mut args, query, &mut scratch);
            }
        }
    }
}

/// One head in one window, its keys and values packed.
#[derive(Debug)]
struct Head {
    place: Place,
    exponential: Exponential,
    outputs: Outputs8,
}

impl Head {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn pack(
        args: &AttentionS8<'_>,
        outputs: Outputs8,
        place: Place,
        scratch: &mut Scratch<'_>,
    ) -> Self {
        let groups = args.head_width.div_ceil(GROUP_INPUTS);
        for (block, start) in scratch.starts.chunks_exact_mut(BLOCK_CHANNELS).enumerate() {
            let packed = &mut scratch.keys[block * groups * GROUP_BYTES..][..groups * GROUP_BYTES];
            place.pack_keys(args, block * BLOCK_CHANNELS, packed);
            let sums = _mm512_slli_epi32::<7>(sum_weights(packed, GROUP_BYTES));
            store_i32(start, _mm512_sub_epi32(_mm512_setzero_si512(), sums));
        }
        let groups = args.keys.div_ceil(GROUP_INPUTS);
        for column in (0..args.head_width).step_by(BLOCK_CHANNELS) {
            let packed =
                &mut scratch.values[column * groups * GROUP_INPUTS..][..groups * GROUP_BYTES];
            let row = |key| place.key_row(args, args.v, key);
            pack_values(|key| row(key).map(|row| &row[column..]), packed);
        }
        let scale = &args.heads[place.number];
        Self {
            place,
            exponential: Exponential::new(scale.score_multiplier, scale.score_shift),
            outputs,
        }
    }

    /// The outputs of up to 4 queries.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn attend(&self, args: &mut AttentionS8<'_>, query: usize, scratch: &mut Scratch<'_>) {
        let rows = ROWS.min(args.queries - query);
        let pitch = args.head_width.next_multiple_of(GROUP_INPUTS);
        for (row, raised) in scratch
            .queries
            .chunks_exact_mut(pitch.max(1))
            .enumerate()
            .take(rows)
        {
            raise_row(self.place.query_row(args, query + row), raised);
        }
        score(pitch, scratch);
        let keys_up = scratch.starts.len();
        let mut sums = [0; ROWS];
        for (row, sum) in sums.iter_mut().enumerate().take(rows) {
            let scores = &mut scratch.scores[row * keys_up..][..keys_up];
            let scores_of_keys = &mut scores[..args.keys];
            self.place.add_bias(args, query + row, scores_of_keys);
            let weights = &mut scratch.weights[row * 2 * keys_up..][..2 * keys_up];
            *sum = weigh(
                &self.exponential,
                scores,
                args.seen_keys(query + row),
                weights,
            );
        }
        let factors = sums.map(|sum| {
            let (multiplier, shift) = row_multiplier(&args.heads[self.place.number], sum);
            Channels::uniform(multiplier, shift)
        });
        let factors = Factors {
            rows: factors,
            small: sums.iter().all(|&sum| sum < SMALL_SUM),
        };
        let mut column = 0;
        while column < args.head_width {
            column += BLOCK_CHANNELS
                * match (args.head_width - column).div_ceil(BLOCK_CHANNELS) {
                    1 => self.average::<1>(args, query, column, scratch, &factors),
                    2 | 4 => self.average::<2>(args, query, column, scratch, &factors),
                    _ => self.average::<3>(args, query, column, scratch, &factors),
                };
        }
    }

    /// The weighted means of `B` blocks of columns from `column` on; returns `B`.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn average<const B: usize>(
        &self,
        args: &mut AttentionS8<'_>,
        query: usize,
        column: usize,
        scratch: &Scratch<'_>,
        factors: &Factors,
    ) -> usize {
        let groups = args.keys.div_ceil(GROUP_INPUTS);
        let values = &scratch.values[column * groups * GROUP_INPUTS..];
        let weights = Rows {
            data: scratch.weights,
            pitch: scratch.starts.len(),
        };
        let zero = [_mm512_setzero_si512(); B];
        let ahead = values.as_ptr();
        let sums = dot_tile::<{ 2 * ROWS }, B, false>(
            weights,
            groups,
            values,
            BLOCK_CHANNELS,
            zero,
            ahead,
        );
        let width = args.heads.len() * args.head_width;
        let rows = ROWS.min(args.queries - query);
        for (b, sums) in sums.iter().enumerate() {
            let column = column + b * BLOCK_CHANNELS;
            let bytes = self.outputs.pack_in_order(factors.apply(sums));
            let quarters = [
                _mm512_castsi512_si128(bytes),
                _mm512_extracti32x4_epi32::<1>(bytes),
                _mm512_extracti32x4_epi32::<2>(bytes),
                _mm512_extracti32x4_epi32::<3>(bytes),
            ];
            for (row, quarter) in quarters.into_iter().enumerate().take(rows) {
                let row = self.place.window * args.queries + query + row;
                let len = (args.head_width - column).min(BLOCK_CHANNELS);
                store_i8x16(
                    &mut args.dst[row * width + self.place.start + column..][..len],
                    quarter,
                );
            }
        }
        B
    }
}

/// What divides each row by the sum of its weights and brings it to the scale of the output.
#[derive(Debug)]
struct Factors {
    rows: [Channels; ROWS],
    /// Weighted sums are below 2³⁰.
    small: bool,
}

impl Factors {
    /// Requantises the sums of low and high bytes of each row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn apply(&self, sums: &[__m512i; 2 * ROWS]) -> [__m512i; ROWS] {
        let mut totals = [_mm512_setzero_si512(); ROWS];
        for (total, pair) in totals.iter_mut().zip(sums.chunks_exact(2)) {
            *total = _mm512_add_epi32(pair[0], _mm512_slli_epi32::<8>(pair[1]));
        }
        for (total, factor) in totals.iter_mut().zip(&self.rows) {
            *total = if self.small {
                factor.half_away(*total)
            } else {
                factor.any(*total)
            };
        }
        totals
    }
}

/// Packs up to 16 columns of all keys, `None` for one that is not there: (⌈keys / 4⌉, 16, 4).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn pack_values<'a>(row: impl Fn(usize) -> Option<&'a [i8]>, packed: &mut [i8]) {
    for (group, packed) in packed.chunks_exact_mut(GROUP_BYTES).enumerate() {
        let [a, b, c, d] = core::array::from_fn(|key| match row(group * GROUP_INPUTS + key) {
            Some(row) => load_i8x16(&row[..row.len().min(BLOCK_CHANNELS)]),
            None => _mm_setzero_si128(),
        });
        let (low, high) = (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b));
        let (low2, high2) = (_mm_unpacklo_epi8(c, d), _mm_unpackhi_epi8(c, d));
        store_i8x16(&mut packed[..16], _mm_unpacklo_epi16(low, low2));
        store_i8x16(&mut packed[16..32], _mm_unpackhi_epi16(low, low2));
        store_i8x16(&mut packed[32..48], _mm_unpacklo_epi16(high, high2));
        store_i8x16(&mut packed[48..], _mm_unpackhi_epi16(high, high2));
    }
}

/// The products of the raised queries with all keys.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn score(pitch: usize, scratch: &mut Scratch<'_>) {
    let blocks = scratch.starts.len() / BLOCK_CHANNELS;
    let mut block = 0;
    while block < blocks {
        block += match blocks - block {
            1 => score_blocks::<1>(pitch, block, scratch),
            2 => score_blocks::<2>(pitch, block, scratch),
            3 => score_blocks::<3>(pitch, block, scratch),
            5 => score_blocks::<5>(pitch, block, scratch),
            _ => score_blocks::<4>(pitch, block, scratch),
        };
    }
}

/// [`score`] for `B` blocks of 16 keys from `block` on; returns `B`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn score_blocks<const B: usize>(pitch: usize, block: usize, scratch: &mut Scratch<'_>) -> usize {
    let groups = pitch / GROUP_INPUTS;
    let keys = &scratch.keys[block * groups * GROUP_BYTES..];
    let starts = core::array::from_fn(|b| {
        load_i32(&scratch.starts[(block + b) * BLOCK_CHANNELS..][..BLOCK_CHANNELS])
    });
    let queries = Rows {
        data: scratch.queries,
        pitch,
    };
    let ahead = keys.as_ptr();
    let sums = dot_tile::<ROWS, B, false>(queries, groups, keys, BLOCK_CHANNELS, starts, ahead);
    let keys_up = scratch.starts.len();
    for (b, sums) in sums.into_iter().enumerate() {
        for (row, sums) in sums.into_iter().enumerate() {
            let start = row * keys_up + (block + b) * BLOCK_CHANNELS;
            store_i32(&mut scratch.scores[start..][..BLOCK_CHANNELS], sums);
        }
    }
    B
}

/// Turns the scores of a row, of which `keys` count, into weights; gives their sum.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn weigh(exponential: &Exponential, scores: &[i32], keys: usize, weights: &mut [u8]) -> u32 {
    let mut largest = _mm512_set1_epi32(i32::MIN);
    for scores in scores[..keys].chunks(16) {
        let there = mask16(scores.len());
        largest = _mm512_mask_max_epi32(largest, there, largest, load_i32(scores));
    }
    let largest = _mm512_set1_epi32(_mm512_reduce_max_epi32(largest));
    let mut sums = _mm512_setzero_si512();
    let (low, high) = signed(weights).split_at_mut(scores.len());
    let bytes = low.chunks_mut(32).zip(high.chunks_mut(32));
    for (index, (scores, (low, high))) in scores.chunks(32).zip(bytes).enumerate() {
        let (first, second) = scores.split_at(16);
        let distances = [first, second].map(|scores| _mm512_sub_epi32(largest, load_i32(scores)));
        let there = mask32(keys.saturating_sub(index * 32));
        let words = _mm512_maskz_mov_epi16(there, exponential.weights(distances));
        sums = add_words(sums, words);
        store_i8x32(low, _mm512_cvtepi16_epi8(words));
        store_i8x32(high, _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(words)));
    }
    _mm512_reduce_add_epi32(sums) as u32
}

/// See [`SoftmaxS8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) fn softmax_s8(args: SoftmaxS8<'_>) {
    let exponential = Exponential::new(args.score_multiplier, args.score_shift);
    let Some(outputs) = Outputs8::new(-128, -128, 127) else {
        return scalar::softmax_s8(args);
    };
    let columns = args.columns.max(1);
    let rows = args.src.chunks_exact(columns);
    for (src, dst) in rows.zip(args.dst.chunks_exact_mut(columns)) {
        let largest = src.iter().copied().max().unwrap_or(0);
        let mut sums = _mm512_setzero_si512();
        for src in src.chunks(64) {
            for words in exponentials(&exponential, largest, src) {
                sums = add_words(sums, words);
            }
        }
        // 256 = 2³⁰ · 2^(9 − 31)
        let sum = _mm512_reduce_add_epi32(sums) as u32;
        let (multiplier, shift) = normalized_quotient(1 << 30, 9, sum);
        let quotient = Channels::uniform(multiplier, shift);
        for (src, dst) in src.chunks(64).zip(dst.chunks_mut(64)) {
            let [low, high] = exponentials(&exponential, largest, src);
            let parts = [
                _mm512_castsi512_si256(low),
                _mm512_extracti64x4_epi64::<1>(low),
                _mm512_castsi512_si256(high),
                _mm512_extracti64x4_epi64::<1>(high),
            ];
            let parts = parts.map(|part| quotient.half_away(_mm512_cvtepu16_epi32(part)));
            store_i8(dst, outputs.pack_in_order(parts));
        }
    }
}

/// 2^(−halvings) of up to 64 bytes, zeros beyond them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn exponentials(exponential: &Exponential, largest: i8, src: &[i8]) -> [__m512i; 2] {
    let bytes = load_i8(src);
    let distances =
        widen(bytes).map(|part| _mm512_sub_epi32(_mm512_set1_epi32(largest.into()), part));
    let [a, b, c, d] = distances;
    [
        _mm512_maskz_mov_epi16(mask32(src.len()), exponential.exp2_negative([a, b])),
        _mm512_maskz_mov_epi16(
            mask32(src.len().saturating_sub(32)),
            exponential.exp2_negative([c, d]),
        ),
    ]
}
