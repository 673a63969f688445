//! One operator, decoded: every number that its kernel needs and every slice of the file, with proved lengths.
//!
//! [`Step::decode`] is the single definition of what a record means. `check` calls it for every operator when a model is
//! loaded, the interpreter calls it again when it runs, so that there is no second reading that could differ. It costs no
//! more than a few hundred instructions; what needs a look at every weight or channel is [`Step::check_contents`], done
//! once. Numbers of tokens are an argument: at load they are the largest, at a run those of the run.

mod float;
mod integer;
mod moves;
mod operands;
mod transformer;

pub(crate) use self::moves::{ConcatStep, PadStep, StridedCopy, natural_strides};

use super::format::{DType, NO_VALUE, OpRecord, WeightLayout};
use super::op::{
    AddParams, AddS16Params, BinaryKind, MeanParams, MulParams, OpKind, ReduceKind,
    RescaleS16Params, UnaryKind,
};
use super::op_fault::{OUTPUT, OpFault};
use super::{Model, ValueView};
use crate::kernel::{
    HeadScale, LUT_S16_ENTRIES, Requantize, ScoreBias, WeightsF32, Window,
    attention_s8_scratch_bytes, attention_scratch_bytes, tile_scratch_bytes,
};
use operands::Operands;

/// What an operator computes, over which sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'m> {
    ConvS8 {
        window: Window,
        in_channels: usize,
        out_channels: usize,
        input_zero_point: i8,
        /// The output is i16.
        wide: bool,
        weights: &'m [i8],
        layout: WeightLayout,
        requantize: Requantize<'m>,
    },
    DepthwiseConvS8 {
        window: Window,
        channels: usize,
        input_zero_point: i8,
        weights: &'m [i8],
        requantize: Requantize<'m>,
    },
    DepthwiseConvS16 {
        window: Window,
        channels: usize,
        /// The output is i16.
        wide: bool,
        weights: &'m [i8],
        requantize: Requantize<'m>,
    },
    GemmS8 {
        rows: usize,
        k: usize,
        n: usize,
        /// The output is i16.
        wide: bool,
        weights: &'m [i8],
        layout: WeightLayout,
        requantize: Requantize<'m>,
    },
    AddS8 {
        params: &'m AddParams,
        input_offset: [i32; 2],
        output_offset: i32,
    },
    MulS8 {
        params: &'m MulParams,
        input_offset: [i32; 2],
        output_offset: i32,
    },
    PoolS8 {
        maximum: bool,
        window: Window,
        channels: usize,
        clamp: [i32; 2],
    },
    MeanS8 {
        params: &'m MeanParams,
        pixels: usize,
        channels: usize,
        input_zero_point: i32,
        output_zero_point: i32,
    },
    LutS8 {
        table: &'m [i8; 256],
    },
    LutS16 {
        outer: &'m [i16; LUT_S16_ENTRIES],
        inner: &'m [i16; LUT_S16_ENTRIES],
        inner_shift: u32,
        /// The output is i16.
        wide: bool,
    },
    LutChannelsS16 {
        /// Outer and inner.
        tables: &'m [[[i16; LUT_S16_ENTRIES]; 2]],
        /// Of each channel, below the number of tables.
        index: &'m [u8],
        /// Of each table.
        inner_shifts: &'m [u8],
    },
    LutChannelsS8 {
        tables: &'m [[i8; 256]],
        /// Of each channel, below the number of tables.
        index: &'m [u8],
    },
    NormalizeS16,
    AddS16 {
        params: &'m AddS16Params,
        input_zero_point: [i32; 2],
        output_zero_point: i32,
        /// Which of lhs, rhs and output are i16.
        wide: [bool; 3],
    },
    RescaleS16 {
        params: &'m RescaleS16Params,
        input_zero_point: i32,
        output_zero_point: i32,
        /// Which of input and output are i16.
        wide: [bool; 2],
    },
    LayerNormS16 {
        gamma: &'m [i16],
        beta: &'m [i32],
        epsilon: u64,
        shift: u32,
        /// Which of input and output are i16.
        wide: [bool; 2],
    },
    AttentionS8(AttentionStep<'m>),
    EmbeddingS8 {
        width: usize,
        table: &'m [i8],
        multiplier: &'m [u16],
        shift: u32,
        output_zero_point: i32,
        /// The output is i16.
        wide: bool,
    },
    SoftmaxS8 {
        columns: usize,
        score_multiplier: i32,
        score_shift: i32,
    },
    MeanS16 {
        params: &'m MeanParams,
        /// Of the sum of so many rows.
        multiplier: i32,
        shift: i32,
        rows: usize,
        channels: usize,
        output_zero_point: i32,
        /// The output is i16.
        wide: bool,
    },
    QuantizeF32 {
        scale: f32,
        zero_point: i32,
    },
    DequantizeS8 {
        scale: f32,
        zero_point: i32,
    },
    /// Over f32.
    Float(FloatStep<'m>),
    /// Over IEEE halves.
    Half(FloatStep<'m>),
    Convert {
        from: Quantised,
        to: Quantised,
    },
    StridedCopy(StridedCopy),
    Concat(ConcatStep),
    Pad(PadStep),
}

/// What a float operator computes, over values of f32 or of halves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FloatStep<'m> {
    Conv {
        window: Window,
        in_channels: usize,
        out_channels: usize,
        weights: WeightsF32<'m>,
        bias: &'m [f32],
        clamp: [f32; 2],
    },
    DepthwiseConv {
        window: Window,
        channels: usize,
        /// f32 or f16, as the values.
        weights: WeightsF32<'m>,
        bias: &'m [f32],
        clamp: [f32; 2],
    },
    Gemm {
        rows: usize,
        k: usize,
        n: usize,
        weights: WeightsF32<'m>,
        bias: &'m [f32],
        clamp: [f32; 2],
    },
    Matmul {
        /// Leading dimensions of the output.
        batch: [usize; 2],
        /// Elements from one batch of an operand to the next, 0 where it repeats.
        lhs_strides: [usize; 2],
        rhs_strides: [usize; 2],
        m: usize,
        k: usize,
        n: usize,
        transpose_rhs: bool,
        scale: f32,
    },
    Binary {
        function: BinaryKind,
        /// Dimensions of the output.
        dims: [usize; 4],
        /// Elements from one index to the next, 0 where an operand repeats.
        lhs_strides: [usize; 4],
        rhs_strides: [usize; 4],
        clamp: [f32; 2],
    },
    Unary {
        function: UnaryKind,
        constants: [f32; 2],
    },
    Pool {
        maximum: bool,
        window: Window,
        channels: usize,
    },
    Softmax {
        columns: usize,
    },
    LayerNorm {
        epsilon: f32,
        gamma: &'m [f32],
        beta: &'m [f32],
    },
    Attention {
        queries: usize,
        keys: usize,
        width: usize,
        num_heads: usize,
        scale: f32,
        causal: bool,
    },
    Embedding {
        rows: usize,
        width: usize,
        table: WeightsF32<'m>,
    },
    Reduce {
        function: ReduceKind,
        dims: [usize; 4],
        /// Bit d: dimension d is reduced.
        axes: u8,
    },
    L2Normalize {
        columns: usize,
    },
}

/// Type of a converted value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantised {
    pub(crate) dtype: DType,
    /// 0 for floats.
    pub(crate) scale: f32,
    pub(crate) zero_point: i32,
}

