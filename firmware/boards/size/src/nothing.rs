//! A kernel set that does nothing: what remains is the loader and the interpreter.

use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::kernel::resample::{ResampleColumnsU8, ResampleRowU8};
use pinhole_runtime::kernel::{
    AddS8, AddS16, AttentionF32, AttentionS8, ConvF32, ConvS8, DepthwiseConvF32, DepthwiseConvS8,
    DotRowsS8, EmbeddingS8, GemmF32, GemmS8, Kernels, LayerNormS16, MatmulF32, MeanS8, MeanS16,
    MulS8, PoolF32, PoolS8, RescaleS16, SoftmaxS8,
};
use pinhole_runtime::model::op::{BinaryKind, ReduceKind, UnaryKind};

/// Does nothing.
pub struct Nothing;

impl Kernels for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }
    fn reads(&self, _: WeightLayout) -> bool {
        true
    }
    fn gemm_s8(&self, _: GemmS8<'_>) {}
    fn conv_s8(&self, _: ConvS8<'_>) {}
    fn depthwise_conv_s8(&self, _: DepthwiseConvS8<'_>) {}
    fn add_s8(&self, _: AddS8<'_>) {}
    fn mul_s8(&self, _: MulS8<'_>) {}
    fn avg_pool_s8(&self, _: PoolS8<'_>) {}
    fn max_pool_s8(&self, _: PoolS8<'_>) {}
    fn mean_s8(&self, _: MeanS8<'_>) {}
    fn lut_s8(&self, _: &[i8; 256], _: &[i8], _: &mut [i8]) {}
    fn normalize_s16(&self, _: &[i16], _: &mut [i8]) {}
    fn add_s16(&self, _: AddS16<'_>) {}
    fn rescale_s16(&self, _: RescaleS16<'_>) {}
    fn layer_norm_s16(&self, _: LayerNormS16<'_>) {}
    fn attention_s8(&self, _: AttentionS8<'_>) {}
    fn softmax_s8(&self, _: SoftmaxS8<'_>) {}
    fn embedding_s8(&self, _: EmbeddingS8<'_>) {}
    fn mean_s16(&self, _: MeanS16<'_>) {}
    fn dot_s8(&self, _: &[i8], _: &[i8]) -> i32 {
        0
    }
    fn dot_rows_s8(&self, _: DotRowsS8<'_>) {}
    fn lut_rgb_u8(&self, _: &[[i8; 256]; 3], _: &[u8], _: &mut [i8]) {}
    fn resample_row_u8(&self, _: ResampleRowU8<'_>) {}
    fn resample_columns_u8(&self, _: ResampleColumnsU8<'_>) {}
    fn add_weighted_u8(&self, _: i32, _: &[u8], _: &mut [i32]) {}
    fn clip_sums_u8(&self, _: &[i32], _: &mut [u8]) {}
    fn quantize_f32(&self, _: &[f32], _: f32, _: i32, _: &mut [i8]) {}
    fn dequantize_s8(&self, _: &[i8], _: f32, _: i32, _: &mut [f32]) {}
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
