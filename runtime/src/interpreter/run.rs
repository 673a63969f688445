//! One operator: its slices, and the kernel that it belongs to.

use half::f16;

use super::transformer::{self, destination};
use super::{convert, float, in_place, moves};
use crate::arena::{Split, elements, elements_mut};
use crate::kernel::{
    AddS8, ConvS8, DepthwiseConvS8, DepthwiseConvS16, GemmS8, Kernels, LutChannelsS16, LutS16,
    MeanS8, MulS8, PoolS8,
};
use crate::model::Model;
use crate::model::format::{NO_VALUE, OpRecord};
use crate::model::in_place::{Replaced, replaced};
use crate::model::step::Step;

/// Runs `op` on `tokens` tokens; `None` when it cannot, which `Model::load` excludes.
pub(super) fn operator(
    model: &Model<'_>,
    op: &OpRecord,
    tokens: usize,
    arena: &mut [u8],
    kernels: &dyn Kernels,
) -> Option<()> {
    match replaced(model, op) {
        Some(Replaced::Rows { operand }) => {
            return in_place::operator(model, op, operand, tokens, arena, kernels);
        }
        Some(Replaced::Joined) => return Some(()),
        None => {}
    }
    let output = model.value(op.output.get().into()).live(tokens);
    let scratch_start = op.scratch_offset.get() as usize;
    let scratch = scratch_start..scratch_start.checked_add(op.scratch_bytes.get() as usize)?;
    let split = Split::new(arena, output.offset..output.offset + output.bytes, scratch)?;
    let mut inputs: [&[u8]; 4] = [&[]; 4];
    for (bytes, slot) in inputs
        .iter_mut()
        .zip(&op.inputs)
        .filter(|(_, slot)| slot.get() != NO_VALUE)
    {
        let value = model.value(slot.get().into()).live(tokens);
        let range = value.offset..value.offset + value.bytes;
        *bytes = if value.constant {
            model.bytes().get(range)?
        } else {
            split.input(range)?
        };
    }
    let step = Step::decode(model, op, tokens).ok()?;
    let slices = Slices {
        inputs,
        output: split.output,
        scratch: split.scratch,
    };
    run(step, slices, kernels)
}

/// Runs a decoded operator.
pub(super) fn run(step: Step<'_>, slices: Slices<'_>, kernels: &dyn Kernels) -> Option<()> {
    match step {
        Step::StridedCopy(copy) => moves::strided_copy(&copy, slices.inputs[0], slices.output),
        Step::Concat(concat) => moves::concat(&concat, &slices.inputs, slices.output),
        Step::Pad(pad) => moves::pad(&pad, slices.inputs[0], slices.output),
        Step::ConvS8 { .. }
        | Step::DepthwiseConvS8 { .. }
        | Step::DepthwiseConvS16 { .. }
        | Step::GemmS8 { .. }
        | Step::AddS8 { .. }
        | Step::MulS8 { .. }
        | Step::PoolS8 { .. }
        | Step::MeanS8 { .. }
        | Step::LutS8 { .. }
        | Step::LutS16 { .. }
        | Step::LutChannelsS16 { .. }
        | Step::LutChannelsS8 { .. }
        | Step::NormalizeS16
        | Step::QuantizeF32 { .. }
        | Step::DequantizeS8 { .. } => integer(step, slices, kernels),
        Step::AddS16 { .. }
        | Step::RescaleS16 { .. }
        | Step::LayerNormS16 { .. }
        | Step::AttentionS8(_)
        | Step::EmbeddingS8 { .. }
        | Step::SoftmaxS8 { .. }
        | Step::MeanS16 { .. } => transformer::run(step, slices, kernels),
        Step::Convert { from, to } => {
            convert::convert([from, to], slices.inputs[0], slices.output, kernels)
        }
        Step::Float(step) => float::run::<f32>(step, slices, kernels),
        Step::Half(step) => float::run::<f16>(step, slices, kernels),
    }
}

/// Bytes of the operands.
pub(super) struct Slices<'r> {
    pub(super) inputs: [&'r [u8]; 4],
    pub(super) output: &'r mut [u8],
    pub(super) scratch: &'r mut [u8],
}

