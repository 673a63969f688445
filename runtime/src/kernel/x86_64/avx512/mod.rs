//! `x86_64-avx512vnni`: AVX-512 with byte dot products.
//!
//! One file per operation, as in [`crate::kernel::scalar`], and two that they share: masked memory access and
//! requantisation. Functions here are safe to call where the features are enabled; the token proves that.

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
