//! Places values in the arena: offsets that no two live values share, with the peak as near to the lower bound as found.
//!
//! A value lives from the operator that writes it (the first one, for inputs) to the last that reads it (the last one, for
//! outputs); scratch lives during its operator. The lower bound is the largest sum of live bytes at one operator.
//! Finding the best offsets is NP-hard (dynamic storage allocation, Garey & Johnson 1979, SR2). We place buffers one after
//! the other at the lowest offset that is free over their whole life, try several orders, and then improve the best order
//! by swaps from a fixed seed until the bound is met or the budget is spent.

use crate::lower::{Lowered, Place};

/// Everything is placed at multiples of this.
const ALIGN_BYTES: usize = pinhole_runtime::model::format::ALIGN_BYTES;
/// Orders tried before the best one is taken.
const SEARCH_STEPS: usize = 4000;

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of each lowered value in the arena (0 for constants); an alias has the offset of its owner.
    pub value_offsets: Vec<usize>,
    /// Of each operator's scratch; 0 when it has none.
    pub scratch_offsets: Vec<usize>,
    /// The highest end of all.
    pub arena_bytes: usize,
    /// No plan of this order of operators needs less.
    pub lower_bound_bytes: usize,
}

/// A buffer: bytes that are live over a range of operators, both ends included.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    bytes: usize,
    first: usize,
    last: usize,
}

impl Buffer {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Plans the arena of a lowered graph.
pub fn plan(lowered: &Lowered) -> Plan {
    let (buffers, owners) = buffers(lowered);
    let lower_bound_bytes = lower_bound(&buffers, lowered.ops.len());
    let offsets = search(&buffers, lower_bound_bytes);
    let arena_bytes = peak(&buffers, &offsets);
    let mut value_offsets = vec![0; lowered.values.len()];
    let mut scratch_offsets = vec![0; lowered.ops.len()];
    for (owner, &offset) in owners.iter().zip(&offsets) {
        match *owner {
            Owner::Value(value) => value_offsets[value] = offset,
            Owner::Scratch(op) => scratch_offsets[op] = offset,
        }
    }
    for value in 0..lowered.values.len() {
        value_offsets[value] = value_offsets[lowered.values[value].storage];
    }
    Plan {
        value_offsets,
        scratch_offsets,
        arena_bytes,
        lower_bound_bytes,
    }
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Value(usize),
    Scratch(usize),
}

/// The buffers of a graph, with whose they are.
fn buffers(lowered: &Lowered) -> (Vec<Buffer>, Vec<Owner>) {
    let last_op = lowered.ops.len().saturating_sub(1);
    let mut life: Vec<Option<(usize, usize)>> = vec![None; lowered.values.len()];
    let mut touch = |value: usize, op: usize| {
        let span = life[lowered.values[value].storage].get_or_insert((op, op));
        *span = (span.0.min(op), span.1.max(op));
    };
    for &input in &lowered.inputs {
        touch(input, 0);
    }
    for (index, op) in lowered.ops.iter().enumerate() {
        op.inputs.iter().for_each(|&input| touch(input, index));
        touch(op.output, index);
    }
    for &output in &lowered.outputs {
        touch(output, last_op);
    }
    let mut buffers = Vec::new();
    let mut owners = Vec::new();
    for (index, value) in lowered.values.iter().enumerate() {
        if let (Place::Arena, Some((first, last))) = (&value.place, life[index]) {
            buffers.push(Buffer {
                bytes: value.bytes().next_multiple_of(ALIGN_BYTES),
                first,
                last,
            });
            owners.push(Owner::Value(index));
        }
    }
    for (index, op) in lowered
        .ops
        .iter()
        .enumerate()
        .filter(|(_, op)| op.scratch_bytes > 0)
    {
        buffers.push(Buffer {
            bytes: op.scratch_bytes.next_multiple_of(ALIGN_BYTES),
            first: index,
            last: index,
        });
        owners.push(Owner::Scratch(index));
    }
    (buffers, owners)
}

fn lower_bound(buffers: &[Buffer], ops: usize) -> usize {
    (0..ops.max(1))
        .map(|op| {
            buffers
                .iter()
                .filter(|b| b.first <= op && op <= b.last)
                .map(|b| b.bytes)
                .sum()
        })
        .max()
        .unwrap_or(0)
}

fn peak(buffers: &[Buffer], offsets: &[usize]) -> usize {
    buffers
        .iter()
        .zip(offsets)
        .map(|(buffer, offset)| offset + buffer.bytes)
        .max()
        .unwrap_or(0)
}

/// The best offsets found.
fn search(buffers: &[Buffer], bound: usize) -> Vec<usize> {
    let mut best: Option<(usize, Vec<usize>, Vec<usize>)> = None;
    let mut offer = |order: Vec<usize>| {
        let offsets = place(buffers, &order);
        let peak = peak(buffers, &offsets);
        if best.as_ref().is_none_or(|(lowest, ..)| peak < *lowest) {
            best = Some((peak, offsets, order));
        }
    };
    let by = |key: &dyn Fn(&Buffer) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&index| (key(&buffers[index]), index));
        order
    };
    offer(by(&|b| (usize::MAX - b.bytes, b.first)));
    offer(by(&|b| {
        (usize::MAX - b.bytes * (b.last - b.first + 1), b.first)
    }));
    offer(by(&|b| {
        (usize::MAX - (b.last - b.first), usize::MAX - b.bytes)
    }));
    offer(by(&|b| (b.first, usize::MAX - b.bytes)));
    let Some((mut lowest, mut offsets, mut order)) = best else {
        return Vec::new();
    };
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    for _ in 0..SEARCH_STEPS {
        if lowest == bound {
            break;
        }
        let mut candidate = order.clone();
        let moved = candidate.remove(below(order.len()));
        candidate.insert(below(order.len()), moved);
        let placed = place(buffers, &candidate);
        let peak = peak(buffers, &placed);
        if peak <= lowest {
            (lowest, offsets, order) = (peak, placed, candidate);
        }
    }
    offsets
}

/// Places buffers in `order`, each at the lowest offset free over its whole life.
fn place(buffers: &[Buffer], order: &[usize]) -> Vec<usize> {
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    for &index in order {
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| buffers[other].meets(&buffers[index]))
            .map(|&other| (offsets[other], offsets[other] + buffers[other].bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + buffers[index].bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        placed.push(index);
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_live_together_never_overlap_and_the_bound_is_met_on_a_chain() {
        let buffers: Vec<Buffer> = (0..40)
            .map(|i| Buffer {
                bytes: 16 * (1 + (i * 7) % 13),
                first: i,
                last: i + 1 + i % 3,
            })
            .collect();
        let bound = lower_bound(&buffers, 45);
        let offsets = search(&buffers, bound);
        for a in 0..buffers.len() {
            for b in 0..a {
                let apart = offsets[a] + buffers[a].bytes <= offsets[b]
                    || offsets[b] + buffers[b].bytes <= offsets[a];
                assert!(
                    apart || !buffers[a].meets(&buffers[b]),
                    "buffers {a} and {b} overlap"
                );
            }
        }
        let peak = peak(&buffers, &offsets);
        assert!(
            peak >= bound && peak * 100 <= bound * 110,
            "peak {peak}, bound {bound}"
        );
    }
}
