//! Offsets of blocks that no two use at the same time: dynamic storage allocation (Garey & Johnson 1979, SR2), NP-hard.
//!
//! Four orders are placed first, each block at the lowest offset that is free over its whole life. Where they miss the
//! bound, [`super::exact`] looks for it, within a budget; where that ends without an answer, the best order is improved by
//! moves from a fixed seed, and then the exact search halves what is between it and the bound.

use super::exact;
use pinhole_runtime::model::format::ALIGN_BYTES;

/// Orders tried beside the first four.
const MOVES: usize = 4000;
/// Nodes of one exact search.
const NODES: usize = 4_000;
/// Exact searches between the bound and the best order.
const PROBES: usize = 4;

/// Bytes at one offset, live over a range of operators, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) bytes: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// What shares one offset: a storage, or several of which each replaces the one before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    pub(super) parts: Vec<Part>,
}

impl Block {
    /// The most bytes of a part.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).max().unwrap_or(0)
    }

    /// First and last operator.
    fn life(&self) -> (usize, usize) {
        let first = self.parts.iter().map(|part| part.first).min();
        let last = self.parts.iter().map(|part| part.last).max();
        (first.unwrap_or(0), last.unwrap_or(0))
    }
}

/// The highest end.
pub(super) fn peak(blocks: &[Block], offsets: &[usize]) -> usize {
    let ends = blocks.iter().zip(offsets);
    ends.map(|(block, offset)| offset + block.bytes())
        .max()
        .unwrap_or(0)
}

/// The best offsets found for blocks that live during `ops` operators; none can be better than `bound`.
pub(super) fn arrange(blocks: &[Block], ops: usize, bound: usize) -> Vec<usize> {
    let neighbours = Neighbours::new(blocks);
    let mut best = Best::default();
    for order in orders(blocks) {
        best.offer(&neighbours, order);
    }
    if best.peak <= bound {
        return best.offsets;
    }
    match exact::search(blocks, ops, bound, NODES) {
        Some(offsets) => offsets,
        None => tighten(blocks, ops, bound, improve(&neighbours, bound, best)),
    }
}

/// Halves what is between the best peak and the largest one that was not found.
fn tighten(blocks: &[Block], ops: usize, bound: usize, best: Best) -> Vec<usize> {
    let (mut missed, mut peak_bytes, mut offsets) = (bound, best.peak, best.offsets);
    for _ in 0..PROBES {
        let target = (missed + (peak_bytes - missed) / 2) / ALIGN_BYTES * ALIGN_BYTES;
        if target <= missed {
            break;
        }
        match exact::search(blocks, ops, target, NODES) {
            Some(found) => (peak_bytes, offsets) = (peak(blocks, &found), found),
            None => missed = target,
        }
    }
    offsets
}

/// The best order so far.
#[derive(Default)]
struct Best {
    peak: usize,
    offsets: Vec<usize>,
    order: Vec<usize>,
}

impl Best {
    /// Takes an order that is no worse.
    fn offer(&mut self, neighbours: &Neighbours<'_>, order: Vec<usize>) {
        let offsets = neighbours.place(&order);
        let peak = peak(neighbours.blocks, &offsets);
        if self.order.is_empty() || peak <= self.peak {
            *self = Self {
                peak,
                offsets,
                order,
            };
        }
    }
}

/// The largest first, by bytes, by bytes · life and by life; the earliest first.
fn orders(blocks: &[Block]) -> [Vec<usize>; 4] {
    let by = |key: &dyn Fn(&Block) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|&index| (key(&blocks[index]), index));
        order
    };
    let length = |block: &Block| block.life().1 - block.life().0;
    let area = |block: &Block| -> usize {
        let parts = block.parts.iter();
        parts
            .map(|part| part.bytes * (part.last - part.first + 1))
            .sum()
    };
    [
        by(&|block| (block.life().0, usize::MAX - block.bytes())),
        by(&|block| (usize::MAX - length(block), usize::MAX - block.bytes())),
        by(&|block| (usize::MAX - area(block), block.life().0)),
        by(&|block| (usize::MAX - block.bytes(), block.life().0)),
    ]
}

