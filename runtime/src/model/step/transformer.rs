//! Decoding of the integer operators of transformers.
//!
//! As in `integer`, the ranges keep every sum of a kernel inside its 32 bits, for every input: `docs/model-format.md`.

use super::super::ValueView;
use super::super::format::DType;
use super::super::op::{
    AddS16Params, AttentionS8Params, EmbeddingS8Params, LayerNormS16Params, MeanParams,
    RescaleS16Params, SoftmaxS8Params,
};
use super::super::op_fault::{OUTPUT, OpFault};
use super::integer::{SUM_SHIFTS, scale_step};
use super::operands::{Operands, SMALLEST_MULTIPLIER, clamp_range, in_range};
use super::{AttentionStep, Step, expect, output_dynamic, size};
use crate::kernel::row_scale::MAX_ROW;
use crate::kernel::softmax::normalized_quotient;
use crate::kernel::transformer::{MAX_HEAD_WIDTH, MAX_KEYS};
use crate::kernel::{HeadScale, ScoreBias};

/// Factors of 16-bit inputs.
const MAX_FACTOR: i64 = 32_767;
/// Right shifts of 16-bit sums: the half that is added stays below 2³⁰.
const WIDE_SHIFTS: (i64, i64) = (1, 30);
/// ε in steps².
const MAX_EPSILON: u64 = 1 << 60;
/// Magnitude of a layer normalisation's beta: 2¹⁵ · 32767 + 2³⁰ − 1 fits 32 bits.
const MAX_BETA: i64 = (1 << 30) - 1;
/// Left shift of a score's bias: 2¹⁵ · 2¹⁴ + 2¹⁴ · 2¹⁴ stays below 2³⁰, half of what a distance may be.
const MAX_BIAS_SHIFT: i64 = 14;
/// Factors of a score.
const SCORE_MULTIPLIERS: (i64, i64) = (1 << 15, (1 << 16) - 1);
/// Shifts of a score.
const SCORE_SHIFTS: (i64, i64) = (-15, 15);
/// Shifts of an output's factor: after the division by a sum of weights, 2¹⁴ to 2²⁴, they are in −31..=0.
const HEAD_SHIFTS: (i64, i64) = (-7, 7);
/// Most rows of a mean in 16 bits: 2¹⁵ · 65535 fits 32 bits.
const MAX_MEAN_ROWS: i64 = 65_535;
/// Shifts of a mean of one row: divided by up to 2¹⁶ rows they stay in −31..=0.
const ROW_SHIFTS: (i64, i64) = (-15, 0);
/// Most elements of a softmax row: their exponentials add up to less than 2³¹.
const MAX_SOFTMAX: i64 = 1 << 16;

/// Whether an operand is i16; it must be that or i8.
fn is_wide(operand: u8, value: &ValueView) -> Result<bool, OpFault> {
    match value.dtype {
        DType::I8 => Ok(false),
        DType::I16 => Ok(true),
        found => Err(OpFault::DType {
            operand,
            expected: DType::I16,
            found,
        }),
    }
}

/// Smallest and largest output inside the type.
fn clamp(wide: bool, min: i32, max: i32) -> Result<[i32; 2], OpFault> {
    if wide {
        clamp_range(min, max, i16::MIN.into(), i16::MAX.into())
    } else {
        clamp_range(min, max, -128, 127)
    }
}

pub(super) fn add<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &AddS16Params = operands.params()?;
    let (lhs, rhs, output) = (
        operands.any_input(0)?,
        operands.any_input(1)?,
        operands.any_output(),
    );
    let wide = [
        is_wide(0, &lhs)?,
        is_wide(1, &rhs)?,
        is_wide(OUTPUT, &output)?,
    ];
    operands.added(0)?;
    operands.added(1)?;
    let factors = params
        .multiplier
        .map(|multiplier| i64::from(multiplier.get()));
    let shift = i64::from(params.shift.get());
    for factor in factors {
        in_range("multiplier", factor, -MAX_FACTOR, MAX_FACTOR)?;
    }
    in_range("shift", shift, WIDE_SHIFTS.0, WIDE_SHIFTS.1)?;
    let half = 1 << (shift - 1);
    let most = (i64::from(i32::MAX) - half) >> 15;
    let sum = factors[0].abs() + factors[1].abs();
    in_range("sum of the multipliers", sum, 0, most)?;
    clamp(wide[2], params.clamp_min.get(), params.clamp_max.get())?;
    Ok(Step::AddS16 {
        params,
        input_zero_point: [lhs.zero_point, rhs.zero_point],
        output_zero_point: output.zero_point,
        wide,
    })
}

pub(super) fn rescale<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &RescaleS16Params = operands.params()?;
    let (input, output) = (operands.any_input(0)?, operands.any_output());
    let wide = [is_wide(0, &input)?, is_wide(OUTPUT, &output)?];
    operands.element_wise(0)?;
    in_range("multiplier", params.multiplier.get().into(), 0, MAX_FACTOR)?;
    in_range(
        "shift",
        params.shift.get().into(),
        WIDE_SHIFTS.0,
        WIDE_SHIFTS.1,
    )?;
    clamp(wide[1], params.clamp_min.get(), params.clamp_max.get())?;
    Ok(Step::RescaleS16 {
        params,
        input_zero_point: input.zero_point,
        output_zero_point: output.zero_point,
        wide,
    })
}

