//! Arithmetic on IEEE halves, eight to a register (FEAT_FP16), which a CPU has or lacks beside every level.
//!
//! ```text
//! products   a chunk of at most 128 products adds up in halves, the chunks in f32, see `tile`
//! attention  scores and weighted values are such products; the sum of the exponentials is f32
//! the rest   what is one operation an element in halves; sums, norms and functions run in f32, as on NEON
//! ```
//!
//! Functions here are safe to call where the features are enabled; a [`Half`] proves that. `docs/numerics.md` states the errors.

mod attention;
mod depthwise;
mod elementwise;
mod math;
mod products;
mod tile;
mod vector;

pub(super) use attention::attention_f16;
pub(super) use depthwise::depthwise_conv_f16;
pub(super) use elementwise::{binary_f16, unary_f16};
pub(super) use products::{conv_f16, gemm_f16, matmul_f16};

/// Proof of FEAT_FP16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half(());

impl Half {
    /// The proof, if this CPU has it.
    pub(super) fn detect() -> Option<Self> {
        super::has!("fp16").then_some(Self(()))
    }
}

/// The float methods of an `impl Kernels` of a level above NEON: those of NEON, compiled once, and over halves arithmetic in
/// halves where the CPU has it and it is faster.
macro_rules! level_float_methods {
    () => {
        level_float_methods! { @native
            gemm_f16(args: $crate::kernel::GemmF16<'_>);
            conv_f16(args: $crate::kernel::ConvF16<'_>);
            depthwise_conv_f16(args: $crate::kernel::DepthwiseConvF16<'_>);
            matmul_f16(args: $crate::kernel::MatmulF16<'_>);
            attention_f16(args: $crate::kernel::AttentionF16<'_>);
            unary_f16(function: $crate::model::op::UnaryKind, constants: [f32; 2], src: &[::half::f16], dst: &mut [::half::f16]);
            binary_f16(function: $crate::model::op::BinaryKind, lhs: &[::half::f16], rhs: &[::half::f16], dst: &mut [::half::f16]);
        }
        level_float_methods! { @lent
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
            widen_f16(src: &[::half::f16], dst: &mut [f32]);
            narrow_f32(src: &[f32], dst: &mut [::half::f16]);
            avg_pool_f16(args: $crate::kernel::PoolF16<'_>);
            max_pool_f16(args: $crate::kernel::PoolF16<'_>);
            softmax_f16(columns: usize, src: &[::half::f16], dst: &mut [::half::f16]);
            layer_norm_f16(epsilon: f32, gamma: &[f32], beta: &[f32], src: &[::half::f16], dst: &mut [::half::f16]);
            reduce_f16(function: $crate::model::op::ReduceKind, dims: [usize; 3], src: &[::half::f16], dst: &mut [::half::f16]);
        }
    };
    (@native $($name:ident($($arg:ident: $type:ty),*);)*) => { $(
        fn $name(&self, $($arg: $type),*) {
            match $crate::kernel::aarch64::half::Half::detect() {
                // SAFETY: A `Half` proves FEAT_FP16.
                Some(_) => unsafe { $crate::kernel::aarch64::half::$name($($arg),*) },
                None => Neon(()).$name($($arg),*),
            }
        }
    )* };
    (@lent $($name:ident($($arg:ident: $type:ty),*);)*) => { $(
        fn $name(&self, $($arg: $type),*) {
            Neon(()).$name($($arg),*);
        }
    )* };
}
pub(super) use level_float_methods;
