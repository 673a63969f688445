//! `cortex_m-helium`: 128-bit vectors and loops without overhead.
//!
//! Integer products are `vmladava.s8`, which adds 16 products to a general register; a tail of a row is predicated, not
//! padded. The stable compiler has no vector operands for `asm!` here, so that what stays in vectors between a load and
//! a store is one block. One file per operation, as in [`crate::kernel::scalar`]; what the compiler makes vectors of,
//! and what needs little more, lies in the folder above.

mod attention_s8;
mod conv_s8;
mod depthwise_conv_s16;
mod depthwise_conv_s8;
mod dot_rows_s8;
mod dot_s8;
mod float;
mod gemm_s8;
mod layer_norm_s16;
mod level;
mod lut_s8;
mod requantize;
mod resample_u8;
mod softmax_s8;

use super::{elementwise_s8, pool_s8, stream_s16};
use crate::kernel::resample::{ResampleColumnsU8, ResampleRowU8};
use crate::kernel::{
    AddS8, AddS16, AttentionS8, ConvF16, ConvS8, DepthwiseConvS8, DepthwiseConvS16, DotRowsS8,
    GemmF16, GemmS8, Kernels, LayerNormS16, MeanS8, MeanS16, MulS8, PoolS8, RescaleS16, SoftmaxS8,
};

/// Proof of Helium; the set `cortex_m-helium`.
#[derive(Debug)]
pub struct Helium(());

impl Helium {
    /// The set: this program is compiled for a CPU that has it.
    pub fn compiled_for() -> &'static Self {
        &Self(())
    }
}

impl Kernels for Helium {
    fn name(&self) -> &'static str {
        "cortex_m-helium"
    }
    fn gemm_s8(&self, args: GemmS8<'_>) {
        gemm_s8::gemm_s8(args);
    }
    fn conv_s8(&self, args: ConvS8<'_>) {
        conv_s8::conv_s8(args);
    }
    fn depthwise_conv_s8(&self, args: DepthwiseConvS8<'_>) {
        depthwise_conv_s8::depthwise_conv_s8(args);
    }
    fn depthwise_conv_s16(&self, args: DepthwiseConvS16<'_>) {
        depthwise_conv_s16::depthwise_conv_s16(args);
    }
    fn add_s8(&self, args: AddS8<'_>) {
        elementwise_s8::add_s8::<Self>(args);
    }
    fn mul_s8(&self, args: MulS8<'_>) {
        elementwise_s8::mul_s8::<Self>(args);
    }
    fn avg_pool_s8(&self, args: PoolS8<'_>) {
        pool_s8::avg_pool_s8::<Self>(args);
    }
    fn max_pool_s8(&self, args: PoolS8<'_>) {
        pool_s8::max_pool_s8::<Self>(args);
    }
    fn mean_s8(&self, args: MeanS8<'_>) {
        pool_s8::mean_s8::<Self>(args);
    }
    fn lut_s8(&self, table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
        elementwise_s8::lut_s8(table, src, dst);
    }
    fn add_s16(&self, args: AddS16<'_>) {
        stream_s16::add_s16(args);
    }
    fn rescale_s16(&self, args: RescaleS16<'_>) {
        stream_s16::rescale_s16(args);
    }
    fn layer_norm_s16(&self, args: LayerNormS16<'_>) {
        layer_norm_s16::layer_norm_s16(args);
    }
    fn attention_s8(&self, args: AttentionS8<'_>) {
        attention_s8::attention_s8(args);
    }
    fn softmax_s8(&self, args: SoftmaxS8<'_>) {
        softmax_s8::softmax_s8(args);
    }
    fn mean_s16(&self, args: MeanS16<'_>) {
        stream_s16::mean_s16::<Self>(args);
    }
    fn dot_s8(&self, lhs: &[i8], rhs: &[i8]) -> i32 {
        dot_s8::dot_s8(lhs, rhs)
    }
    fn dot_rows_s8(&self, args: DotRowsS8<'_>) {
        super::dot_rows_s8::dot_rows_s8(args, dot_rows_s8::dot_rows, dot_s8::dot_s8);
    }
    fn lut_channels_s8(&self, tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
        lut_s8::lut_channels_s8(tables, index, src, dst);
    }
    fn lut_rgb_u8(&self, tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
        lut_s8::lut_rgb_u8(tables, src, dst);
    }
    fn add_weighted_u8(&self, weight: i32, src: &[u8], sums: &mut [i32]) {
        resample_u8::add_weighted_u8(weight, src, sums);
    }
    fn resample_row_u8(&self, args: ResampleRowU8<'_>) {
        resample_u8::resample_row_u8(args);
    }
    fn resample_columns_u8(&self, args: ResampleColumnsU8<'_>) {
        resample_u8::resample_columns_u8(args);
    }
    fn clip_sums_u8(&self, sums: &[i32], dst: &mut [u8]) {
        resample_u8::clip_sums_u8(sums, dst);
    }
    fn quantize_f32(&self, src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
        elementwise_s8::quantize_f32(src, scale, zero_point, dst);
    }
    fn gemm_f16(&self, args: GemmF16<'_>) {
        super::float::gemm_f16::<Self>(args);
    }
    fn conv_f16(&self, args: ConvF16<'_>) {
        super::float::conv_f16::<Self>(args);
    }
    super::float::float_methods! {}
}
