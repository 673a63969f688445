//! Decoding of the float operators.

use super::super::ValueView;
use super::super::format::DType;
use super::super::op::{
    AttentionParams, BinaryKind, BinaryParams, ConvF32Params, EmbeddingParams, FloatWeights,
    GemmF32Params, LayerNormParams, MatmulParams, OpKind, PoolParams, ReduceKind, ReduceParams,
    UnaryKind, UnaryParams,
};
use super::super::op_fault::{OUTPUT, OpFault};
use super::integer::{dense, matrix};
use super::operands::{Operands, in_range, right_aligned, zeros};
use super::{FloatStep, Step, expect, output_dynamic, size, taps};
use crate::kernel::WeightsF32;

type Decoded<'m> = Result<FloatStep<'m>, OpFault>;

/// The step of a float operator.
pub(super) fn decode<'m>(kind: OpKind, operands: &Operands<'m>) -> Result<Step<'m>, OpFault> {
    use DType::{F16, F32};
    use OpKind as K;
    let (dtype, step) = match kind {
        K::ConvF32 => (F32, conv(operands, F32)),
        K::ConvF16 => (F16, conv(operands, F16)),
        K::DepthwiseConvF32 => (F32, depthwise_conv(operands, F32)),
        K::DepthwiseConvF16 => (F16, depthwise_conv(operands, F16)),
        K::GemmF32 => (F32, gemm(operands, F32)),
        K::GemmF16 => (F16, gemm(operands, F16)),
        K::MatmulF32 => (F32, matmul(operands, F32)),
        K::MatmulF16 => (F16, matmul(operands, F16)),
        K::BinaryF32 => (F32, binary(operands, F32)),
        K::BinaryF16 => (F16, binary(operands, F16)),
        K::UnaryF32 => (F32, unary(operands, F32)),
        K::UnaryF16 => (F16, unary(operands, F16)),
        K::AvgPoolF32 => (F32, pool(operands, F32, false)),
        K::AvgPoolF16 => (F16, pool(operands, F16, false)),
        K::MaxPoolF32 => (F32, pool(operands, F32, true)),
        K::MaxPoolF16 => (F16, pool(operands, F16, true)),
        K::SoftmaxF32 => (F32, softmax(operands, F32)),
        K::SoftmaxF16 => (F16, softmax(operands, F16)),
        K::LayerNormF32 => (F32, layer_norm(operands, F32)),
        K::LayerNormF16 => (F16, layer_norm(operands, F16)),
        K::AttentionF32 => (F32, attention(operands, F32)),
        K::AttentionF16 => (F16, attention(operands, F16)),
        K::EmbeddingF32 => (F32, embedding(operands, F32)),
        K::EmbeddingF16 => (F16, embedding(operands, F16)),
        K::ReduceF32 => (F32, reduce(operands, F32)),
        K::ReduceF16 => (F16, reduce(operands, F16)),
        K::L2NormalizeF32 => (F32, l2_normalize(operands, F32)),
        K::L2NormalizeF16 => (F16, l2_normalize(operands, F16)),
        _ => return Err(OpFault::UnknownKind),
    };
    step.map(|step| match dtype {
        F16 => Step::Half(step),
        _ => Step::Float(step),
    })
}

/// Weights of `count` elements; operators over halves have halves.
fn weights<'m>(
    operands: &Operands<'m>,
    dtype: DType,
    storage: u8,
    count: usize,
    channels: usize,
    roles: (u8, u8),
) -> Result<WeightsF32<'m>, OpFault> {
    if dtype == DType::F16 {
        let half = FloatWeights::F16 as i64;
        in_range("weights", storage.into(), half, half)?;
    }
    operands.float_weights(storage, count, channels, roles)
}

