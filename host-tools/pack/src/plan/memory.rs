//! What the operators of a lowered graph do to memory, and for how long it is theirs.

use crate::lower::{Lowered, LoweredOp, LoweredValue, Place};
use pinhole_runtime::model::format::{ALIGN_BYTES, MAX_INPUTS};
use pinhole_runtime::model::op::{ConcatParams, OpKind};
use pinhole_runtime::model::{Inputs, ValueView, joined_at, stage_bytes};
use zerocopy::FromBytes;

use super::arrange::Part;

/// Everything is placed at multiples of 16 bytes.
pub(super) fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN_BYTES)
}

/// Storages by the indices of the values that own them.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Of each value that owns bytes in the arena, aligned; 0 for others.
    pub(super) bytes: Vec<usize>,
    pub(super) ops: Vec<OpMemory>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
}

/// One operator.
#[derive(Clone, Debug, Default)]
pub(super) struct OpMemory {
    /// Storages, each once.
    pub(super) reads: Vec<usize>,
    pub(super) writes: usize,
    /// Of its kernel.
    pub(super) scratch_bytes: usize,
    /// What it may write over if nobody reads it later.
    pub(super) replaceable: Vec<Replaceable>,
}

/// Storages that an operator may write over.
#[derive(Clone, Debug)]
pub(super) struct Replaceable {
    /// Each with where it then begins in the output; the first one at 0.
    pub(super) storages: Vec<(usize, usize)>,
    /// Scratch that this takes instead of the kernel's, which has none.
    pub(super) stage_bytes: usize,
}

impl Memory {
    /// That of a lowered graph, in the order of its operators.
    pub(super) fn of(lowered: &Lowered) -> Self {
        let storages = |values: &[usize]| -> Vec<usize> {
            let mut storages: Vec<usize> = values
                .iter()
                .map(|&value| lowered.values[value].storage)
                .filter(|&storage| matches!(lowered.values[storage].place, Place::Arena))
                .collect();
            storages.sort_unstable();
            storages.dedup();
            storages
        };
        let owned = |(index, value): (usize, &LoweredValue)| match value.place {
            Place::Arena if value.storage == index => aligned(value.bytes()),
            _ => 0,
        };
        let op = |op: &LoweredOp| OpMemory {
            reads: storages(&op.inputs),
            writes: lowered.values[op.output].storage,
            scratch_bytes: op.scratch_bytes,
            replaceable: replaceable(lowered, op),
        };
        Self {
            bytes: lowered.values.iter().enumerate().map(owned).collect(),
            ops: lowered.ops.iter().map(op).collect(),
            inputs: storages(&lowered.inputs),
            outputs: storages(&lowered.outputs),
        }
    }

    /// Bytes saved at `op` when it writes over `replaceable`.
    pub(super) fn saved_bytes(&self, op: &OpMemory, replaceable: &Replaceable) -> usize {
        let replaced: usize = replaceable
            .storages
            .iter()
            .map(|&(storage, _)| self.bytes[storage])
            .sum();
        let shared = replaced.min(self.bytes[op.writes]);
        shared.saturating_sub(aligned(replaceable.stage_bytes))
    }
}

/// What an operator may write over, in every way that there is.
fn replaceable(lowered: &Lowered, op: &LoweredOp) -> Vec<Replaceable> {
    let mut inputs: Inputs = [None; MAX_INPUTS];
    for (input, &value) in inputs.iter_mut().zip(&op.inputs) {
        *input = Some(view(&lowered.values[value]));
    }
    let output = view(&lowered.values[op.output]);
    match op.kind {
        OpKind::Concat => joined(op, &inputs, &output).into_iter().collect(),
        _ => by_rows(op, &inputs, &output),
    }
}

/// The storages that every operand lying there allows to be overwritten row by row.
fn by_rows(op: &LoweredOp, inputs: &Inputs, output: &ValueView) -> Vec<Replaceable> {
    let mut found: Vec<Replaceable> = Vec::new();
    for input in inputs.iter().flatten().filter(|input| !input.constant) {
        let there = (0..MAX_INPUTS)
            .filter(|&other| inputs[other].is_some_and(|other| other.storage == input.storage));
        let stages: Option<Vec<usize>> = there
            .map(|operand| stage_bytes(op.kind, operand, inputs, output))
            .collect();
        let known = found
            .iter()
            .any(|found| found.storages[0].0 == input.storage);
        if let (Some(stages), false) = (stages, known) {
            found.push(Replaceable {
                storages: vec![(input.storage, 0)],
                stage_bytes: stages[0],
            });
        }
    }
    found
}

