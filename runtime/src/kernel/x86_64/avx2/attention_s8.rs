//! Integer attention and softmax.
//!
//! ```text
//! for each window, each head: pack its keys and its values like weights
//!     for 2 queries, widened to 16 bits: scores = queries · keys + bias       both products: see super::gemm_s8
//!         weights = exponential(largest − score), 14 bits of 16
//!         dst = requantize(weights · values)
//! ```

use core::arch::x86_64::*;

use super::super::attention::{Place, Scratch};
use super::exponential::Exponential;
use super::gemm_s8::{ROWS, dot_tile, widen};
use super::memory::{first_words, load_i8x16, load_i32x8, store_i8x16, store_i32x8};
use super::requantize::{Channels, Outputs, sum_lanes};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS};
use crate::kernel::softmax::{normalized_quotient, row_multiplier};
use crate::kernel::{AttentionS8, SoftmaxS8, scalar};

/// Bytes of a block of 16 by 4.
const GROUP_BYTES: usize = BLOCK_CHANNELS * GROUP_INPUTS;

/// See [`AttentionS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn attention_s8(mut args: AttentionS8<'_>) {
    let Some(outputs) = Outputs::new(args.output_zero_point, [-128, 127], [-128, 127]) else {
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
    outputs: Outputs,
}

impl Head {
    #[target_feature(enable = "avx2")]
    fn pack(
        args: &AttentionS8<'_>,
        outputs: Outputs,
        place: Place,
        scratch: &mut Scratch<'_>,
    ) -> Self {
        let block_bytes = args.head_width.div_ceil(GROUP_INPUTS) * GROUP_BYTES;
        let blocks = scratch.keys.chunks_exact_mut(block_bytes.max(1));
        for (block, packed) in blocks.enumerate().take(args.keys.div_ceil(BLOCK_CHANNELS)) {
            place.pack_keys(args, block * BLOCK_CHANNELS, packed);
        }
        let block_bytes = args.keys.div_ceil(GROUP_INPUTS) * GROUP_BYTES;
        for column in (0..args.head_width).step_by(BLOCK_CHANNELS) {
            let packed = &mut scratch.values[column / BLOCK_CHANNELS * block_bytes..];
            let row = |key| place.key_row(args, args.v, key);
            pack_values(
                |key| row(key).map(|row| &row[column..]),
                &mut packed[..block_bytes],
            );
        }
        let scale = &args.heads[place.number];
        Self {
            place,
            exponential: Exponential::new(scale.score_multiplier, scale.score_shift),
            outputs,
        }
    }

    /// The outputs of up to 2 queries.
    #[target_feature(enable = "avx2")]
    fn attend(&self, args: &mut AttentionS8<'_>, query: usize, scratch: &mut Scratch<'_>) {
        let rows = ROWS.min(args.queries - query);
        let keys_up = args.keys.next_multiple_of(BLOCK_CHANNELS);
        let wide_bytes = 2 * args.head_width.next_multiple_of(GROUP_INPUTS);
        let wide = scratch.queries.chunks_exact_mut(wide_bytes.max(1));
        for (row, wide) in wide.enumerate().take(rows) {
            widen(self.place.query_row(args, query + row), wide);
        }
        score(wide_bytes, scratch);
        let mut factors = [Channels::uniform(0, 0); ROWS];
        for (row, factor) in factors.iter_mut().enumerate().take(rows) {
            let scores = &mut scratch.scores[row * keys_up..][..keys_up];
            let scores_of_keys = &mut scores[..args.keys];
            self.place.add_bias(args, query + row, scores_of_keys);
            let weights = &mut scratch.weights[row * 2 * keys_up..][..2 * keys_up];
            let sum = weigh(
                &self.exponential,
                scores,
                args.seen_keys(query + row),
                weights,
            );
            let (multiplier, shift) = row_multiplier(&args.heads[self.place.number], sum);
            *factor = Channels::uniform(multiplier, shift);
        }
        self.average(args, query, scratch, &factors[..rows]);
    }

    /// The weighted means of a head's columns, divided by the sums of the weights.
    #[target_feature(enable = "avx2")]
    fn average(
        &self,
        args: &mut AttentionS8<'_>,
        query: usize,
        scratch: &Scratch<'_>,
        factors: &[Channels],
    ) {
        let groups = args.keys.div_ceil(GROUP_INPUTS);
        let row_bytes = 2 * args.keys.next_multiple_of(BLOCK_CHANNELS);
        let (first, second) = scratch.weights.split_at(row_bytes);
        let weights = [first, &second[..row_bytes]];
        let width = args.heads.len() * args.head_width;
        for column in (0..args.head_width).step_by(BLOCK_CHANNELS) {
            let start = column / BLOCK_CHANNELS * groups * GROUP_BYTES;
            let values = &scratch.values[start..][..groups * GROUP_BYTES];
            let sums = dot_tile(weights, values, BLOCK_CHANNELS);
            for (row, (sums, factor)) in sums.into_iter().zip(factors).enumerate() {
                let bytes = self.outputs.to_i8(sums.map(|sum| factor.apply(sum)));
                let row = self.place.window * args.queries + query + row;
                let len = (args.head_width - column).min(BLOCK_CHANNELS);
                let start = row * width + self.place.start + column;
                store_i8x16(&mut args.dst[start..][..len], bytes);
            }
        }
    }
}

