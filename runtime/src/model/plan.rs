//! The proof that the operators, in their order, use the arena soundly: what is read was written, nothing that is still
//! needed is overwritten, and the sizes in the header are exactly those of the plan.
//!
//! The definitions (`docs/model-format.md` states them for whoever writes files): a storage is a value that owns bytes in
//! the arena. It is written once: by one operator, or, as a model input, before the first. It is live from the operator
//! that writes it (inputs: from the first operator) up to the last operator that reads it or an alias of it (model outputs:
//! up to the last operator; never read: up to the one that writes it). The operator that reads it last may write over it
//! where [`super::in_place`] allows. There is no memory for intervals here, so both ends are found by walking the operators:
//! O(values · ops) for the overlaps, O(ops²) for the sums, nothing cubic.

use super::error::{LoadError, ValueFault};
use super::format::{ALIGN_BYTES, OpRecord};
use super::in_place::{self, Replaced};
use super::op_fault::{OUTPUT, OpFault};
use super::step::{Step, input_indices};
use super::{Model, ValueView};

/// What the header says about the operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The end of the last value or scratch, rounded up to 16 bytes.
    pub arena_bytes: u64,
    /// The largest sum, over the operators, of live storages (each rounded up to 16 bytes) and scratch; of an output and the
    /// input that it is written over the larger counts.
    pub arena_lower_bound_bytes: u64,
    /// Multiply-accumulates at `max_tokens`.
    pub macs: u64,
}

/// A stretch of the arena.
#[derive(Clone, Copy)]
struct Stretch {
    start: u64,
    end: u64,
}

impl Stretch {
    fn of(value: &ValueView) -> Self {
        Self {
            start: value.offset as u64,
            end: value.offset as u64 + value.bytes as u64,
        }
    }
    fn scratch(op: &OpRecord) -> Self {
        let start = u64::from(op.scratch_offset.get());
        Self {
            start,
            end: start + u64::from(op.scratch_bytes.get()),
        }
    }
    fn overlaps(self, other: Self) -> bool {
        self.start.max(other.start) < self.end.min(other.end)
    }
    fn bytes(self) -> u64 {
        (self.end - self.start).next_multiple_of(ALIGN_BYTES as u64)
    }
}

/// Everything about operators and arena.
pub(super) fn check(model: &Model<'_>) -> Result<(), LoadError> {
    for (index, op) in model.ops.iter().enumerate() {
        operator(model, op).map_err(|reason| fault(index, op, reason))?;
    }
    inputs_apart(model)?;
    for index in 0..model.values.len() {
        let value = model.value(index);
        if value.storage == index && !value.constant {
            storage(model, index, &value)?;
        }
    }
    Ok(())
}

/// The header says what the operators need.
pub(super) fn expect_totals(model: &Model<'_>) -> Result<(), LoadError> {
    let computed = totals(model);
    let header = model.header;
    let pairs = [
        (u64::from(header.arena_bytes.get()), computed.arena_bytes),
        (
            u64::from(header.arena_lower_bound_bytes.get()),
            computed.arena_lower_bound_bytes,
        ),
        (header.macs.get(), computed.macs),
    ];
    match pairs.map(|(stored, computed)| (stored != computed).then_some((stored, computed))) {
        [Some((stored, computed)), ..] => Err(LoadError::Arena { stored, computed }),
        [_, Some((stored, computed)), _] => Err(LoadError::LowerBound { stored, computed }),
        [_, _, Some((stored, computed))] => Err(LoadError::Macs { stored, computed }),
        [None, None, None] => Ok(()),
    }
}

fn fault(index: usize, op: &OpRecord, reason: OpFault) -> LoadError {
    LoadError::Op {
        index,
        kind: op.kind.get(),
        reason,
    }
}

