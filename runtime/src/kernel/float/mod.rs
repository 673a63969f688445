//! Float kernels over vectors, written once for every set that has them.
//!
//! Every function here is generic over [`lanes::Lanes`] and compiled inside a function with the features of one set, see
//! [`float_methods`]. Products share one register tile ([`tile`]): the packed weights, a computed matrix and the values
//! of attention differ only in the stride between their rows.

#![allow(
    unsafe_code,
    reason = "a load without a check of its bounds in the innermost loop of a product, proved beside it"
)]

mod attention;
mod depthwise;
mod elementwise;
mod lanes;
mod math;
mod pool;
mod products;
mod rows;
mod tile;

pub(crate) use attention::attention_float;
pub(crate) use depthwise::depthwise_conv_float;
#[cfg(target_arch = "aarch64")]
pub(crate) use depthwise::taps_inside;
pub(crate) use elementwise::{binary_float, unary_float};
pub(crate) use lanes::Lanes;
pub(crate) use pool::{avg_pool_float, max_pool_float};
pub(crate) use products::{conv_f16, conv_f32, gemm_f16, gemm_f32, matmul_float};
pub(crate) use rows::{layer_norm_float, reduce_float, softmax_f16, softmax_f32};

use half::f16;

/// See [`crate::kernel::scalar::widen_f16`].
#[inline(always)]
pub(crate) fn widen_f16<V: Lanes>(v: V, src: &[f16], dst: &mut [f32]) {
    lanes::convert(v, src, dst);
}

/// See [`crate::kernel::scalar::narrow_f32`].
#[inline(always)]
pub(crate) fn narrow_f32<V: Lanes>(v: V, src: &[f32], dst: &mut [f16]) {
    lanes::convert(v, src, dst);
}

/// The float methods of `impl Kernels for $set`, each compiled for its vectors, with the features that it proves. `f32` are those over f32 and the conversions, `f16` those over halves.
macro_rules! float_methods {
    (f32, $set:ty, $features:literal) => {
        float_methods! { @each $set, $features,
            gemm_f32 = gemm_f32(args: $crate::kernel::GemmF32<'_>);
            conv_f32 = conv_f32(args: $crate::kernel::ConvF32<'_>);
            softmax_f32 = softmax_f32(columns: usize, src: &[f32], dst: &mut [f32]);
            widen_f16 = widen_f16(src: &[::half::f16], dst: &mut [f32]);
            narrow_f32 = narrow_f32(src: &[f32], dst: &mut [::half::f16]);
        }
        float_methods! { @both $set, $features, f32,
            depthwise_conv_f32, matmul_f32, attention_f32, avg_pool_f32, max_pool_f32, unary_f32, binary_f32, layer_norm_f32,
            reduce_f32
        }
    };
    (f16, $set:ty, $features:literal) => {
        float_methods! { @each $set, $features,
            gemm_f16 = gemm_f16(args: $crate::kernel::GemmF16<'_>);
            conv_f16 = conv_f16(args: $crate::kernel::ConvF16<'_>);
            softmax_f16 = softmax_f16(columns: usize, src: &[::half::f16], dst: &mut [::half::f16]);
        }
        float_methods! { @both $set, $features, ::half::f16,
            depthwise_conv_f16, matmul_f16, attention_f16, avg_pool_f16, max_pool_f16, unary_f16, binary_f16, layer_norm_f16,
            reduce_f16
        }
    };
    (@both $set:ty, $features:literal, $element:ty, $depthwise_conv:ident, $matmul:ident, $attention:ident, $avg_pool:ident,
     $max_pool:ident, $unary:ident, $binary:ident, $layer_norm:ident, $reduce:ident) => {
        float_methods! { @each $set, $features,
            $depthwise_conv = depthwise_conv_float(args: $crate::kernel::DepthwiseConvFloat<'_, $element>);
            $matmul = matmul_float(args: $crate::kernel::MatmulFloat<'_, $element>);
            $attention = attention_float(args: $crate::kernel::AttentionFloat<'_, $element>);
            $avg_pool = avg_pool_float(args: $crate::kernel::PoolFloat<'_, $element>);
            $max_pool = max_pool_float(args: $crate::kernel::PoolFloat<'_, $element>);
            $unary = unary_float(
                function: $crate::model::op::UnaryKind, constants: [f32; 2], src: &[$element], dst: &mut [$element]
            );
            $binary = binary_float(
                function: $crate::model::op::BinaryKind, lhs: &[$element], rhs: &[$element], dst: &mut [$element]
            );
            $layer_norm = layer_norm_float(
                epsilon: f32, gamma: &[f32], beta: &[f32], src: &[$element], dst: &mut [$element]
            );
            $reduce = reduce_float(
                function: $crate::model::op::ReduceKind, dims: [usize; 3], src: &[$element], dst: &mut [$element]
            );
        }
    };
    (@each $set:ty, $features:literal, $($name:ident = $function:ident($($arg:ident: $type:ty),*);)*) => { $(
        fn $name(&self, $($arg: $type),*) {
            #[target_feature(enable = $features)]
            fn compiled(set: &$set, $($arg: $type),*) {
                $crate::kernel::float::$function(set, $($arg),*);
            }
            // SAFETY: `self` proves that the CPU has the features: only its `detect`, or a set with more, makes one.
            unsafe { compiled(self, $($arg),*) }
        }
    )* };
}
pub(crate) use float_methods;
