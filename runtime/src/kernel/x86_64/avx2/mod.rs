//! `x86_64-avx2`: 256-bit vectors without byte dot products.
//!
//! Bytes are widened to 16 bits and multiplied by `vpmaddwd`, which is exact; `vpmaddubsw` saturates and is not used. One
//! file per operation, as in [`crate::kernel::scalar`].

mod conv_s8;
mod depthwise_conv_s8;
mod elementwise_s8;
mod gemm_s8;
mod memory;
mod pool_s8;
mod requantize;

pub(super) use conv_s8::conv_s8;
pub(super) use depthwise_conv_s8::depthwise_conv_s8;
pub(super) use elementwise_s8::{add_s8, dequantize_s8, dot_s8, mul_s8, quantize_f32};
pub(super) use gemm_s8::gemm_s8;
pub(super) use pool_s8::{avg_pool_s8, max_pool_s8};
