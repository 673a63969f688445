//! Arguments of the float operations, the two floats that activations are stored as ([`Element`]), and which operation of a set
//! belongs to which of them ([`Float`]), for code that is written once over both.

use core::fmt::Debug;

use half::f16;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Kernels, Window};
use crate::model::op::{BinaryKind, ReduceKind, UnaryKind};

/// A float that activations are stored as. All arithmetic on it is defined in f32.
pub trait Element:
    Copy + Default + Send + Sync + FromBytes + IntoBytes + Immutable + 'static
{
    /// How the weights of its products may be stored.
    type Weights<'a>: Copy + Debug + Send + Sync;

    /// Exactly the number.
    fn widen(self) -> f32;
    /// The nearest one, ties to even; what is too large becomes an infinity.
    fn narrow(number: f32) -> Self;
    /// Weights of a product, when they are stored as it wants them.
    fn weights(stored: WeightsF32<'_>) -> Option<Self::Weights<'_>>;
    /// The same weights for a shorter time, which generic code cannot see to be allowed.
    fn reborrow<'short, 'long: 'short>(weights: Self::Weights<'long>) -> Self::Weights<'short>;
    /// Weights that are stored as this type.
    fn elements(stored: WeightsF32<'_>) -> Option<&[Self]>;
    /// The elements themselves, when they are f32.
    fn as_f32(elements: &[Self]) -> Option<&[f32]>;
}

impl Element for f32 {
    type Weights<'a> = WeightsF32<'a>;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(number: f32) -> Self {
        number
    }
    fn weights(stored: WeightsF32<'_>) -> Option<WeightsF32<'_>> {
        Some(stored)
    }
    fn reborrow<'short, 'long: 'short>(weights: Self::Weights<'long>) -> Self::Weights<'short> {
        weights
    }
    fn elements(stored: WeightsF32<'_>) -> Option<&[Self]> {
        match stored {
            WeightsF32::F32(elements) => Some(elements),
            WeightsF32::F16(_) | WeightsF32::I8 { .. } => None,
        }
    }
    fn as_f32(elements: &[Self]) -> Option<&[f32]> {
        Some(elements)
    }
}

impl Element for f16 {
    type Weights<'a> = &'a [f16];

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn narrow(number: f32) -> Self {
        Self::from_f32(number)
    }
    fn weights(stored: WeightsF32<'_>) -> Option<&[Self]> {
        Self::elements(stored)
    }
    fn reborrow<'short, 'long: 'short>(weights: Self::Weights<'long>) -> Self::Weights<'short> {
        weights
    }
    fn elements(stored: WeightsF32<'_>) -> Option<&[Self]> {
        match stored {
            WeightsF32::F16(elements) => Some(elements),
            WeightsF32::F32(_) | WeightsF32::I8 { .. } => None,
        }
    }
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
}

/// Weights of a float product, packed as [`super::packing`] says.
#[derive(Clone, Copy, Debug)]
pub enum WeightsF32<'a> {
    /// IEEE single.
    F32(&'a [f32]),
    /// IEEE half.
    F16(&'a [f16]),
    /// i8 with a scale per output channel (n).
    I8 {
        /// Packed as the others.
        data: &'a [i8],
        /// (n)
        scales: &'a [f32],
    },
}

/// dst(rows, n) = clamp(lhs(rows, k) · weights(k, n) + bias).
#[derive(Debug)]
pub struct GemmFloat<'a, T: Element> {
    /// Rows of `lhs` and `dst`.
    pub rows: usize,
    /// Inputs.
    pub k: usize,
    /// Output channels.
    pub n: usize,
    /// (rows, k)
    pub lhs: &'a [T],
    /// (n, k) packed.
    pub weights: T::Weights<'a>,
    /// (n) or empty.
    pub bias: &'a [f32],
    /// Smallest and largest output.
    pub clamp: [f32; 2],
    /// (rows, n)
    pub dst: &'a mut [T],
    /// At least [`super::tile_scratch_bytes`]`(k, 4)` in f32 for halves; empty for f32.
    pub scratch: &'a mut [f32],
}

/// 2-D convolution.
#[derive(Debug)]
pub struct ConvFloat<'a, T: Element> {
    /// The window.
    pub window: Window,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// (H, W, C)
    pub src: &'a [T],
    /// (n, kh·kw·c) packed.
    pub weights: T::Weights<'a>,
    /// (n) or empty.
    pub bias: &'a [f32],
    /// Smallest and largest output.
    pub clamp: [f32; 2],
    /// (OH, OW, n)
    pub dst: &'a mut [T],
    /// At least [`super::tile_scratch_bytes`]`(kh·kw·c, 4)`, in f32.
    pub scratch: &'a mut [f32],
}

/// Depthwise convolution.
#[derive(Debug)]
pub struct DepthwiseConvFloat<'a, T> {
    /// The window.
    pub window: Window,
    /// Channels.
    pub channels: usize,
    /// (H, W, C)
    pub src: &'a [T],
    /// (kh·kw, c)
    pub weights: &'a [T],
    /// (c) or empty.
    pub bias: &'a [f32],
    /// Smallest and largest output.
    pub clamp: [f32; 2],
    /// (OH, OW, c)
    pub dst: &'a mut [T],
}

