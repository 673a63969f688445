//! What both levels share of integer attention: the parts of its scratch, packed keys, biases of scores.

use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS};
use crate::kernel::{AttentionS8, Columns, ScoreBias, TILE_ROWS};

/// The parts of scratch. Keys and values are packed as weights are, in blocks of 16 by 4: for the scores, a key is an output
/// channel; for the weighted means, a key is an input.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    /// (⌈keys / 16⌉, ⌈head_width / 4⌉, 16, 4)
    pub(super) keys: &'a mut [i8],
    /// (⌈head_width / 16⌉, ⌈keys / 4⌉, 16, 4)
    pub(super) values: &'a mut [i8],
    /// (4, head_width rounded up to 16)
    pub(super) queries: &'a mut [u8],
    /// (keys rounded up to 16)
    pub(super) starts: &'a mut [i32],
    /// (4, keys rounded up to 16)
    pub(super) scores: &'a mut [i32],
    /// (4, 4, keys rounded up to 16)
    pub(super) weights: &'a mut [u8],
}

impl<'a> Scratch<'a> {
    /// Cuts up what [`crate::kernel::attention_s8_scratch_bytes`] counts.
    pub(super) fn split(scratch: &'a mut [i32], keys: usize, head_width: usize) -> Self {
        let keys_up = keys.next_multiple_of(BLOCK_CHANNELS);
        let width_up = head_width.next_multiple_of(BLOCK_CHANNELS);
        let packed = keys_up * width_up / 4;
        let (keys, rest) = scratch.split_at_mut(packed);
        let (values, rest) = rest.split_at_mut(packed);
        let (queries, rest) = rest.split_at_mut(width_up);
        let (starts, rest) = rest.split_at_mut(keys_up);
        let (scores, rest) = rest.split_at_mut(TILE_ROWS / 2 * keys_up);
        let (weights, _) = rest.split_at_mut(TILE_ROWS / 2 * keys_up);
        Self {
            keys: signed(bytes_of(keys)),
            values: signed(bytes_of(values)),
            queries: bytes_of(queries),
            starts,
            scores,
            weights: bytes_of(weights),
        }
    }
}

/// Words as bytes.
fn bytes_of(words: &mut [i32]) -> &mut [u8] {
    // SAFETY: the bytes are those of the slice, u8 has no alignment and no invalid values, nor has i32, and the borrow is
    // handed on.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Bytes with a sign.
pub(super) fn signed(bytes: &mut [u8]) -> &mut [i8] {
    // SAFETY: i8 has the size, the alignment and the valid values of u8, and the borrow is handed on.
    unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
}

/// Where one head in one window lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) window: usize,
    /// Of the head.
    pub(super) number: usize,
    /// First column of the head.
    pub(super) start: usize,
}

impl Place {
    /// The head's columns of a key's row in `k` or `v`; `None` past the last key.
    pub(super) fn key_row<'a>(
        &self,
        args: &AttentionS8<'_>,
        columns: Columns<'a>,
        key: usize,
    ) -> Option<&'a [i8]> {
        (key < args.keys)
            .then(|| columns.row(self.window * args.keys + key, self.start, args.head_width))
    }

    /// The head's columns of a query's row.
    pub(super) fn query_row<'a>(&self, args: &AttentionS8<'a>, query: usize) -> &'a [i8] {
        let row = self.window * args.queries + query;
        args.q.row(row, self.start, args.head_width)
    }

    /// Packs 16 keys from `key` on, those that are not there as zeros: (⌈head_width / 4⌉, 16, 4).
    pub(super) fn pack_keys(&self, args: &AttentionS8<'_>, key: usize, packed: &mut [i8]) {
        let (groups, _) = packed.as_chunks_mut::<{ BLOCK_CHANNELS * GROUP_INPUTS }>();
        for lane in 0..BLOCK_CHANNELS {
            let place = lane * GROUP_INPUTS..(lane + 1) * GROUP_INPUTS;
            let row = self.key_row(args, args.k, key + lane).unwrap_or(&[]);
            let (fours, rest) = row.as_chunks::<GROUP_INPUTS>();
            for (group, four) in groups.iter_mut().zip(fours) {
                group[place.clone()].copy_from_slice(four);
            }
            for group in groups.iter_mut().skip(fours.len()) {
                group[place.clone()].fill(0);
            }
            if let (Some(group), false) = (groups.get_mut(fours.len()), rest.is_empty()) {
                group[place][..rest.len()].copy_from_slice(rest);
            }
        }
    }

    /// Adds the bias of a query to the scores of its row.
    #[inline]
    pub(super) fn add_bias(&self, args: &AttentionS8<'_>, query: usize, scores: &mut [i32]) {
        match args.bias {
            ScoreBias::None => {}
            ScoreBias::Full(table) => {
                let row = (self.number * args.queries + query) * args.keys;
                add_shifted(scores, &table[row..], args.bias_shift);
            }
            ScoreBias::Relative {
                table,
                height,
                width,
            } => {
                let (rows, columns) = (2 * height - 1, 2 * width - 1);
                let first = self.number * rows + height - 1 - query / width;
                let column = width - 1 - query % width;
                for (y, scores) in scores.chunks_mut(width).enumerate() {
                    let row = &table[(first + y) * columns + column..];
                    add_shifted(scores, row, args.bias_shift);
                }
            }
        }
    }
}

/// `scores += table << shift`.
#[inline]
fn add_shifted(scores: &mut [i32], table: &[i16], shift: u32) {
    let table = &table[..scores.len()];
    for (score, &bias) in scores.iter_mut().zip(table) {
        *score = score.wrapping_add(i32::from(bias) << shift);
    }
}
