//! The operators of format version 1 and their parameter records.
//!
//! Integer operators follow the TFLite quantisation specification
//! (<https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec>): symmetric per-channel
//! weights, per-tensor activations with a zero point, int32 accumulation, requantisation by `multiplier` and `shift`.
//! An operator's `data` roles and its meaning are stated at its [`OpKind`].

use zerocopy::little_endian::{F32, I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! op_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What an operator computes. NHWC throughout, batch 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum OpKind { $($(#[$doc])* $name = $code,)* }
        impl OpKind {
            /// The kind of a record's code.
            pub fn from_u16(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
            /// Its name as tools print it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// Every kind, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

op_kinds! {
    /// 2-D convolution: i8 (1,H,W,C) → i8 or i16. Data: weights packed as K = kh·kw·c by N = out channels (OHWI order
    /// of K), bias i32 (n) with the zero point folded in, multiplier i32 (n), shift i8 (n). Params [`ConvParams`].
    /// Scratch: [`crate::kernel::tile_scratch_bytes`].
    ConvS8 = 1, "conv_s8";
    /// Depthwise 2-D convolution, channel multiplier 1. Data: weights i8 (kh·kw, c), bias, multiplier, shift as
    /// [`OpKind::ConvS8`]. Params [`ConvParams`].
    DepthwiseConvS8 = 2, "depthwise_conv_s8";
    /// Matrix product i8 (rows, k) → i8 or i16 (rows, n): linear layers and 1×1 convolutions of stride 1. Rows are all
    /// leading dimensions. Data as [`OpKind::ConvS8`]. Params [`GemmParams`]. Scratch: [`crate::kernel::tile_scratch_bytes`].
    GemmS8 = 3, "gemm_s8";
    /// Sum of two i8 values of one shape. Params [`AddParams`].
    AddS8 = 4, "add_s8";
    /// Product of i8 (…, c) with i8 of the same shape or (…1, c). Params [`MulParams`].
    MulS8 = 5, "mul_s8";
    /// Average pooling, padding excluded from the count, TFLite's rounding. Params [`PoolParams`]. Scale and zero point
    /// of input and output are equal.
    AvgPoolS8 = 6, "avg_pool_s8";
    /// Maximum pooling. Params [`PoolParams`].
    MaxPoolS8 = 7, "max_pool_s8";
    /// Any unary function: `dst = table[src + 128]`. Data: table i8 (256).
    LutS8 = 8, "lut_s8";
    /// Embedding i16 (…) → i8, scaled so that the largest magnitude is 127; direction is kept, length is not.
    NormalizeS16 = 9, "normalize_s16";
    /// f32 → i8 with the output's scale and zero point, halves away from zero.
    QuantizeF32 = 10, "quantize_f32";
    /// i8 → f32 with the input's scale and zero point.
    DequantizeS8 = 11, "dequantize_s8";

    /// Mean over height and width, i8 (1,H,W,C) → i8 (1,1,1,C), with a scale of its own. Params [`MeanParams`].
    MeanS8 = 12, "mean_s8";
    /// Sum of two values of one shape, each i8 or i16 → i8 or i16: residual streams. A constant of `max_tokens` rows, such as
    /// position embeddings, meets a dynamic value with its first rows. Params [`AddS16Params`].
    AddS16 = 13, "add_s16";
    /// The same numbers on another scale, i8 or i16 → i8 or i16, one shape. Params [`RescaleS16Params`].
    RescaleS16 = 14, "rescale_s16";
    /// Layer normalisation over the last dimension, i8 or i16 (…, c) → i8 or i16. Data: gamma i16 (c), beta i32 (c) with
    /// the output's zero point and the half for rounding folded in. Params [`LayerNormS16Params`].
    LayerNormS16 = 15, "layer_norm_s16";
    /// Multi-head attention in windows: q i8 (windows · queries, …), k, v i8 (windows · keys, …), zero points 0 → i8
    /// (windows · queries, width), causal or not. Each input is a stretch of columns of its value, so that all may be one fused
    /// product.
    /// Data: head scales i32 (num_heads, 4) (see [`crate::kernel::HeadScale`]), bias i16 or absent (see
    /// [`crate::kernel::ScoreBias`]). Params [`AttentionS8Params`]. Scratch:
    /// [`crate::kernel::attention_s8_scratch_bytes`].
    AttentionS8 = 16, "attention_s8";
    /// Softmax over the last dimension, i8 → i8 of scale 1/256 and zero point −128. Params [`SoftmaxS8Params`].
    SoftmaxS8 = 17, "softmax_s8";
    /// Mean over all but the last dimension, i16 (…, c) → i8 or i16 of c elements. Params [`MeanParams`], shift at most 0; of a
    /// dynamic value those of one row, which a run divides by its tokens.
    MeanS16 = 18, "mean_s16";
    /// One of several tables of 256 values by channel, i8 (…, c) → i8. Data: tables i8 (tables, 256), index u8 (c). Params
    /// [`LutChannelsParams`].
    LutChannelsS8 = 19, "lut_channels_s8";
    /// Rows of a table: i32 (tokens) → i8 or i16 (tokens, width). Data: table i8 (vocabulary, width), multiplier u16
    /// (vocabulary). Params [`EmbeddingS8Params`]. An id outside the table reads row 0.
    EmbeddingS8 = 36, "embedding_s8";
    /// Depthwise 2-D convolution of 16-bit values, i16 → i8 or i16. Data: weights i8 (kh·kw, c), bias, multiplier,
    /// shift as [`OpKind::ConvS8`]. Params [`ConvParams`], at most 255 taps.
    DepthwiseConvS16 = 34, "depthwise_conv_s16";
    /// Any unary function of 16 bits: i16 → i8 or i16. Data: outer and inner table i16
    /// ([`crate::kernel::LUT_S16_ENTRIES`] each), in steps of the output, or, for i8, in 256ths of them with the zero
    /// point in it. Params [`LutS16Params`]; the formula is that of [`crate::kernel::LutS16`].
    LutS16 = 37, "lut_s16";
    /// A unary function of 16 bits of channels whose steps differ: i16 (…, c) → i16. Data: tables i16 (tables, 2, 513), outer
    /// and inner of each as [`OpKind::LutS16`] has them, index u8 (c) below the number of tables, inner shift u8 (tables),
    /// at most 7. Params [`LutChannelsParams`].
    LutChannelsS16 = 38, "lut_channels_s16";

    /// 2-D convolution in f32. Data: weights (see [`FloatWeights`] and [`crate::kernel::packing`]), bias f32 (n) or
    /// absent, scales f32 (n) when weights are i8. Params [`ConvF32Params`]. Scratch: [`crate::kernel::tile_scratch_bytes`] of f32.
    ConvF32 = 20, "conv_f32";
    /// Depthwise convolution in f32. Data: weights f32 (kh·kw, c), bias f32 (c) or absent. Params [`ConvF32Params`].
    DepthwiseConvF32 = 21, "depthwise_conv_f32";
    /// Matrix product f32 (rows, k) → f32 (rows, n) with constant weights. Data as [`OpKind::ConvF32`]. Params [`GemmF32Params`].
    GemmF32 = 22, "gemm_f32";
    /// Batched product of two computed values: (b, m, k) × (b, k, n), leading dimensions broadcast. Params [`MatmulParams`].
    MatmulF32 = 23, "matmul_f32";
    /// Element-wise with NumPy broadcasting. Params [`BinaryParams`].
    BinaryF32 = 24, "binary_f32";
    /// Element-wise function. Params [`UnaryParams`].
    UnaryF32 = 25, "unary_f32";
    /// Average pooling, padding excluded from the count. Params [`PoolParams`] (clamp unused).
    AvgPoolF32 = 26, "avg_pool_f32";
    /// Maximum pooling. Params [`PoolParams`] (clamp unused).
    MaxPoolF32 = 27, "max_pool_f32";
    /// Softmax over the last dimension.
    SoftmaxF32 = 28, "softmax_f32";
    /// Layer normalisation over the last dimension. Data: gamma f32 (c), beta f32 (c). Params [`LayerNormParams`].
    LayerNormF32 = 29, "layer_norm_f32";
    /// Multi-head attention softmax(q·kᵀ·scale)·v, causal or not; inputs q f32 (queries, width), k and v f32 (keys, width), of as
    /// many keys as queries where it is causal; either of both may be dynamic. Params [`AttentionParams`].
    /// Scratch: [`crate::kernel::attention_scratch_bytes`].
    AttentionF32 = 30, "attention_f32";
    /// Rows of a table: i32 (tokens) → f32 (tokens, width). Data: table f32, f16 or i8 (vocabulary, width), then,
    /// for i8, scales f32 (vocabulary). Params [`EmbeddingParams`]. An id outside the table reads row 0.
    EmbeddingF32 = 31, "embedding_f32";
    /// Sum, mean, maximum or L2 norm over dimensions. Params [`ReduceParams`].
    ReduceF32 = 32, "reduce_f32";
    /// x / max(‖x‖₂, 1e-12) over the last dimension.
    L2NormalizeF32 = 33, "l2_normalize_f32";

    /// [`OpKind::ConvF32`] over IEEE halves; weights are halves, bias stays f32. Results are rounded to halves.
    ConvF16 = 50, "conv_f16";
    /// [`OpKind::DepthwiseConvF32`] over halves; weights are halves, bias stays f32.
    DepthwiseConvF16 = 51, "depthwise_conv_f16";
    /// [`OpKind::GemmF32`] over halves, as [`OpKind::ConvF16`]. Scratch: [`crate::kernel::tile_scratch_bytes`] of f32.
    GemmF16 = 52, "gemm_f16";
    /// [`OpKind::MatmulF32`] over halves.
    MatmulF16 = 53, "matmul_f16";
    /// [`OpKind::BinaryF32`] over halves.
    BinaryF16 = 54, "binary_f16";
    /// [`OpKind::UnaryF32`] over halves.
    UnaryF16 = 55, "unary_f16";
    /// [`OpKind::AvgPoolF32`] over halves.
    AvgPoolF16 = 56, "avg_pool_f16";
    /// [`OpKind::MaxPoolF32`] over halves.
    MaxPoolF16 = 57, "max_pool_f16";
    /// [`OpKind::SoftmaxF32`] over halves.
    SoftmaxF16 = 58, "softmax_f16";
    /// [`OpKind::LayerNormF32`] over halves; gamma and beta stay f32.
    LayerNormF16 = 59, "layer_norm_f16";
    /// [`OpKind::AttentionF32`] over halves. Scratch as there.
    AttentionF16 = 60, "attention_f16";
    /// [`OpKind::EmbeddingF32`] with rows in halves; the table is f16.
    EmbeddingF16 = 61, "embedding_f16";
    /// [`OpKind::ReduceF32`] over halves.
    ReduceF16 = 62, "reduce_f16";
    /// [`OpKind::L2NormalizeF32`] over halves; the norm is f32.
    L2NormalizeF16 = 63, "l2_normalize_f16";

    /// The same numbers in another type: f32, f16, i8 or i16 → any of them, with the scales and zero points of the two
    /// values; to integers halves away from zero, saturating, NaN to the zero point.
    Convert = 35, "convert";
    /// Permutation of dimensions, any type. Params [`TransposeParams`].
    Transpose = 40, "transpose";
    /// Strided cut, any type; of a dynamic value all rows, the first, or the last. Params [`SliceParams`].
    Slice = 41, "slice";
    /// Up to four values joined along a dimension, any type, equal quantisation. Params [`ConcatParams`].
    Concat = 42, "concat";
    /// Constant border, any type. Params [`PadParams`].
    Pad = 43, "pad";
}

impl OpKind {
    /// The same operation over halves, of a float operation over f32.
    pub fn over_halves(self) -> Option<Self> {
        Some(match self {
            Self::ConvF32 => Self::ConvF16,
            Self::DepthwiseConvF32 => Self::DepthwiseConvF16,
            Self::GemmF32 => Self::GemmF16,
            Self::MatmulF32 => Self::MatmulF16,
            Self::BinaryF32 => Self::BinaryF16,
            Self::UnaryF32 => Self::UnaryF16,
            Self::AvgPoolF32 => Self::AvgPoolF16,
            Self::MaxPoolF32 => Self::MaxPoolF16,
            Self::SoftmaxF32 => Self::SoftmaxF16,
            Self::LayerNormF32 => Self::LayerNormF16,
            Self::AttentionF32 => Self::AttentionF16,
            Self::EmbeddingF32 => Self::EmbeddingF16,
            Self::ReduceF32 => Self::ReduceF16,
            Self::L2NormalizeF32 => Self::L2NormalizeF16,
            _ => return None,
        })
    }
}

/// Parameters of the integer convolutions.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConvParams {
    /// Height, width of the window, of its step, and of the gaps between taps (1 = dense).
    pub window: WindowRecord,
    /// Smallest output: the fused activation, or −128.
    pub clamp_min: I32,
    /// Largest output: the fused activation, or 127.
    pub clamp_max: I32,
}

/// Geometry of a sliding window.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct WindowRecord {
    /// Height, width.
    pub kernel: [u8; 2],
    /// Down, across.
    pub stride: [u8; 2],
    /// Top, left, bottom, right.
    pub padding: [u8; 4],
    /// Down, across; 1 is dense.
    pub dilation: [u8; 2],
    /// Zeros.
    pub reserved: [u8; 2],
}

/// Parameters of [`OpKind::GemmS8`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GemmParams {
    /// Smallest output.
    pub clamp_min: I32,
    /// Largest output.
    pub clamp_max: I32,
}

/// Parameters of [`OpKind::AddS8`], as TFLite's ADD prepares them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddParams {
    /// Both inputs are shifted left by this first; 20 in TFLite.
    pub left_shift: I32,
    /// Of each input.
    pub input_multiplier: [I32; 2],
    /// Of each input.
    pub input_shift: [I32; 2],
    /// Of the sum.
    pub output_multiplier: I32,
    /// Of the sum.
    pub output_shift: I32,
    /// Smallest output.
    pub clamp_min: I32,
    /// Largest output.
    pub clamp_max: I32,
}

/// Parameters of [`OpKind::MulS8`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MulParams {
    /// Of the product.
    pub multiplier: I32,
    /// Of the product.
    pub shift: I32,
    /// Smallest output.
    pub clamp_min: I32,
    /// Largest output.
    pub clamp_max: I32,
}

/// Parameters of [`OpKind::LutS16`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LutS16Params {
    /// Two to this: inputs between two entries of the inner table, at most 7.
    pub inner_shift: U32,
}

