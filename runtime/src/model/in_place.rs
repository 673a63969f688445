//! Operators that write their output over an input that nobody needs after them.
//!
//! A file says so by its plan alone: the output of the operator begins in the arena where one of its inputs begins. That is
//! sound for kinds whose row of the output depends on the same row of that input and on no other row of it (of one element,
//! where the kind is element-wise). Kernels never see it: the operator has a scratch, the *stage*, that holds a few rows. The
//! interpreter copies rows of the input there and runs the ordinary kernel from the stage to where they were; from the first
//! row on, or from the last one back where elements grow, so that no row is overwritten before it was read.

use super::format::{MAX_INPUTS, OpRecord};
use super::op::OpKind;
use super::step::input_indices;
use super::{Model, ValueView};

/// Elements that are staged at once, where a row has no more.
const STAGE_ELEMENTS: usize = 256;

/// Bytes of the stage of an operator that writes over its input `operand`: as many whole rows as 256 elements hold, at least
/// one, at most all. `None` when the kind does not compute row by row, or when `operand` repeats along the output.
///
/// `inputs` are those of the operator in the order of its slots, at the largest number of tokens, as is `output`.
pub fn stage_bytes(
    kind: OpKind,
    operand: usize,
    inputs: &[Option<ValueView>; MAX_INPUTS],
    output: &ValueView,
) -> Option<usize> {
    use OpKind as K;
    let input = |operand: usize| inputs.get(operand).copied().flatten();
    let elements = output.elements();
    let whole = |operand| input(operand).is_some_and(|input| input.elements() == elements);
    let row = match kind {
        K::AddS8
        | K::LutS8
        | K::QuantizeF32
        | K::DequantizeS8
        | K::AddS16
        | K::RescaleS16
        | K::UnaryF32 => 1,
        K::BinaryF32 if whole(0) && whole(1) => 1,
        K::MulS8 if whole(1) => 1,
        K::MulS8 => input(1)?.elements(),
        K::LayerNormS16 | K::SoftmaxS8 | K::SoftmaxF32 | K::LayerNormF32 | K::L2NormalizeF32 => {
            output.last()
        }
        _ => return None,
    };
    let rows = (STAGE_ELEMENTS / row.max(1)).max(1);
    let staged = row.checked_mul(rows)?.min(elements);
    let element_bytes = input(operand)?.dtype.bytes();
    whole(operand)
        .then_some(staged)
        .and_then(|staged| staged.checked_mul(element_bytes))
}

/// The slot of the first input that begins where the output begins: the one that the operator writes over.
pub(crate) fn operand(model: &Model<'_>, op: &OpRecord) -> Option<usize> {
    let output = model.values.get(usize::from(op.output.get()))?;
    input_indices(op).position(|input| {
        model.values.get(input).is_some_and(|input| {
            input.place == output.place
                && input.offset == output.offset
                && input.storage != output.storage
        })
    })
}

/// [`stage_bytes`] of an operator of a model.
pub(super) fn stage_of(model: &Model<'_>, op: &OpRecord, operand: usize) -> Option<usize> {
    let mut inputs = [None; MAX_INPUTS];
    for (slot, index) in inputs.iter_mut().zip(input_indices(op)) {
        *slot = model.values.get(index).map(super::view);
    }
    let output = model
        .values
        .get(usize::from(op.output.get()))
        .map(super::view)?;
    stage_bytes(OpKind::from_u16(op.kind.get())?, operand, &inputs, &output)
}
