//! Decoding of the float operators.

use super::super::ValueView;
use super::super::format::DType;
use super::super::op::{
    AttentionParams, BinaryKind, BinaryParams, ConvF32Params, EmbeddingParams, GemmF32Params,
    LayerNormParams, MatmulParams, PoolParams, ReduceKind, ReduceParams, UnaryKind, UnaryParams,
};
use super::super::op_fault::{OUTPUT, OpFault};
use super::integer::{dense, matrix};
use super::operands::{Operands, in_range, right_aligned, zeros};
use super::{Step, expect, output_dynamic, size, taps};

pub(super) fn conv<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &ConvF32Params = operands.params()?;
    zeros(&params.reserved)?;
    let (window, in_channels, out_channels) = operands.window(&params.window, DType::F32)?;
    let count = size(&[taps(&window), in_channels, out_channels])?;
    Ok(Step::ConvF32 {
        window,
        in_channels,
        out_channels,
        weights: operands.float_weights(params.weights, count, out_channels, (0, 2))?,
        bias: operands.optional_data(1, out_channels)?,
        clamp: operands.float_clamp(params.clamp_min.get(), params.clamp_max.get())?,
    })
}

pub(super) fn depthwise_conv<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &ConvF32Params = operands.params()?;
    zeros(&params.reserved)?;
    in_range("weights", params.weights.into(), 0, 0)?;
    let (window, in_channels, channels) = operands.window(&params.window, DType::F32)?;
    expect(OUTPUT, "channels", in_channels, channels)?;
    Ok(Step::DepthwiseConvF32 {
        window,
        channels,
        weights: operands.data(0, size(&[taps(&window), channels])?)?,
        bias: operands.optional_data(1, channels)?,
        clamp: operands.float_clamp(params.clamp_min.get(), params.clamp_max.get())?,
    })
}

pub(super) fn gemm<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &GemmF32Params = operands.params()?;
    zeros(&params.reserved)?;
    let (input, output) = (operands.input(0, DType::F32)?, operands.output(DType::F32)?);
    let (rows, k, n) = matrix(operands, &input, &output)?;
    Ok(Step::GemmF32 {
        rows,
        k,
        n,
        weights: operands.float_weights(params.weights, size(&[k, n])?, n, (0, 2))?,
        bias: operands.optional_data(1, n)?,
        clamp: operands.float_clamp(params.clamp_min.get(), params.clamp_max.get())?,
    })
}

pub(super) fn matmul<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &MatmulParams = operands.params()?;
    zeros(&params.reserved)?;
    in_range("transpose_rhs", params.transpose_rhs.into(), 0, 1)?;
    operands.all_static()?;
    let (lhs, rhs, output) = (
        operands.input(0, DType::F32)?,
        operands.input(1, DType::F32)?,
        operands.output(DType::F32)?,
    );
    for (operand, value) in [(0, &lhs), (1, &rhs), (OUTPUT, &output)] {
        expect(
            operand,
            "at least two dimensions, less by",
            0,
            2usize.saturating_sub(value.rank),
        )?;
    }
    let ([l0, l1, m, k], [r0, r1, r2, r3], out) = (
        right_aligned(&lhs),
        right_aligned(&rhs),
        right_aligned(&output),
    );
    let transpose_rhs = params.transpose_rhs == 1;
    let (rhs_k, n) = if transpose_rhs { (r3, r2) } else { (r2, r3) };
    expect(1, "inner dimension", k, rhs_k)?;
    expect(OUTPUT, "rows", m, out[2])?;
    expect(OUTPUT, "columns", n, out[3])?;
    let lhs_strides = [
        stride(0, l0, out[0], l1 * m * k)?,
        stride(0, l1, out[1], m * k)?,
    ];
    let rhs_strides = [
        stride(1, r0, out[0], r1 * rhs_k * n)?,
        stride(1, r1, out[1], rhs_k * n)?,
    ];
    expect(OUTPUT, "batch", l0.max(r0), out[0])?;
    expect(OUTPUT, "batch", l1.max(r1), out[1])?;
    let scale = params.scale.get();
    Ok(Step::MatmulF32 {
        batch: [out[0], out[1]],
        lhs_strides,
        rhs_strides,
        m,
        k,
        n,
        transpose_rhs,
        scale,
    })
}

