//! Decoding of the integer operators.
//!
//! The ranges keep every intermediate number of a kernel inside 32 bits, for every input: the limits and the reasons are
//! listed in `docs/model-format.md`.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::super::ValueView;
use super::super::format::DType;
use super::super::op::{
    AddParams, ConvParams, GemmParams, LutChannelsParams, LutS16Params, MeanParams, MulParams,
    PoolParams,
};
use super::super::op_fault::{OUTPUT, OpFault};
use super::operands::{
    MAX_K, MAX_N, Operands, SMALLEST_MULTIPLIER, clamp_range, expect_same_shape, in_range,
    right_aligned,
};
use super::{Quantised, Step, expect, size, taps};
use crate::kernel::packing::WeightLayout;
use crate::kernel::{LUT_S16_ENTRIES, Requantize};

/// Shifts of a requantisation, left when positive.
const SHIFTS: (i64, i64) = (-31, 30);
/// Shifts of a product of two inputs: 255 · 255 · 2¹⁵ fits 32 bits.
const PRODUCT_SHIFTS: (i64, i64) = (-31, 15);
/// Most taps of a window over 16-bit inputs: 2¹⁵ · 2⁷ · 255 leaves half of 32 bits for the bias.
const MAX_WIDE_TAPS: i64 = 255;
/// Products of bytes that a product of an i16 and a byte counts for.
pub(super) const WIDE_PRODUCT: usize = 256;
/// Entries of a table of all 2¹⁶ inputs are 2⁷ apart, and a finer one has as many.
const MAX_INNER_SHIFT: i64 = 7;
/// Most pixels of a mean.
const MAX_PIXELS: i64 = 1 << 16;
/// Shifts of a mean: 255 · 2¹⁶ · 2⁷ fits 32 bits.
const MEAN_SHIFTS: (i64, i64) = (-31, 7);
/// Shifts of a sum's terms, which only get smaller.
pub(super) const SUM_SHIFTS: (i64, i64) = (-31, 0);
/// Largest left shift of a sum's inputs: 255 · 2²⁰ · 2 fits 32 bits.
const MAX_LEFT_SHIFT: i64 = 20;

pub(super) fn conv<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &ConvParams = operands.params()?;
    let (window, in_channels, out_channels) = operands.window_to_any(&params.window, DType::I8)?;
    let wide = is_wide(operands)?;
    let k = product_k(size(&[taps(&window), in_channels])?)?;
    let layout = operands.weight_layout();
    let bytes = layout
        .packed_bytes_s8(out_channels, k)
        .ok_or(OpFault::Overflow)?;
    Ok(Step::ConvS8 {
        window,
        in_channels,
        out_channels,
        input_zero_point: zero_point_s8(&operands.input(0, DType::I8)?),
        wide,
        weights: operands.data(0, bytes)?,
        layout,
        requantize: requantize(
            operands,
            out_channels,
            params.clamp_min.get(),
            params.clamp_max.get(),
        )?,
    })
}

pub(super) fn depthwise_conv<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &ConvParams = operands.params()?;
    let (window, in_channels, channels) = operands.window(&params.window, DType::I8)?;
    expect(OUTPUT, "channels", in_channels, channels)?;
    Ok(Step::DepthwiseConvS8 {
        window,
        channels,
        input_zero_point: zero_point_s8(&operands.input(0, DType::I8)?),
        weights: operands.data(0, size(&[taps(&window), channels])?)?,
        requantize: requantize(
            operands,
            channels,
            params.clamp_min.get(),
            params.clamp_max.get(),
        )?,
    })
}

pub(super) fn depthwise_conv_s16<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &ConvParams = operands.params()?;
    let (window, in_channels, channels) = operands.window_to_any(&params.window, DType::I16)?;
    expect(OUTPUT, "channels", in_channels, channels)?;
    in_range("taps", taps(&window) as i64, 1, MAX_WIDE_TAPS)?;
    Ok(Step::DepthwiseConvS16 {
        window,
        channels,
        wide: is_wide(operands)?,
        weights: operands.data(0, size(&[taps(&window), channels])?)?,
        requantize: requantize(
            operands,
            channels,
            params.clamp_min.get(),
            params.clamp_max.get(),
        )?,
    })
}

