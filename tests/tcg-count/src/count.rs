//! Blocks, regions, and the sums over both.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::class::Class;

/// Instructions by class.
pub(crate) type Counts = [u64; Class::COUNT];

/// A block as QEMU translated it.
pub(crate) struct Block {
    /// Its first instruction.
    pub(crate) address: u64,
    /// The symbol it lies in, where one is known.
    pub(crate) symbol: String,
    /// Of one run.
    pub(crate) counts: Counts,
    /// How often it ran. Translated code counts here as long as the process lives, so that it is never freed.
    pub(crate) runs: &'static AtomicU64,
    /// `runs` at the last mark.
    seen: u64,
    /// Runs outside region 0.
    inside: u64,
}

impl Block {
    /// One that has not run.
    pub(crate) fn new(address: u64, symbol: String, counts: Counts) -> Self {
        Self {
            address,
            symbol,
            counts,
            runs: Box::leak(Box::new(AtomicU64::new(0))),
            seen: 0,
            inside: 0,
        }
    }
}

/// What ran in one region.
#[derive(Default)]
struct Region {
    entries: u64,
    counts: Counts,
}

/// All that was counted.
pub(crate) struct Tally {
    blocks: Vec<Block>,
    regions: BTreeMap<u64, Region>,
    region: u64,
}

impl Tally {
    /// Nothing yet, in region 0.
    pub(crate) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            regions: BTreeMap::new(),
            region: 0,
        }
    }

    /// Adds a block, whose `runs` are counted from now on.
    pub(crate) fn add(&mut self, block: Block) {
        self.blocks.push(block);
    }

    /// Attributes what ran since the last mark to the region of then, and goes on in `region`.
    pub(crate) fn enter(&mut self, region: u64) {
        self.settle();
        self.region = region;
        self.regions.entry(region).or_default().entries += 1;
    }

    /// As [`Tally::enter`] with the region after the present one.
    pub(crate) fn enter_next(&mut self) {
        self.enter(self.region + 1);
    }

    /// Attributes what ran since the last mark.
    pub(crate) fn settle(&mut self) {
        let region = self.regions.entry(self.region).or_default();
        for block in &mut self.blocks {
            let runs = block.runs.load(Ordering::Relaxed);
            let new = runs - block.seen;
            if new == 0 {
                continue;
            }
            block.seen = runs;
            if self.region != 0 {
                block.inside += new;
            }
            for (sum, count) in region.counts.iter_mut().zip(block.counts) {
                *sum += new * count;
            }
        }
    }

    /// The table of all regions, and of the `blocks` heaviest blocks.
    pub(crate) fn report(&self, blocks: usize) -> String {
        let mut text = format!("region entries instructions {}\n", Class::NAMES.join(" "));
        for (id, region) in &self.regions {
            line(&mut text, id, region.entries, &region.counts);
        }
        for (name, runs, counts) in self.heaviest(blocks) {
            line(&mut text, name, runs, &counts);
        }
        text
    }

    /// Address and symbol, runs and instructions of the blocks that took most outside region 0. What was translated several
    /// times is one.
    fn heaviest(&self, number: usize) -> Vec<(String, u64, Counts)> {
        let mut blocks: BTreeMap<(u64, &str), (u64, Counts)> = BTreeMap::new();
        for block in self.blocks.iter().filter(|block| block.inside > 0) {
            let (runs, counts) = blocks.entry((block.address, &block.symbol)).or_default();
            *runs += block.inside;
            for (sum, count) in counts.iter_mut().zip(block.counts) {
                *sum += block.inside * count;
            }
        }
        let mut blocks: Vec<_> = blocks
            .into_iter()
            .map(|((address, symbol), (runs, counts))| {
                let symbol = if symbol.is_empty() { "-" } else { symbol };
                (format!("{address:#x} {symbol}"), runs, counts)
            })
            .collect();
        blocks.sort_by_key(|(_, _, counts)| Reverse(counts.iter().sum::<u64>()));
        blocks.truncate(number);
        blocks
    }
}

fn line(text: &mut String, name: impl std::fmt::Display, entries: u64, counts: &Counts) {
    let total: u64 = counts.iter().sum();
    let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name} {entries} {total} {}", counts.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(tally: &mut Tally, address: u64, counts: Counts) -> &'static AtomicU64 {
        let block = Block::new(address, "kernel".into(), counts);
        let runs = block.runs;
        tally.add(block);
        runs
    }

    fn run(runs: &AtomicU64, times: u64) {
        runs.fetch_add(times, Ordering::Relaxed);
    }

    #[test]
    fn runs_between_two_marks_belong_to_the_first() {
        let mut tally = Tally::new();
        let start = block(&mut tally, 0x10, [0, 0, 0, 0, 0, 0, 5]);
        run(start, 1);
        tally.enter(3);
        let dot = block(&mut tally, 0x20, [16, 0, 0, 0, 4, 1, 0]);
        run(dot, 100);
        tally.enter_next();
        run(dot, 10);
        tally.enter(0);
        run(start, 2);
        tally.settle();
        assert_eq!(
            tally.report(1),
            "region entries instructions dot vector_int vector_float scalar_float load_store branch other\n\
             0 1 15 0 0 0 0 0 0 15\n\
             3 1 2100 1600 0 0 0 400 100 0\n\
             4 1 210 160 0 0 0 40 10 0\n\
             0x20 kernel 110 2310 1760 0 0 0 440 110 0\n"
        );
    }

    #[test]
    fn a_block_that_is_translated_again_is_one_block() {
        let mut tally = Tally::new();
        tally.enter(1);
        let first = block(&mut tally, 0x20, [1, 0, 0, 0, 0, 0, 0]);
        let second = block(&mut tally, 0x20, [1, 0, 0, 0, 0, 0, 0]);
        run(first, 2);
        run(second, 3);
        tally.enter(0);
        assert_eq!(tally.heaviest(9).len(), 1);
        assert_eq!(tally.heaviest(9)[0].1, 5);
    }
}
