//! The order of the operators, where a graph leaves a choice.
//!
//! Dynamic programming over the sets of operators that have run (SERENITY, Ahn et al. 2020): two orders of one set leave the
//! same values live, so that only the one with the lower peak goes on. At most [`WIDTH`] sets are kept after each operator,
//! those with the lowest peak and then with the fewest live bytes, and of each at most [`READY`] operators are tried, so that
//! the work is bounded; a graph that never has more is answered exactly. The order that the graph came in stays when none is
//! better.

use std::collections::HashMap;

use super::memory::{Memory, OpMemory, Replaceable, aligned};

/// Sets of operators kept after each step.
const WIDTH: usize = 64;
/// Operators tried after each set: the first ones that could run, in the order that the graph came in.
const READY: usize = 16;

/// Operators in the order in which they are to run.
pub(super) fn order(memory: &Memory) -> Vec<usize> {
    let given: Vec<usize> = (0..memory.ops.len()).collect();
    let uses = Uses::of(memory);
    let found = search(memory, &uses);
    if peak(memory, &uses, &found) < peak(memory, &uses, &given) {
        found
    } else {
        given
    }
}

/// Who reads and who writes each storage.
struct Uses {
    readers: Vec<Vec<usize>>,
    /// Operators that must have run before each operator.
    before: Vec<Vec<usize>>,
    /// Operators that wait for each operator.
    after: Vec<Vec<usize>>,
    is_output: Vec<bool>,
}

impl Uses {
    fn of(memory: &Memory) -> Self {
        let mut writer = vec![None; memory.bytes.len()];
        let mut readers = vec![Vec::new(); memory.bytes.len()];
        for (index, op) in memory.ops.iter().enumerate() {
            writer[op.writes] = Some(index);
            op.reads
                .iter()
                .for_each(|&storage| readers[storage].push(index));
        }
        let before: Vec<Vec<usize>> = memory
            .ops
            .iter()
            .map(|op| {
                op.reads
                    .iter()
                    .filter_map(|&storage| writer[storage])
                    .collect()
            })
            .collect();
        let mut after = vec![Vec::new(); memory.ops.len()];
        for (index, before) in before.iter().enumerate() {
            before.iter().for_each(|&other| after[other].push(index));
        }
        let mut is_output = vec![false; memory.bytes.len()];
        memory
            .outputs
            .iter()
            .for_each(|&output| is_output[output] = true);
        Self {
            readers,
            before,
            after,
            is_output,
        }
    }
}

/// A set of operators that have run.
#[derive(Clone)]
struct State {
    ran: Vec<u64>,
    ready: Vec<usize>,
    live_bytes: usize,
    peak_bytes: usize,
    /// Index of the state before it, one step earlier.
    parent: usize,
    op: usize,
}

impl State {
    fn start(memory: &Memory, uses: &Uses) -> Self {
        let live_bytes = memory.inputs.iter().map(|&input| memory.bytes[input]).sum();
        Self {
            ran: vec![0; memory.ops.len().div_ceil(64)],
            ready: (0..memory.ops.len())
                .filter(|&op| uses.before[op].is_empty())
                .collect(),
            live_bytes,
            peak_bytes: live_bytes,
            parent: 0,
            op: 0,
        }
    }

    fn has_run(&self, op: usize) -> bool {
        self.ran[op / 64] >> (op % 64) & 1 == 1
    }

    /// Runs `op`, which is ready.
    fn run(&self, memory: &Memory, uses: &Uses, index: usize) -> Self {
        let mut next = self.clone();
        next.ran[index / 64] |= 1 << (index % 64);
        next.ready.retain(|&op| op != index);
        let waits = |op: &&usize| uses.before[**op].iter().all(|&other| next.has_run(other));
        let new: Vec<usize> = uses.after[index].iter().filter(waits).copied().collect();
        next.ready.extend(new);
        next.ready.sort_unstable();
        next.ready.dedup();

        let op = &memory.ops[index];
        let ends = |storage: usize| {
            !uses.is_output[storage]
                && uses.readers[storage]
                    .iter()
                    .all(|&reader| next.has_run(reader))
        };
        let live_bytes = self.live_bytes + memory.bytes[op.writes];
        let needed = live_bytes + aligned(op.scratch_bytes) - saved(memory, op, &ends);
        let first_step = self.ran.iter().all(|&word| word == 0);
        let unread_inputs = memory
            .inputs
            .iter()
            .filter(|&&input| first_step && uses.readers[input].is_empty());
        let candidates = op.reads.iter().chain([&op.writes]).chain(unread_inputs);
        let freed: usize = candidates
            .filter(|&&storage| ends(storage))
            .map(|&storage| memory.bytes[storage])
            .sum();
        next.live_bytes = live_bytes - freed;
        next.peak_bytes = self.peak_bytes.max(needed);
        next.op = index;
        next
    }
}

