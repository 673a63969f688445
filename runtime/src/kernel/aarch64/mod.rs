//! Kernels for 64-bit ARM: with NEON, with its byte dot products (FEAT_DotProd), and with byte matrix products (FEAT_I8MM).
//!
//! A value of [`Neon`], [`Dotprod`] or [`I8mm`] proves that the CPU has the features: only detection can make one. NEON itself
//! is what every target that compiles this folder has ([`neon`]). Kernels are written once over [`level::Level`], the products
//! of bytes, in one file per operation as in [`crate::kernel::scalar`].
#![allow(
    unsafe_code,
    reason = "intrinsics and instructions, and loads and stores whose bounds are proved beside them"
)]

mod attention_s8;
mod conv_s8;
mod depthwise_conv_s16;
mod depthwise_conv_s8;
mod dot_rows_s8;
mod elementwise_s8;
mod gemm_s8;
mod half;
mod lanes;
mod level;
mod lut_s8;
mod matmul_s8;
mod neon;
mod pool_s8;
mod requantize;
mod resample_u8;
mod stream_s16;

use self::half::level_float_methods;
use super::float::float_methods;
use super::packing::WeightLayout;
use super::resample::{ResampleColumnsU8, ResampleRowU8};
use super::{
    AddS8, AddS16, AttentionS8, ConvS8, DepthwiseConvS8, DepthwiseConvS16, DotRowsS8, GemmS8,
    Kernels, LayerNormS16, MeanS8, MeanS16, MulS8, PoolS8, RescaleS16, SoftmaxS8,
};

/// Proof of NEON; the set `aarch64-neon`.
#[derive(Debug)]
pub struct Neon(());

/// Proof of FEAT_DotProd; the set `aarch64-dotprod`.
#[derive(Debug)]
pub struct Dotprod(());

/// Proof of FEAT_I8MM beside [`Dotprod`]; the set `aarch64-i8mm`.
#[derive(Debug)]
pub struct I8mm(());

/// Whether the CPU has a feature: asked at run time with the standard library, else known when the program is compiled.
macro_rules! has {
    ($feature:tt) => {{
        #[cfg(feature = "std")]
        let found = std::arch::is_aarch64_feature_detected!($feature);
        #[cfg(not(feature = "std"))]
        let found = cfg!(target_feature = $feature);
        found
    }};
}
use has;

impl Neon {
    /// The set; every CPU of the target can run it.
    pub fn detect() -> Option<&'static Self> {
        Some(&Neon(()))
    }
}

impl Dotprod {
    /// The set, if this CPU can run it.
    pub fn detect() -> Option<&'static Self> {
        has!("dotprod").then_some(&Dotprod(()))
    }
}

impl I8mm {
    /// The set, if this CPU can run it.
    pub fn detect() -> Option<&'static Self> {
        (has!("dotprod") && has!("i8mm")).then_some(&I8mm(()))
    }
}

/// The methods of [`Kernels`] that every level has, each the function of the same name over the level.
macro_rules! methods {
    () => {
        methods! {
            depthwise_conv_s8::depthwise_conv_s8(args: DepthwiseConvS8<'_>);
            depthwise_conv_s16::depthwise_conv_s16(args: DepthwiseConvS16<'_>);
            elementwise_s8::add_s8(args: AddS8<'_>);
            elementwise_s8::mul_s8(args: MulS8<'_>);
            pool_s8::avg_pool_s8(args: PoolS8<'_>);
            pool_s8::max_pool_s8(args: PoolS8<'_>);
            pool_s8::mean_s8(args: MeanS8<'_>);
            stream_s16::add_s16(args: AddS16<'_>);
            stream_s16::rescale_s16(args: RescaleS16<'_>);
            stream_s16::layer_norm_s16(args: LayerNormS16<'_>);
            stream_s16::mean_s16(args: MeanS16<'_>);
            attention_s8::attention_s8(args: AttentionS8<'_>);
            attention_s8::softmax_s8(args: SoftmaxS8<'_>);
            lut_s8::lut_s8(table: &[i8; 256], src: &[i8], dst: &mut [i8]);
            lut_s8::lut_channels_s8(tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]);
            lut_s8::lut_rgb_u8(tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]);
            resample_u8::resample_row_u8(args: ResampleRowU8<'_>);
            resample_u8::resample_columns_u8(args: ResampleColumnsU8<'_>);
            elementwise_s8::normalize_s16(src: &[i16], dst: &mut [i8]);
            elementwise_s8::dot_s8(lhs: &[i8], rhs: &[i8]) -> i32;
            dot_rows_s8::dot_rows_s8(args: DotRowsS8<'_>);
            elementwise_s8::quantize_f32(src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]);
            elementwise_s8::dequantize_s8(src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]);
        }
    };
    ($($module:ident::$name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        fn $name(&self, $($arg: $type),*) $(-> $result)? {
            $module::$name(self, $($arg),*)
        }
    )*};
}

impl Kernels for Neon {
    fn name(&self) -> &'static str {
        "aarch64-neon"
    }
    fn gemm_s8(&self, args: GemmS8<'_>) {
        gemm_s8::gemm_s8(self, args);
    }
    fn conv_s8(&self, args: ConvS8<'_>) {
        gemm_s8::conv_s8(self, args);
    }
    methods!();
    float_methods!(f32, Neon, "neon");
    float_methods!(f16, Neon, "neon");
}

impl Kernels for Dotprod {
    fn name(&self) -> &'static str {
        "aarch64-dotprod"
    }
    fn gemm_s8(&self, args: GemmS8<'_>) {
        gemm_s8::gemm_s8(self, args);
    }
    fn conv_s8(&self, args: ConvS8<'_>) {
        gemm_s8::conv_s8(self, args);
    }
    methods!();
    level_float_methods!();
}

impl Kernels for I8mm {
    fn name(&self) -> &'static str {
        "aarch64-i8mm"
    }
    fn reads(&self, layout: WeightLayout) -> bool {
        matches!(layout, WeightLayout::Generic | WeightLayout::Aarch64)
    }
    fn gemm_s8(&self, args: GemmS8<'_>) {
        matmul_s8::gemm_s8(self, args);
    }
    fn conv_s8(&self, args: ConvS8<'_>) {
        matmul_s8::conv_s8(self, args);
    }
    methods!();
    level_float_methods!();
}
