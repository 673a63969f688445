//! One operator: its slices, and the kernel that it belongs to.

use super::{broadcast, in_place, moves, reduce, transformer};
use crate::arena::{Split, elements, elements_mut};
use crate::kernel::{
    AddS8, AttentionF32, ConvF32, ConvS8, DepthwiseConvF32, DepthwiseConvS8, DepthwiseConvS16,
    DstS8, GemmF32, GemmS8, Kernels, MatmulF32, MeanS8, MulS8, PoolF32, PoolS8, WeightsF32,
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
        | Step::LutChannelsS8 { .. }
        | Step::NormalizeS16
        | Step::QuantizeF32 { .. }
        | Step::DequantizeS8 { .. } => integer(step, slices, kernels),
        Step::AddS16 { .. }
        | Step::RescaleS16 { .. }
        | Step::LayerNormS16 { .. }
        | Step::AttentionS8(_)
        | Step::SoftmaxS8 { .. }
        | Step::MeanS16 { .. } => transformer::run(step, slices, kernels),
        _ => float(step, slices, kernels),
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
            weights,
            layout,
            requantize,
        } => {
            let (src, dst) = (elements(inputs[0])?, elements_mut(output)?);
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
            weights,
            requantize,
        } => {
            let (src, dst) = (elements(inputs[0])?, elements_mut(output)?);
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
            let lhs = elements(inputs[0])?;
            let dst = if wide {
                DstS8::I16(elements_mut(output)?)
            } else {
                DstS8::I8(elements_mut(output)?)
            };
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

fn float(step: Step<'_>, slices: Slices<'_>, kernels: &dyn Kernels) -> Option<()> {
    let Slices {
        inputs,
        output,
        scratch,
    } = slices;
    let dst: &mut [f32] = elements_mut(output)?;
    if let Step::EmbeddingF32 { rows, width, table } = step {
        embedding(rows, width, &table, elements(inputs[0])?, dst);
        return Some(());
    }
    let src: &[f32] = elements(inputs[0])?;
    match step {
        Step::ConvF32 {
            window,
            in_channels,
            out_channels,
            weights,
            bias,
            clamp,
        } => {
            let scratch = elements_mut(scratch)?;
            kernels.conv_f32(ConvF32 {
                window,
                in_channels,
                out_channels,
                src,
                weights,
                bias,
                clamp,
                dst,
                scratch,
            });
        }
        Step::DepthwiseConvF32 {
            window,
            channels,
            weights,
            bias,
            clamp,
        } => {
            kernels.depthwise_conv_f32(DepthwiseConvF32 {
                window,
                channels,
                src,
                weights,
                bias,
                clamp,
                dst,
            });
        }
        Step::GemmF32 {
            rows,
            k,
            n,
            weights,
            bias,
            clamp,
        } => {
            kernels.gemm_f32(GemmF32 {
                rows,
                k,
                n,
                lhs: src,
                weights,
                bias,
                clamp,
                dst,
            });
        }
        Step::MatmulF32 { .. } => matmul(&step, src, elements(inputs[1])?, dst, kernels)?,
        Step::BinaryF32 {
            function,
            dims,
            lhs_strides,
            rhs_strides,
            clamp,
        } => {
            let operands = [(src, lhs_strides), (elements(inputs[1])?, rhs_strides)];
            broadcast::binary(function, dims, operands, dst, kernels)?;
            limit(clamp, dst);
        }
        Step::UnaryF32 {
            function,
            constants,
        } => kernels.unary_f32(function, constants, src, dst),
        Step::PoolF32 {
            maximum,
            window,
            channels,
        } => {
            let args = PoolF32 {
                window,
                channels,
                src,
                dst,
            };
            if maximum {
                kernels.max_pool_f32(args)
            } else {
                kernels.avg_pool_f32(args)
            }
        }
        Step::SoftmaxF32 { columns } => kernels.softmax_f32(columns, src, dst),
        Step::LayerNormF32 {
            epsilon,
            gamma,
            beta,
        } => kernels.layer_norm_f32(epsilon, gamma, beta, src, dst),
        Step::AttentionF32 {
            tokens,
            width,
            num_heads,
            scale,
        } => {
            let (k, v, scratch) = (
                elements(inputs[1])?,
                elements(inputs[2])?,
                elements_mut(scratch)?,
            );
            kernels.attention_f32(AttentionF32 {
                tokens,
                width,
                num_heads,
                scale,
                q: src,
                k,
                v,
                dst,
                scratch,
            });
        }
        Step::ReduceF32 {
            function,
            dims,
            axes,
        } => reduce::reduce(function, dims, axes, src, dst, kernels)?,
        Step::L2NormalizeF32 { columns } => reduce::l2_normalize(columns, src, dst, kernels),
        _ => return None,
    }
    Some(())
}

/// Limits every element; NaN stays NaN.
fn limit([min, max]: [f32; 2], dst: &mut [f32]) {
    if min == f32::NEG_INFINITY && max == f32::INFINITY {
        return;
    }
    for element in dst {
        if *element < min {
            *element = min;
        } else if *element > max {
            *element = max;
        }
    }
}

/// One product for each index of the leading dimensions.
fn matmul(
    step: &Step<'_>,
    lhs: &[f32],
    rhs: &[f32],
    dst: &mut [f32],
    kernels: &dyn Kernels,
) -> Option<()> {
    let &Step::MatmulF32 {
        batch,
        lhs_strides,
        rhs_strides,
        m,
        k,
        n,
        transpose_rhs,
        scale,
    } = step
    else {
        return None;
    };
    for (index, dst) in dst.chunks_exact_mut(m.checked_mul(n)?).enumerate() {
        let at = [index / batch[1], index % batch[1]];
        let (from_lhs, from_rhs) = (
            at[0] * lhs_strides[0] + at[1] * lhs_strides[1],
            at[0] * rhs_strides[0] + at[1] * rhs_strides[1],
        );
        let lhs = lhs.get(from_lhs..from_lhs + m * k)?;
        let rhs = rhs.get(from_rhs..from_rhs + k * n)?;
        kernels.matmul_f32(MatmulF32 {
            m,
            k,
            n,
            lhs,
            rhs,
            transpose_rhs,
            scale,
            dst,
        });
    }
    Some(())
}

/// One row of the table for each id; an id outside of it reads row 0.
fn embedding(rows: usize, width: usize, table: &WeightsF32<'_>, ids: &[i32], dst: &mut [f32]) {
    for (&id, dst) in ids.iter().zip(dst.chunks_exact_mut(width)) {
        let row = usize::try_from(id)
            .ok()
            .filter(|&id| id < rows)
            .unwrap_or(0);
        let columns = row * width..(row + 1) * width;
        match table {
            WeightsF32::F32(table) => dst.copy_from_slice(&table[columns]),
            WeightsF32::F16(table) => {
                for (dst, &bits) in dst.iter_mut().zip(&table[columns]) {
                    *dst = half::f16::from_bits(bits).to_f32();
                }
            }
            WeightsF32::I8 { data, scales } => {
                for (dst, &quantised) in dst.iter_mut().zip(&data[columns]) {
                    *dst = scales[row] * f32::from(quantised);
                }
            }
        }
    }
}