/// Parameters of pooling.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PoolParams {
    /// Dilation is 1. Kernels may be as large as 255.
    pub window: WindowRecord,
    /// Smallest output.
    pub clamp_min: I32,
    /// Largest output.
    pub clamp_max: I32,
}

/// Parameters of [`OpKind::MeanS8`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MeanParams {
    /// Of the sum: input scale / (output scale · H · W).
    pub multiplier: I32,
    /// Of the sum.
    pub shift: I32,
    /// Smallest output.
    pub clamp_min: I32,
    /// Largest output.
    pub clamp_max: I32,
}

/// Parameters of [`OpKind::AddS16`]; the formula is that of [`crate::kernel::AddS16`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddS16Params {
    /// Of each input.
    pub multiplier: [I32; 2],
    /// Of the sum, to the right.
    pub shift: I32,
    /// Smallest output.
    pub clamp_min: I32,
    /// Largest output.
    pub clamp_max: I32,
}

/// Parameters of [`OpKind::RescaleS16`]; the formula is that of [`crate::kernel::RescaleS16`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RescaleS16Params {
    /// Of the input.
    pub multiplier: I32,
    /// To the right.
    pub shift: I32,
    /// Smallest output.
    pub clamp_min: I32,
    /// Largest output.
    pub clamp_max: I32,
}

