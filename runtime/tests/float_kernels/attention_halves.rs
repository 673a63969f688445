//! `attention_f16`, against f64 over the same halves.

use alloc::vec::Vec;

use half::f16;
use pinhole_runtime::kernel::{AttentionF16, Kernels, attention_scratch_bytes};

use super::halves::{HALF_FLOOR, HALF_UNIT, each_set, guarded, halves_added, has_fp16};
use super::support::{Random, Sum};

#[cfg_attr(test, test)]
pub(crate) fn attention_over_halves_agrees() {
    let mut random = Random(69);
    for tokens in (0..=20).chain([50, 67]) {
        let (head_width, num_heads) = (1 + random.up_to(40), 1 + random.up_to(2));
        check_attention(&mut random, [tokens, head_width, num_heads], 1.0);
    }
    check_attention(&mut random, [77, 64, 2], 1.0);
}

#[cfg_attr(test, test)]
pub(crate) fn attention_over_halves_of_one_sequence_to_another_agrees() {
    let mut random = Random(71);
    for keys in [1, 2, 7, 8, 9, 16, 20, 67] {
        for queries in [1, 5, 8, 17, 33] {
            let (head_width, num_heads) = (1 + random.up_to(40), 1 + random.up_to(2));
            let heads = [head_width, num_heads];
            check_attention_of_two(&mut random, [queries, keys], heads, 1.0);
        }
    }
    check_attention_of_two(&mut random, [1, 77], [64, 2], 1.0);
}

/// Checks attention over operands within ±`limit` on every set, causal when the number of tokens is odd; returns the largest error of each in units of
/// 2⁻¹¹ · (1 + M) · `limit`, where M is the sum of the magnitudes of a score's terms, the largest of a query.
pub(crate) fn check_attention(
    random: &mut Random,
    [tokens, head_width, num_heads]: [usize; 3],
    limit: f32,
) -> Vec<(&'static str, f64)> {
    check_attention_of_two(random, [tokens; 2], [head_width, num_heads], limit)
}

/// As [`check_attention`], which is over as many keys as queries; others are never causal.
fn check_attention_of_two(
    random: &mut Random,
    [queries, tokens]: [usize; 2],
    [head_width, num_heads]: [usize; 2],
    limit: f32,
) -> Vec<(&'static str, f64)> {
    let width = head_width * num_heads;
    let causal = queries == tokens && tokens % 2 == 1;
    let scale = 1.0 / libm::sqrtf(head_width as f32);
    let [q, k, v] = [queries, tokens, tokens].map(|tokens| {
        let numbers = random.numbers(tokens * width);
        let halves: Vec<f16> = numbers.iter().map(|x| f16::from_f32(limit * x)).collect();
        halves
    });
    let limit = f64::from(limit);
    let mut largest_errors = Vec::new();
    let found = each_set(|kernels| {
        let mut scratch = vec![f32::NAN; attention_scratch_bytes(tokens).unwrap() / 4];
        guarded(queries * width, |dst| {
            kernels.attention_f16(AttentionF16 {
                queries,
                keys: tokens,
                width,
                num_heads,
                scale,
                causal,
                q: &q,
                k: &k,
                v: &v,
                dst,
                scratch: &mut scratch,
            });
        })
    });
    for (kernels, found) in found {
        let mut largest: f64 = 0.0;
        for (i, found) in found.chunks_exact(head_width).enumerate() {
            let (query, head) = (i / num_heads, i % num_heads);
            let columns = head * head_width..(head + 1) * head_width;
            let keys = if causal { query + 1 } else { tokens };
            let scores: Vec<Sum> = (0..keys)
                .map(|key| {
                    let mut sum = Sum::default();
                    for c in columns.clone() {
                        let product = q[query * width + c].to_f64() * k[key * width + c].to_f64();
                        sum.add(product * f64::from(scale));
                    }
                    sum
                })
                .collect();
            let exps: Vec<f64> = scores.iter().map(|score| libm::exp(score.value)).collect();
            let total: f64 = exps.iter().sum();
            let magnitude = scores.iter().fold(0.0, |a: f64, b| a.max(b.magnitude));
            let bound = attention_bound(kernels, [keys, head_width], magnitude, limit);
            for (column, x) in columns.zip(found) {
                let weighted =
                    |(key, exp): (usize, &f64)| exp / total * v[key * width + column].to_f64();
                let exact: f64 = exps.iter().enumerate().map(weighted).sum();
                let error = (x.to_f64() - exact).abs();
                largest = largest.max(error / (HALF_UNIT * (1.0 + magnitude) * limit));
                let shape = [queries, tokens, head_width, num_heads];
                assert!(
                    error <= bound,
                    "{} {shape:?} token {query}, column {column}: {x} {exact}",
                    kernels.name()
                );
            }
        }
        largest_errors.push((kernels.name(), largest));
    }
    largest_errors
}

/// The largest error of attention over values within ±`limit`: scores, weights that are their exponentials, sums, the result.
fn attention_bound(
    kernels: &dyn Kernels,
    [tokens, head_width]: [usize; 2],
    magnitude: f64,
    limit: f64,
) -> f64 {
    let scores_added = halves_added(kernels, head_width, 128) as f64;
    let values_added = halves_added(kernels, tokens, 128) as f64;
    // Halves as weights have an error of their own, of 2⁻¹¹ or, where they are subnormal, of 2⁻²⁵ each. An exponential
    // in halves errs by more, and so do the scaled query and the difference from the largest score.
    let (weights, scores_added) = if has_fp16(kernels) {
        let weights = (4.0 + 2.0 * magnitude) * HALF_UNIT;
        (
            weights + 2.0 * tokens as f64 * HALF_FLOOR,
            scores_added + 1.0,
        )
    } else if values_added > 0.0 {
        (HALF_UNIT + tokens as f64 * HALF_FLOOR, scores_added)
    } else {
        (0.0, scores_added)
    };
    let score = scores_added * (HALF_UNIT * magnitude + HALF_FLOOR);
    let before = 2.0 * score * (1.0 + score) + weights + values_added * HALF_UNIT + 2e-5;
    limit * (before + HALF_UNIT) + HALF_FLOOR
}