pub(super) fn gemm<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &GemmParams = operands.params()?;
    let (input, output) = (operands.input(0, DType::I8)?, operands.any_output());
    let (rows, k, n) = matrix(operands, &input, &output)?;
    product_k(k)?;
    let layout = operands.weight_layout();
    let bytes = layout.packed_bytes_s8(n, k).ok_or(OpFault::Overflow)?;
    Ok(Step::GemmS8 {
        rows,
        k,
        n,
        wide: is_wide(operands)?,
        weights: operands.data(0, bytes)?,
        layout,
        requantize: requantize(operands, n, params.clamp_min.get(), params.clamp_max.get())?,
    })
}

/// Whether the output is i16; any other type but i8 is refused.
fn is_wide(operands: &Operands<'_>) -> Result<bool, OpFault> {
    let wide = operands.any_output().dtype == DType::I16;
    if !wide {
        operands.output(DType::I8)?;
    }
    Ok(wide)
}

/// Rows, inputs and outputs of a product by constant weights.
pub(super) fn matrix(
    operands: &Operands<'_>,
    input: &ValueView,
    output: &ValueView,
) -> Result<(usize, usize, usize), OpFault> {
    operands.row_wise()?;
    operands.has_columns(0, input)?;
    operands.has_columns(OUTPUT, output)?;
    let (k, n) = (input.last(), output.last());
    let rows = input.elements() / k.max(1);
    expect(OUTPUT, "rows", rows, output.elements() / n.max(1))?;
    Ok((rows, k, n))
}

pub(super) fn add<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &AddParams = operands.params()?;
    let (lhs, rhs) = (operands.input(0, DType::I8)?, operands.input(1, DType::I8)?);
    let output = operands.output(DType::I8)?;
    operands.element_wise(0)?;
    operands.element_wise(1)?;
    in_range(
        "left_shift",
        params.left_shift.get().into(),
        0,
        MAX_LEFT_SHIFT,
    )?;
    for input in 0..2 {
        scale_step(
            params.input_multiplier[input].get(),
            params.input_shift[input].get(),
            SUM_SHIFTS,
        )?;
    }
    scale_step(
        params.output_multiplier.get(),
        params.output_shift.get(),
        SUM_SHIFTS,
    )?;
    clamp_range(params.clamp_min.get(), params.clamp_max.get(), -128, 127)?;
    Ok(Step::AddS8 {
        params,
        input_offset: [-lhs.zero_point, -rhs.zero_point],
        output_offset: output.zero_point,
    })
}

pub(super) fn mul<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &MulParams = operands.params()?;
    let (lhs, rhs) = (operands.input(0, DType::I8)?, operands.input(1, DType::I8)?);
    let output = operands.output(DType::I8)?;
    expect_same_shape(0, &lhs, &output)?;
    if rhs.elements() == lhs.elements() {
        operands.element_wise(1)?;
    } else {
        expect(1, "elements", lhs.last(), rhs.elements())?;
        expect(1, "channels", lhs.last(), right_aligned(&rhs)[3])?;
        operands.has_columns(0, &lhs)?;
        if rhs.dynamic || lhs.dynamic != output.dynamic {
            return Err(OpFault::Dynamic {
                operand: if rhs.dynamic { 1 } else { OUTPUT },
            });
        }
    }
    scale_step(params.multiplier.get(), params.shift.get(), PRODUCT_SHIFTS)?;
    clamp_range(params.clamp_min.get(), params.clamp_max.get(), -128, 127)?;
    Ok(Step::MulS8 {
        params,
        input_offset: [-lhs.zero_point, -rhs.zero_point],
        output_offset: output.zero_point,
    })
}

pub(super) fn pool<'m>(operands: &Operands<'m>, maximum: bool) -> Result<Step<'m>, OpFault> {
    let params: &PoolParams = operands.params()?;
    let (window, in_channels, channels) = operands.window(&params.window, DType::I8)?;
    expect(OUTPUT, "channels", in_channels, channels)?;
    dense(&window.dilation)?;
    operands.same_quantisation(0)?;
    let clamp = clamp_range(params.clamp_min.get(), params.clamp_max.get(), -128, 127)?;
    Ok(Step::PoolS8 {
        maximum,
        window,
        channels,
        clamp,
    })
}

pub(super) fn mean<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &MeanParams = operands.params()?;
    operands.all_static()?;
    let (input, output) = (operands.input(0, DType::I8)?, operands.output(DType::I8)?);
    expect(0, "rank", 4, input.rank)?;
    expect(0, "batch", 1, input.shape[0])?;
    let (pixels, channels) = (size(&input.shape[1..3])?, input.shape[3]);
    in_range("pixels", pixels as i64, 1, MAX_PIXELS)?;
    expect(OUTPUT, "channels", channels, output.last())?;
    expect(OUTPUT, "elements", channels, output.elements())?;
    scale_step(params.multiplier.get(), params.shift.get(), MEAN_SHIFTS)?;
    clamp_range(params.clamp_min.get(), params.clamp_max.get(), -128, 127)?;
    Ok(Step::MeanS8 {
        params,
        pixels,
        channels,
        input_zero_point: input.zero_point,
        output_zero_point: output.zero_point,
    })
}