/// Integer attention over windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionStep<'m> {
    pub(crate) windows: usize,
    /// Rows of q in a window.
    pub(crate) queries: usize,
    /// Rows of k and v in a window.
    pub(crate) keys: usize,
    pub(crate) head_width: usize,
    pub(crate) heads: &'m [HeadScale],
    pub(crate) bias: ScoreBias<'m>,
    pub(crate) bias_shift: u32,
    pub(crate) causal: bool,
    /// Columns of the values of q, k and v, and the first one used.
    pub(crate) strides: [usize; 3],
    pub(crate) offsets: [usize; 3],
    pub(crate) output_zero_point: i32,
}

/// Fewest and most inputs, and most stretches of data, of a kind.
fn arity(kind: OpKind) -> (usize, usize, usize) {
    use OpKind as K;
    match kind {
        K::ConvS8 | K::DepthwiseConvS8 | K::DepthwiseConvS16 | K::GemmS8 => (1, 1, 4),
        K::ConvF32 | K::GemmF32 | K::ConvF16 | K::GemmF16 | K::LutChannelsS16 => (1, 1, 3),
        K::DepthwiseConvF32 | K::LayerNormF32 | K::EmbeddingF32 => (1, 1, 2),
        K::DepthwiseConvF16 | K::LayerNormF16 | K::EmbeddingF16 => (1, 1, 2),
        K::LutS8 => (1, 1, 1),
        K::LayerNormS16 | K::LutChannelsS8 | K::LutS16 | K::EmbeddingS8 => (1, 1, 2),
        K::AttentionS8 => (3, 3, 2),
        K::AddS8 | K::AddS16 | K::MulS8 => (2, 2, 0),
        K::MatmulF32 | K::BinaryF32 | K::MatmulF16 | K::BinaryF16 => (2, 2, 0),
        K::AttentionF32 | K::AttentionF16 => (3, 3, 0),
        K::Concat => (1, 4, 0),
        K::AvgPoolS8
        | K::MeanS8
        | K::MaxPoolS8
        | K::MeanS16
        | K::RescaleS16
        | K::SoftmaxS8
        | K::NormalizeS16
        | K::QuantizeF32
        | K::DequantizeS8 => (1, 1, 0),
        K::UnaryF32
        | K::AvgPoolF32
        | K::MaxPoolF32
        | K::SoftmaxF32
        | K::ReduceF32
        | K::L2NormalizeF32
        | K::UnaryF16
        | K::AvgPoolF16
        | K::MaxPoolF16
        | K::SoftmaxF16
        | K::ReduceF16
        | K::L2NormalizeF16
        | K::Convert => (1, 1, 0),
        K::Transpose | K::Slice | K::Pad => (1, 1, 0),
    }
}

