//! The exponential of a softmax over bytes as a table: a distance from the largest score is a byte.

use crate::kernel::SoftmaxS8;
use crate::kernel::softmax::{ScoreScale, exp2_negative};

/// Elements from which on a table pays.
const TABLE_PAYS: usize = 256;

/// 32766 · e^(−distance · scale) for each distance.
pub(super) fn exponentials(args: &SoftmaxS8<'_>) -> Option<[u16; 256]> {
    if args.src.len() < TABLE_PAYS {
        return None;
    }
    let scale = ScoreScale::new(args.score_multiplier, args.score_shift);
    Some(core::array::from_fn(|distance| {
        exp2_negative(scale.halvings(distance as i32)) as u16
    }))
}