/// Parameters of [`OpKind::LayerNormS16`]; the formula is that of [`crate::kernel::LayerNormS16`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LayerNormS16Params {
    /// ε / scale² · c², at most 2⁶⁰.
    pub epsilon: U64,
    /// After gamma and beta, to the right.
    pub shift: I32,
}

/// Parameters of [`OpKind::AttentionS8`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AttentionS8Params {
    /// Divides the width, which is that of the output.
    pub num_heads: U32,
    /// Divides the rows of all operands.
    pub windows: U32,
    /// First column of q, k and v in their values.
    pub offset: [U32; 3],
    /// Height and width of a window whose bias depends on the distance of two tokens; zeros otherwise.
    pub bias_window: [U16; 2],
    /// Of the bias, to the left.
    pub bias_shift: U32,
    /// 1 when a row attends to itself and those before it alone, in its window; 0 when to all.
    pub causal: U32,
}

/// Parameters of [`OpKind::EmbeddingS8`]; the formula is that of [`crate::kernel::EmbeddingS8`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EmbeddingS8Params {
    /// Rows of the table.
    pub rows: U32,
    /// Of a number times its row's multiplier, to the right.
    pub shift: I32,
}

/// Parameters of [`OpKind::SoftmaxS8`], as [`crate::kernel::HeadScale`] states them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SoftmaxS8Params {
    /// Of a difference of two inputs.
    pub score_multiplier: I32,
    /// Of a difference of two inputs.
    pub score_shift: I32,
}

