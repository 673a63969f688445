//! Kernels: one operation over checked slices, no allocation, no scheduling, no state.
//!
//! [`Kernels`] has one method per operation; the default bodies are the scalar definition in [`scalar`], which is
//! written to be read and never tuned. A kernel set overrides what it can do faster. **Integer operations give the same
//! bits in every set, for every input.** Float operations accumulate in f32, in any order; `docs/numerics.md` states the
//! tolerance. The contract follows KleidiAI and CMSIS-NN: packing is apart from compute ([`packing`]), scratch is an
//! argument, zero-point sums are folded into the bias when the model is packed.

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub mod aarch64;
#[cfg(any(cortex_m_dsp, cortex_m_helium))]
pub mod cortex_m;
#[cfg(any(
    target_arch = "x86_64",
    cortex_m_dsp,
    all(target_arch = "aarch64", target_feature = "neon")
))]
mod depthwise_s16;
mod dot_rows;
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon")
))]
mod float;
mod floats;
#[cfg(any(
    target_arch = "x86_64",
    cortex_m_fpu,
    all(target_arch = "aarch64", target_feature = "neon")
))]
mod minimax;
pub mod packing;
#[cfg(any(
    cortex_m_dsp,
    cortex_m_helium,
    all(target_arch = "aarch64", target_feature = "neon")
))]
mod patch;
pub mod requantize;
pub mod resample;
pub mod row_scale;
pub mod scalar;
mod set;
pub mod softmax;
#[cfg(feature = "threads")]
mod threads;
pub mod transformer;
mod widened;
mod window;
#[cfg(target_arch = "x86_64")]
pub mod x86_64;

pub use dot_rows::DotRowsS8;
pub use floats::{
    AttentionF16, AttentionF32, AttentionFloat, ConvF16, ConvF32, ConvFloat, DepthwiseConvF16,
    DepthwiseConvF32, DepthwiseConvFloat, Element, Float, GemmF16, GemmF32, GemmFloat, MatmulF16,
    MatmulF32, MatmulFloat, PoolF16, PoolF32, PoolFloat, WeightsF32,
};
pub use set::{Scalar, available, detect, detect_for, named};
#[cfg(feature = "threads")]
pub use threads::Threads;
pub use transformer::{
    AddS16, AttentionS8, Columns, EmbeddingS8, HeadScale, LayerNormS16, MeanS16, RescaleS16,
    ScoreBias, SoftmaxS8, SrcS16, attention_s8_scratch_bytes,
};

use half::f16;
use packing::WeightLayout;
use resample::{ResampleColumnsU8, ResampleRowU8};

use crate::model::op::{BinaryKind, ReduceKind, UnaryKind};

/// Rows that a tiled product works on at once; fixes the size of scratch for every kernel set.
pub const TILE_ROWS: usize = 8;

/// Entries of each table of a function of 16 bits: ends of 512 stretches.
pub const LUT_S16_ENTRIES: usize = 513;

/// Scratch of a product whose rows have `k` elements of `element_bytes`: [`TILE_ROWS`] rows, each rounded up to 64 bytes.
pub fn tile_scratch_bytes(k: usize, element_bytes: usize) -> Option<usize> {
    k.checked_mul(element_bytes)?
        .checked_next_multiple_of(64)?
        .checked_mul(TILE_ROWS)
}

/// Scratch of attention to at most `keys`: one row of scores per row of a tile, in f32.
pub fn attention_scratch_bytes(keys: usize) -> Option<usize> {
    tile_scratch_bytes(keys, 4)
}

/// What every integer product does with its int32 sums: `clamp(requantize(sum + bias) + zero_point)`.
#[derive(Clone, Copy, Debug)]
pub struct Requantize<'a> {
    /// (n), the zero point of the input already folded in: bias − zero_point · Σ weights.
    pub bias: &'a [i32],
    /// (n), in [2³⁰, 2³¹), or 0.
    pub multiplier: &'a [i32],
    /// (n), left when positive; in −31..=30.
    pub shift: &'a [i8],
    /// Of the output.
    pub zero_point: i32,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
}