/// One operator by itself. It is decoded for the longest and the shortest run, so that no step fails in between.
fn operator(model: &Model<'_>, op: &OpRecord) -> Result<(), OpFault> {
    if model.max_tokens() > 1 {
        Step::decode(model, op, 1)?;
    }
    let step = Step::decode(model, op, model.max_tokens())?;
    step.check_contents()?;
    // Whether an output may lie over an input at all is the matter of `storage`.
    let stage = match in_place::replaced(model, op) {
        Some(Replaced::Rows { operand }) => in_place::stage_of(model, op, operand),
        Some(Replaced::Joined) | None => None,
    };
    let expected = stage.or(step.scratch_bytes());
    scratch(model, op, expected.ok_or(OpFault::Overflow)?)?;
    let (output, working) = (
        Stretch::of(&model.value(op.output.get().into())),
        Stretch::scratch(op),
    );
    if output.overlaps(working) {
        return Err(OpFault::ScratchBounds {
            offset: op.scratch_offset.get(),
        });
    }
    Ok(())
}

fn scratch(model: &Model<'_>, op: &OpRecord, expected: usize) -> Result<(), OpFault> {
    let (offset, found) = (op.scratch_offset.get(), op.scratch_bytes.get() as usize);
    if found != expected {
        return Err(OpFault::ScratchLength { expected, found });
    }
    let aligned = (offset as usize).is_multiple_of(ALIGN_BYTES) && (found != 0 || offset == 0);
    if aligned && Stretch::scratch(op).end <= model.arena_bytes() as u64 {
        Ok(())
    } else {
        Err(OpFault::ScratchBounds { offset })
    }
}

/// Whoever fills one input must not destroy another.
fn inputs_apart(model: &Model<'_>) -> Result<(), LoadError> {
    for (slot, index) in model.inputs().enumerate() {
        for other in model.inputs().take(slot) {
            if Stretch::of(&model.value(index)).overlaps(Stretch::of(&model.value(other))) {
                return Err(LoadError::Value {
                    index,
                    reason: ValueFault::InputsOverlap { other },
                });
            }
        }
    }
    Ok(())
}

/// One storage: written once, before it is read, and left alone while it is live.
fn storage(model: &Model<'_>, index: usize, value: &ValueView) -> Result<(), LoadError> {
    let reason = |reason| LoadError::Value { index, reason };
    let mut writers = model
        .ops
        .iter()
        .enumerate()
        .filter(|(_, op)| storage_of(model, op.output.get().into()) == index);
    // The first operator that the storage must survive, and the one from which it may be read.
    let (written, readable) = if model.inputs().any(|input| input == index) {
        (0, 0)
    } else {
        let (writer, _) = writers.next().ok_or(reason(ValueFault::NeverWritten))?;
        (writer, writer + 1)
    };
    if let Some((op, _)) = writers.next() {
        return Err(reason(ValueFault::WrittenTwice { op }));
    }
    for (number, op) in model.ops.iter().enumerate().take(readable) {
        if let Some(operand) = reads(model, op, index) {
            return Err(fault(number, op, OpFault::ReadBeforeWrite { operand }));
        }
    }
    let last = last_read(model, index, written);
    let own = Stretch::of(value);
    for (number, op) in model.ops.iter().enumerate().take(last + 1).skip(written) {
        let output = model.value(op.output.get().into());
        let overwritten = output.storage != index
            && own.overlaps(Stretch::of(&output))
            && !(number == last && gives_way(model, op, index));
        if overwritten || own.overlaps(Stretch::scratch(op)) {
            return Err(LoadError::Liveness {
                op: number,
                value: index,
            });
        }
    }
    Ok(())
}

/// Whether `op`, the last one to read the storage, may write over it: every operand that lies there is one that the kind
/// may write over, where it is. A model output is needed after the last operator, too.
fn gives_way(model: &Model<'_>, op: &OpRecord, storage: usize) -> bool {
    let is_output = |output: usize| storage_of(model, output) == storage;
    let place = model
        .values
        .get(storage)
        .map(|value| value.offset.get() as usize);
    let mut operands = input_indices(op)
        .enumerate()
        .filter(|&(_, input)| storage_of(model, input) == storage)
        .peekable();
    operands.peek().is_some()
        && operands.all(|(operand, _)| in_place::place_of(model, op, operand) == place)
        && !model.outputs().any(is_output)
}

