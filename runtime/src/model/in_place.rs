//! Operators that write their output over inputs that nobody needs after them.
//!
//! A file says so by its plan alone: the output of the operator begins in the arena where its first such input begins. There
//! are two ways.
//!
//! - **Row by row**, for kinds whose row of the output depends on the same row of that input and on no other row of it (of one
//!   element, where the kind is element-wise). Kernels never see it: the operator has a scratch, the *stage*, that holds a few
//!   rows. The interpreter copies rows of the input there and runs the ordinary kernel from the stage to where they were; from
//!   the first row on, or from the last one back where elements grow, so that no row is overwritten before it was read.
//! - **Joined where they lie**, for a concatenation whose inputs are whole stretches of its output, one behind the other, and
//!   all lie there already. Nothing is left to be done.

use super::format::{MAX_INPUTS, OpRecord};
use super::op::{ConcatParams, OpKind};
use super::step::input_indices;
use super::{Model, ValueView, view};
use zerocopy::FromBytes;

/// Elements that are staged at once, where a row has no more.
const STAGE_ELEMENTS: usize = 256;

/// The values that an operator reads, in the order of its slots.
pub type Inputs = [Option<ValueView>; MAX_INPUTS];

/// Bytes of the stage of an operator that writes over its input `operand` row by row: as many whole rows as 256 elements
/// hold, at least one, at most all. `None` when the kind does not compute row by row, or when `operand` repeats along the
/// output.
///
/// `inputs` and `output` are those of the largest number of tokens.
pub fn stage_bytes(
    kind: OpKind,
    operand: usize,
    inputs: &Inputs,
    output: &ValueView,
) -> Option<usize> {
    use OpKind as K;
    let input = |operand: usize| inputs.get(operand).copied().flatten();
    let elements = output.elements();
    let whole = |operand| input(operand).is_some_and(|input| input.elements() == elements);
    let row = match kind {
        K::AddS8
        | K::LutS8
        | K::LutS16
        | K::LutChannelsS16
        | K::QuantizeF32
        | K::DequantizeS8
        | K::AddS16
        | K::RescaleS16
        | K::Convert
        | K::UnaryF32
        | K::UnaryF16 => 1,
        K::BinaryF32 | K::BinaryF16 if whole(0) && whole(1) => 1,
        K::MulS8 if whole(1) => 1,
        K::MulS8 => input(1)?.elements(),
        K::LayerNormS16 | K::SoftmaxS8 => output.last(),
        K::SoftmaxF32 | K::LayerNormF32 | K::L2NormalizeF32 => output.last(),
        K::SoftmaxF16 | K::LayerNormF16 | K::L2NormalizeF16 => output.last(),
        _ => return None,
    };
    let rows = (STAGE_ELEMENTS / row.max(1)).max(1);
    let staged = row.checked_mul(rows)?.min(elements);
    let element_bytes = input(operand)?.dtype.bytes();
    whole(operand)
        .then_some(staged)
        .and_then(|staged| staged.checked_mul(element_bytes))
}

/// Where in the output of a concatenation along `axis` its input `operand` lies when it is joined there: bytes from the start
/// of the output. `None` when the inputs are no whole stretches of the output.
pub fn joined_at(
    axis: usize,
    operand: usize,
    inputs: &Inputs,
    output: &ValueView,
) -> Option<usize> {
    let outer: usize = output.shape.get(..axis)?.iter().product();
    let mut before = inputs.get(..operand)?.iter().flatten();
    if outer != 1 || output.dynamic {
        return None;
    }
    before.try_fold(0usize, |bytes, input| bytes.checked_add(input.bytes))
}

/// How an operator of a model writes over what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// Input `operand`, row by row.
    Rows { operand: usize },
    /// All inputs, which lie where they are joined.
    Joined,
}

/// What `op` writes over, if its output begins where one of its inputs begins. Whether it may is the matter of [`place_of`].
pub(crate) fn replaced(model: &Model<'_>, op: &OpRecord) -> Option<Replaced> {
    let output = model.values.get(usize::from(op.output.get()))?;
    let operand = input_indices(op).position(|input| {
        model.values.get(input).is_some_and(|input| {
            input.place == output.place
                && input.offset == output.offset
                && input.storage != output.storage
        })
    })?;
    Some(match OpKind::from_u16(op.kind.get()) {
        Some(OpKind::Concat) => Replaced::Joined,
        _ => Replaced::Rows { operand },
    })
}

/// The offset at which `op` may write over its input `operand`; `None` when it may not.
pub(super) fn place_of(model: &Model<'_>, op: &OpRecord, operand: usize) -> Option<usize> {
    let (inputs, output) = operands(model, op)?;
    if OpKind::from_u16(op.kind.get()) != Some(OpKind::Concat) {
        stage_of(model, op, operand)?;
        return Some(output.offset);
    }
    let (params, _) = ConcatParams::ref_from_prefix(&op.params).ok()?;
    let place =
        |operand| Some(output.offset + joined_at(params.axis.into(), operand, &inputs, &output)?);
    let mut joined = inputs.iter().flatten().enumerate();
    joined
        .all(|(operand, input)| !input.constant && place(operand) == Some(input.offset))
        .then(|| place(operand))
        .flatten()
}

/// Scratch of an operator that writes over its input `operand` row by row.
pub(super) fn stage_of(model: &Model<'_>, op: &OpRecord, operand: usize) -> Option<usize> {
    let (inputs, output) = operands(model, op)?;
    stage_bytes(OpKind::from_u16(op.kind.get())?, operand, &inputs, &output)
}

/// Inputs and output of an operator of a model.
fn operands(model: &Model<'_>, op: &OpRecord) -> Option<(Inputs, ValueView)> {
    let mut inputs = [None; MAX_INPUTS];
    for (slot, index) in inputs.iter_mut().zip(input_indices(op)) {
        *slot = model.values.get(index).map(view);
    }
    let output = model.values.get(usize::from(op.output.get()))?;
    Some((inputs, view(output)))
}
