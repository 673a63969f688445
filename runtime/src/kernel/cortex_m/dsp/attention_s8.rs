//! Integer attention, four queries at a time: scores as in [`super::gemm_s8`] with the keys as weights, and values that are
//! widened once a head, so that both products are pairs of 16 bits.

use core::arch::asm;

use super::Dsp;
use super::gemm_s8::{ROWS, dot_4x1};
use super::instruction::usat16;
use super::widen::Wide;
use crate::kernel::cortex_m::attention::{bias_stretches, is_usual};
use crate::kernel::cortex_m::level::Scale;
use crate::kernel::cortex_m::quotient::row_multiplier;
use crate::kernel::softmax::{ScoreScale, weight};
use crate::kernel::{AttentionS8, Columns, ScoreBias, scalar};

/// Keys whose weights are written at once: two words of a row.
const GROUP: usize = 4;

/// Columns whose sums are kept before they are requantised.
const COLUMNS: usize = 16;

/// See [`AttentionS8`].
pub(super) fn attention_s8(mut args: AttentionS8<'_>) {
    let (width, groups) = (args.head_width, args.keys.div_ceil(GROUP));
    let words = [
        2 * width * groups,
        (2 * width).max(2 * groups * ROWS),
        groups * GROUP * ROWS,
    ];
    let fits = words.iter().sum::<usize>() <= args.scratch.len();
    if !(is_usual(&args) && width.is_multiple_of(4) && fits) {
        return scalar::attention_s8(args);
    }
    let dst = core::mem::take(&mut args.dst);
    // SAFETY: Every `i32` is a `u32`.
    let (_, scratch, _) = unsafe { core::mem::take(&mut args.scratch).align_to_mut::<u32>() };
    let (values, rest) = scratch.split_at_mut(words[0]); // (width, groups, 2)
    let (rows, rest) = rest.split_at_mut(words[1]); // queries (width / 4, ROWS, 2), then weights (groups, ROWS, 2)
    let scores = &mut rest[..words[2]]; // (groups, GROUP, ROWS)
    for window in 0..args.windows {
        for head in 0..args.heads.len() {
            widen_values(&args, window, head, values);
            for first in (0..args.queries).step_by(ROWS) {
                let tile = Tile {
                    args: &args,
                    window,
                    head,
                    first,
                };
                tile.scores(rows, scores);
                let sums = tile.weights(scores, rows);
                tile.outputs(rows, values, sums, dst);
            }
        }
    }
}

/// Pairs of keys, column by column: the weights of a product whose inputs are keys. Zeros beyond the last key.
fn widen_values(args: &AttentionS8<'_>, window: usize, head: usize, values: &mut [u32]) {
    let pairs = values.len() / args.head_width;
    for pair in 0..pairs {
        let row = |key: usize| {
            let start = head * args.head_width;
            (key < args.keys).then(|| args.v.row(window * args.keys + key, start, args.head_width))
        };
        let places = values[pair..].iter_mut().step_by(pairs);
        match (row(2 * pair), row(2 * pair + 1)) {
            (Some(low), Some(high)) => {
                for ((place, &low), &high) in places.zip(low).zip(high) {
                    *place =
                        i32::from(high).cast_unsigned() << 16 | u32::from(i16::from(low) as u16);
                }
            }
            (Some(low), None) => {
                for (place, &low) in places.zip(low) {
                    *place = u32::from(i16::from(low) as u16);
                }
            }
            _ => places.for_each(|place| *place = 0),
        }
    }
}

/// Four queries of one head, from `first` on; those behind the last query repeat it.
struct Tile<'a> {
    args: &'a AttentionS8<'a>,
    window: usize,
    head: usize,
    first: usize,
}