/// dst(rows, n) = requantize(lhs(rows, k) · weights(k, n)).
#[derive(Debug)]
pub struct GemmS8<'a> {
    /// Rows of `lhs` and `dst`.
    pub rows: usize,
    /// Inputs.
    pub k: usize,
    /// Output channels.
    pub n: usize,
    /// (rows, k)
    pub lhs: &'a [i8],
    /// (n, k) packed in `layout`.
    pub weights: &'a [i8],
    /// One that the set reads: [`Kernels::reads`].
    pub layout: WeightLayout,
    /// Of the sums.
    pub requantize: Requantize<'a>,
    /// (rows, n)
    pub dst: DstS8<'a>,
    /// At least [`tile_scratch_bytes`]`(k, 1)`.
    pub scratch: &'a mut [u8],
}

/// Where an integer product writes.
#[derive(Debug)]
pub enum DstS8<'a> {
    /// 8-bit outputs.
    I8(&'a mut [i8]),
    /// 16-bit outputs.
    I16(&'a mut [i16]),
}

impl DstS8<'_> {
    /// Smallest and largest number of the outputs' type.
    pub fn limits(&self) -> [i32; 2] {
        match self {
            Self::I8(_) => [i8::MIN.into(), i8::MAX.into()],
            Self::I16(_) => [i16::MIN.into(), i16::MAX.into()],
        }
    }

    /// Writes output `index`, which is cut off at the limits of the type.
    #[inline(always)]
    pub(crate) fn set(&mut self, index: usize, output: i32) {
        match self {
            Self::I8(dst) => dst[index] = output.clamp(-128, 127) as i8,
            Self::I16(dst) => dst[index] = output.clamp(-32768, 32767) as i16,
        }
    }
}

/// Nothing.
impl Default for DstS8<'_> {
    fn default() -> Self {
        Self::I8(&mut [])
    }
}

/// A sliding window over a picture.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Input height, width.
    pub input: [usize; 2],
    /// Output height, width.
    pub output: [usize; 2],
    /// Height, width.
    pub kernel: [usize; 2],
    /// Down, across.
    pub stride: [usize; 2],
    /// Top, left. Bottom and right follow from the output size.
    pub padding: [usize; 2],
    /// Down, across.
    pub dilation: [usize; 2],
}

/// 2-D convolution, NHWC, as a product over patches.
#[derive(Debug)]
pub struct ConvS8<'a> {
    /// The window.
    pub window: Window,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// What a tap outside the picture reads: the input's zero point.
    pub input_zero_point: i8,
    /// (H, W, C)
    pub src: &'a [i8],
    /// (n, kh·kw·c) packed in `layout`.
    pub weights: &'a [i8],
    /// One that the set reads: [`Kernels::reads`].
    pub layout: WeightLayout,
    /// Of the sums.
    pub requantize: Requantize<'a>,
    /// (OH, OW, n)
    pub dst: DstS8<'a>,
    /// At least [`tile_scratch_bytes`]`(kh·kw·c, 1)`.
    pub scratch: &'a mut [u8],
}

/// Depthwise convolution, channel multiplier 1.
#[derive(Debug)]
pub struct DepthwiseConvS8<'a> {
    /// The window.
    pub window: Window,
    /// Channels of input and output.
    pub channels: usize,
    /// What a tap outside the picture reads.
    pub input_zero_point: i8,
    /// (H, W, C)
    pub src: &'a [i8],
    /// (kh·kw, c)
    pub weights: &'a [i8],
    /// Of the sums.
    pub requantize: Requantize<'a>,
    /// (OH, OW, c)
    pub dst: &'a mut [i8],
}