fn conv<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &ConvF32Params = operands.params()?;
    zeros(&params.reserved)?;
    let (window, in_channels, out_channels) = operands.window(&params.window, dtype)?;
    let count = size(&[taps(&window), in_channels, out_channels])?;
    Ok(FloatStep::Conv {
        window,
        in_channels,
        out_channels,
        weights: weights(operands, dtype, params.weights, count, out_channels, (0, 2))?,
        bias: operands.optional_data(1, out_channels)?,
        clamp: operands.float_clamp(params.clamp_min.get(), params.clamp_max.get())?,
    })
}

fn depthwise_conv<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &ConvF32Params = operands.params()?;
    zeros(&params.reserved)?;
    let stored = match dtype {
        DType::F16 => FloatWeights::F16,
        _ => FloatWeights::F32,
    } as i64;
    in_range("weights", params.weights.into(), stored, stored)?;
    let (window, in_channels, channels) = operands.window(&params.window, dtype)?;
    expect(OUTPUT, "channels", in_channels, channels)?;
    let count = size(&[taps(&window), channels])?;
    Ok(FloatStep::DepthwiseConv {
        window,
        channels,
        weights: weights(operands, dtype, params.weights, count, channels, (0, 2))?,
        bias: operands.optional_data(1, channels)?,
        clamp: operands.float_clamp(params.clamp_min.get(), params.clamp_max.get())?,
    })
}

fn gemm<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &GemmF32Params = operands.params()?;
    zeros(&params.reserved)?;
    let (input, output) = (operands.input(0, dtype)?, operands.output(dtype)?);
    let (rows, k, n) = matrix(operands, &input, &output)?;
    Ok(FloatStep::Gemm {
        rows,
        k,
        n,
        weights: weights(operands, dtype, params.weights, size(&[k, n])?, n, (0, 2))?,
        bias: operands.optional_data(1, n)?,
        clamp: operands.float_clamp(params.clamp_min.get(), params.clamp_max.get())?,
    })
}