/// Parameters of [`OpKind::LutChannelsS8`] and [`OpKind::LutChannelsS16`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LutChannelsParams {
    /// Tables, 1 to 256.
    pub tables: U32,
}

/// How float operators store their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FloatWeights {
    /// IEEE single.
    F32 = 0,
    /// IEEE half.
    F16 = 1,
    /// Symmetric i8 with one f32 scale per output channel (per row in a table); arithmetic stays f32.
    I8 = 2,
}

impl FloatWeights {
    /// The storage of a record byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::F32, Self::F16, Self::I8].get(byte as usize).copied()
    }
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        [4, 2, 1][self as usize]
    }
}

/// Parameters of the float convolutions.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConvF32Params {
    /// See [`WindowRecord`].
    pub window: WindowRecord,
    /// Smallest output (−inf: none).
    pub clamp_min: F32,
    /// Largest output (+inf: none).
    pub clamp_max: F32,
    /// A [`FloatWeights`].
    pub weights: u8,
    /// Zeros.
    pub reserved: [u8; 3],
}

/// Parameters of [`OpKind::GemmF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GemmF32Params {
    /// Smallest output (−inf: none).
    pub clamp_min: F32,
    /// Largest output (+inf: none).
    pub clamp_max: F32,
    /// A [`FloatWeights`].
    pub weights: u8,
    /// Zeros.
    pub reserved: [u8; 3],
}