pub(super) fn layer_norm<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &LayerNormS16Params = operands.params()?;
    let (input, output) = (operands.any_input(0)?, operands.any_output());
    let wide = [is_wide(0, &input)?, is_wide(OUTPUT, &output)?];
    operands.element_wise(0)?;
    operands.has_columns(0, &input)?;
    let columns = input.last();
    in_range("columns", columns as i64, 1, MAX_ROW as i64)?;
    let epsilon = params.epsilon.get();
    if epsilon > MAX_EPSILON {
        return Err(OpFault::Parameter {
            what: "epsilon",
            found: epsilon.try_into().unwrap_or(i64::MAX),
            min: 0,
            max: MAX_EPSILON as i64,
        });
    }
    in_range("shift", params.shift.get().into(), 0, WIDE_SHIFTS.1)?;
    Ok(Step::LayerNormS16 {
        gamma: operands.data(0, columns)?,
        beta: operands.data(1, columns)?,
        epsilon,
        shift: params.shift.get() as u32,
        wide,
    })
}

/// Every channel: factor and offset in range.
pub(super) fn check_layer_norm(gamma: &[i16], beta: &[i32]) -> Result<(), OpFault> {
    for (channel, (&gamma, &beta)) in gamma.iter().zip(beta).enumerate() {
        let fault = |what, found, most: i64| OpFault::Channel {
            what,
            channel,
            found,
            min: -most,
            max: most,
        };
        if gamma == i16::MIN {
            return Err(fault("gamma", gamma.into(), MAX_FACTOR));
        }
        if i64::from(beta).abs() > MAX_BETA {
            return Err(fault("beta", beta.into(), MAX_BETA));
        }
    }
    Ok(())
}

pub(super) fn attention<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &AttentionS8Params = operands.params()?;
    in_range("causal", params.causal.get().into(), 0, 1)?;
    let causal = params.causal.get() == 1;
    operands.queries_and_keys()?;
    if causal {
        operands.row_wise()?;
    }
    let output = operands.output(DType::I8)?;
    operands.has_columns(OUTPUT, &output)?;
    let (width, num_heads) = (output.last(), params.num_heads.get() as usize);
    in_range("heads", num_heads as i64, 1, width as i64)?;
    expect(OUTPUT, "columns beyond whole heads", 0, width % num_heads)?;
    let head_width = width / num_heads;
    in_range("head width", head_width as i64, 1, MAX_HEAD_WIDTH as i64)?;
    let windows = params.windows.get() as usize;
    let dynamic = output.dynamic || operands.input(1, DType::I8)?.dynamic;
    let most_windows = if dynamic { 1 } else { i64::from(u32::MAX) };
    in_range("windows", windows as i64, 1, most_windows)?;
    let (mut strides, mut offsets, mut rows) = ([0; 3], [0; 3], [0; 3]);
    for (operand, offset) in (0u8..).zip(&params.offset) {
        let (slot, input) = (operand as usize, operands.input(operand, DType::I8)?);
        operands.has_columns(operand, &input)?;
        if input.zero_point != 0 {
            return Err(OpFault::Quantisation { operand });
        }
        let last = offset.get() as i64 + width as i64;
        in_range("last column", last, 1, input.last() as i64)?;
        rows[slot] = input.elements() / input.last();
        expect(
            operand,
            "rows beyond whole windows",
            0,
            rows[slot] % windows,
        )?;
        (strides[slot], offsets[slot]) = (input.last(), offset.get() as usize);
    }
    expect(2, "rows", rows[1], rows[2])?;
    expect(OUTPUT, "rows", rows[0], output.elements() / width)?;
    let (queries, keys) = (rows[0] / windows, rows[1] / windows);
    in_range("keys", keys as i64, 1, MAX_KEYS as i64)?;
    if causal {
        expect(1, "rows of a window", queries, keys)?;
    }
    let bias = bias(operands, params, [num_heads, queries, keys], dynamic)?;
    Ok(Step::AttentionS8(AttentionStep {
        windows,
        queries,
        keys,
        head_width,
        heads: operands.data(0, num_heads)?,
        bias,
        bias_shift: params.bias_shift.get(),
        causal,
        strides,
        offsets,
        output_zero_point: output.zero_point,
    }))
}