impl<'m> Step<'m> {
    /// Reads a record. `tokens` is the leading dimension of dynamic values, in `1..=max_tokens`.
    ///
    /// # Errors
    /// Whatever keeps the operator from being run safely on its own; what other operators do is the matter of `plan`.
    pub(crate) fn decode(
        model: &Model<'m>,
        op: &'m OpRecord,
        tokens: usize,
    ) -> Result<Self, OpFault> {
        let kind = OpKind::from_u16(op.kind.get()).ok_or(OpFault::UnknownKind)?;
        let operands = Operands::collect(model, op, tokens, arity(kind))?;
        use OpKind as K;
        match kind {
            K::ConvS8 => integer::conv(&operands),
            K::DepthwiseConvS8 => integer::depthwise_conv(&operands),
            K::DepthwiseConvS16 => integer::depthwise_conv_s16(&operands),
            K::GemmS8 => integer::gemm(&operands),
            K::AddS8 => integer::add(&operands),
            K::MulS8 => integer::mul(&operands),
            K::AvgPoolS8 => integer::pool(&operands, false),
            K::MaxPoolS8 => integer::pool(&operands, true),
            K::MeanS8 => integer::mean(&operands),
            K::LutS8 => integer::lut(&operands),
            K::LutS16 => integer::lut_s16(&operands),
            K::LutChannelsS8 => integer::lut_channels(&operands),
            K::LutChannelsS16 => integer::lut_channels_s16(&operands),
            K::NormalizeS16 => integer::normalize(&operands),
            K::QuantizeF32 => integer::quantize(&operands),
            K::DequantizeS8 => integer::dequantize(&operands),
            K::AddS16 => transformer::add(&operands),
            K::RescaleS16 => transformer::rescale(&operands),
            K::LayerNormS16 => transformer::layer_norm(&operands),
            K::AttentionS8 => transformer::attention(&operands),
            K::EmbeddingS8 => transformer::embedding(&operands),
            K::SoftmaxS8 => transformer::softmax(&operands),
            K::MeanS16 => transformer::mean(&operands),
            K::Convert => integer::convert(&operands),
            K::Transpose => moves::transpose(&operands),
            K::Slice => moves::slice(&operands),
            K::Concat => moves::concat(&operands),
            K::Pad => moves::pad(&operands),
            _ => float::decode(kind, &operands),
        }
    }

    /// Working memory of the kernel; `None` when the size does not fit the machine.
    pub(crate) fn scratch_bytes(&self) -> Option<usize> {
        match *self {
            Self::ConvS8 {
                window,
                in_channels,
                ..
            } => tile_scratch_bytes(taps(&window).checked_mul(in_channels)?, 1),
            Self::GemmS8 { k, .. } => tile_scratch_bytes(k, 1),
            Self::Half(FloatStep::Gemm { k, .. }) => tile_scratch_bytes(k, 4),
            Self::Float(step) | Self::Half(step) => match step {
                FloatStep::Conv {
                    window,
                    in_channels,
                    ..
                } => tile_scratch_bytes(taps(&window).checked_mul(in_channels)?, 4),
                FloatStep::Attention { keys, .. } => attention_scratch_bytes(keys),
                _ => Some(0),
            },
            Self::AttentionS8(step) => attention_s8_scratch_bytes(step.keys, step.head_width),
            _ => Some(0),
        }
    }

