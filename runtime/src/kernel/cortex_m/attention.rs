//! What the attentions of this folder share: the operands that they take, and the stretches of a bias.

use crate::kernel::transformer::{MAX_HEAD_WIDTH, MAX_KEYS};
use crate::kernel::{AttentionS8, HeadScale, ScoreBias, attention_s8_scratch_bytes};

/// Whether the operands are such as `Model::load` lets through, with which nothing leaves 32 bits, every query sees all keys, and
/// the scratch is whole.
pub(super) fn is_usual(args: &AttentionS8<'_>) -> bool {
    let head = |head: &HeadScale| {
        (1 << 15..1 << 16).contains(&head.score_multiplier)
            && (-15..=15).contains(&head.score_shift)
            && head.output_multiplier >= 0
            && (-7..=7).contains(&head.output_shift)
    };
    let bias = match args.bias {
        ScoreBias::Relative { height, width, .. } => {
            width > 0 && [args.queries, args.keys] == [height * width; 2]
        }
        _ => true,
    };
    let scratch = attention_s8_scratch_bytes(args.keys, args.head_width);
    args.causal_from.is_none()
        && (1..=MAX_KEYS).contains(&args.keys)
        && (1..=MAX_HEAD_WIDTH).contains(&args.head_width)
        && args.queries > 0
        && args.bias_shift <= 14
        && args.heads.iter().all(head)
        && bias
        && scratch.is_some_and(|bytes| bytes <= size_of_val(args.scratch))
}

/// Calls `take` with the biases of a query, in stretches: the first key of each, and a bias for each key from there on.
#[inline]
pub(super) fn bias_stretches(
    args: &AttentionS8<'_>,
    head: usize,
    query: usize,
    mut take: impl FnMut(usize, &[i16]),
) {
    match args.bias {
        ScoreBias::None => {}
        ScoreBias::Full(table) => {
            take(
                0,
                &table[(head * args.queries + query) * args.keys..][..args.keys],
            );
        }
        ScoreBias::Relative {
            table,
            height,
            width,
        } => {
            let (rows, columns) = (2 * height - 1, 2 * width - 1);
            let (y, x) = (query / width, query % width);
            for row in 0..height {
                let first = (head * rows + row + height - 1 - y) * columns + width - 1 - x;
                take(row * width, &table[first..][..width]);
            }
        }
    }
}