fn matmul<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &MatmulParams = operands.params()?;
    zeros(&params.reserved)?;
    in_range("transpose_rhs", params.transpose_rhs.into(), 0, 1)?;
    operands.all_static()?;
    let (lhs, rhs, output) = (
        operands.input(0, dtype)?,
        operands.input(1, dtype)?,
        operands.output(dtype)?,
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
    Ok(FloatStep::Matmul {
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

fn binary<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &BinaryParams = operands.params()?;
    zeros(&params.reserved)?;
    let function = BinaryKind::from_u8(params.function);
    let function = function.ok_or(unknown_function(params.function, BinaryKind::Min as u8))?;
    let (lhs, rhs, output) = (
        operands.input(0, dtype)?,
        operands.input(1, dtype)?,
        operands.output(dtype)?,
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
    Ok(FloatStep::Binary {
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

fn unary<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &UnaryParams = operands.params()?;
    zeros(&params.reserved)?;
    let function = UnaryKind::from_u8(params.function);
    let function = function.ok_or(unknown_function(params.function, UnaryKind::Affine as u8))?;
    operands.input(0, dtype)?;
    operands.output(dtype)?;
    operands.element_wise(0)?;
    let constants = [params.alpha.get(), params.beta.get()];
    if function == UnaryKind::Clip {
        operands.float_clamp(constants[0], constants[1])?;
    }
    Ok(FloatStep::Unary {
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

fn pool<'m>(operands: &Operands<'m>, dtype: DType, maximum: bool) -> Decoded<'m> {
    let params: &PoolParams = operands.params()?;
    let (window, in_channels, channels) = operands.window(&params.window, dtype)?;
    expect(OUTPUT, "channels", in_channels, channels)?;
    dense(&window.dilation)?;
    Ok(FloatStep::Pool {
        maximum,
        window,
        channels,
    })
}

/// Size of the rows of an element-wise operator without parameters or with them.
fn columns(operands: &Operands<'_>, dtype: DType) -> Result<usize, OpFault> {
    let input = operands.input(0, dtype)?;
    let output = operands.output(dtype)?;
    operands.element_wise(0)?;
    operands.has_columns(0, &input)?;
    operands.has_columns(OUTPUT, &output)?;
    Ok(input.last())
}

fn softmax<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    operands.no_params()?;
    Ok(FloatStep::Softmax {
        columns: columns(operands, dtype)?,
    })
}

fn l2_normalize<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    operands.no_params()?;
    Ok(FloatStep::L2Normalize {
        columns: columns(operands, dtype)?,
    })
}

fn layer_norm<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &LayerNormParams = operands.params()?;
    let columns = columns(operands, dtype)?;
    let epsilon = params.epsilon.get();
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(OpFault::FloatParameter {
            what: "epsilon",
            found: epsilon,
        });
    }
    Ok(FloatStep::LayerNorm {
        epsilon,
        gamma: operands.data(0, columns)?,
        beta: operands.data(1, columns)?,
    })
}

fn attention<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &AttentionParams = operands.params()?;
    let output = operands.output(dtype)?;
    operands.queries_and_keys()?;
    expect(OUTPUT, "rank", 2, output.rank)?;
    let [queries, width, ..] = output.shape;
    let mut rows = [0; 3];
    for (operand, rows) in (0u8..).zip(&mut rows) {
        let input = operands.input(operand, dtype)?;
        expect(operand, "rank", 2, input.rank)?;
        expect(operand, "columns", width, input.shape[1])?;
        *rows = input.shape[0];
    }
    let [_, keys, values] = rows;
    expect(OUTPUT, "rows", rows[0], queries)?;
    expect(2, "rows", keys, values)?;
    in_range("keys", keys as i64, 1, i64::from(u32::MAX))?;
    let num_heads = params.num_heads.get() as usize;
    in_range("num_heads", num_heads as i64, 1, width as i64)?;
    expect(
        OUTPUT,
        "remainder of width by num_heads",
        0,
        width % num_heads,
    )?;
    let causal = params.causal;
    zeros(&[params.reserved])?;
    in_range("causal", causal.into(), 0, 1)?;
    if causal == 1 {
        operands.row_wise()?;
        expect(1, "rows", queries, keys)?;
    }
    Ok(FloatStep::Attention {
        queries,
        keys,
        width,
        num_heads,
        scale: params.scale.get(),
        causal: causal == 1,
    })
}

fn embedding<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &EmbeddingParams = operands.params()?;
    zeros(&params.reserved)?;
    operands.row_wise()?;
    let (ids, output) = (operands.input(0, DType::I32)?, operands.output(dtype)?);
    operands.has_columns(OUTPUT, &output)?;
    let (rows, width) = (params.rows.get() as usize, output.last());
    in_range("rows", rows as i64, 1, i64::from(u32::MAX))?;
    expect(
        OUTPUT,
        "rows",
        ids.elements(),
        output.elements() / width.max(1),
    )?;
    let table = weights(
        operands,
        dtype,
        params.weights,
        size(&[rows, width])?,
        rows,
        (0, 1),
    )?;
    Ok(FloatStep::Embedding { rows, width, table })
}

fn reduce<'m>(operands: &Operands<'m>, dtype: DType) -> Decoded<'m> {
    let params: &ReduceParams = operands.params()?;
    zeros(&params.reserved)?;
    let function = ReduceKind::from_u8(params.function);
    let function = function.ok_or(unknown_function(params.function, ReduceKind::L2 as u8))?;
    let (input, output) = (operands.input(0, dtype)?, operands.output(dtype)?);
    in_range("axes", params.axes.into(), 1, (1 << input.rank.min(4)) - 1)?;
    output_dynamic(&output, input.dynamic && params.axes & 1 == 0)?;
    let kept = (0..4)
        .filter(|d| params.axes >> d & 1 == 0)
        .map(|d| input.shape[d]);
    expect(OUTPUT, "elements", kept.product(), output.elements())?;
    Ok(FloatStep::Reduce {
        function,
        dims: input.shape,
        axes: params.axes,
    })
}