/// Elements from one index to the next of a dimension that is the output's, or 1 and repeats.
fn stride(operand: u8, dimension: usize, output: usize, natural: usize) -> Result<usize, OpFault> {
    if dimension == 1 && output != 1 {
        return Ok(0);
    }
    expect(operand, "dimension", output, dimension)?;
    Ok(natural)
}

pub(super) fn binary<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &BinaryParams = operands.params()?;
    zeros(&params.reserved)?;
    let function = BinaryKind::from_u8(params.function);
    let function = function.ok_or(unknown_function(params.function, BinaryKind::Min as u8))?;
    let (lhs, rhs, output) = (
        operands.input(0, DType::F32)?,
        operands.input(1, DType::F32)?,
        operands.output(DType::F32)?,
    );
    output_dynamic(&output, lhs.dynamic || rhs.dynamic)?;
    let dims = right_aligned(&output);
    let lhs_strides = broadcast(operands, 0, &lhs, &output)?;
    let rhs_strides = broadcast(operands, 1, &rhs, &output)?;
    for d in 0..4 {
        let repeats = lhs_strides[d] == 0 && rhs_strides[d] == 0 && dims[d] != 1;
        expect(
            OUTPUT,
            "dimension",
            if repeats { 1 } else { dims[d] },
            dims[d],
        )?;
    }
    let clamp = operands.float_clamp(params.clamp_min.get(), params.clamp_max.get())?;
    Ok(Step::BinaryF32 {
        function,
        dims,
        lhs_strides,
        rhs_strides,
        clamp,
    })
}

/// Strides of an operand over the output's dimensions. A value of `max_tokens` rows, such as position embeddings, meets
/// a dynamic output with its first rows.
fn broadcast(
    operands: &Operands<'_>,
    operand: u8,
    input: &ValueView,
    output: &ValueView,
) -> Result<[usize; 4], OpFault> {
    if input.rank > output.rank {
        return Err(OpFault::Extent {
            operand,
            what: "rank",
            expected: output.rank,
            found: input.rank,
        });
    }
    if input.dynamic && input.rank != output.rank {
        return Err(OpFault::Dynamic { operand });
    }
    let (from, to) = (right_aligned(input), right_aligned(output));
    let token_axis = 4 - output.rank.min(4);
    let mut strides = [0; 4];
    let mut natural = 1;
    for d in (0..4).rev() {
        let first_rows =
            output.dynamic && !input.dynamic && d == token_axis && from[d] == operands.max_tokens();
        strides[d] = if first_rows && from[d] != 1 {
            natural
        } else {
            stride(operand, from[d], to[d], natural)?
        };
        natural *= from[d];
    }
    Ok(strides)
}

pub(super) fn unary<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &UnaryParams = operands.params()?;
    zeros(&params.reserved)?;
    let function = UnaryKind::from_u8(params.function);
    let function = function.ok_or(unknown_function(params.function, UnaryKind::Affine as u8))?;
    operands.input(0, DType::F32)?;
    operands.output(DType::F32)?;
    operands.element_wise(0)?;
    let constants = [params.alpha.get(), params.beta.get()];
    if function == UnaryKind::Clip {
        operands.float_clamp(constants[0], constants[1])?;
    }
    Ok(Step::UnaryF32 {
        function,
        constants,
    })
}

fn unknown_function(found: u8, max: u8) -> OpFault {
    OpFault::Parameter {
        what: "function",
        found: found.into(),
        min: 0,
        max: max.into(),
    }
}