/// Parameters of [`OpKind::MatmulF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MatmulParams {
    /// 1: the second operand is (b, n, k).
    pub transpose_rhs: u8,
    /// Zeros.
    pub reserved: [u8; 3],
    /// Multiplied into the product.
    pub scale: F32,
}

/// A binary function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BinaryKind {
    /// a + b
    Add = 0,
    /// a − b
    Sub = 1,
    /// a · b
    Mul = 2,
    /// a / b
    Div = 3,
    /// aᵇ
    Pow = 4,
    /// Larger.
    Max = 5,
    /// Smaller.
    Min = 6,
}

impl BinaryKind {
    /// The function of a record byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        [
            Self::Add,
            Self::Sub,
            Self::Mul,
            Self::Div,
            Self::Pow,
            Self::Max,
            Self::Min,
        ]
        .get(byte as usize)
        .copied()
    }
}

/// Parameters of [`OpKind::BinaryF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct BinaryParams {
    /// A [`BinaryKind`].
    pub function: u8,
    /// Zeros.
    pub reserved: [u8; 3],
    /// Smallest output (−inf: none).
    pub clamp_min: F32,
    /// Largest output (+inf: none).
    pub clamp_max: F32,
}

/// A unary function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UnaryKind {
    /// Limits to [alpha, beta]: ReLU is [0, inf], ReLU6 is [0, 6].
    Clip = 0,
    /// x · relu6(x + 3) / 6
    HardSwish = 1,
    /// clip(alpha · x + beta, 0, 1)
    HardSigmoid = 2,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid = 3,
    /// x · sigmoid(x)
    Silu = 4,
    /// Hyperbolic tangent.
    Tanh = 5,
    /// x · Φ(x), by erf.
    Gelu = 6,
    /// GELU by its tanh approximation.
    GeluTanh = 7,
    /// x · sigmoid(1.702 x)
    QuickGelu = 8,
    /// Error function.
    Erf = 9,
    /// eˣ
    Exp = 10,
    /// Natural logarithm.
    Log = 11,
    /// Square root.
    Sqrt = 12,
    /// 1 / x
    Reciprocal = 13,
    /// −x
    Neg = 14,
    /// |x|
    Abs = 15,
    /// x for x ≥ 0, alpha · x below.
    LeakyRelu = 16,
    /// x²
    Square = 17,
    /// alpha · x + beta
    Affine = 18,
}