/// The bias of scores, of any pair or by distance inside a window.
fn bias<'m>(
    operands: &Operands<'m>,
    params: &AttentionS8Params,
    [num_heads, queries, keys]: [usize; 3],
    dynamic: bool,
) -> Result<ScoreBias<'m>, OpFault> {
    in_range(
        "bias shift",
        params.bias_shift.get().into(),
        0,
        MAX_BIAS_SHIFT,
    )?;
    let [height, width] = params.bias_window.map(|side| usize::from(side.get()));
    if [height, width] != [0, 0] {
        if dynamic {
            return Err(OpFault::Dynamic { operand: OUTPUT });
        }
        expect(0, "tokens of a window", size(&[height, width])?, queries)?;
        expect(1, "tokens of a window", queries, keys)?;
        let count = size(&[num_heads, 2 * height - 1, 2 * width - 1])?;
        return Ok(ScoreBias::Relative {
            table: operands.data(1, count)?,
            height,
            width,
        });
    }
    if dynamic || operands.no_data(1).is_ok() {
        operands.no_data(1)?;
        expect(
            OUTPUT,
            "bias shift without a bias",
            0,
            params.bias_shift.get() as usize,
        )?;
        return Ok(ScoreBias::None);
    }
    Ok(ScoreBias::Full(
        operands.data(1, size(&[num_heads, queries, keys])?)?,
    ))
}

/// Every head: factors and shifts in range.
pub(super) fn check_heads(heads: &[HeadScale]) -> Result<(), OpFault> {
    let ranges = [
        ("score multiplier", SCORE_MULTIPLIERS),
        ("score shift", SCORE_SHIFTS),
        (
            "output multiplier",
            (SMALLEST_MULTIPLIER.into(), i32::MAX.into()),
        ),
        ("output shift", HEAD_SHIFTS),
    ];
    for (channel, head) in heads.iter().enumerate() {
        let found = [
            head.score_multiplier,
            head.score_shift,
            head.output_multiplier,
            head.output_shift,
        ];
        for ((what, (min, max)), found) in ranges.into_iter().zip(found) {
            if !(min..=max).contains(&found.into()) {
                return Err(OpFault::Channel {
                    what,
                    channel,
                    found: found.into(),
                    min,
                    max,
                });
            }
        }
    }
    Ok(())
}

pub(super) fn softmax<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &SoftmaxS8Params = operands.params()?;
    let (input, output) = (operands.input(0, DType::I8)?, operands.output(DType::I8)?);
    operands.element_wise(0)?;
    operands.has_columns(0, &input)?;
    in_range("columns", input.last() as i64, 1, MAX_SOFTMAX)?;
    if output.scale != 1.0 / 256.0 || output.zero_point != -128 {
        return Err(OpFault::Quantisation { operand: OUTPUT });
    }
    let (score_multiplier, score_shift) = (params.score_multiplier.get(), params.score_shift.get());
    in_range(
        "score multiplier",
        score_multiplier.into(),
        SCORE_MULTIPLIERS.0,
        SCORE_MULTIPLIERS.1,
    )?;
    in_range(
        "score shift",
        score_shift.into(),
        SCORE_SHIFTS.0,
        SCORE_SHIFTS.1,
    )?;
    Ok(Step::SoftmaxS8 {
        columns: input.last(),
        score_multiplier,
        score_shift,
    })
}

pub(super) fn embedding<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &EmbeddingS8Params = operands.params()?;
    operands.row_wise()?;
    let (ids, output) = (operands.input(0, DType::I32)?, operands.any_output());
    let wide = is_wide(OUTPUT, &output)?;
    operands.has_columns(OUTPUT, &output)?;
    let (rows, width) = (params.rows.get() as usize, output.last());
    in_range("rows", rows as i64, 1, i64::from(u32::MAX))?;
    let shift = params.shift.get();
    in_range("shift", shift.into(), WIDE_SHIFTS.0, WIDE_SHIFTS.1)?;
    let tokens = output.elements() / width.max(1);
    expect(OUTPUT, "rows", ids.elements(), tokens)?;
    Ok(Step::EmbeddingS8 {
        width,
        table: operands.data(0, size(&[rows, width])?)?,
        multiplier: operands.data(1, rows)?,
        shift: shift as u32,
        output_zero_point: output.zero_point,
        wide,
    })
}

pub(super) fn mean<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &MeanParams = operands.params()?;
    let (input, output) = (operands.input(0, DType::I16)?, operands.any_output());
    output_dynamic(&output, false)?;
    operands.has_columns(0, &input)?;
    let wide = is_wide(OUTPUT, &output)?;
    let channels = input.last();
    expect(OUTPUT, "channels", channels, output.last())?;
    expect(OUTPUT, "elements", channels, output.elements())?;
    let rows = input.elements() / channels.max(1);
    in_range("rows", rows as i64, 1, MAX_MEAN_ROWS)?;
    let (mut multiplier, mut shift) = (params.multiplier.get(), params.shift.get());
    if input.dynamic {
        scale_step(multiplier, shift, ROW_SHIFTS)?;
        (multiplier, shift) = normalized_quotient(multiplier, shift, rows as u32);
    } else {
        scale_step(multiplier, shift, SUM_SHIFTS)?;
    }
    clamp(wide, params.clamp_min.get(), params.clamp_max.get())?;
    Ok(Step::MeanS16 {
        params,
        multiplier,
        shift,
        rows,
        channels,
        output_zero_point: output.zero_point,
        wide,
    })
}