/// Depthwise convolution of 16-bit values with zero point 0, into 16 or 8 bits; a tap outside the picture reads 0.
#[derive(Debug)]
pub struct DepthwiseConvS16<'a> {
    /// The window, at most 255 taps.
    pub window: Window,
    /// Channels of input and output.
    pub channels: usize,
    /// (H, W, C)
    pub src: &'a [i16],
    /// (kh·kw, c)
    pub weights: &'a [i8],
    /// Of the sums; the zero point is 0 where outputs have 16 bits.
    pub requantize: Requantize<'a>,
    /// (OH, OW, c)
    pub dst: DstS8<'a>,
}

/// A function of 16 bits, straight between the entries of two tables: one for all inputs, and a finer one for those
/// near 0, where functions bend.
///
/// With q the input, b = `inner_shift` and t = `inner` where |q| < 256 · 2ᵇ, b = 7 and t = `outer` elsewhere,
/// `q + 256 · 2ᵇ = 2ᵇ · i + r` and x = t\[i\] · (2ᵇ − r) + t\[i + 1\] · r: an output is ⌊x / 2ᵇ + 1/2⌋, and one of 8
/// bits, whose tables have steps of 1/256, is ⌊x / 2ᵇ⁺⁸ + 1/2⌋, at most 127.
#[derive(Debug)]
pub struct LutS16<'a> {
    /// At every 128th input from −2¹⁵ on.
    pub outer: &'a [i16; LUT_S16_ENTRIES],
    /// At every 2^`inner_shift`-th input from −256 · 2^`inner_shift` on.
    pub inner: &'a [i16; LUT_S16_ENTRIES],
    /// At most 7.
    pub inner_shift: u32,
    /// (len)
    pub src: &'a [i16],
    /// (len)
    pub dst: DstS8<'a>,
}

/// Functions of 16 bits for channels whose steps differ: each as [`LutS16`].
#[derive(Debug)]
pub struct LutChannelsS16<'a> {
    /// Outer and inner.
    pub tables: &'a [[[i16; LUT_S16_ENTRIES]; 2]],
    /// (c), below the number of tables.
    pub index: &'a [u8],
    /// Of each table, at most 7.
    pub inner_shifts: &'a [u8],
    /// (rows, c)
    pub src: &'a [i16],
    /// (rows, c)
    pub dst: &'a mut [i16],
}

/// Sum of two quantised tensors, TFLite's ADD.
#[derive(Debug)]
pub struct AddS8<'a> {
    /// (len)
    pub lhs: &'a [i8],
    /// (len)
    pub rhs: &'a [i8],
    /// −zero_point of each input.
    pub input_offset: [i32; 2],
    /// See [`crate::model::op::AddParams`].
    pub left_shift: i32,
    /// Of each input.
    pub input_multiplier: [i32; 2],
    /// Of each input, at most 0.
    pub input_shift: [i32; 2],
    /// Of the sum.
    pub output_multiplier: i32,
    /// Of the sum, at most 0.
    pub output_shift: i32,
    /// Zero point of the output.
    pub output_offset: i32,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
    /// (len)
    pub dst: &'a mut [i8],
}

/// Product of two quantised tensors, TFLite's MUL; `rhs` repeats when it is shorter.
#[derive(Debug)]
pub struct MulS8<'a> {
    /// (len)
    pub lhs: &'a [i8],
    /// (len) or (c), c dividing len.
    pub rhs: &'a [i8],
    /// −zero_point of each input.
    pub input_offset: [i32; 2],
    /// Of the product.
    pub multiplier: i32,
    /// Of the product.
    pub shift: i32,
    /// Zero point of the output.
    pub output_offset: i32,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
    /// (len)
    pub dst: &'a mut [i8],
}

/// Average or maximum over windows; taps outside the picture do not count.
#[derive(Debug)]
pub struct PoolS8<'a> {
    /// The window; dilation 1.
    pub window: Window,
    /// Channels.
    pub channels: usize,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
    /// (H, W, C)
    pub src: &'a [i8],
    /// (OH, OW, C)
    pub dst: &'a mut [i8],
}