pub(super) fn pool<'m>(operands: &Operands<'m>, maximum: bool) -> Result<Step<'m>, OpFault> {
    let params: &PoolParams = operands.params()?;
    let (window, in_channels, channels) = operands.window(&params.window, DType::F32)?;
    expect(OUTPUT, "channels", in_channels, channels)?;
    dense(&window.dilation)?;
    Ok(Step::PoolF32 {
        maximum,
        window,
        channels,
    })
}

/// Size of the rows of an element-wise operator without parameters or with them.
fn columns(operands: &Operands<'_>) -> Result<usize, OpFault> {
    let input = operands.input(0, DType::F32)?;
    let output = operands.output(DType::F32)?;
    operands.element_wise(0)?;
    operands.has_columns(0, &input)?;
    operands.has_columns(OUTPUT, &output)?;
    Ok(input.last())
}

pub(super) fn softmax<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.no_params()?;
    Ok(Step::SoftmaxF32 {
        columns: columns(operands)?,
    })
}

pub(super) fn l2_normalize<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    operands.no_params()?;
    Ok(Step::L2NormalizeF32 {
        columns: columns(operands)?,
    })
}

pub(super) fn layer_norm<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &LayerNormParams = operands.params()?;
    let columns = columns(operands)?;
    let epsilon = params.epsilon.get();
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(OpFault::FloatParameter {
            what: "epsilon",
            found: epsilon,
        });
    }
    Ok(Step::LayerNormF32 {
        epsilon,
        gamma: operands.data(0, columns)?,
        beta: operands.data(1, columns)?,
    })
}

pub(super) fn attention<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &AttentionParams = operands.params()?;
    let output = operands.output(DType::F32)?;
    for operand in 0..3 {
        let input = operands.input(operand, DType::F32)?;
        operands.element_wise(operand)?;
        expect(operand, "rank", 2, input.rank)?;
    }
    expect(OUTPUT, "rank", 2, output.rank)?;
    let [tokens, width, ..] = output.shape;
    let num_heads = params.num_heads.get() as usize;
    in_range("num_heads", num_heads as i64, 1, width as i64)?;
    expect(
        OUTPUT,
        "remainder of width by num_heads",
        0,
        width % num_heads,
    )?;
    Ok(Step::AttentionF32 {
        tokens,
        width,
        num_heads,
        scale: params.scale.get(),
    })
}

pub(super) fn embedding<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &EmbeddingParams = operands.params()?;
    zeros(&params.reserved)?;
    operands.row_wise()?;
    let (ids, output) = (operands.input(0, DType::I32)?, operands.output(DType::F32)?);
    operands.has_columns(OUTPUT, &output)?;
    let (rows, width) = (params.rows.get() as usize, output.last());
    in_range("rows", rows as i64, 1, i64::from(u32::MAX))?;
    expect(
        OUTPUT,
        "rows",
        ids.elements(),
        output.elements() / width.max(1),
    )?;
    let table = operands.float_weights(params.weights, size(&[rows, width])?, rows, (0, 1))?;
    Ok(Step::EmbeddingF32 { rows, width, table })
}

pub(super) fn reduce<'m>(operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    let params: &ReduceParams = operands.params()?;
    zeros(&params.reserved)?;
    let function = ReduceKind::from_u8(params.function);
    let function = function.ok_or(unknown_function(params.function, ReduceKind::L2 as u8))?;
    let (input, output) = (operands.input(0, DType::F32)?, operands.output(DType::F32)?);
    in_range("axes", params.axes.into(), 1, (1 << input.rank.min(4)) - 1)?;
    output_dynamic(&output, input.dynamic && params.axes & 1 == 0)?;
    let kept = (0..4)
        .filter(|d| params.axes >> d & 1 == 0)
        .map(|d| input.shape[d]);
    expect(OUTPUT, "elements", kept.product(), output.elements())?;
    Ok(Step::ReduceF32 {
        function,
        dims: input.shape,
        axes: params.axes,
    })
}