/// Bytes that the best replacement saves, of the storages that end.
fn saved(memory: &Memory, op: &OpMemory, ends: &dyn Fn(usize) -> bool) -> usize {
    let end = |choice: &&Replaceable| choice.storages.iter().all(|&(storage, _)| ends(storage));
    let choices = op.replaceable.iter().filter(end);
    choices
        .map(|choice| memory.saved_bytes(op, choice))
        .max()
        .unwrap_or(0)
}

/// The peak of an order.
fn peak(memory: &Memory, uses: &Uses, order: &[usize]) -> usize {
    let start = State::start(memory, uses);
    order
        .iter()
        .fold(start, |state, &op| state.run(memory, uses, op))
        .peak_bytes
}

fn search(memory: &Memory, uses: &Uses) -> Vec<usize> {
    let mut steps = vec![vec![State::start(memory, uses)]];
    for _ in 0..memory.ops.len() {
        let states = &steps[steps.len() - 1];
        let mut next: Vec<State> = Vec::new();
        let mut known: HashMap<Vec<u64>, usize> = HashMap::new();
        for (parent, state) in states.iter().enumerate() {
            for &op in state.ready.iter().take(READY) {
                let mut ran = state.run(memory, uses, op);
                ran.parent = parent;
                match known.get(&ran.ran) {
                    Some(&same) if next[same].peak_bytes <= ran.peak_bytes => {}
                    Some(&same) => next[same] = ran,
                    None => {
                        known.insert(ran.ran.clone(), next.len());
                        next.push(ran);
                    }
                }
            }
        }
        // Stable, so that equals stay in the order in which they were found.
        next.sort_by_key(|state| (state.peak_bytes, state.live_bytes));
        next.truncate(WIDTH);
        steps.push(next);
    }
    let mut order = Vec::with_capacity(memory.ops.len());
    let mut at = 0;
    for states in steps.iter().skip(1).rev() {
        order.push(states[at].op);
        at = states[at].parent;
    }
    order.reverse();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(reads: &[usize], writes: usize) -> OpMemory {
        OpMemory {
            reads: reads.to_vec(),
            writes,
            ..OpMemory::default()
        }
    }

    /// An input, two branches that grow and shrink again, and their sum, branches side by side.
    fn branches() -> Memory {
        Memory {
            bytes: vec![16, 160, 160, 16, 16, 16],
            ops: vec![
                op(&[0], 1),
                op(&[0], 2),
                op(&[1], 3),
                op(&[2], 4),
                op(&[3, 4], 5),
            ],
            inputs: vec![0],
            outputs: vec![5],
        }
    }

    #[test]
    fn one_branch_ends_before_the_other_begins() {
        let memory = branches();
        let order = order(&memory);
        assert_eq!(order, [0, 2, 1, 3, 4]);
        let uses = Uses::of(&memory);
        assert_eq!(peak(&memory, &uses, &[0, 1, 2, 3, 4]), 16 + 160 + 160);
        assert_eq!(peak(&memory, &uses, &order), 16 + 160 + 16);
    }

    #[test]
    fn the_order_of_a_graph_stays_when_none_is_better() {
        let memory = Memory {
            bytes: vec![16; 4],
            ops: vec![op(&[0], 2), op(&[0], 1), op(&[1, 2], 3)],
            inputs: vec![0],
            outputs: vec![3],
        };
        assert_eq!(order(&memory), [0, 1, 2]);
    }
}