/// Mean over all pixels, channel by channel: `clamp(requantize(Σ (src − input_zero_point)) + output_zero_point)`.
#[derive(Debug)]
pub struct MeanS8<'a> {
    /// At most 2¹⁶.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Of the input.
    pub input_zero_point: i32,
    /// Of the sum.
    pub multiplier: i32,
    /// Of the sum.
    pub shift: i32,
    /// Of the output.
    pub output_zero_point: i32,
    /// Smallest output.
    pub clamp_min: i32,
    /// Largest output.
    pub clamp_max: i32,
    /// (pixels, channels)
    pub src: &'a [i8],
    /// (channels)
    pub dst: &'a mut [i8],
}

/// Operations over checked arguments. Slices have exactly the stated lengths: `Model::load` proved it, and a set may
/// panic, but never read or write outside them, when a direct caller passes others.
pub trait Kernels: Sync {
    /// `{arch}-{level}`, or `scalar`.
    fn name(&self) -> &'static str;

    /// Whether the integer products take weights of this layout. Every set takes `generic`.
    fn reads(&self, layout: WeightLayout) -> bool {
        layout == WeightLayout::Generic
    }

    /// See [`GemmS8`].
    fn gemm_s8(&self, args: GemmS8<'_>) {
        scalar::gemm_s8(args);
    }
    /// See [`ConvS8`].
    fn conv_s8(&self, args: ConvS8<'_>) {
        scalar::conv_s8(args);
    }
    /// See [`DepthwiseConvS8`].
    fn depthwise_conv_s8(&self, args: DepthwiseConvS8<'_>) {
        scalar::depthwise_conv_s8(args);
    }
    /// See [`DepthwiseConvS16`].
    fn depthwise_conv_s16(&self, args: DepthwiseConvS16<'_>) {
        scalar::depthwise_conv_s16(args);
    }
    /// See [`AddS8`].
    fn add_s8(&self, args: AddS8<'_>) {
        scalar::add_s8(args);
    }
    /// See [`MulS8`].
    fn mul_s8(&self, args: MulS8<'_>) {
        scalar::mul_s8(args);
    }
    /// See [`PoolS8`].
    fn avg_pool_s8(&self, args: PoolS8<'_>) {
        scalar::avg_pool_s8(args);
    }
    /// See [`PoolS8`].
    fn max_pool_s8(&self, args: PoolS8<'_>) {
        scalar::max_pool_s8(args);
    }
    /// See [`MeanS8`].
    fn mean_s8(&self, args: MeanS8<'_>) {
        scalar::mean_s8(args);
    }
    /// `dst[i] = table[src[i] + 128]`.
    fn lut_s8(&self, table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
        scalar::lut_s8(table, src, dst);
    }
    /// `dst[i, c] = tables[index[c]][src[i, c] + 128]`; `index` is as long as a row and stays below the number of tables. The last
    /// row may be cut short.
    fn lut_channels_s8(&self, tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
        scalar::lut_channels_s8(tables, index, src, dst);
    }
    /// See [`LutS16`].
    fn lut_s16(&self, args: LutS16<'_>) {
        scalar::lut_s16(args);
    }
    /// See [`LutChannelsS16`].
    fn lut_channels_s16(&self, args: LutChannelsS16<'_>) {
        scalar::lut_channels_s16(args);
    }
    /// See [`crate::model::op::OpKind::NormalizeS16`].
    fn normalize_s16(&self, src: &[i16], dst: &mut [i8]) {
        scalar::normalize_s16(src, dst);
    }
    /// See [`AddS16`].
    fn add_s16(&self, args: AddS16<'_>) {
        scalar::add_s16(args);
    }
    /// See [`RescaleS16`].
    fn rescale_s16(&self, args: RescaleS16<'_>) {
        scalar::rescale_s16(args);
    }
    /// See [`LayerNormS16`].
    fn layer_norm_s16(&self, args: LayerNormS16<'_>) {
        scalar::layer_norm_s16(args);
    }
    /// See [`AttentionS8`].
    fn attention_s8(&self, args: AttentionS8<'_>) {
        scalar::attention_s8(args);
    }
    /// See [`SoftmaxS8`].
    fn softmax_s8(&self, args: SoftmaxS8<'_>) {
        scalar::softmax_s8(args);
    }
    /// See [`EmbeddingS8`].
    fn embedding_s8(&self, args: EmbeddingS8<'_>) {
        scalar::embedding_s8(args);
    }
    /// See [`MeanS16`].
    fn mean_s16(&self, args: MeanS16<'_>) {
        scalar::mean_s16(args);
    }
    /// Exact sum of products; lengths are equal, at most 2¹⁶.
    fn dot_s8(&self, lhs: &[i8], rhs: &[i8]) -> i32 {
        scalar::dot_s8(lhs, rhs)
    }
    /// See [`DotRowsS8`].
    fn dot_rows_s8(&self, args: DotRowsS8<'_>) {
        scalar::dot_rows_s8(args);
    }
    /// `dst[i, c] = tables[c][src[i, c]]`: whole pixels of red, green, blue; equal lengths.
    fn lut_rgb_u8(&self, tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
        scalar::lut_rgb_u8(tables, src, dst);
    }
    /// See [`ResampleRowU8`].
    fn resample_row_u8(&self, args: ResampleRowU8<'_>) {
        scalar::resample_row_u8(args);
    }
    /// See [`ResampleColumnsU8`].
    fn resample_columns_u8(&self, args: ResampleColumnsU8<'_>) {
        scalar::resample_columns_u8(args);
    }
    /// `sums[i] += weight · src[i]`, wrapping; equal lengths, the weight within ±[`resample::MAX_WEIGHT`].
    fn add_weighted_u8(&self, weight: i32, src: &[u8], sums: &mut [i32]) {
        scalar::add_weighted_u8(weight, src, sums);
    }
    /// `dst[i] = `[`resample::clip8`]`(sums[i])`; equal lengths.
    fn clip_sums_u8(&self, sums: &[i32], dst: &mut [u8]) {
        scalar::clip_sums_u8(sums, dst);
    }
    /// `clamp(round_half_away(src / scale) + zero_point, −128, 127)`.
    fn quantize_f32(&self, src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
        scalar::quantize_f32(src, scale, zero_point, dst);
    }
    /// `scale · (src − zero_point)`.
    fn dequantize_s8(&self, src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]) {
        scalar::dequantize_s8(src, scale, zero_point, dst);
    }

    /// See [`GemmFloat`].
    fn gemm_f32(&self, args: GemmF32<'_>) {
        scalar::gemm_f32(args);
    }
    /// See [`ConvFloat`].
    fn conv_f32(&self, args: ConvF32<'_>) {
        scalar::conv_f32(args);
    }
    /// See [`DepthwiseConvFloat`].
    fn depthwise_conv_f32(&self, args: DepthwiseConvF32<'_>) {
        scalar::depthwise_conv_float(args);
    }
    /// See [`MatmulFloat`].
    fn matmul_f32(&self, args: MatmulF32<'_>) {
        scalar::matmul_float(args);
    }
    /// See [`AttentionFloat`].
    fn attention_f32(&self, args: AttentionF32<'_>) {
        scalar::attention_float(args);
    }
    /// See [`PoolFloat`].
    fn avg_pool_f32(&self, args: PoolF32<'_>) {
        scalar::avg_pool_float(args);
    }
    /// See [`PoolFloat`].
    fn max_pool_f32(&self, args: PoolF32<'_>) {
        scalar::max_pool_float(args);
    }
    /// `dst[i] = function(src[i])`, see [`UnaryKind`].
    fn unary_f32(&self, function: UnaryKind, constants: [f32; 2], src: &[f32], dst: &mut [f32]) {
        scalar::unary_float(function, constants, src, dst);
    }
    /// `dst[i] = function(lhs[i], rhs[i])`: equal lengths; broadcasting is the interpreter's work.
    fn binary_f32(&self, function: BinaryKind, lhs: &[f32], rhs: &[f32], dst: &mut [f32]) {
        scalar::binary_float(function, lhs, rhs, dst);
    }
    /// Softmax of each row of `columns`.
    fn softmax_f32(&self, columns: usize, src: &[f32], dst: &mut [f32]) {
        scalar::softmax_float(columns, src, dst);
    }
    /// Layer normalisation of each row of `gamma.len()`.
    fn layer_norm_f32(
        &self,
        epsilon: f32,
        gamma: &[f32],
        beta: &[f32],
        src: &[f32],
        dst: &mut [f32],
    ) {
        scalar::layer_norm_float(epsilon, gamma, beta, src, dst);
    }
    /// Reduction of `src` (outer, middle, inner) over the middle dimension into `dst` (outer, inner).
    fn reduce_f32(&self, function: ReduceKind, dims: [usize; 3], src: &[f32], dst: &mut [f32]) {
        scalar::reduce_float(function, dims, src, dst);
    }

    /// `dst[i] = src[i]`, exactly.
    fn widen_f16(&self, src: &[f16], dst: &mut [f32]) {
        scalar::widen_f16(src, dst);
    }
    /// The nearest half of each number, ties to even; what is too large becomes an infinity.
    fn narrow_f32(&self, src: &[f32], dst: &mut [f16]) {
        scalar::narrow_f32(src, dst);
    }
    /// See [`GemmFloat`].
    fn gemm_f16(&self, args: GemmF16<'_>) {
        widened::gemm_f16(self, args);
    }
    /// See [`ConvFloat`].
    fn conv_f16(&self, args: ConvF16<'_>) {
        widened::conv_f16(self, args);
    }
    /// See [`DepthwiseConvFloat`].
    fn depthwise_conv_f16(&self, args: DepthwiseConvF16<'_>) {
        scalar::depthwise_conv_float(args);
    }
    /// See [`MatmulFloat`].
    fn matmul_f16(&self, args: MatmulF16<'_>) {
        scalar::matmul_float(args);
    }
    /// See [`AttentionFloat`].
    fn attention_f16(&self, args: AttentionF16<'_>) {
        scalar::attention_float(args);
    }
    /// See [`PoolFloat`].
    fn avg_pool_f16(&self, args: PoolF16<'_>) {
        scalar::avg_pool_float(args);
    }
    /// See [`PoolFloat`].
    fn max_pool_f16(&self, args: PoolF16<'_>) {
        scalar::max_pool_float(args);
    }
    /// [`Kernels::unary_f32`] over halves.
    fn unary_f16(&self, function: UnaryKind, constants: [f32; 2], src: &[f16], dst: &mut [f16]) {
        widened::unary_f16(self, function, constants, src, dst);
    }
    /// [`Kernels::binary_f32`] over halves.
    fn binary_f16(&self, function: BinaryKind, lhs: &[f16], rhs: &[f16], dst: &mut [f16]) {
        widened::binary_f16(self, function, lhs, rhs, dst);
    }
    /// [`Kernels::softmax_f32`] over halves.
    fn softmax_f16(&self, columns: usize, src: &[f16], dst: &mut [f16]) {
        scalar::softmax_float(columns, src, dst);
    }
    /// [`Kernels::layer_norm_f32`] over halves.
    fn layer_norm_f16(
        &self,
        epsilon: f32,
        gamma: &[f32],
        beta: &[f32],
        src: &[f16],
        dst: &mut [f16],
    ) {
        scalar::layer_norm_float(epsilon, gamma, beta, src, dst);
    }
    /// [`Kernels::reduce_f32`] over halves.
    fn reduce_f16(&self, function: ReduceKind, dims: [usize; 3], src: &[f16], dst: &mut [f16]) {
        scalar::reduce_float(function, dims, src, dst);
    }
}

/// The name.
impl core::fmt::Debug for dyn Kernels + '_ {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
