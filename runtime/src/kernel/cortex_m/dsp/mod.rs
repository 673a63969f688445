//! `cortex_m-dsp`: two 16-bit products an instruction.
//!
//! Bytes are widened to pairs of 16 bits by `sxtb16`, bytes 0 and 2 of a word in one register and 1 and 3 in another,
//! and multiplied by `smlad`. Inputs are widened once for all output channels, into scratch; weights each time they are
//! read, for four rows. One file per operation, as in [`crate::kernel::scalar`]; what needs no instruction of this
//! level lies in the folder above.

mod attention_s8;
mod conv_s8;
mod depthwise_conv_s16;
mod depthwise_conv_s8;
mod dot_rows_s8;
mod dot_s8;
#[cfg(cortex_m_fpu)]
mod float;
mod gemm_s8;
mod instruction;
mod layer_norm_s16;
mod level;
mod requantize;
mod resample_u8;
mod softmax_s8;
mod widen;

#[cfg(cortex_m_helium)]
pub(super) use float::sqrt;
pub(super) use instruction::smmlar;

use super::{elementwise_s8, pool_s8, stream_s16};
use crate::kernel::resample::{ResampleColumnsU8, ResampleRowU8};
use crate::kernel::{
    AddS8, AddS16, AttentionS8, ConvS8, DepthwiseConvS8, DepthwiseConvS16, DotRowsS8, GemmS8,
    Kernels, LayerNormS16, MeanS8, MeanS16, MulS8, PoolS8, RescaleS16, SoftmaxS8,
};

/// Proof of the DSP extension; the set `cortex_m-dsp`.
#[derive(Debug)]
pub struct Dsp(());

impl Dsp {
    /// The set: this program is compiled for a CPU that has it.
    pub fn compiled_for() -> &'static Self {
        &Self(())
    }
}

impl Kernels for Dsp {
    fn name(&self) -> &'static str {
        "cortex_m-dsp"
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
    fn lut_channels_s8(&self, tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
        elementwise_s8::lut_channels_s8(tables, index, src, dst);
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
    #[cfg(cortex_m_fpu)]
    super::float::float_methods! {}
}
