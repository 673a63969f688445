//! Offsets whose peak is at most a target, by branch and bound over the order in which blocks are stacked.
//!
//! Every arrangement can be pressed down until each block lies on the arena's floor or on a block below it, and then be
//! built from the lowest offset up: a block's offset is the height of the skyline over its life (canonical solutions of
//! MiniMalloc, Moffitt 2023). A branch ends where the bytes still to be placed at some operator do not fit under the
//! target, and where a block is placed at a height below which another one would fit whole: placing that one first costs
//! nothing.

use super::arrange::Block;

/// Offsets under `target`; `None` when there are none, or when `nodes` were visited without finding any.
pub(super) fn search(
    blocks: &[Block],
    ops: usize,
    target: usize,
    nodes: usize,
) -> Option<Vec<usize>> {
    let mut state = State {
        blocks: blocks.iter().map(|block| Profile::of(block, ops)).collect(),
        offsets: vec![None; blocks.len()],
        skyline: vec![0; ops],
        waiting: vec![0; ops],
        target,
        nodes,
    };
    for block in &state.blocks {
        for (waiting, bytes) in state.waiting[block.first..].iter_mut().zip(&block.bytes) {
            *waiting += bytes;
        }
    }
    state
        .descend(0)
        .then(|| state.offsets.into_iter().flatten().collect())
}

/// A block's bytes at each operator of its life.
struct Profile {
    first: usize,
    bytes: Vec<usize>,
    most: usize,
}

impl Profile {
    fn of(block: &Block, ops: usize) -> Self {
        let first = block.parts.iter().map(|part| part.first).min().unwrap_or(0);
        let last = block.parts.iter().map(|part| part.last).max().unwrap_or(0);
        let mut bytes = vec![0; last.min(ops.saturating_sub(1)) + 1 - first];
        for part in &block.parts {
            let during = bytes
                .iter_mut()
                .take(part.last + 1 - first)
                .skip(part.first - first);
            during.for_each(|bytes: &mut usize| *bytes = part.bytes.max(*bytes));
        }
        Self {
            first,
            bytes,
            most: block.bytes(),
        }
    }
}

struct State {
    blocks: Vec<Profile>,
    offsets: Vec<Option<usize>>,
    /// The highest end at each operator.
    skyline: Vec<usize>,
    /// Bytes at each operator that are not placed yet.
    waiting: Vec<usize>,
    target: usize,
    nodes: usize,
}

impl State {
    /// Places what is left, nothing below `floor`; undoes itself when that fails.
    fn descend(&mut self, floor: usize) -> bool {
        if self.nodes == 0 {
            return false;
        }
        self.nodes -= 1;
        let mut candidates: Vec<(usize, usize)> = (0..self.blocks.len())
            .filter(|&block| self.offsets[block].is_none())
            .map(|block| (self.rest(block), block))
            .collect();
        if candidates.is_empty() {
            return true;
        }
        let lowest_end = candidates
            .iter()
            .map(|&(offset, block)| offset + self.blocks[block].most)
            .min();
        candidates.retain(|&(offset, _)| offset >= floor && Some(offset) < lowest_end);
        candidates.sort_unstable_by_key(|&(offset, block)| {
            (offset, usize::MAX - self.blocks[block].most, block)
        });
        for (offset, block) in candidates {
            let covered = self.place(block, offset);
            if self.fits(offset) && self.descend(offset) {
                return true;
            }
            self.take_back(block, covered);
        }
        false
    }

    /// The height on which a block would lie.
    fn rest(&self, block: usize) -> usize {
        let Profile { first, bytes, .. } = &self.blocks[block];
        let under = &self.skyline[*first..first + bytes.len()];
        under.iter().copied().max().unwrap_or(0)
    }

