//! Decoding of the operators that move elements of any type.

use super::super::format::DType;
use super::super::op::{ConcatParams, PadParams, SliceParams, TransposeParams};
use super::super::op_fault::{OUTPUT, OpFault};
use super::operands::{Operands, in_range, zeros};
use super::{Step, expect};

/// Elements gathered with a stride per dimension: transpositions and slices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StridedCopy {
    /// Of the output.
    pub(crate) dims: [usize; 4],
    /// Elements of the source from one index to the next.
    pub(crate) strides: [usize; 4],
    /// First element of the source.
    pub(crate) start: usize,
    pub(crate) element_bytes: usize,
}

/// Values joined along a dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConcatStep {
    /// Indices in front of the dimension.
    pub(crate) outer: usize,
    /// Bytes that each input gives to one of them; 0 for an unused slot.
    pub(crate) block_bytes: [usize; 4],
}

/// A constant border.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PadStep {
    /// Of the input.
    pub(crate) input: [usize; 4],
    /// Of the output.
    pub(crate) output: [usize; 4],
    /// Elements in front, by dimension.
    pub(crate) before: [usize; 4],
    pub(crate) element_bytes: usize,
    /// What the border holds; the first `element_bytes` count.
    pub(crate) fill: [u8; 4],
}

/// Elements from one index to the next, by dimension. The elements of a value fit the machine.
pub(crate) fn natural_strides(dims: &[usize; 4]) -> [usize; 4] {
    let mut strides = [1; 4];
    for d in (0..3).rev() {
        strides[d] = strides[d + 1] * dims[d + 1];
    }
    strides
}

/// One type, one rank, one quantisation; gives the type.
fn same_kind(operands: &Operands<'_>) -> Result<DType, OpFault> {
    let output = operands.any_output();
    for (operand, input) in operands.inputs() {
        operands.input(operand, output.dtype)?;
        expect(operand, "rank", output.rank, input.rank)?;
        operands.same_quantisation(operand)?;
    }
    Ok(output.dtype)
}

pub(super) fn transpose<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &TransposeParams = operands.params()?;
    operands.all_static()?;
    let element_bytes = same_kind(operands)?.bytes();
    let (input, output) = (operands.any_input(0)?, operands.any_output());
    let natural = natural_strides(&input.shape);
    let (mut strides, mut seen) = ([0; 4], 0u8);
    for (d, stride) in strides.iter_mut().enumerate() {
        let source = params.permutation[d];
        let (min, max) = if d < input.rank {
            (0, input.rank as i64 - 1)
        } else {
            (d as i64, d as i64)
        };
        in_range("permutation", source.into(), min, max)?;
        seen |= 1 << source;
        expect(
            OUTPUT,
            "dimension",
            input.shape[source as usize],
            output.shape[d],
        )?;
        *stride = natural[source as usize];
    }
    in_range(
        "dimensions of the permutation",
        seen.count_ones().into(),
        4,
        4,
    )?;
    Ok(Step::StridedCopy(StridedCopy {
        dims: output.shape,
        strides,
        start: 0,
        element_bytes,
    }))
}

pub(super) fn slice<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &SliceParams = operands.params()?;
    let element_bytes = same_kind(operands)?.bytes();
    let (input, output) = (operands.any_input(0)?, operands.any_output());
    let whole_rows = params.starts[0].get() == 0 && params.steps[0].get() == 1;
    let last_row = input.dynamic && params.starts[0].get() as usize + 1 == operands.max_tokens();
    // The first row is there however many tokens a run has, and so are the last one and a cut of every row.
    let follows = match (input.dynamic, output.dynamic) {
        (false, false) => true,
        (true, false) => (params.starts[0].get() == 0 || last_row) && output.shape[0] == 1,
        (true, true) => whole_rows,
        (false, true) => false,
    };
    if !follows {
        return Err(OpFault::Dynamic { operand: 0 });
    }
    let natural = natural_strides(&input.shape);
    let (mut strides, mut start) = ([0; 4], 0usize);
    for d in 0..4 {
        let first = match d {
            0 if last_row => input.shape[0] as u64 - 1,
            _ => u64::from(params.starts[d].get()),
        };
        let step = u64::from(params.steps[d].get());
        in_range("step", step as i64, 1, i64::from(u32::MAX))?;
        // Both factors are below 2³², so that the sum stays below 2⁶⁴.
        let last = first.saturating_add((output.shape[d] as u64 - 1).saturating_mul(step));
        in_range(
            "last index",
            last.try_into().unwrap_or(i64::MAX),
            0,
            input.shape[d] as i64 - 1,
        )?;
        // The step of a single index leads nowhere and may not even fit the machine.
        strides[d] = if output.shape[d] == 1 {
            0
        } else {
            natural[d] * step as usize
        };
        start += first as usize * natural[d];
    }
    if input.dynamic && output.dynamic {
        expect(OUTPUT, "rows", input.shape[0], output.shape[0])?;
    }
    Ok(Step::StridedCopy(StridedCopy {
        dims: output.shape,
        strides,
        start,
        element_bytes,
    }))
}

pub(super) fn concat<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &ConcatParams = operands.params()?;
    zeros(&params.reserved)?;
    let element_bytes = same_kind(operands)?.bytes();
    let output = operands.any_output();
    in_range("axis", params.axis.into(), 0, output.rank as i64 - 1)?;
    let axis = params.axis as usize;
    if axis == 0 {
        operands.all_static()?
    } else {
        operands.row_wise()?
    }
    let inner: usize = output.shape[axis + 1..].iter().product();
    let (mut block_bytes, mut joined) = ([0; 4], 0usize);
    for (operand, input) in operands.inputs() {
        for d in (0..4).filter(|&d| d != axis) {
            expect(operand, "dimension", output.shape[d], input.shape[d])?;
        }
        joined = joined
            .checked_add(input.shape[axis])
            .ok_or(OpFault::Overflow)?;
        block_bytes[operand as usize] = input.shape[axis] * inner * element_bytes;
    }
    expect(OUTPUT, "joined dimension", joined, output.shape[axis])?;
    Ok(Step::Concat(ConcatStep {
        outer: output.shape[..axis].iter().product(),
        block_bytes,
    }))
}

pub(super) fn pad<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &PadParams = operands.params()?;
    operands.all_static()?;
    let dtype = same_kind(operands)?;
    let (input, output) = (operands.any_input(0)?, operands.any_output());
    for d in 0..4 {
        let border = u64::from(params.before[d].get()) + u64::from(params.after[d].get());
        let padded = usize::try_from(border)
            .ok()
            .and_then(|border| border.checked_add(input.shape[d]));
        expect(
            OUTPUT,
            "dimension",
            padded.ok_or(OpFault::Overflow)?,
            output.shape[d],
        )?;
    }
    let fill = params.fill.get();
    match dtype {
        DType::I8 => in_range("fill", i64::from(fill as i32), -128, 127)?,
        DType::I16 => in_range(
            "fill",
            i64::from(fill as i32),
            i16::MIN.into(),
            i16::MAX.into(),
        )?,
        DType::F16 => in_range("fill", fill.into(), 0, u16::MAX.into())?,
        DType::I32 | DType::F32 => {}
    }
    Ok(Step::Pad(PadStep {
        input: input.shape,
        output: output.shape,
        before: params.before.map(|before| before.get() as usize),
        element_bytes: dtype.bytes(),
        fill: fill.to_le_bytes(),
    }))
}
