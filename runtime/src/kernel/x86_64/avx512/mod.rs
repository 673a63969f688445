//! `x86_64-avx512vnni`: AVX-512 with byte dot products.
//!
//! One file per operation, as in [`crate::kernel::scalar`], and two that they share: masked memory access and
//! requantisation. Functions here are safe to call where the features are enabled; the token proves that.

mod gemm_s8;
mod memory;
mod requantize;

pub(super) use gemm_s8::gemm_s8;
