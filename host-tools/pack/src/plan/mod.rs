//! Places values in the arena: an order of the operators, outputs that replace inputs, and offsets that no two live values
//! share, with the peak as near to the lower bound as found.
//!
//! A value lives from the operator that writes it (the first one, for inputs) to the last that reads it (the last one, for
//! outputs); scratch lives during its operator. The lower bound is the largest sum of live bytes at one operator, where of
//! an output and what it may replace the larger counts. Three searches follow one another, each deterministic and of bounded
//! work: [`mod@order`] takes the order of operators whose bound is lowest, this module decides which outputs replace inputs,
//! and `arrange` finds offsets. The order that the graph came in is taken after all when offsets are found for it that need
//! less.
//!
//! Replacing row by row costs a copy of the input, so that it is done where it lowers the bound and nowhere else, as long as
//! the arena does not grow by that.

mod arrange;
mod exact;
mod memory;
mod order;

use std::collections::HashMap;

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

/// The lower bound of a lowered graph in the order of its operators.
pub fn lower_bound(lowered: &Lowered) -> usize {
    Schedule::new(Memory::of(lowered)).lower_bound()
}

/// The lower bound in the order of operators that [`plan`] prefers.
pub fn ordered_lower_bound(lowered: &Lowered) -> usize {
    let mut memory = Memory::of(lowered);
    let order = order::order(&memory);
    memory::reorder(&mut memory.ops, &order);
    Schedule::new(memory).lower_bound()
}

/// Puts the operators in the order that needs the least memory and plans the arena.
pub fn plan(lowered: &mut Lowered) -> Plan {
    let memory = Memory::of(lowered);
    let order = order::order(&memory);
    let mut reordered = memory.clone();
    memory::reorder(&mut reordered.ops, &order);
    let (given, found) = (Schedule::new(memory), Schedule::new(reordered));
    let arranged = Arranged::best(&found);
    // An order with a lower bound is worth nothing when no offsets come near it.
    if arranged.arena_bytes > given.lower_bound() {
        let in_given_order = Arranged::best(&given);
        if in_given_order.arena_bytes < arranged.arena_bytes {
            return in_given_order.into_plan(lowered, given.lower_bound());
        }
    }
    memory::reorder(&mut lowered.ops, &order);
    arranged.into_plan(lowered, found.lower_bound())
}

/// For each operator, which of its choices to replace an input is taken: the best one, where more than `limit` bytes are
/// live without it, or, with `join`, where it takes no stage.
fn replacements(schedule: &Schedule, limit: usize, join: bool) -> Vec<Option<usize>> {
    let ops = schedule.memory.ops.iter().enumerate();
    ops.map(|(index, op)| {
        let best = schedule.best_replacement(index)?;
        let joins = join && op.replaceable[best].stage_bytes == 0;
        (joins || schedule.live_bytes(index) > limit).then_some(best)
    })
    .collect()
}

/// Whose bytes a part of a block are.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Value(usize),
    Scratch(usize),
}

/// Blocks in the making: what begins how many bytes behind the start of each, and its life.
#[derive(Default)]
struct Blocks {
    members: Vec<Vec<(Owner, usize, Part)>>,
    /// Of each storage.
    block_of: HashMap<usize, usize>,
}

impl Blocks {
    fn of(schedule: &Schedule, replacements: &[Option<usize>]) -> Self {
        let memory = &schedule.memory;
        let mut blocks = Self::default();
        for &input in &memory.inputs {
            blocks.add(None, Owner::Value(input), schedule.part(input));
        }
        for (index, op) in memory.ops.iter().enumerate() {
            let replacement = replacements[index].map(|choice| &op.replaceable[choice]);
            let block = replacement.and_then(|replacement| blocks.join(&replacement.storages));
            blocks.add(block, Owner::Value(op.writes), schedule.part(op.writes));
            let bytes = memory::scratch_bytes(op, replacements[index]);
            if bytes > 0 {
                let part = Part {
                    bytes: memory::aligned(bytes),
                    first: index,
                    last: index,
                };
                blocks.add(None, Owner::Scratch(index), part);
            }
        }
        blocks.members.retain(|members| !members.is_empty());
        blocks
    }

