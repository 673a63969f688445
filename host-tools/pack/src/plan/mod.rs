//! Places values in the arena: an order of the operators, outputs that replace inputs, and offsets that no two live values
//! share, with the peak as near to the lower bound as found.
//!
//! A value lives from the operator that writes it (the first one, for inputs) to the last that reads it (the last one, for
//! outputs); scratch lives during its operator. The lower bound is the largest sum of live bytes at one operator, where of
//! an output and an input that it may replace the larger counts. Three searches follow one another, each deterministic and
//! of bounded work: [`mod@order`] takes the order of operators whose bound is lowest, this module decides which outputs
//! replace an input, and [`arrange`] finds offsets.
//!
//! Replacing costs a copy of the input, a few rows at a time, so that it is done where it lowers the bound and nowhere else,
//! as long as offsets are found with which the arena is no larger than with replacing everywhere.

mod arrange;
mod exact;
mod memory;
mod order;

use crate::lower::Lowered;
use arrange::{Block, Part, arrange, peak};
use memory::{Memory, Schedule};

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of each lowered value in the arena (0 for constants); an alias has the offset of its owner.
    pub value_offsets: Vec<usize>,
    /// Of each operator's scratch; 0 when it has none.
    pub scratch_offsets: Vec<usize>,
    /// Of each operator's scratch: what its kernel needs, or the stage of an operator that replaces an input.
    pub scratch_bytes: Vec<usize>,
    /// The highest end of all.
    pub arena_bytes: usize,
    /// No plan of this order of operators needs less.
    pub lower_bound_bytes: usize,
    /// Operators that write over an input.
    pub replacing_ops: usize,
}

/// Puts the operators in the order that needs the least memory and plans the arena.
pub fn plan(lowered: &mut Lowered) -> Plan {
    let memory = Memory::of(lowered);
    let order = order::order(&memory);
    memory::reorder(&mut lowered.ops, &order);
    let schedule = Schedule::new(Memory::of(lowered));
    let bound = schedule.lower_bound();
    let where_it_counts = replace_above(&schedule, bound);
    let mut best = Arranged::new(&schedule, where_it_counts, bound);
    if best.arena_bytes > bound {
        let everywhere = Arranged::new(&schedule, replace_above(&schedule, 0), bound);
        if everywhere.arena_bytes < best.arena_bytes {
            best = everywhere;
        }
    }
    best.into_plan(lowered, bound)
}

/// For each operator, which of its choices to replace an input is taken: the best one, where more than `limit` bytes are
/// live without it.
fn replace_above(schedule: &Schedule, limit: usize) -> Vec<Option<usize>> {
    (0..schedule.memory.ops.len())
        .map(|op| {
            let best = schedule.best_replacement(op)?;
            (schedule.live_bytes(op) > limit).then_some(best)
        })
        .collect()
}

/// Whose bytes a part of a block are.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Value(usize),
    Scratch(usize),
}

/// Offsets for one choice of replacements.
struct Arranged {
    blocks: Vec<Block>,
    owners: Vec<Vec<Owner>>,
    offsets: Vec<usize>,
    scratch_bytes: Vec<usize>,
    arena_bytes: usize,
    replacing_ops: usize,
}

impl Arranged {
    fn new(schedule: &Schedule, replacements: Vec<Option<usize>>, bound: usize) -> Self {
        let memory = &schedule.memory;
        let mut blocks: Vec<Block> = Vec::new();
        let mut owners: Vec<Vec<Owner>> = Vec::new();
        let mut block_of = vec![usize::MAX; memory.bytes.len()];
        let mut add = |block: Option<usize>, part: Part, owner: Owner| {
            let block = block.unwrap_or(blocks.len());
            if block == blocks.len() {
                blocks.push(Block::default());
                owners.push(Vec::new());
            }
            blocks[block].parts.push(part);
            owners[block].push(owner);
            block
        };
        for &input in &memory.inputs {
            block_of[input] = add(None, schedule.part(input), Owner::Value(input));
        }
        let mut scratch_bytes = Vec::with_capacity(memory.ops.len());
        for (index, op) in memory.ops.iter().enumerate() {
            let replacement = replacements[index].map(|choice| &op.replaceable[choice]);
            let joined = replacement.map(|replacement| block_of[replacement.storage]);
            block_of[op.writes] = add(joined, schedule.part(op.writes), Owner::Value(op.writes));
            let bytes = replacement.map_or(op.scratch_bytes, |replacement| replacement.stage_bytes);
            scratch_bytes.push(bytes);
            if bytes > 0 {
                let part = Part {
                    bytes: memory::aligned(bytes),
                    first: index,
                    last: index,
                };
                add(None, part, Owner::Scratch(index));
            }
        }
        let offsets = arrange(&blocks, memory.ops.len(), bound);
        Self {
            arena_bytes: peak(&blocks, &offsets),
            blocks,
            owners,
            offsets,
            scratch_bytes,
            replacing_ops: replacements.iter().flatten().count(),
        }
    }

    fn into_plan(self, lowered: &Lowered, lower_bound_bytes: usize) -> Plan {
        let mut value_offsets = vec![0; lowered.values.len()];
        let mut scratch_offsets = vec![0; lowered.ops.len()];
        debug_assert_eq!(self.blocks.len(), self.offsets.len());
        for (owners, &offset) in self.owners.iter().zip(&self.offsets) {
            for owner in owners {
                match *owner {
                    Owner::Value(value) => value_offsets[value] = offset,
                    Owner::Scratch(op) => scratch_offsets[op] = offset,
                }
            }
        }
        for value in 0..lowered.values.len() {
            value_offsets[value] = value_offsets[lowered.values[value].storage];
        }
        Plan {
            value_offsets,
            scratch_offsets,
            scratch_bytes: self.scratch_bytes,
            arena_bytes: self.arena_bytes,
            lower_bound_bytes,
            replacing_ops: self.replacing_ops,
        }
    }
}
