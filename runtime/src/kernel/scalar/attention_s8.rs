//! Integer attention and softmax: exponentials by [`crate::kernel::softmax`], one division a row.

use crate::kernel::requantize::multiply_by_quantized_multiplier;
use crate::kernel::softmax::{
    ScoreScale, exp2_negative, normalized_quotient, row_multiplier, weight,
};
use crate::kernel::{AttentionS8, SoftmaxS8};

/// One row of one head at a time: its scores become weights in place, then the weighted sums of the values.
pub fn attention_s8(args: AttentionS8<'_>) {
    let AttentionS8 {
        windows,
        queries,
        keys,
        head_width,
        heads,
        q,
        k,
        v,
        ..
    } = args;
    let width = heads.len() * head_width;
    for row in 0..windows * queries {
        let (window, query) = (row / queries, row % queries);
        let seen = args.seen_keys(query);
        let scores = &mut args.scratch[..seen]; // (seen)
        for (number, head) in heads.iter().enumerate() {
            let start = number * head_width;
            let query_row = q.row(row, start, head_width);
            for (key, score) in scores.iter_mut().enumerate() {
                let key_row = k.row(window * keys + key, start, head_width);
                let bias = args.bias.at(number, query, key, [queries, keys]) << args.bias_shift;
                *score = query_row.iter().zip(key_row).fold(bias, |sum, (&q, &k)| {
                    sum.wrapping_add(i32::from(q) * i32::from(k))
                });
            }
            let scale = ScoreScale::new(head.score_multiplier, head.score_shift);
            let sum = weights(scores, &scale);
            let (multiplier, shift) = row_multiplier(head, sum);
            for column in 0..head_width {
                let total = scores
                    .iter()
                    .enumerate()
                    .fold(0i32, |total, (key, &weight)| {
                        let value = v.row(window * keys + key, start + column, 1)[0];
                        total.wrapping_add(weight * i32::from(value))
                    });
                let output = multiply_by_quantized_multiplier(total, multiplier, shift)
                    .saturating_add(args.output_zero_point);
                args.dst[row * width + start + column] = output.clamp(-128, 127) as i8;
            }
        }
    }
}

/// Turns scores into weights; gives their sum.
fn weights(scores: &mut [i32], scale: &ScoreScale) -> u32 {
    let largest = scores.iter().copied().max().unwrap_or(0);
    let mut sum = 0;
    for score in scores {
        *score = weight(scale.halvings(largest.wrapping_sub(*score)));
        sum += *score as u32;
    }
    sum
}

/// See [`SoftmaxS8`]: exponentials with 15 bits, their sum, one division a row, halves away from zero.
pub fn softmax_s8(args: SoftmaxS8<'_>) {
    let scale = ScoreScale::new(args.score_multiplier, args.score_shift);
    let columns = args.columns.max(1);
    let rows = args.src.chunks_exact(columns);
    for (src, dst) in rows.zip(args.dst.chunks_exact_mut(columns)) {
        let largest = src.iter().copied().max().map_or(0, i32::from);
        let exponential = |src: i8| exp2_negative(scale.halvings(largest - i32::from(src)));
        let sum: u32 = src.iter().map(|&src| exponential(src) as u32).sum();
        // 256 = 2³⁰ · 2^(9 − 31)
        let (multiplier, shift) = normalized_quotient(1 << 30, 9, sum);
        for (dst, &src) in dst.iter_mut().zip(src) {
            let output = multiply_by_quantized_multiplier(exponential(src), multiplier, shift);
            *dst = (output - 128).clamp(-128, 127) as i8;
        }
    }
}