/// The last operator that needs the storage: the last of all for an output, the one that writes it when none reads it.
fn last_read(model: &Model<'_>, storage: usize, written: usize) -> usize {
    let final_op = model.ops.len() - 1;
    if model
        .outputs()
        .any(|output| storage_of(model, output) == storage)
    {
        return final_op;
    }
    model
        .ops
        .iter()
        .rposition(|op| reads(model, op, storage).is_some())
        .unwrap_or(written)
        .max(written)
}

/// Which operand of an operator has its bytes in the storage.
fn reads(model: &Model<'_>, op: &OpRecord, storage: usize) -> Option<u8> {
    (0u8..OUTPUT)
        .zip(input_indices(op))
        .find(|&(_, input)| storage_of(model, input) == storage)
        .map(|(operand, _)| operand)
}

fn storage_of(model: &Model<'_>, value: usize) -> usize {
    model
        .values
        .get(value)
        .map_or(value, |value| value.storage.get() as usize)
}

/// Walks the operators with the sum of what is live. The model was checked.
pub(super) fn totals(model: &Model<'_>) -> Totals {
    let mut arena_bytes = 0;
    for value in (0..model.values.len())
        .map(|index| model.value(index))
        .filter(|value| !value.constant)
    {
        arena_bytes = arena_bytes.max(Stretch::of(&value).end);
    }
    let mut live: u64 = model
        .inputs()
        .map(|input| Stretch::of(&model.value(input)).bytes())
        .sum();
    let (mut arena_lower_bound_bytes, mut macs) = (live, 0u64);
    for (number, op) in model.ops.iter().enumerate() {
        let scratch = Stretch::scratch(op);
        arena_bytes = arena_bytes.max(scratch.end);
        live += Stretch::of(&model.value(op.output.get().into())).bytes();
        let needed = live.saturating_sub(shared(model, op)) + scratch.bytes();
        arena_lower_bound_bytes = arena_lower_bound_bytes.max(needed);
        live = live.saturating_sub(freed_after(model, number, op));
        macs = macs.saturating_add(model.op_macs(number));
    }
    Totals {
        arena_bytes: arena_bytes.next_multiple_of(ALIGN_BYTES as u64),
        arena_lower_bound_bytes,
        macs,
    }
}

/// Bytes that the output shares with what it is written over.
fn shared(model: &Model<'_>, op: &OpRecord) -> u64 {
    let bytes = |value: usize| Stretch::of(&model.value(value)).bytes();
    let replaced = match in_place::replaced(model, op) {
        Some(Replaced::Rows { operand }) => input_indices(op).nth(operand).map_or(0, bytes),
        Some(Replaced::Joined) => input_indices(op).map(bytes).sum(),
        None => 0,
    };
    replaced.min(bytes(op.output.get().into()))
}

/// Bytes of the storages that are live at operator `number` and no longer after it.
fn freed_after(model: &Model<'_>, number: usize, op: &OpRecord) -> u64 {
    let unread_inputs = model.inputs().filter(|_| number == 0);
    let mut candidates = [usize::MAX; 9];
    let touched = input_indices(op)
        .chain([op.output.get().into()])
        .map(|value| storage_of(model, value));
    for (slot, storage) in candidates.iter_mut().zip(touched.chain(unread_inputs)) {
        *slot = storage;
    }
    let mut freed = 0;
    for (slot, &storage) in candidates.iter().enumerate() {
        let repeated = candidates[..slot].contains(&storage);
        let Some(record) = model.values.get(storage).filter(|_| !repeated) else {
            continue;
        };
        let value = super::view(record);
        if !value.constant && last_read(model, storage, number) == number {
            freed += Stretch::of(&value).bytes();
        }
    }
    freed
}