/// Packs up to 16 columns of all keys, `None` for one that is not there: (⌈keys / 4⌉, 16, 4).
#[target_feature(enable = "avx2")]
fn pack_values<'a>(row: impl Fn(usize) -> Option<&'a [i8]>, packed: &mut [i8]) {
    for (group, packed) in packed.chunks_exact_mut(GROUP_BYTES).enumerate() {
        let [a, b, c, d] = core::array::from_fn(|key| match row(group * GROUP_INPUTS + key) {
            Some(row) => load_i8x16(row),
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

/// The products of two widened queries with all keys.
#[target_feature(enable = "avx2")]
fn score(wide_bytes: usize, scratch: &mut Scratch<'_>) {
    let (first, second) = scratch.queries.split_at(wide_bytes);
    let queries = [first, &second[..wide_bytes]];
    let keys_up = scratch.starts.len();
    let block_bytes = wide_bytes / (2 * GROUP_INPUTS) * GROUP_BYTES;
    for start in (0..keys_up).step_by(BLOCK_CHANNELS) {
        let keys = &scratch.keys[start / BLOCK_CHANNELS * block_bytes..][..block_bytes];
        for (row, sums) in dot_tile(queries, keys, BLOCK_CHANNELS)
            .into_iter()
            .enumerate()
        {
            let scores = &mut scratch.scores[row * keys_up + start..][..BLOCK_CHANNELS];
            store_i32x8(&mut scores[..8], sums[0]);
            store_i32x8(&mut scores[8..], sums[1]);
        }
    }
}

/// Turns the scores of a row, of which `keys` count, into weights of 16 bits; gives their sum.
#[target_feature(enable = "avx2")]
fn weigh(exponential: &Exponential, scores: &[i32], keys: usize, weights: &mut [u8]) -> u32 {
    let largest = scores[..keys].iter().copied().max().unwrap_or(0);
    let largest = _mm256_set1_epi32(largest);
    let mut sums = _mm256_setzero_si256();
    let blocks = scores.chunks_exact(16).zip(weights.chunks_exact_mut(32));
    for (index, (scores, weights)) in blocks.enumerate() {
        let (first, second) = scores.split_at(8);
        let distances = [first, second].map(|scores| _mm256_sub_epi32(largest, load_i32x8(scores)));
        let there = first_words(keys.saturating_sub(index * 16));
        let words = _mm256_and_si256(exponential.weights(distances), there);
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
        // SAFETY: `weights` has 32 bytes.
        unsafe { _mm256_storeu_si256(weights.as_mut_ptr().cast(), words) };
    }
    sum_lanes(sums) as u32
}

/// See [`SoftmaxS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn softmax_s8(args: SoftmaxS8<'_>) {
    let exponential = Exponential::new(args.score_multiplier, args.score_shift);
    let Some(outputs) = Outputs::new(-128, [-128, 127], [-128, 127]) else {
        return scalar::softmax_s8(args);
    };
    let columns = args.columns.max(1);
    let rows = args.src.chunks_exact(columns);
    for (src, dst) in rows.zip(args.dst.chunks_exact_mut(columns)) {
        let largest = src.iter().copied().max().map_or(0, i32::from);
        let mut sums = _mm256_setzero_si256();
        for src in src.chunks(16) {
            let words = exponentials(&exponential, largest, src);
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
        }
        // 256 = 2³⁰ · 2^(9 − 31)
        let (multiplier, shift) = normalized_quotient(1 << 30, 9, sum_lanes(sums) as u32);
        let quotient = Channels::uniform(multiplier, shift);
        for (src, dst) in src.chunks(16).zip(dst.chunks_mut(16)) {
            let words = exponentials(&exponential, largest, src);
            let halves = [
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            ];
            let values = halves.map(|half| quotient.apply(_mm256_cvtepu16_epi32(half)));
            store_i8x16(dst, outputs.to_i8(values));
        }
    }
}

/// 2^(−halvings) of up to 16 bytes, zeros beyond them.
#[inline]
#[target_feature(enable = "avx2")]
fn exponentials(exponential: &Exponential, largest: i32, src: &[i8]) -> __m256i {
    let bytes = load_i8x16(src);
    let halves = [bytes, _mm_srli_si128::<8>(bytes)];
    let distances =
        halves.map(|half| _mm256_sub_epi32(_mm256_set1_epi32(largest), _mm256_cvtepi8_epi32(half)));
    _mm256_and_si256(exponential.exp2_negative(distances), first_words(src.len()))
}