    /// Puts a block down; gives the skyline that it covers.
    fn place(&mut self, block: usize, offset: usize) -> Vec<usize> {
        let Profile { first, bytes, .. } = &self.blocks[block];
        let life = *first..first + bytes.len();
        let covered = self.skyline[life.clone()].to_vec();
        for ((skyline, waiting), bytes) in self.skyline[life.clone()]
            .iter_mut()
            .zip(&mut self.waiting[life])
            .zip(bytes)
        {
            *skyline = offset + bytes;
            *waiting -= bytes;
        }
        self.offsets[block] = Some(offset);
        covered
    }

    fn take_back(&mut self, block: usize, covered: Vec<usize>) {
        let Profile { first, bytes, .. } = &self.blocks[block];
        let life = *first..first + bytes.len();
        self.skyline[life.clone()].copy_from_slice(&covered);
        let waiting = self.waiting[life].iter_mut().zip(bytes);
        waiting.for_each(|(waiting, bytes)| *waiting += bytes);
        self.offsets[block] = None;
    }

    /// Whether what is left fits under the target everywhere, from `floor` on.
    fn fits(&self, floor: usize) -> bool {
        self.skyline
            .iter()
            .zip(&self.waiting)
            .all(|(&skyline, &waiting)| {
                skyline <= self.target
                    && (waiting == 0 || skyline.max(floor) + waiting <= self.target)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrange::{Part, peak, tests::check};
    use super::*;

    fn block(bytes: usize, first: usize, last: usize) -> Block {
        Block {
            parts: vec![Part { bytes, first, last }],
        }
    }

    /// Seven blocks of at most four bytes at once that fit four bytes, but not when each is placed as low as it goes in the
    /// order of its size or its start.
    #[test]
    fn a_packing_without_a_gap_is_found_or_proved_not_to_be_there() {
        let blocks = [
            block(1, 0, 1),
            block(3, 0, 0),
            block(2, 1, 3),
            block(1, 1, 2),
            block(1, 2, 4),
            block(2, 4, 5),
            block(1, 3, 5),
        ];
        let offsets = search(&blocks, 6, 4, 10_000).expect("a packing of 4 bytes");
        check(&blocks, &offsets);
        assert_eq!(peak(&blocks, &offsets), 4);
        assert_eq!(search(&blocks, 6, 3, 10_000), None);
    }

    #[test]
    fn random_blocks_are_packed_as_tightly_as_trying_every_order_packs_them() {
        let mut random = 1u64;
        let mut below = |limit: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((random >> 33) % limit) as usize
        };
        for _ in 0..60 {
            let blocks: Vec<Block> = (0..6)
                .map(|_| {
                    let first = below(5);
                    block(1 + below(5), first, first + below(3))
                })
                .collect();
            let best = every_order(&blocks);
            let offsets = search(&blocks, 8, best, 100_000).expect("as good as the best order");
            check(&blocks, &offsets);
            assert!(peak(&blocks, &offsets) <= best);
            assert_eq!(search(&blocks, 8, best - 1, 100_000), None);
        }
    }

    /// The lowest peak over all orders of stacking.
    fn every_order(blocks: &[Block]) -> usize {
        fn go(blocks: &[Block], offsets: &mut Vec<(usize, usize)>, best: &mut usize) {
            if offsets.len() == blocks.len() {
                let peak = offsets
                    .iter()
                    .map(|&(block, offset)| offset + blocks[block].bytes());
                *best = (*best).min(peak.max().unwrap_or(0));
                return;
            }
            for next in 0..blocks.len() {
                if offsets.iter().any(|&(block, _)| block == next) {
                    continue;
                }
                let part = blocks[next].parts[0];
                let below = offsets.iter().filter(|&&(block, _)| {
                    let other = blocks[block].parts[0];
                    part.first <= other.last && other.first <= part.last
                });
                let rest = below
                    .map(|&(block, offset)| offset + blocks[block].bytes())
                    .max();
                offsets.push((next, rest.unwrap_or(0)));
                go(blocks, offsets, best);
                offsets.pop();
            }
        }
        let mut best = usize::MAX;
        go(blocks, &mut Vec::new(), &mut best);
        best
    }
}
