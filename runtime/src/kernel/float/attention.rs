//! Attention, eight queries at a time: scores by dot products, softmax, then the scores times the values on the
//! register tile.

use super::lanes::{Lanes, Number};
use super::rows::softmax_row;
use super::tile::{Finish, Layout, Product, dots};
use crate::kernel::{AttentionFloat, TILE_ROWS};

/// See [`AttentionFloat`].
#[inline(always)]
pub(crate) fn attention_float<V: Lanes, E: Number>(v: V, args: AttentionFloat<'_, E>) {
    let AttentionFloat {
        queries,
        keys,
        width,
        num_heads,
        scale,
        causal,
        q,
        k,
        v: values,
        dst,
        scratch,
    } = args;
    let head_width = width / num_heads;
    let finish = Finish {
        factor: 1.0,
        scales: &[],
        bias: &[],
        clamp: [f32::NEG_INFINITY, f32::INFINITY],
    };
    for head in 0..num_heads {
        let column = head * head_width;
        for first in (0..queries).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(queries - first);
            let scores = &mut scratch[..rows * keys]; // (rows, keys)
            for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
                let query = &q[(first + row) * width + column..][..head_width];
                let seen = if causal { first + row + 1 } else { keys };
                let (seen, unseen) = scores.split_at_mut(seen);
                score_row(v, query, &k[column..], width, scale, seen);
                softmax_row(v, seen);
                unseen.fill(0.0);
            }
            Product {
                rows,
                k: keys,
                n: head_width,
                lhs: scores,
                lhs_stride: keys,
                rhs: &values[column..],
                layout: Layout::Rows(width),
                finish,
                dst: &mut dst[first * width + column..],
                dst_stride: width,
            }
            .run(v);
        }
    }
}

/// Scores of one query: its dot products with all keys, whose rows lie `width` apart, four at a time.
#[inline(always)]
fn score_row<V: Lanes, E: Number>(
    v: V,
    query: &[E],
    keys: &[E],
    width: usize,
    scale: f32,
    scores: &mut [f32],
) {
    let last = scores.len() - 1;
    for (group, scores) in scores.chunks_mut(4).enumerate() {
        let mut rows: [&[E]; 4] = [&[]; 4];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &keys[(group * 4 + r).min(last) * width..][..query.len()];
        }
        for (score, total) in scores.iter_mut().zip(dots(v, rows, query)) {
            *score = total * scale;
        }
    }
}
