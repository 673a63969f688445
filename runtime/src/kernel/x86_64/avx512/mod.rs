//! `x86_64-avx512vnni`: AVX-512 with byte dot products.
//!
//! One file per operation, as in [`crate::kernel::scalar`], and four that they share: the inner loop of products, the
//! exponential, masked memory access and requantisation. Functions here are safe to call where the features are enabled; the token proves that.

mod attention_s8;
mod conv_s8;
mod depthwise_conv_s16;
mod depthwise_conv_s8;
mod dot_rows_s8;
mod dot_tile;
mod elementwise_s8;
mod exponential;
mod gemm_s8;
mod lut_s8;
mod memory;
mod pool_s8;
mod requantize;
mod resample_u8;
mod stream_s16;

pub(super) use attention_s8::{attention_s8, softmax_s8};
pub(super) use conv_s8::conv_s8;
pub(super) use depthwise_conv_s8::depthwise_conv_s8;
pub(super) use depthwise_conv_s16::depthwise_conv_s16;
pub(super) use dot_rows_s8::dot_rows_s8;
pub(super) use elementwise_s8::{
    add_s8, dequantize_s8, dot_s8, mul_s8, normalize_s16, quantize_f32,
};
pub(super) use gemm_s8::gemm_s8;
pub(super) use lut_s8::{lut_channels_s8, lut_rgb_u8, lut_s8};
pub(super) use pool_s8::{avg_pool_s8, max_pool_s8, mean_s8};
pub(super) use resample_u8::{add_weighted_u8, clip_sums_u8, resample_columns_u8, resample_row_u8};
pub(super) use stream_s16::{add_s16, layer_norm_s16, mean_s16, rescale_s16};
