//! The integer operations of the kernel set that the features name, none of pictures, and no floats.

use pinhole_runtime::kernel::resample::{ResampleColumnsU8, ResampleRowU8};
use pinhole_runtime::kernel::{
    AddS8, AddS16, AttentionF32, AttentionS8, ConvF32, ConvS8, DepthwiseConvF32, DepthwiseConvS8,
    DotRowsS8, EmbeddingS8, GemmF32, GemmS8, Kernels, LayerNormS16, MatmulF32, MeanS8, MeanS16,
    MulS8, PoolF32, PoolS8, RescaleS16, SoftmaxS8,
};
use pinhole_runtime::model::op::{BinaryKind, ReduceKind, UnaryKind};

/// Integer operations of models alone.
pub struct Int8;

#[cfg(feature = "helium")]
fn set() -> &'static impl Kernels {
    pinhole_runtime::kernel::cortex_m::Helium::compiled_for()
}
#[cfg(all(feature = "dsp", not(feature = "helium")))]
fn set() -> &'static impl Kernels {
    pinhole_runtime::kernel::cortex_m::Dsp::compiled_for()
}
#[cfg(not(any(feature = "dsp", feature = "helium")))]
fn set() -> &'static impl Kernels {
    &pinhole_runtime::kernel::Scalar
}

impl Kernels for Int8 {
    fn name(&self) -> &'static str {
        "int8"
    }
    fn gemm_s8(&self, args: GemmS8<'_>) {
        set().gemm_s8(args);
    }
    fn conv_s8(&self, args: ConvS8<'_>) {
        set().conv_s8(args);
    }
    fn depthwise_conv_s8(&self, args: DepthwiseConvS8<'_>) {
        set().depthwise_conv_s8(args);
    }
    fn add_s8(&self, args: AddS8<'_>) {
        set().add_s8(args);
    }
    fn mul_s8(&self, args: MulS8<'_>) {
        set().mul_s8(args);
    }
    fn avg_pool_s8(&self, args: PoolS8<'_>) {
        set().avg_pool_s8(args);
    }
    fn max_pool_s8(&self, args: PoolS8<'_>) {
        set().max_pool_s8(args);
    }
    fn mean_s8(&self, args: MeanS8<'_>) {
        set().mean_s8(args);
    }
    fn lut_s8(&self, table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
        set().lut_s8(table, src, dst);
    }
    fn normalize_s16(&self, src: &[i16], dst: &mut [i8]) {
        set().normalize_s16(src, dst);
    }
    fn add_s16(&self, args: AddS16<'_>) {
        set().add_s16(args);
    }
    fn rescale_s16(&self, args: RescaleS16<'_>) {
        set().rescale_s16(args);
    }
    fn layer_norm_s16(&self, args: LayerNormS16<'_>) {
        set().layer_norm_s16(args);
    }
    fn attention_s8(&self, args: AttentionS8<'_>) {
        set().attention_s8(args);
    }
    fn softmax_s8(&self, args: SoftmaxS8<'_>) {
        set().softmax_s8(args);
    }
    fn embedding_s8(&self, args: EmbeddingS8<'_>) {
        set().embedding_s8(args);
    }
    fn mean_s16(&self, args: MeanS16<'_>) {
        set().mean_s16(args);
    }
    fn dot_s8(&self, lhs: &[i8], rhs: &[i8]) -> i32 {
        set().dot_s8(lhs, rhs)
    }
    fn dot_rows_s8(&self, args: DotRowsS8<'_>) {
        set().dot_rows_s8(args);
    }
    fn lut_rgb_u8(&self, _: &[[i8; 256]; 3], _: &[u8], _: &mut [i8]) {}
    fn resample_row_u8(&self, _: ResampleRowU8<'_>) {}
    fn resample_columns_u8(&self, _: ResampleColumnsU8<'_>) {}
    fn add_weighted_u8(&self, _: i32, _: &[u8], _: &mut [i32]) {}
    fn clip_sums_u8(&self, _: &[i32], _: &mut [u8]) {}
    fn quantize_f32(&self, src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
        set().quantize_f32(src, scale, zero_point, dst);
    }
    fn dequantize_s8(&self, src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]) {
        set().dequantize_s8(src, scale, zero_point, dst);
    }
    fn gemm_f32(&self, _: GemmF32<'_>) {}
    fn conv_f32(&self, _: ConvF32<'_>) {}
    fn depthwise_conv_f32(&self, _: DepthwiseConvF32<'_>) {}
    fn matmul_f32(&self, _: MatmulF32<'_>) {}
    fn attention_f32(&self, _: AttentionF32<'_>) {}
    fn avg_pool_f32(&self, _: PoolF32<'_>) {}
    fn max_pool_f32(&self, _: PoolF32<'_>) {}
    fn unary_f32(&self, _: UnaryKind, _: [f32; 2], _: &[f32], _: &mut [f32]) {}
    fn binary_f32(&self, _: BinaryKind, _: &[f32], _: &[f32], _: &mut [f32]) {}
    fn softmax_f32(&self, _: usize, _: &[f32], _: &mut [f32]) {}
    fn layer_norm_f32(&self, _: f32, _: &[f32], _: &[f32], _: &[f32], _: &mut [f32]) {}
    fn reduce_f32(&self, _: ReduceKind, _: [usize; 3], _: &[f32], _: &mut [f32]) {}
}
