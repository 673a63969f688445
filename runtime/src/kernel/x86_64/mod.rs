//! Kernels for x86-64 with AVX2, and with AVX-512 and its byte dot products (VNNI).
//!
//! A value of [`Avx2`] or [`Avx512Vnni`] proves that the CPU has the features: only detection can make one, and every
//! `unsafe` call of a function that needs them stands behind `&self`.
#![allow(
    unsafe_code,
    reason = "intrinsics, and loads and stores whose bounds are proved beside them"
)]

mod attention;
mod avx2;
mod avx512;
mod lanes;

use core::arch::x86_64::{__m128i, _mm_storeu_si128};

use super::float::float_methods;
use super::resample::{ResampleColumnsU8, ResampleRowU8};
use super::{
    AddS8, AddS16, AttentionS8, ConvS8, DepthwiseConvS8, DepthwiseConvS16, DotRowsS8, GemmS8,
    Kernels, LayerNormS16, MeanS8, MeanS16, MulS8, PoolS8, RescaleS16, SoftmaxS8,
};

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

/// The numbers of a vector.
#[inline(always)]
fn numbers(vector: __m128i) -> [i32; 4] {
    let mut numbers = [0; 4];
    // SAFETY: `numbers` are the 16 bytes that are written.
    unsafe { _mm_storeu_si128(numbers.as_mut_ptr().cast(), vector) };
    numbers
}

/// The integer methods of [`Kernels`], each the function of the same name in `$level`.
macro_rules! integer_methods {
    ($level:ident: $($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        fn $name(&self, $($arg: $type),*) $(-> $result)? {
            // SAFETY: `self` proves the features of the level.
            unsafe { $level::$name($($arg),*) }
        }
    )*};
    ($level:ident) => {
        integer_methods! { $level:
            gemm_s8(args: GemmS8<'_>);
            conv_s8(args: ConvS8<'_>);
            depthwise_conv_s8(args: DepthwiseConvS8<'_>);
            depthwise_conv_s16(args: DepthwiseConvS16<'_>);
            add_s8(args: AddS8<'_>);
            mul_s8(args: MulS8<'_>);
            avg_pool_s8(args: PoolS8<'_>);
            max_pool_s8(args: PoolS8<'_>);
            mean_s8(args: MeanS8<'_>);
            lut_s8(table: &[i8; 256], src: &[i8], dst: &mut [i8]);
            lut_channels_s8(tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]);
            lut_rgb_u8(tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]);
            normalize_s16(src: &[i16], dst: &mut [i8]);
            add_s16(args: AddS16<'_>);
            rescale_s16(args: RescaleS16<'_>);
            layer_norm_s16(args: LayerNormS16<'_>);
            attention_s8(args: AttentionS8<'_>);
            softmax_s8(args: SoftmaxS8<'_>);
            mean_s16(args: MeanS16<'_>);
            dot_s8(lhs: &[i8], rhs: &[i8]) -> i32;
            dot_rows_s8(args: DotRowsS8<'_>);
            resample_row_u8(args: ResampleRowU8<'_>);
            resample_columns_u8(args: ResampleColumnsU8<'_>);
            add_weighted_u8(weight: i32, src: &[u8], sums: &mut [i32]);
            clip_sums_u8(sums: &[i32], dst: &mut [u8]);
            quantize_f32(src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]);
            dequantize_s8(src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]);
        }
    };
}

impl Kernels for Avx2 {
    fn name(&self) -> &'static str {
        "x86_64-avx2"
    }
    integer_methods!(avx2);
    float_methods!(f32, Avx2, "avx2,fma,f16c");
    float_methods!(f16, Avx2, "avx2,fma,f16c");
}

impl Kernels for Avx512Vnni {
    fn name(&self) -> &'static str {
        "x86_64-avx512vnni"
    }
    integer_methods!(avx512);
    float_methods!(
        f32,
        Avx512Vnni,
        "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
    );
    float_methods!(
        f16,
        Avx512Vnni,
        "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"
    );
}
