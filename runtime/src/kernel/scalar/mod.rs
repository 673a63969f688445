//! The definition of every kernel, written to be read and never tuned.
//!
//! Other kernel sets compute the same function: integers to the bit, floats within the tolerance of `docs/numerics.md`.
//! Not here: checks of a model (that is `Model::load`); a slice shorter than its struct states panics.

mod attention_s8;
mod conv_s8;
mod depthwise_conv_s16;
mod depthwise_conv_s8;
mod dot_rows_s8;
mod elementwise_s8;
mod embedding_s8;
pub(crate) mod float;
mod gemm_s8;
mod pool_s8;
mod resample_u8;
mod stream_s16;

pub use attention_s8::{attention_s8, softmax_s8};
pub use conv_s8::conv_s8;
pub use depthwise_conv_s8::depthwise_conv_s8;
pub use depthwise_conv_s16::depthwise_conv_s16;
pub use dot_rows_s8::dot_rows_s8;
pub use elementwise_s8::{
    add_s8, dequantize_s8, dot_s8, lut_channels_s8, lut_channels_s16, lut_rgb_u8, lut_s8, lut_s16,
    mul_s8, normalize_s16, quantize_f32,
};
pub use embedding_s8::embedding_s8;
pub use float::{
    attention_float, avg_pool_float, binary_float, conv_f32, depthwise_conv_float, gemm_f32,
    layer_norm_float, matmul_float, max_pool_float, narrow_f32, reduce_float, softmax_float,
    unary_float, widen_f16,
};
pub use gemm_s8::gemm_s8;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use pool_s8::rounded_mean;
pub use pool_s8::{avg_pool_s8, max_pool_s8, mean_s8};
pub use resample_u8::{add_weighted_u8, clip_sums_u8, resample_columns_u8, resample_row_u8};
pub use stream_s16::{add_s16, layer_norm_s16, mean_s16, rescale_s16};