/// One product of two computed matrices: dst(m, n) = scale · lhs(m, k) · rhs(k, n).
#[derive(Debug)]
pub struct MatmulFloat<'a, T> {
    /// Rows.
    pub m: usize,
    /// Inner dimension.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// (m, k)
    pub lhs: &'a [T],
    /// (k, n), or (n, k) when transposed.
    pub rhs: &'a [T],
    /// See `rhs`.
    pub transpose_rhs: bool,
    /// Of the product.
    pub scale: f32,
    /// (m, n)
    pub dst: &'a mut [T],
}

/// Multi-head attention over one sequence, or of one to another.
#[derive(Debug)]
pub struct AttentionFloat<'a, T> {
    /// Rows of q and dst.
    pub queries: usize,
    /// Rows of k and v; as many as queries where attention is causal.
    pub keys: usize,
    /// Columns: all heads side by side.
    pub width: usize,
    /// Divides `width`.
    pub num_heads: usize,
    /// Of the scores.
    pub scale: f32,
    /// Whether a token attends to itself and those before it alone, instead of to all.
    pub causal: bool,
    /// (queries, width)
    pub q: &'a [T],
    /// (keys, width)
    pub k: &'a [T],
    /// (keys, width)
    pub v: &'a [T],
    /// (queries, width)
    pub dst: &'a mut [T],
    /// At least [`super::attention_scratch_bytes`], in f32.
    pub scratch: &'a mut [f32],
}

/// Average or maximum over windows; a tap outside the picture does not count.
#[derive(Debug)]
pub struct PoolFloat<'a, T> {
    /// The window; dilation 1.
    pub window: Window,
    /// Channels.
    pub channels: usize,
    /// (H, W, C)
    pub src: &'a [T],
    /// (OH, OW, C)
    pub dst: &'a mut [T],
}

/// See [`GemmFloat`].
pub type GemmF32<'a> = GemmFloat<'a, f32>;
/// See [`GemmFloat`].
pub type GemmF16<'a> = GemmFloat<'a, f16>;
/// See [`ConvFloat`].
pub type ConvF32<'a> = ConvFloat<'a, f32>;
/// See [`ConvFloat`].
pub type ConvF16<'a> = ConvFloat<'a, f16>;
/// See [`DepthwiseConvFloat`].
pub type DepthwiseConvF32<'a> = DepthwiseConvFloat<'a, f32>;
/// See [`DepthwiseConvFloat`].
pub type DepthwiseConvF16<'a> = DepthwiseConvFloat<'a, f16>;
/// See [`MatmulFloat`].
pub type MatmulF32<'a> = MatmulFloat<'a, f32>;
/// See [`MatmulFloat`].
pub type MatmulF16<'a> = MatmulFloat<'a, f16>;
/// See [`AttentionFloat`].
pub type AttentionF32<'a> = AttentionFloat<'a, f32>;
/// See [`AttentionFloat`].
pub type AttentionF16<'a> = AttentionFloat<'a, f16>;
/// See [`PoolFloat`].
pub type PoolF32<'a> = PoolFloat<'a, f32>;
/// See [`PoolFloat`].
pub type PoolF16<'a> = PoolFloat<'a, f16>;

/// Declares [`Float`] and both of its implementations from one list: operation, its arguments, its names over f32 and f16.
macro_rules! float {
    ($($name:ident($($arg:ident: $type:ty),*) = $over_f32:ident, $over_f16:ident;)*) => {
        /// An element with the operations over it: `T::gemm(kernels, args)` is `kernels.gemm_f32(args)` or `kernels.gemm_f16(args)`.
        #[allow(missing_docs, reason = "each is the operation of its name, see `Kernels`")]
        pub trait Float: Element {
            $(fn $name(kernels: &dyn Kernels, $($arg: $type),*);)*
        }
        impl Float for f32 {
            $(fn $name(kernels: &dyn Kernels, $($arg: $type),*) {
                kernels.$over_f32($($arg),*);
            })*
        }
        impl Float for f16 {
            $(fn $name(kernels: &dyn Kernels, $($arg: $type),*) {
                kernels.$over_f16($($arg),*);
            })*
        }
    };
}

float! {
    gemm(args: GemmFloat<'_, Self>) = gemm_f32, gemm_f16;
    conv(args: ConvFloat<'_, Self>) = conv_f32, conv_f16;
    depthwise_conv(args: DepthwiseConvFloat<'_, Self>) = depthwise_conv_f32, depthwise_conv_f16;
    matmul(args: MatmulFloat<'_, Self>) = matmul_f32, matmul_f16;
    attention(args: AttentionFloat<'_, Self>) = attention_f32, attention_f16;
    avg_pool(args: PoolFloat<'_, Self>) = avg_pool_f32, avg_pool_f16;
    max_pool(args: PoolFloat<'_, Self>) = max_pool_f32, max_pool_f16;
    unary(function: UnaryKind, constants: [f32; 2], src: &[Self], dst: &mut [Self]) = unary_f32, unary_f16;
    binary(function: BinaryKind, lhs: &[Self], rhs: &[Self], dst: &mut [Self]) = binary_f32, binary_f16;
    softmax(columns: usize, src: &[Self], dst: &mut [Self]) = softmax_f32, softmax_f16;
    layer_norm(epsilon: f32, gamma: &[f32], beta: &[f32], src: &[Self], dst: &mut [Self]) = layer_norm_f32, layer_norm_f16;
    reduce(function: ReduceKind, dims: [usize; 3], src: &[Self], dst: &mut [Self]) = reduce_f32, reduce_f16;
}