/// Pooling has no gaps between its taps.
pub(super) fn dense(dilation: &[usize; 2]) -> Result<(), OpFault> {
    dilation
        .iter()
        .try_for_each(|&gap| in_range("dilation", gap as i64, 1, 1))
}

pub(super) fn lut<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.no_params()?;
    operands.input(0, DType::I8)?;
    operands.output(DType::I8)?;
    operands.element_wise(0)?;
    let table: &[i8] = operands.data(0, 256)?;
    let table = table.first_chunk().ok_or(OpFault::DataLength {
        role: 0,
        expected: 256,
        found: table.len(),
    })?;
    Ok(Step::LutS8 { table })
}

pub(super) fn lut_s16<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &LutS16Params = operands.params()?;
    operands.input(0, DType::I16)?;
    operands.element_wise(0)?;
    let inner_shift = params.inner_shift.get();
    in_range("inner_shift", inner_shift.into(), 0, MAX_INNER_SHIFT)?;
    let table = |role: u8| {
        let table: &[i16] = operands.data(role, LUT_S16_ENTRIES)?;
        table.first_chunk().ok_or(OpFault::DataLength {
            role,
            expected: size_of::<[i16; LUT_S16_ENTRIES]>(),
            found: size_of_val(table),
        })
    };
    Ok(Step::LutS16 {
        outer: table(0)?,
        inner: table(1)?,
        inner_shift,
        wide: is_wide(operands)?,
    })
}

pub(super) fn lut_channels<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.output(DType::I8)?;
    let (tables, index) = tables_of_channels(operands, DType::I8)?;
    Ok(Step::LutChannelsS8 { tables, index })
}

pub(super) fn lut_channels_s16<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.output(DType::I16)?;
    let (tables, index) = tables_of_channels(operands, DType::I16)?;
    let inner_shifts: &[u8] = operands.data(2, tables.len())?;
    for &shift in inner_shifts {
        in_range("inner_shift", shift.into(), 0, MAX_INNER_SHIFT)?;
    }
    Ok(Step::LutChannelsS16 {
        tables,
        index,
        inner_shifts,
    })
}

/// The tables of an operator that has some for its channels, and which of them each channel has.
fn tables_of_channels<'m, T: FromBytes + Immutable + KnownLayout>(
    operands: &Operands<'m>,
    dtype: DType,
) -> Result<(&'m [T], &'m [u8]), OpFault> {
    let params: &LutChannelsParams = operands.params()?;
    operands.element_wise(0)?;
    let input = operands.input(0, dtype)?;
    operands.has_columns(0, &input)?;
    let (channels, count) = (input.last(), params.tables.get());
    in_range("channels", channels as i64, 1, MAX_N as i64)?;
    in_range("tables", count.into(), 1, 256)?;
    let tables: &[T] = operands.data(0, count as usize)?;
    let index: &[u8] = operands.data(1, channels)?;
    let last = i64::from(count) - 1;
    for &table in index {
        in_range("table", table.into(), 0, last)?;
    }
    Ok((tables, index))
}

pub(super) fn normalize<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.no_params()?;
    operands.all_static()?;
    let (input, output) = (operands.input(0, DType::I16)?, operands.output(DType::I8)?);
    expect_same_shape(0, &input, &output)?;
    Ok(Step::NormalizeS16)
}

pub(super) fn quantize<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.no_params()?;
    operands.input(0, DType::F32)?;
    let output = operands.output(DType::I8)?;
    operands.element_wise(0)?;
    Ok(Step::QuantizeF32 {
        scale: positive_scale(OUTPUT, &output)?,
        zero_point: output.zero_point,
    })
}

pub(super) fn dequantize<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.no_params()?;
    let input = operands.input(0, DType::I8)?;
    operands.output(DType::F32)?;
    operands.element_wise(0)?;
    Ok(Step::DequantizeS8 {
        scale: positive_scale(0, &input)?,
        zero_point: input.zero_point,
    })
}

