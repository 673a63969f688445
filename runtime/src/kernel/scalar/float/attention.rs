//! Attention: softmax(q·kᵀ·scale)·v for every head (Vaswani et al., 2017, <https://arxiv.org/abs/1706.03762>).

use super::rows::softmax_row;
use crate::kernel::{AttentionFloat, Element};

/// See [`AttentionFloat`]. Softmax is defined as in [`super::softmax_float`]; the scores stay in f32.
pub fn attention_float<T: Element>(args: AttentionFloat<'_, T>) {
    let AttentionFloat {
        queries,
        keys,
        width,
        num_heads,
        scale,
        causal,
        q,
        k,
        v,
        dst,
        scratch,
    } = args;
    let head_width = width / num_heads;
    for head in 0..num_heads {
        let columns = head * head_width..(head + 1) * head_width;
        for query in 0..queries {
            let keys = if causal { query + 1 } else { keys };
            let scores = &mut scratch[..keys]; // of one query and one head
            for key in 0..keys {
                let mut sum = 0.0;
                for column in columns.clone() {
                    sum += q[query * width + column].widen() * k[key * width + column].widen();
                }
                scores[key] = sum * scale;
            }
            softmax_row(scores);
            for column in columns.clone() {
                let mut sum = 0.0;
                for key in 0..keys {
                    sum += scores[key] * v[key * width + column].widen();
                }
                dst[query * width + column] = T::narrow(sum);
            }
        }
    }
}
