//! The integer operators of transformers: their slices, 8 or 16 bits wide.

use super::run::Slices;
use crate::arena::{elements, elements_mut};
use crate::kernel::{
    AddS16, AttentionS8, Columns, DstS8, EmbeddingS8, Kernels, LayerNormS16, MeanS16, RescaleS16,
    SoftmaxS8, SrcS16,
};
use crate::model::step::{AttentionStep, Step};

/// Runs one of them; `None` for any other.
pub(super) fn run(step: Step<'_>, slices: Slices<'_>, kernels: &dyn Kernels) -> Option<()> {
    let Slices {
        inputs,
        output,
        scratch,
    } = slices;
    match step {
        Step::AddS16 {
            params,
            input_zero_point,
            output_zero_point,
            wide: [lhs, rhs, wide],
        } => {
            let count = output.len() / if wide { 2 } else { 1 };
            kernels.add_s16(AddS16 {
                lhs: first(source(inputs[0], lhs)?, count),
                rhs: first(source(inputs[1], rhs)?, count),
                input_zero_point,
                multiplier: params.multiplier.map(|multiplier| multiplier.get()),
                shift: params.shift.get() as u32,
                output_zero_point,
                clamp_min: params.clamp_min.get(),
                clamp_max: params.clamp_max.get(),
                dst: destination(output, wide)?,
            })
        }
        Step::RescaleS16 {
            params,
            input_zero_point,
            output_zero_point,
            wide: [src, wide],
        } => kernels.rescale_s16(RescaleS16 {
            src: source(inputs[0], src)?,
            input_zero_point,
            multiplier: params.multiplier.get(),
            shift: params.shift.get() as u32,
            output_zero_point,
            clamp_min: params.clamp_min.get(),
            clamp_max: params.clamp_max.get(),
            dst: destination(output, wide)?,
        }),
        Step::LayerNormS16 {
            gamma,
            beta,
            epsilon,
            shift,
            wide: [src, wide],
        } => kernels.layer_norm_s16(LayerNormS16 {
            gamma,
            beta,
            epsilon,
            shift,
            src: source(inputs[0], src)?,
            dst: destination(output, wide)?,
        }),
        Step::AttentionS8(step) => attention(&step, &inputs, output, scratch, kernels)?,
        Step::EmbeddingS8 {
            width,
            table,
            multiplier,
            shift,
            output_zero_point,
            wide,
        } => kernels.embedding_s8(EmbeddingS8 {
            width,
            table,
            multiplier,
            shift,
            output_zero_point,
            ids: elements(inputs[0])?,
            dst: destination(output, wide)?,
        }),
        Step::SoftmaxS8 {
            columns,
            score_multiplier,
            score_shift,
        } => kernels.softmax_s8(SoftmaxS8 {
            columns,
            score_multiplier,
            score_shift,
            src: elements(inputs[0])?,
            dst: elements_mut(output)?,
        }),
        Step::MeanS16 {
            params,
            multiplier,
            shift,
            rows,
            channels,
            output_zero_point,
            wide,
        } => kernels.mean_s16(MeanS16 {
            rows,
            channels,
            multiplier,
            shift,
            output_zero_point,
            clamp_min: params.clamp_min.get(),
            clamp_max: params.clamp_max.get(),
            src: elements(inputs[0])?,
            dst: destination(output, wide)?,
        }),
        _ => return None,
    }
    Some(())
}

fn attention(
    step: &AttentionStep<'_>,
    inputs: &[&[u8]; 4],
    output: &mut [u8],
    scratch: &mut [u8],
    kernels: &dyn Kernels,
) -> Option<()> {
    let columns = |index: usize| {
        Some(Columns {
            data: elements(inputs[index])?,
            stride: step.strides[index],
            offset: step.offsets[index],
        })
    };
    kernels.attention_s8(AttentionS8 {
        windows: step.windows,
        queries: step.queries,
        keys: step.keys,
        head_width: step.head_width,
        heads: step.heads,
        bias: step.bias,
        bias_shift: step.bias_shift,
        causal_from: step.causal.then_some(0),
        q: columns(0)?,
        k: columns(1)?,
        v: columns(2)?,
        output_zero_point: step.output_zero_point,
        dst: elements_mut(output)?,
        scratch: elements_mut(scratch)?,
    });
    Some(())
}

/// The first `count` elements: all of them, but for a constant that has a row for every token that there may be.
fn first(numbers: SrcS16<'_>, count: usize) -> SrcS16<'_> {
    match numbers {
        SrcS16::I8(numbers) => SrcS16::I8(&numbers[..count.min(numbers.len())]),
        SrcS16::I16(numbers) => SrcS16::I16(&numbers[..count.min(numbers.len())]),
    }
}

fn source(bytes: &[u8], wide: bool) -> Option<SrcS16<'_>> {
    Some(if wide {
        SrcS16::I16(elements(bytes)?)
    } else {
        SrcS16::I8(elements(bytes)?)
    })
}

/// Where outputs of 16 or 8 bits go.
pub(super) fn destination(bytes: &mut [u8], wide: bool) -> Option<DstS8<'_>> {
    Some(if wide {
        DstS8::I16(elements_mut(bytes)?)
    } else {
        DstS8::I8(elements_mut(bytes)?)
    })
}
