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

pub(crate) use attention::attention_f32;
pub(crate) use depthwise::depthwise_conv_f32;
pub(crate) use elementwise::{binary_f32, unary_f32};
pub(crate) use lanes::Lanes;
pub(crate) use pool::{avg_pool_f32, max_pool_f32};
pub(crate) use products::{conv_f32, gemm_f32, matmul_f32};
pub(crate) use rows::{layer_norm_f32, reduce_f32, softmax_f32};

/// The float methods of an `impl Kernels`, each compiled for the vectors of `$set`, with the features that a `$set` proves: the
/// implementor itself, or one that it can lend.
macro_rules! float_methods {
    ($set:ty, $features:literal) => {
        float_methods! { @each $set, $features,
            gemm_f32(args: $crate::kernel::GemmF32<'_>);
            conv_f32(args: $crate::kernel::ConvF32<'_>);
            depthwise_conv_f32(args: $crate::kernel::DepthwiseConvF32<'_>);
            matmul_f32(args: $crate::kernel::MatmulF32<'_>);
            attention_f32(args: $crate::kernel::AttentionF32<'_>);
            avg_pool_f32(args: $crate::kernel::PoolF32<'_>);
            max_pool_f32(args: $crate::kernel::PoolF32<'_>);
            unary_f32(function: $crate::model::op::UnaryKind, constants: [f32; 2], src: &[f32], dst: &mut [f32]);
            binary_f32(function: $crate::model::op::BinaryKind, lhs: &[f32], rhs: &[f32], dst: &mut [f32]);
            softmax_f32(columns: usize, src: &[f32], dst: &mut [f32]);
            layer_norm_f32(epsilon: f32, gamma: &[f32], beta: &[f32], src: &[f32], dst: &mut [f32]);
            reduce_f32(function: $crate::model::op::ReduceKind, dims: [usize; 3], src: &[f32], dst: &mut [f32]);
        }
    };
    (@each $set:ty, $features:literal, $($name:ident($($arg:ident: $type:ty),*);)*) => { $(
        fn $name(&self, $($arg: $type),*) {
            #[target_feature(enable = $features)]
            fn compiled(set: &$set, $($arg: $type),*) {
                $crate::kernel::float::$name(set, $($arg),*);
            }
            let set: &$set = core::borrow::Borrow::borrow(self);
            // SAFETY: `set` proves that the CPU has the features: only its `detect`, or a set with more, makes one.
            unsafe { compiled(set, $($arg),*) }
        }
    )* };
}
pub(crate) use float_methods;