    /// Puts what is about to be replaced into one block, at the given distances from its start, and gives that block. Storages
    /// that live begin where their block begins, because an output begins where the first one that it replaces begins.
    fn join(&mut self, storages: &[(usize, usize)]) -> Option<usize> {
        let mut storages = storages.iter();
        let first = self.block_of.get(&storages.next()?.0).copied()?;
        for (storage, at) in storages {
            let block = self.block_of.get(storage).copied()?;
            let moved = std::mem::take(&mut self.members[block]);
            let moved = moved
                .into_iter()
                .map(|(owner, behind, part)| (owner, behind + at, part));
            self.members[first].extend(moved);
        }
        Some(first)
    }

    fn add(&mut self, block: Option<usize>, owner: Owner, part: Part) {
        let block = block.unwrap_or(self.members.len());
        if block == self.members.len() {
            self.members.push(Vec::new());
        }
        self.members[block].push((owner, 0, part));
        if let Owner::Value(storage) = owner {
            self.block_of.insert(storage, block);
        }
    }

    /// What has to be placed: every member reaches from the start of its block to its own end.
    fn to_place(&self) -> Vec<Block> {
        let part = |&(_, at, part): &(Owner, usize, Part)| Part {
            bytes: at + part.bytes,
            ..part
        };
        let block = |members: &Vec<_>| Block {
            parts: members.iter().map(part).collect(),
        };
        self.members.iter().map(block).collect()
    }
}

/// Offsets for one choice of replacements.
#[derive(Default)]
struct Arranged {
    blocks: Blocks,
    offsets: Vec<usize>,
    scratch_bytes: Vec<usize>,
    arena_bytes: usize,
    replacing_ops: usize,
}

impl Arranged {
    /// The smallest arena of a schedule, over the ways to choose what is replaced.
    fn best(schedule: &Schedule) -> Self {
        let bound = schedule.lower_bound();
        // Joining costs nothing and is done wherever it can be; but it ties offsets together, as all replacing does.
        let choices = [(bound, true), (bound, false), (0, true)];
        let mut best: Option<Self> = None;
        for (limit, join) in choices {
            let arranged = Self::new(schedule, &replacements(schedule, limit, join), bound);
            let meets_bound = arranged.arena_bytes <= bound;
            if best
                .as_ref()
                .is_none_or(|best| arranged.arena_bytes < best.arena_bytes)
            {
                best = Some(arranged);
            }
            if meets_bound {
                break;
            }
        }
        best.unwrap_or_default()
    }

    fn new(schedule: &Schedule, replacements: &[Option<usize>], bound: usize) -> Self {
        let ops = &schedule.memory.ops;
        let blocks = Blocks::of(schedule, replacements);
        let to_place = blocks.to_place();
        let offsets = arrange(&to_place, ops.len(), bound);
        let scratch = ops.iter().zip(replacements);
        Self {
            arena_bytes: peak(&to_place, &offsets),
            blocks,
            offsets,
            scratch_bytes: scratch
                .map(|(op, &choice)| memory::scratch_bytes(op, choice))
                .collect(),
            replacing_ops: replacements.iter().flatten().count(),
        }
    }

    fn into_plan(self, lowered: &Lowered, lower_bound_bytes: usize) -> Plan {
        let mut value_offsets = vec![0; lowered.values.len()];
        let mut scratch_offsets = vec![0; lowered.ops.len()];
        for (members, &offset) in self.blocks.members.iter().zip(&self.offsets) {
            for &(owner, at, _) in members {
                match owner {
                    Owner::Value(value) => value_offsets[value] = offset + at,
                    Owner::Scratch(op) => scratch_offsets[op] = offset + at,
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