/// All inputs of a concatenation that can be joined where they lie.
fn joined(op: &LoweredOp, inputs: &Inputs, output: &ValueView) -> Option<Replaceable> {
    let (params, _) = ConcatParams::ref_from_prefix(&op.params).ok()?;
    let mut storages: Vec<(usize, usize)> = Vec::new();
    for (operand, input) in inputs.iter().flatten().enumerate() {
        let at = joined_at(params.axis.into(), operand, inputs, output)?;
        let again = storages
            .iter()
            .any(|&(storage, _)| storage == input.storage);
        if input.constant || again || !at.is_multiple_of(ALIGN_BYTES) {
            return None;
        }
        storages.push((input.storage, at));
    }
    Some(Replaceable {
        storages,
        stage_bytes: 0,
    })
}

/// The value as the runtime will see it, its offset aside.
fn view(value: &LoweredValue) -> ValueView {
    ValueView {
        dtype: value.dtype,
        shape: std::array::from_fn(|d| value.shape.get(d).copied().unwrap_or(1)),
        rank: value.shape.len(),
        bytes: value.bytes(),
        scale: value.scale,
        zero_point: value.zero_point,
        dynamic: value.dynamic,
        constant: matches!(value.place, Place::Data(_)),
        storage: value.storage,
        offset: 0,
    }
}

/// Scratch of an operator that takes one of its choices to replace inputs, or none.
pub(super) fn scratch_bytes(op: &OpMemory, choice: Option<usize>) -> usize {
    choice.map_or(op.scratch_bytes, |choice| {
        op.replaceable[choice].stage_bytes
    })
}

/// Puts operators in another order.
pub(super) fn reorder<T>(ops: &mut Vec<T>, order: &[usize]) {
    let mut taken: Vec<Option<T>> = ops.drain(..).map(Some).collect();
    ops.extend(order.iter().filter_map(|&op| taken[op].take()));
}

/// Operators in their order, with the lives of storages.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) memory: Memory,
    /// First and last operator of each storage, both included; `None` for what is no storage.
    lives: Vec<Option<(usize, usize)>>,
    /// Bytes live at each operator, its scratch included.
    live_bytes: Vec<usize>,
}

impl Schedule {
    /// The operators in the order that they have.
    pub(super) fn new(memory: Memory) -> Self {
        let lives = lives(&memory);
        let mut live_bytes: Vec<usize> = memory
            .ops
            .iter()
            .map(|op| aligned(op.scratch_bytes))
            .collect();
        for (storage, life) in lives.iter().enumerate() {
            if let &Some((first, last)) = life {
                let during = live_bytes.iter_mut().take(last + 1).skip(first);
                during.for_each(|bytes| *bytes += memory.bytes[storage]);
            }
        }
        Self {
            memory,
            lives,
            live_bytes,
        }
    }

    /// Bytes live at an operator that replaces nothing.
    pub(super) fn live_bytes(&self, op: usize) -> usize {
        self.live_bytes[op]
    }

    /// The choice that saves most among the inputs that nobody needs after `op`; `None` when none saves anything.
    pub(super) fn best_replacement(&self, op: usize) -> Option<usize> {
        let memory = &self.memory;
        let choices = &memory.ops[op].replaceable;
        let ends = |storage: usize| {
            self.lives[storage].is_some_and(|(_, last)| last == op)
                && !memory.outputs.contains(&storage)
        };
        let saved = |choice: usize| memory.saved_bytes(&memory.ops[op], &choices[choice]);
        (0..choices.len())
            .filter(|&choice| {
                choices[choice]
                    .storages
                    .iter()
                    .all(|&(storage, _)| ends(storage))
            })
            .filter(|&choice| saved(choice) > 0)
            .max_by_key(|&choice| (saved(choice), std::cmp::Reverse(choice)))
    }

    /// The largest sum of live bytes, with every replacement that saves some.
    pub(super) fn lower_bound(&self) -> usize {
        let memory = &self.memory;
        let needed = |op: usize| {
            let saved = self.best_replacement(op).map_or(0, |choice| {
                memory.saved_bytes(&memory.ops[op], &memory.ops[op].replaceable[choice])
            });
            self.live_bytes[op] - saved
        };
        let inputs = memory.inputs.iter().map(|&input| memory.bytes[input]).sum();
        (0..memory.ops.len()).map(needed).fold(inputs, usize::max)
    }

    /// A storage and its life.
    pub(super) fn part(&self, storage: usize) -> Part {
        let (first, last) = self.lives[storage].unwrap_or_default();
        Part {
            bytes: self.memory.bytes[storage],
            first,
            last,
        }
    }
}

/// First and last operator of each storage.
fn lives(memory: &Memory) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; memory.bytes.len()];
    let mut touch = |storage: usize, op: usize| {
        let life = lives[storage].get_or_insert((op, op));
        *life = (life.0.min(op), life.1.max(op));
    };
    memory.inputs.iter().for_each(|&input| touch(input, 0));
    for (index, op) in memory.ops.iter().enumerate() {
        op.reads.iter().for_each(|&storage| touch(storage, index));
        touch(op.writes, index);
    }
    let last_op = memory.ops.len().saturating_sub(1);
    memory
        .outputs
        .iter()
        .for_each(|&output| touch(output, last_op));
    lives
}