fn integer(step: Step<'_>, slices: Slices<'_>, kernels: &dyn Kernels) -> Option<()> {
    let Slices {
        inputs,
        output,
        scratch,
    } = slices;
    match step {
        Step::ConvS8 {
            window,
            in_channels,
            out_channels,
            input_zero_point,
            wide,
            weights,
            layout,
            requantize,
        } => {
            let (src, dst) = (elements(inputs[0])?, destination(output, wide)?);
            let args = ConvS8 {
                window,
                in_channels,
                out_channels,
                input_zero_point,
                src,
                weights,
                layout,
                requantize,
                dst,
                scratch,
            };
            kernels.conv_s8(args);
        }
        Step::DepthwiseConvS8 {
            window,
            channels,
            input_zero_point,
            weights,
            requantize,
        } => {
            let (src, dst) = (elements(inputs[0])?, elements_mut(output)?);
            kernels.depthwise_conv_s8(DepthwiseConvS8 {
                window,
                channels,
                input_zero_point,
                src,
                weights,
                requantize,
                dst,
            });
        }
        Step::DepthwiseConvS16 {
            window,
            channels,
            wide,
            weights,
            requantize,
        } => {
            let (src, dst) = (elements(inputs[0])?, destination(output, wide)?);
            kernels.depthwise_conv_s16(DepthwiseConvS16 {
                window,
                channels,
                src,
                weights,
                requantize,
                dst,
            });
        }
        Step::GemmS8 {
            rows,
            k,
            n,
            wide,
            weights,
            layout,
            requantize,
        } => {
            let (lhs, dst) = (elements(inputs[0])?, destination(output, wide)?);
            kernels.gemm_s8(GemmS8 {
                rows,
                k,
                n,
                lhs,
                weights,
                layout,
                requantize,
                dst,
                scratch,
            });
        }
        Step::AddS8 {
            params,
            input_offset,
            output_offset,
        } => kernels.add_s8(AddS8 {
            lhs: elements(inputs[0])?,
            rhs: elements(inputs[1])?,
            input_offset,
            left_shift: params.left_shift.get(),
            input_multiplier: params.input_multiplier.map(|multiplier| multiplier.get()),
            input_shift: params.input_shift.map(|shift| shift.get()),
            output_multiplier: params.output_multiplier.get(),
            output_shift: params.output_shift.get(),
            output_offset,
            clamp_min: params.clamp_min.get(),
            clamp_max: params.clamp_max.get(),
            dst: elements_mut(output)?,
        }),
        Step::MulS8 {
            params,
            input_offset,
            output_offset,
        } => kernels.mul_s8(MulS8 {
            lhs: elements(inputs[0])?,
            rhs: elements(inputs[1])?,
            input_offset,
            multiplier: params.multiplier.get(),
            shift: params.shift.get(),
            output_offset,
            clamp_min: params.clamp_min.get(),
            clamp_max: params.clamp_max.get(),
            dst: elements_mut(output)?,
        }),
        Step::PoolS8 {
            maximum,
            window,
            channels,
            clamp: [clamp_min, clamp_max],
        } => {
            let (src, dst) = (elements(inputs[0])?, elements_mut(output)?);
            let args = PoolS8 {
                window,
                channels,
                clamp_min,
                clamp_max,
                src,
                dst,
            };
            if maximum {
                kernels.max_pool_s8(args)
            } else {
                kernels.avg_pool_s8(args)
            }
        }
        Step::MeanS8 {
            params,
            pixels,
            channels,
            input_zero_point,
            output_zero_point,
        } => kernels.mean_s8(MeanS8 {
            pixels,
            channels,
            input_zero_point,
            multiplier: params.multiplier.get(),
            shift: params.shift.get(),
            output_zero_point,
            clamp_min: params.clamp_min.get(),
            clamp_max: params.clamp_max.get(),
            src: elements(inputs[0])?,
            dst: elements_mut(output)?,
        }),
        Step::LutS8 { table } => kernels.lut_s8(table, elements(inputs[0])?, elements_mut(output)?),
        Step::LutS16 {
            outer,
            inner,
            inner_shift,
            wide,
        } => kernels.lut_s16(LutS16 {
            outer,
            inner,
            inner_shift,
            src: elements(inputs[0])?,
            dst: destination(output, wide)?,
        }),
        Step::LutChannelsS16 {
            tables,
            index,
            inner_shifts,
        } => kernels.lut_channels_s16(LutChannelsS16 {
            tables,
            index,
            inner_shifts,
            src: elements(inputs[0])?,
            dst: elements_mut(output)?,
        }),
        Step::LutChannelsS8 { tables, index } => {
            kernels.lut_channels_s8(tables, index, elements(inputs[0])?, elements_mut(output)?)
        }
        Step::NormalizeS16 => kernels.normalize_s16(elements(inputs[0])?, elements_mut(output)?),
        Step::QuantizeF32 { scale, zero_point } => {
            kernels.quantize_f32(
                elements(inputs[0])?,
                scale,
                zero_point,
                elements_mut(output)?,
            );
        }
        Step::DequantizeS8 { scale, zero_point } => {
            kernels.dequantize_s8(
                elements(inputs[0])?,
                scale,
                zero_point,
                elements_mut(output)?,
            );
        }
        _ => return None,
    }
    Some(())
}