impl Tile<'_> {
    /// Query `index` of the tile.
    fn query(&self, index: usize) -> usize {
        (self.first + index).min(self.args.queries - 1)
    }

    /// Rows of one head.
    fn row<'a>(&self, columns: &Columns<'a>, row: usize) -> &'a [i8] {
        let width = self.args.head_width;
        columns.row(row, self.head * width, width)
    }

    /// The scores of every key, (keys, ROWS).
    fn scores(&self, queries: &mut [u32], scores: &mut [u32]) {
        let (args, groups) = (self.args, self.args.head_width / 4);
        let mut wide = Wide {
            words: queries,
            rows: ROWS,
        };
        for index in 0..ROWS {
            let row = self.window * args.queries + self.query(index);
            wide.put(index, 0, self.row(&args.q, row));
        }
        assert!(groups > 0 && queries.len() >= groups * 2 * ROWS);
        let (scores, _) = scores.as_chunks_mut::<ROWS>();
        for (key, scores) in scores[..args.keys].iter_mut().enumerate() {
            let key = self.row(&args.k, self.window * args.keys + key);
            // SAFETY: `queries` has `groups` times 8 words (asserted), and the row of the key `groups` words.
            let dots = unsafe { dot_4x1::<4>(queries.as_ptr(), key.as_ptr(), groups, 0) };
            *scores = dots.map(i32::cast_unsigned);
        }
        if !matches!(args.bias, ScoreBias::None) {
            (0..ROWS).for_each(|index| self.add_bias(index, scores));
        }
    }

    #[inline(never)]
    fn add_bias(&self, index: usize, scores: &mut [[u32; ROWS]]) {
        let shift = self.args.bias_shift;
        bias_stretches(self.args, self.head, self.query(index), |first, biases| {
            for (score, &bias) in scores[first..].iter_mut().zip(biases) {
                let bias = i32::from(bias).cast_unsigned() << shift;
                score[index] = score[index].wrapping_add(bias);
            }
        });
    }

    /// Turns scores into pairs of weights, zeros beyond the last key; gives their sums.
    fn weights(&self, scores: &[u32], weights: &mut [u32]) -> [u32; ROWS] {
        let (keys, groups) = (self.args.keys, self.args.keys.div_ceil(GROUP));
        let head = &self.args.heads[self.head];
        let scale = ScoreScale::new(head.score_multiplier, head.score_shift);
        let (scores, _) = scores[..keys * ROWS].as_chunks::<ROWS>();
        let (pairs, _) = weights[..groups * ROWS * 2].as_chunks_mut::<2>();
        let mut sums = [0; ROWS];
        for (row, sum) in sums.iter_mut().enumerate() {
            let score = |scores: &[u32; ROWS]| scores[row].cast_signed();
            let largest = scores.iter().map(score).fold(i32::MIN, i32::max);
            let weigh = |scores| weight_of(&scale, largest.wrapping_sub(score(scores)));
            let mut pairs = pairs[row..].iter_mut().step_by(ROWS);
            let (groups, rest) = scores.as_chunks::<GROUP>();
            for (group, pairs) in groups.iter().zip(&mut pairs) {
                let [a, b, c, d] = group.each_ref().map(weigh);
                *pairs = [b << 16 | a, d << 16 | c];
                *sum += a + b + c + d;
            }
            if let (false, Some(pairs)) = (rest.is_empty(), pairs.next()) {
                *pairs = [0; 2];
                for (key, weight) in rest.iter().map(weigh).enumerate() {
                    pairs[key / 2] |= weight << (16 * (key % 2));
                    *sum += weight;
                }
            }
        }
        sums
    }

    /// The weighted sums of the values, requantised.
    fn outputs(&self, weights: &[u32], values: &[u32], sums: [u32; ROWS], dst: &mut [i8]) {
        let args = self.args;
        let (width, groups) = (args.head_width, args.keys.div_ceil(GROUP));
        assert!(weights.len() >= groups * 2 * ROWS && values.len() >= width * groups * 2);
        let scales = sums.map(|sum| {
            let (multiplier, shift) = row_multiplier(&args.heads[self.head], sum);
            Scale::new_i8([multiplier, shift], args.output_zero_point, [-128, 127])
        });
        let mut totals = [[0; COLUMNS]; ROWS];
        for first in (0..width).step_by(COLUMNS) {
            let count = (width - first).min(COLUMNS);
            for column in 0..count {
                let values = &values[(first + column) * groups * 2..];
                // SAFETY: Both have `groups` > 0 times as many words (asserted).
                let sums = unsafe { dot_wide_4x1(weights.as_ptr(), values.as_ptr(), groups) };
                for (row, sum) in totals.iter_mut().zip(sums) {
                    row[column] = sum;
                }
            }
            for (index, totals) in totals.iter().enumerate() {
                let row = self.window * args.queries + self.query(index);
                let place = (row * args.heads.len() + self.head) * width + first;
                let dst = &mut dst[place..][..count];
                // A sum of weights bounds the sums of values.
                if sums[index] < 1 << 23 {
                    scales[index].write_i8::<Dsp>(&totals[..count], dst);
                } else {
                    for (dst, &total) in dst.iter_mut().zip(totals) {
                        *dst = scales[index].apply(total) as i8;
                    }
                }
            }
        }
    }
}

/// The weight of a distance of 0 or more: [`ScoreScale::halvings`] with a limit in one instruction.
#[inline(always)]
fn weight_of(scale: &ScoreScale, distance: i32) -> u32 {
    let limited = distance.min(scale.limit).cast_unsigned();
    let shifted = usat16((limited << scale.left >> scale.right).cast_signed());
    let halvings = (shifted.cast_unsigned() * scale.multiplier) >> 16;
    weight(halvings as u16).cast_unsigned()
}

/// Four rows of weights times a column of values: 11 instructions and 2 of the loop for 16 products.
///
/// # Safety
/// `groups` is not 0; `weights` points to `groups` times 8 words, `values` to `groups` times 2.
#[inline(always)]
unsafe fn dot_wide_4x1(weights: *const u32, values: *const u32, groups: usize) -> [i32; ROWS] {
    let [mut a, mut b, mut c, mut d] = [0i32; ROWS];
    // SAFETY: Reads what the caller vouches for. The compiler keeps r6 and r7 for
    // itself: they cannot be named as operands, are no operand here, and are restored.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "2:",
            "ldmia r9!, {{r11, r12}}",
            "ldmia r8!, {{r4, r5, r6, r7}}",
            "smlad r0, r11, r4, r0",
            "smlad r1, r11, r6, r1",
            "smlad r0, r12, r5, r0",
            "smlad r1, r12, r7, r1",
            "ldmia r8!, {{r4, r5, r6, r7}}",
            "smlad r2, r11, r4, r2",
            "smlad r3, r11, r6, r3",
            "smlad r2, r12, r5, r2",
            "smlad r3, r12, r7, r3",
            "subs r10, r10, #1",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r0") a, inout("r1") b, inout("r2") c, inout("r3") d,
            inout("r8") weights => _, inout("r9") values => _, inout("r10") groups => _,
            out("r4") _, out("r5") _, out("r11") _, out("r12") _,
            options(readonly)
        );
    }
    [a, b, c, d]
}
