//! Float operators, over f32 or over IEEE halves.

use super::run::Slices;
use super::{broadcast, reduce};
use crate::arena::{elements, elements_mut};
use crate::kernel::{
    AttentionFloat, ConvFloat, DepthwiseConvFloat, Element, Float, GemmFloat, Kernels, MatmulFloat,
    PoolFloat, WeightsF32,
};
use crate::model::step::FloatStep;

/// Runs a decoded operator over values of `T`.
pub(super) fn run<T: Float>(
    step: FloatStep<'_>,
    slices: Slices<'_>,
    kernels: &dyn Kernels,
) -> Option<()> {
    let Slices {
        inputs,
        output,
        scratch,
    } = slices;
    let dst: &mut [T] = elements_mut(output)?;
    if let FloatStep::Embedding { rows, width, table } = step {
        embedding(rows, width, &table, elements(inputs[0])?, dst);
        return Some(());
    }
    let src: &[T] = elements(inputs[0])?;
    match step {
        FloatStep::Conv {
            window,
            in_channels,
            out_channels,
            weights,
            bias,
            clamp,
        } => {
            let (weights, scratch) = (T::weights(weights)?, elements_mut(scratch)?);
            let args = ConvFloat {
                window,
                in_channels,
                out_channels,
                src,
                weights,
                bias,
                clamp,
                dst,
                scratch,
            };
            T::conv(kernels, args);
        }
        FloatStep::DepthwiseConv {
            window,
            channels,
            weights,
            bias,
            clamp,
        } => {
            let weights = T::elements(weights)?;
            let args = DepthwiseConvFloat {
                window,
                channels,
                src,
                weights,
                bias,
                clamp,
                dst,
            };
            T::depthwise_conv(kernels, args);
        }
        FloatStep::Gemm {
            rows,
            k,
            n,
            weights,
            bias,
            clamp,
        } => {
            let (weights, scratch) = (T::weights(weights)?, elements_mut(scratch)?);
            let args = GemmFloat {
                rows,
                k,
                n,
                lhs: src,
                weights,
                bias,
                clamp,
                dst,
                scratch,
            };
            T::gemm(kernels, args);
        }
        FloatStep::Matmul { .. } => matmul(&step, src, elements(inputs[1])?, dst, kernels)?,
        FloatStep::Binary {
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
        FloatStep::Unary {
            function,
            constants,
        } => T::unary(kernels, function, constants, src, dst),
        FloatStep::Pool {
            maximum,
            window,
            channels,
        } => {
            let args = PoolFloat {
                window,
                channels,
                src,
                dst,
            };
            if maximum {
                T::max_pool(kernels, args);
            } else {
                T::avg_pool(kernels, args);
            }
        }
        FloatStep::Softmax { columns } => T::softmax(kernels, columns, src, dst),
        FloatStep::LayerNorm {
            epsilon,
            gamma,
            beta,
        } => T::layer_norm(kernels, epsilon, gamma, beta, src, dst),
        FloatStep::Attention {
            queries,
            keys,
            width,
            num_heads,
            scale,
            causal,
        } => {
            let args = AttentionFloat {
                queries,
                keys,
                width,
                num_heads,
                scale,
                causal,
                q: src,
                k: elements(inputs[1])?,
                v: elements(inputs[2])?,
                dst,
                scratch: elements_mut(scratch)?,
            };
            T::attention(kernels, args);
        }
        FloatStep::Reduce {
            function,
            dims,
            axes,
        } => reduce::reduce(function, dims, axes, src, dst, kernels)?,
        FloatStep::L2Normalize { columns } => reduce::l2_normalize(columns, src, dst, kernels),
        FloatStep::Embedding { .. } => return None,
    }
    Some(())
}

/// Limits every element; NaN stays NaN.
fn limit<T: Element>([min, max]: [f32; 2], dst: &mut [T]) {
    if min == f32::NEG_INFINITY && max == f32::INFINITY {
        return;
    }
    for element in dst {
        let number = element.widen();
        if number < min {
            *element = T::narrow(min);
        } else if number > max {
            *element = T::narrow(max);
        }
    }
}

/// One product for each index of the leading dimensions.
fn matmul<T: Float>(
    step: &FloatStep<'_>,
    lhs: &[T],
    rhs: &[T],
    dst: &mut [T],
    kernels: &dyn Kernels,
) -> Option<()> {
    let &FloatStep::Matmul {
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
        let args = MatmulFloat {
            m,
            k,
            n,
            lhs: lhs.get(from_lhs..from_lhs + m * k)?,
            rhs: rhs.get(from_rhs..from_rhs + k * n)?,
            transpose_rhs,
            scale,
            dst,
        };
        T::matmul(kernels, args);
    }
    Some(())
}

/// One row of the table for each id; an id outside of it reads row 0.
fn embedding<T: Element>(
    rows: usize,
    width: usize,
    table: &WeightsF32<'_>,
    ids: &[i32],
    dst: &mut [T],
) {
    for (&id, dst) in ids.iter().zip(dst.chunks_exact_mut(width)) {
        let row = usize::try_from(id)
            .ok()
            .filter(|&id| id < rows)
            .unwrap_or(0);
        let columns = row * width..(row + 1) * width;
        match table {
            WeightsF32::F32(table) => fill(dst, &table[columns], |x| x),
            WeightsF32::F16(table) => fill(dst, &table[columns], half::f16::to_f32),
            WeightsF32::I8 { data, scales } => {
                fill(dst, &data[columns], |x| scales[row] * f32::from(x));
            }
        }
    }
}

fn fill<T: Element, S: Copy>(dst: &mut [T], src: &[S], number: impl Fn(S) -> f32) {
    for (dst, &src) in dst.iter_mut().zip(src) {
        *dst = T::narrow(number(src));
    }
}
