//! An operator that writes over one of its inputs: a few rows at a time by way of its stage, see [`crate::model::in_place`].

use super::run::{Slices, run};
use crate::arena::Split;
use crate::kernel::Kernels;
use crate::model::format::{MAX_INPUTS, NO_VALUE, OpRecord};
use crate::model::step::{FloatStep, Step};
use crate::model::{Model, ValueView};

/// Where an input is read.
#[derive(Clone, Copy)]
enum Source<'r> {
    /// The bytes that are overwritten.
    Stage,
    /// Others, and the bytes of one element.
    Apart(&'r [u8], usize),
}

/// Runs `op`, which writes over its input `operand`; `None` when it cannot, which `Model::load` excludes.
pub(super) fn operator(
    model: &Model<'_>,
    op: &OpRecord,
    operand: usize,
    tokens: usize,
    arena: &mut [u8],
    kernels: &dyn Kernels,
) -> Option<()> {
    let replaced = model
        .value(op.inputs.get(operand)?.get().into())
        .live(tokens);
    let output = model.value(op.output.get().into()).live(tokens);
    let end = output.offset + output.bytes.max(replaced.bytes);
    let scratch_start = op.scratch_offset.get() as usize;
    let scratch = scratch_start..scratch_start.checked_add(op.scratch_bytes.get() as usize)?;
    let split = Split::new(arena, output.offset..end, scratch)?;
    let sources = sources(model, op, tokens, &output, &split)?;
    let step = Step::decode(model, op, tokens).ok()?;

    let (from, to) = (replaced.dtype.bytes(), output.dtype.bytes());
    let (bytes, stage) = (split.output, split.scratch);
    let (elements, staged) = (output.elements(), stage.len() / from);
    let parts = elements.div_ceil(staged.max(1));
    for number in 0..parts {
        let number = if to > from {
            parts - 1 - number
        } else {
            number
        };
        let first = number * staged;
        let count = staged.min(elements - first);
        let stage = stage.get_mut(..count * from)?;
        stage.copy_from_slice(bytes.get(first * from..(first + count) * from)?);
        let mut inputs: [&[u8]; MAX_INPUTS] = [&[]; MAX_INPUTS];
        for (input, source) in inputs.iter_mut().zip(&sources) {
            *input = match source {
                Some(Source::Stage) => stage,
                Some(Source::Apart(bytes, size)) if bytes.len() < elements * size => bytes,
                Some(Source::Apart(bytes, size)) => {
                    bytes.get(first * size..(first + count) * size)?
                }
                None => &[],
            };
        }
        let slices = Slices {
            inputs,
            output: bytes.get_mut(first * to..(first + count) * to)?,
            scratch: &mut [],
        };
        run(part(step, count), slices, kernels)?;
    }
    Some(())
}

/// What each input slot reads.
fn sources<'r>(
    model: &Model<'r>,
    op: &OpRecord,
    tokens: usize,
    output: &ValueView,
    split: &Split<'r>,
) -> Option<[Option<Source<'r>>; MAX_INPUTS]> {
    let mut sources = [None; MAX_INPUTS];
    for (source, slot) in sources
        .iter_mut()
        .zip(&op.inputs)
        .filter(|(_, slot)| slot.get() != NO_VALUE)
    {
        let value = model.value(slot.get().into()).live(tokens);
        let range = value.offset..value.offset + value.bytes;
        *source = Some(match value.constant {
            true => Source::Apart(model.bytes().get(range)?, value.dtype.bytes()),
            false if value.offset == output.offset => Source::Stage,
            false => Source::Apart(split.input(range)?, value.dtype.bytes()),
        });
    }
    Some(sources)
}

/// The operator over `count` elements. Most take their number from the slices; one without broadcasting has a single row.
fn part(step: Step<'_>, count: usize) -> Step<'_> {
    let float = |step| match step {
        FloatStep::Binary {
            function, clamp, ..
        } => FloatStep::Binary {
            function,
            dims: [1, 1, 1, count],
            lhs_strides: [0, 0, 0, 1],
            rhs_strides: [0, 0, 0, 1],
            clamp,
        },
        step => step,
    };
    match step {
        Step::Float(step) => Step::Float(float(step)),
        Step::Half(step) => Step::Half(float(step)),
        step => step,
    }
}