pub(super) fn convert<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.no_params()?;
    operands.element_wise(0)?;
    let (input, output) = (operands.any_input(0)?, operands.any_output());
    Ok(Step::Convert {
        from: quantised(0, &input)?,
        to: quantised(OUTPUT, &output)?,
    })
}

/// A number that can be converted: any but token ids.
fn quantised(operand: u8, value: &ValueView) -> Result<Quantised, OpFault> {
    let scale = match value.dtype {
        DType::F16 | DType::F32 => 0.0,
        DType::I8 | DType::I16 => positive_scale(operand, value)?,
        DType::I32 => {
            return Err(OpFault::DType {
                operand,
                expected: DType::F32,
                found: DType::I32,
            });
        }
    };
    Ok(Quantised {
        dtype: value.dtype,
        scale,
        zero_point: value.zero_point,
    })
}

/// Every channel: multiplier and shift in range, and a sum of `k` products plus the bias inside 32 bits.
pub(super) fn check_requantize(requantize: &Requantize<'_>, k: usize) -> Result<(), OpFault> {
    let room = i64::from(i32::MAX) - k as i64 * 128 * 128;
    let (smallest, largest) = (i64::from(SMALLEST_MULTIPLIER), i64::from(i32::MAX));
    let numbers = requantize
        .bias
        .iter()
        .zip(requantize.multiplier)
        .zip(requantize.shift);
    for (channel, ((&bias, &multiplier), &shift)) in numbers.enumerate() {
        let fault = |what, found: i64, min, max| OpFault::Channel {
            what,
            channel,
            found,
            min,
            max,
        };
        if i64::from(bias).abs() > room {
            return Err(fault("bias", bias.into(), -room, room));
        }
        if multiplier != 0 && multiplier < SMALLEST_MULTIPLIER {
            return Err(fault("multiplier", multiplier.into(), smallest, largest));
        }
        if !(SHIFTS.0..=SHIFTS.1).contains(&i64::from(shift)) {
            return Err(fault("shift", shift.into(), SHIFTS.0, SHIFTS.1));
        }
    }
    Ok(())
}

/// What fills the packed weights up to whole groups is zero, so that a kernel may multiply it by whatever its scratch
/// holds there.
pub(super) fn check_padding(
    layout: WeightLayout,
    weights: &[i8],
    n: usize,
    k: usize,
) -> Result<(), OpFault> {
    let [channels, inputs] = layout.stored(n, k);
    for channel in 0..channels {
        let first = if channel < n { k } else { 0 };
        for input in first..inputs {
            let found = weights.get(layout.offset_s8(n, k, channel, input));
            if found.is_some_and(|&weight| weight != 0) {
                return Err(OpFault::Padding { channel, input });
            }
        }
    }
    Ok(())
}

fn requantize<'m>(
    operands: &Operands<'m>,
    n: usize,
    min: i32,
    max: i32,
) -> Result<Requantize<'m>, OpFault> {
    let output = operands.any_output();
    let wide = output.dtype == DType::I16;
    let (lowest, highest) = if wide {
        (i16::MIN.into(), i16::MAX.into())
    } else {
        (-128, 127)
    };
    in_range("output channels", n as i64, 1, MAX_N as i64)?;
    let [clamp_min, clamp_max] = clamp_range(min, max, lowest, highest)?;
    Ok(Requantize {
        bias: operands.data(1, n)?,
        multiplier: operands.data(2, n)?,
        shift: operands.data(3, n)?,
        zero_point: output.zero_point,
        clamp_min,
        clamp_max,
    })
}

fn product_k(k: usize) -> Result<usize, OpFault> {
    in_range("k", i64::try_from(k).unwrap_or(i64::MAX), 1, MAX_K as i64)?;
    Ok(k)
}

pub(super) fn scale_step(multiplier: i32, shift: i32, shifts: (i64, i64)) -> Result<(), OpFault> {
    if multiplier != 0 {
        in_range(
            "multiplier",
            multiplier.into(),
            SMALLEST_MULTIPLIER.into(),
            i32::MAX.into(),
        )?;
    }
    in_range("shift", shift.into(), shifts.0, shifts.1)
}

/// The values were proved, so that an i8 value has an i8 zero point.
fn zero_point_s8(value: &ValueView) -> i8 {
    value.zero_point.clamp(-128, 127) as i8
}

fn positive_scale(operand: u8, value: &ValueView) -> Result<f32, OpFault> {
    if value.scale > 0.0 {
        Ok(value.scale)
    } else {
        Err(OpFault::Scale { operand })
    }
}