impl UnaryKind {
    /// Every function, in the order of their codes.
    pub const ALL: [Self; 19] = [
        Self::Clip,
        Self::HardSwish,
        Self::HardSigmoid,
        Self::Sigmoid,
        Self::Silu,
        Self::Tanh,
        Self::Gelu,
        Self::GeluTanh,
        Self::QuickGelu,
        Self::Erf,
        Self::Exp,
        Self::Log,
        Self::Sqrt,
        Self::Reciprocal,
        Self::Neg,
        Self::Abs,
        Self::LeakyRelu,
        Self::Square,
        Self::Affine,
    ];
    /// The function of a record byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }
}

/// Parameters of [`OpKind::UnaryF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UnaryParams {
    /// A [`UnaryKind`].
    pub function: u8,
    /// Zeros.
    pub reserved: [u8; 3],
    /// First constant of the function; 0 when it has none.
    pub alpha: F32,
    /// Second constant.
    pub beta: F32,
}

/// Parameters of [`OpKind::LayerNormF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LayerNormParams {
    /// Added to the variance.
    pub epsilon: F32,
}

/// Parameters of [`OpKind::AttentionF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AttentionParams {
    /// Divides the width.
    pub num_heads: U16,
    /// 1 when a token attends to itself and those before it alone, 0 when to all.
    pub causal: u8,
    /// 0.
    pub reserved: u8,
    /// Multiplied into the scores, 1/√head_width as a rule.
    pub scale: F32,
}

/// Parameters of [`OpKind::EmbeddingF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EmbeddingParams {
    /// A [`FloatWeights`].
    pub weights: u8,
    /// Zeros.
    pub reserved: [u8; 3],
    /// Rows of the table.
    pub rows: U32,
}

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReduceKind {
    /// Sum.
    Sum = 0,
    /// Arithmetic mean.
    Mean = 1,
    /// Largest.
    Max = 2,
    /// Euclidean norm.
    L2 = 3,
}

impl ReduceKind {
    /// The reduction of a record byte.
    pub fn from_u8(byte: u8) -> Option<Self> {
        [Self::Sum, Self::Mean, Self::Max, Self::L2]
            .get(byte as usize)
            .copied()
    }
}

/// Parameters of [`OpKind::ReduceF32`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ReduceParams {
    /// A [`ReduceKind`].
    pub function: u8,
    /// Bit d: dimension d of the input is reduced. The output has as many elements as the rest.
    pub axes: u8,
    /// Zeros.
    pub reserved: [u8; 2],
}

/// Parameters of [`OpKind::Transpose`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TransposeParams {
    /// Dimension d of the output is dimension `permutation[d]` of the input; the identity beyond the rank.
    pub permutation: [u8; 4],
}

/// Parameters of [`OpKind::Slice`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SliceParams {
    /// First index of each dimension. The last row of a dynamic value, `max_tokens` − 1, is that of each run.
    pub starts: [U32; 4],
    /// Step of each dimension, at least 1.
    pub steps: [U32; 4],
}

/// Parameters of [`OpKind::Concat`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ConcatParams {
    /// The dimension that grows.
    pub axis: u8,
    /// Zeros.
    pub reserved: [u8; 3],
}

/// Parameters of [`OpKind::Pad`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PadParams {
    /// Elements added in front, by dimension.
    pub before: [U32; 4],
    /// Elements added behind, by dimension.
    pub after: [U32; 4],
    /// What they hold: f32 bits for f32, the quantised number for i8 and i16.
    pub fill: U32,
}
