//! Kernels for x86-64 with AVX2, and with AVX-512 and its byte dot products (VNNI).
//!
//! A value of [`Avx2`] or [`Avx512Vnni`] proves that the CPU has the features: only detection can make one, and every
//! `unsafe` call of a function that needs them stands behind `&self`.
#![allow(
    unsafe_code,
    reason = "intrinsics, and loads and stores whose bounds are proved beside them"
)]

mod avx512;

use super::{GemmS8, Kernels};

/// Proof of AVX2, FMA and F16C; the set `x86_64-avx2`.
#[derive(Debug)]
pub struct Avx2(());

/// Proof of AVX-512 F, BW, DQ, VL and VNNI beside [`Avx2`]; the set `x86_64-avx512vnni`.
#[derive(Debug)]
pub struct Avx512Vnni(());

#[cfg(feature = "std")]
impl Avx2 {
    /// The set, if this CPU can run it.
    pub fn detect() -> Option<&'static Self> {
        static PROOF: Avx2 = Avx2(());
        let found = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        found.then_some(&PROOF)
    }
}

#[cfg(feature = "std")]
impl Avx512Vnni {
    /// The set, if this CPU can run it.
    pub fn detect() -> Option<&'static Self> {
        static PROOF: Avx512Vnni = Avx512Vnni(());
        let found = Avx2::detect().is_some()
            && std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl")
            && std::is_x86_feature_detected!("avx512vnni");
        found.then_some(&PROOF)
    }
}

impl Kernels for Avx2 {
    fn name(&self) -> &'static str {
        "x86_64-avx2"
    }
}

impl Kernels for Avx512Vnni {
    fn name(&self) -> &'static str {
        "x86_64-avx512vnni"
    }
    fn gemm_s8(&self, args: GemmS8<'_>) {
        // SAFETY: `self` proves the features.
        unsafe { avx512::gemm_s8(args) }
    }
}