/// Moves one block to another place in the order, again and again, and keeps what is no worse.
fn improve(neighbours: &Neighbours<'_>, bound: usize, mut best: Best) -> Best {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    for _ in 0..MOVES {
        if best.peak <= bound {
            break;
        }
        let mut order = best.order.clone();
        let moved = order.remove(below(order.len()));
        order.insert(below(order.len() + 1), moved);
        best.offer(neighbours, order);
    }
    best
}

/// Blocks, and for each those that live while it does.
struct Neighbours<'b> {
    blocks: &'b [Block],
    of: Vec<Vec<usize>>,
}

impl<'b> Neighbours<'b> {
    fn new(blocks: &'b [Block]) -> Self {
        let meets = |a: usize, b: usize| forbidden(&blocks[a], &blocks[b], 0).next().is_some();
        let of = |a: usize| {
            (0..blocks.len())
                .filter(|&b| b != a && meets(a, b))
                .collect()
        };
        Self {
            blocks,
            of: (0..blocks.len()).map(of).collect(),
        }
    }

    /// Places blocks in `order`, each at the lowest offset that is free.
    fn place(&self, order: &[usize]) -> Vec<usize> {
        let mut offsets: Vec<Option<usize>> = vec![None; order.len()];
        let mut taken: Vec<(isize, usize)> = Vec::new();
        for &index in order {
            taken.clear();
            for &other in &self.of[index] {
                if let Some(offset) = offsets[other] {
                    taken.extend(forbidden(&self.blocks[index], &self.blocks[other], offset));
                }
            }
            taken.sort_unstable();
            let mut offset = 0;
            for &(after, before) in &taken {
                if offset as isize <= after {
                    break;
                }
                offset = offset.max(before);
            }
            offsets[index] = Some(offset);
        }
        offsets.into_iter().flatten().collect()
    }
}

/// Open intervals of offsets at which a part of `block` would overlap a part of `other`.
fn forbidden<'b>(
    block: &'b Block,
    other: &'b Block,
    offset: usize,
) -> impl Iterator<Item = (isize, usize)> + 'b {
    block.parts.iter().flat_map(move |part| {
        let meets = move |other: &&Part| part.first <= other.last && other.first <= part.last;
        let interval =
            move |other: &Part| (offset as isize - part.bytes as isize, offset + other.bytes);
        other.parts.iter().filter(meets).map(interval)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Fails when two blocks that live together overlap.
    pub(in super::super) fn check(blocks: &[Block], offsets: &[usize]) {
        for a in 0..blocks.len() {
            for b in 0..a {
                for (after, before) in forbidden(&blocks[a], &blocks[b], offsets[b]) {
                    let apart = offsets[a] as isize <= after || offsets[a] >= before;
                    assert!(apart, "blocks {a} and {b} overlap");
                }
            }
        }
    }

    fn bound(blocks: &[Block], ops: usize) -> usize {
        let live = |op: usize| {
            let parts = blocks.iter().map(|block| {
                let parts = block
                    .parts
                    .iter()
                    .filter(|part| part.first <= op && op <= part.last);
                parts.map(|part| part.bytes).max().unwrap_or(0)
            });
            parts.sum()
        };
        (0..ops).map(live).max().unwrap_or(0)
    }

    #[test]
    fn blocks_that_live_together_never_overlap_and_the_bound_is_met_on_a_chain() {
        let blocks: Vec<Block> = (0..40)
            .map(|i| Block {
                parts: vec![Part {
                    bytes: 16 * (1 + (i * 7) % 13),
                    first: i,
                    last: i + 1 + i % 3,
                }],
            })
            .collect();
        let bound = bound(&blocks, 45);
        let offsets = arrange(&blocks, 45, bound);
        check(&blocks, &offsets);
        let peak = peak(&blocks, &offsets);
        assert!(
            peak >= bound && peak * 100 <= bound * 105,
            "peak {peak}, bound {bound}"
        );
    }

    #[test]
    fn what_a_block_frees_when_it_shrinks_is_used() {
        let part = |bytes, first, last| Part { bytes, first, last };
        let shrinking = Block {
            parts: vec![part(64, 0, 1), part(32, 1, 3)],
        };
        let late = Block {
            parts: vec![part(32, 2, 3)],
        };
        let blocks = [shrinking, late];
        let offsets = arrange(&blocks, 4, bound(&blocks, 4));
        check(&blocks, &offsets);
        assert_eq!(peak(&blocks, &offsets), 64);
    }
}