    /// Multiply-accumulates: of products by weights, and of the two products of attention. Everything else counts 0.
    pub(crate) fn macs(&self) -> u64 {
        let product = |factors: &[usize]| {
            factors.iter().fold(1u64, |product, &factor| {
                product.saturating_mul(factor as u64)
            })
        };
        let spots =
            |window: &Window| product(&window.output).saturating_mul(product(&window.kernel));
        match self {
            Self::ConvS8 {
                window,
                in_channels,
                out_channels,
                ..
            }
            | Self::Float(FloatStep::Conv {
                window,
                in_channels,
                out_channels,
                ..
            })
            | Self::Half(FloatStep::Conv {
                window,
                in_channels,
                out_channels,
                ..
            }) => spots(window).saturating_mul(product(&[*in_channels, *out_channels])),
            Self::DepthwiseConvS8 {
                window, channels, ..
            }
            | Self::DepthwiseConvS16 {
                window, channels, ..
            }
            | Self::Float(FloatStep::DepthwiseConv {
                window, channels, ..
            })
            | Self::Half(FloatStep::DepthwiseConv {
                window, channels, ..
            }) => spots(window).saturating_mul(product(&[*channels])),
            Self::GemmS8 { rows, k, n, .. }
            | Self::Float(FloatStep::Gemm { rows, k, n, .. })
            | Self::Half(FloatStep::Gemm { rows, k, n, .. }) => product(&[*rows, *k, *n]),
            Self::Float(FloatStep::Matmul { batch, m, k, n, .. })
            | Self::Half(FloatStep::Matmul { batch, m, k, n, .. }) => {
                product(&[batch[0], batch[1], *m, *k, *n])
            }
            Self::Float(FloatStep::Attention {
                queries,
                keys,
                width,
                ..
            })
            | Self::Half(FloatStep::Attention {
                queries,
                keys,
                width,
                ..
            }) => product(&[2, *queries, *keys, *width]),
            Self::AttentionS8(step) => product(&[
                2 * step.windows,
                step.queries,
                step.keys,
                step.heads.len(),
                step.head_width,
            ]),
            _ => 0,
        }
    }

    /// Looks at every number of every channel: the part of the proof that is too long for each run.
    pub(crate) fn check_contents(&self) -> Result<(), OpFault> {
        match self {
            Self::ConvS8 {
                window,
                in_channels,
                out_channels,
                weights,
                layout,
                requantize,
                ..
            } => {
                let k = taps(window).saturating_mul(*in_channels);
                integer::check_padding(*layout, weights, *out_channels, k)?;
                integer::check_requantize(requantize, k)
            }
            Self::DepthwiseConvS8 {
                window, requantize, ..
            } => integer::check_requantize(requantize, taps(window)),
            Self::DepthwiseConvS16 {
                window, requantize, ..
            } => integer::check_requantize(requantize, taps(window) * integer::WIDE_PRODUCT),
            Self::GemmS8 {
                k,
                n,
                weights,
                layout,
                requantize,
                ..
            } => {
                integer::check_padding(*layout, weights, *n, *k)?;
                integer::check_requantize(requantize, *k)
            }
            Self::LayerNormS16 { gamma, beta, .. } => transformer::check_layer_norm(gamma, beta),
            Self::AttentionS8(step) => transformer::check_heads(step.heads),
            _ => Ok(()),
        }
    }
}

/// Taps of a window.
pub(crate) fn taps(window: &Window) -> usize {
    window.kernel[0] * window.kernel[1]
}

/// Indices of the values that an operator reads, in the order of its slots.
pub(crate) fn input_indices(op: &OpRecord) -> impl Iterator<Item = usize> + '_ {
    op.inputs
        .iter()
        .map(|slot| slot.get())
        .filter(|&index| index != NO_VALUE)
        .map(usize::from)
}

/// The rank of an operand, when it is what an operator wants.
fn expect(operand: u8, what: &'static str, expected: usize, found: usize) -> Result<(), OpFault> {
    if expected == found {
        Ok(())
    } else {
        Err(OpFault::Extent {
            operand,
            what,
            expected,
            found,
        })
    }
}

/// A product of sizes that fits the machine.
fn size(factors: &[usize]) -> Result<usize, OpFault> {
    factors
        .iter()
        .try_fold(1usize, |product, &factor| product.checked_mul(factor))
        .ok_or(OpFault::Overflow)
}

/// The output of an operator, and the operand number to name it by.
fn output_dynamic(output: &ValueView, expected: bool) -> Result<(), OpFault> {
    if output.dynamic == expected {
        Ok(())
    } else {
        Err(OpFault::Dynamic { operand: OUTPUT })
    }
}
