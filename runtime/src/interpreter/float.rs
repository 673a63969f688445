//! Float operators, over f32 or over IEEE halves.

use half::f16;

use super::run::Slices;
use super::{broadcast, reduce};
use crate::arena::{elements, elements_mut};
use crate::kernel::{
    AttentionFloat, ConvFloat, DepthwiseConvFloat, Element, GemmFloat, Kernels, MatmulFloat,
    PoolFloat, WeightsF32,
};
use crate::model::op::{BinaryKind, ReduceKind, UnaryKind};
use crate::model::step::FloatStep;

/// An element type and the operations of a kernel set over it.
pub(super) trait Float: Element {
    fn gemm(kernels: &dyn Kernels, args: GemmFloat<'_, Self>);
    fn conv(kernels: &dyn Kernels, args: ConvFloat<'_, Self>);
    fn depthwise_conv(kernels: &dyn Kernels, args: DepthwiseConvFloat<'_, Self>);
    fn matmul(kernels: &dyn Kernels, args: MatmulFloat<'_, Self>);
    fn attention(kernels: &dyn Kernels, args: AttentionFloat<'_, Self>);
    fn avg_pool(kernels: &dyn Kernels, args: PoolFloat<'_, Self>);
    fn max_pool(kernels: &dyn Kernels, args: PoolFloat<'_, Self>);
    fn unary(
        kernels: &dyn Kernels,
        function: UnaryKind,
        constants: [f32; 2],
        src: &[Self],
        dst: &mut [Self],
    );
    fn binary(
        kernels: &dyn Kernels,
        function: BinaryKind,
        lhs: &[Self],
        rhs: &[Self],
        dst: &mut [Self],
    );
    fn softmax(kernels: &dyn Kernels, columns: usize, src: &[Self], dst: &mut [Self]);
    fn layer_norm(
        kernels: &dyn Kernels,
        epsilon: f32,
        affine: [&[f32]; 2],
        src: &[Self],
        dst: &mut [Self],
    );
    fn reduce(
        kernels: &dyn Kernels,
        function: ReduceKind,
        dims: [usize; 3],
        src: &[Self],
        dst: &mut [Self],
    );
    /// Euclidean norm of a row.
    fn norm(kernels: &dyn Kernels, row: &[Self]) -> f32;
}

fn norm_f32(kernels: &dyn Kernels, row: &[f32]) -> f32 {
    let mut norm = [0.0];
    kernels.reduce_f32(ReduceKind::L2, [1, row.len(), 1], row, &mut norm);
    norm[0]
}

/// In f32 throughout: squares of halves overflow them.
fn norm_f16(_: &dyn Kernels, row: &[f16]) -> f32 {
    libm::sqrtf(row.iter().map(|x| x.to_f32() * x.to_f32()).sum())
}

macro_rules! float {
    (
        $type:ty: $gemm:ident $conv:ident $depthwise_conv:ident $matmul:ident $attention:ident $avg_pool:ident
        $max_pool:ident $unary:ident $binary:ident $softmax:ident $layer_norm:ident $reduce:ident $norm:ident
    ) => {
        impl Float for $type {
            fn gemm(kernels: &dyn Kernels, args: GemmFloat<'_, Self>) {
                kernels.$gemm(args);
            }
            fn conv(kernels: &dyn Kernels, args: ConvFloat<'_, Self>) {
                kernels.$conv(args);
            }
            fn depthwise_conv(kernels: &dyn Kernels, args: DepthwiseConvFloat<'_, Self>) {
                kernels.$depthwise_conv(args);
            }
            fn matmul(kernels: &dyn Kernels, args: MatmulFloat<'_, Self>) {
                kernels.$matmul(args);
            }
            fn attention(kernels: &dyn Kernels, args: AttentionFloat<'_, Self>) {
                kernels.$attention(args);
            }
            fn avg_pool(kernels: &dyn Kernels, args: PoolFloat<'_, Self>) {
                kernels.$avg_pool(args);
            }
            fn max_pool(kernels: &dyn Kernels, args: PoolFloat<'_, Self>) {
                kernels.$max_pool(args);
            }
            fn unary(
                kernels: &dyn Kernels,
                function: UnaryKind,
                constants: [f32; 2],
                src: &[Self],
                dst: &mut [Self],
            ) {
                kernels.$unary(function, constants, src, dst);
            }
            fn binary(
                kernels: &dyn Kernels,
                function: BinaryKind,
                lhs: &[Self],
                rhs: &[Self],
                dst: &mut [Self],
            ) {
                kernels.$binary(function, lhs, rhs, dst);
            }
            fn softmax(kernels: &dyn Kernels, columns: usize, src: &[Self], dst: &mut [Self]) {
                kernels.$softmax(columns, src, dst);
            }
            fn layer_norm(
                kernels: &dyn Kernels,
                epsilon: f32,
                [gamma, beta]: [&[f32]; 2],
                src: &[Self],
                dst: &mut [Self],
            ) {
                kernels.$layer_norm(epsilon, gamma, beta, src, dst);
            }
            fn reduce(
                kernels: &dyn Kernels,
                function: ReduceKind,
                dims: [usize; 3],
                src: &[Self],
                dst: &mut [Self],
            ) {
                kernels.$reduce(function, dims, src, dst);
            }
            fn norm(kernels: &dyn Kernels, row: &[Self]) -> f32 {
                $norm(kernels, row)
            }
        }
    };
}

float! {
    f32: gemm_f32 conv_f32 depthwise_conv_f32 matmul_f32 attention_f32 avg_pool_f32
    max_pool_f32 unary_f32 binary_f32 softmax_f32 layer_norm_f32 reduce_f32 norm_f32
}
float! {
    f16: gemm_f16 conv_f16 depthwise_conv_f16 matmul_f16 attention_f16 avg_pool_f16
    max_pool_f16 unary_f16 binary_f16 softmax_f16 layer_norm_f16 reduce_f16 norm_f16
}

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
        } => T::layer_norm(kernels, epsilon, [gamma, beta], src, dst),
        FloatStep::Attention {
            tokens,
            width,
            num_heads,
            scale,
        } => {
            let args = AttentionFloat {
                tokens,
                width,
                num_heads,
                scale,
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
            WeightsF32::F16(table) => fill(dst, &table[columns], f16::to_f32),
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
