//! The definition of the float operators: plain loops, f32 sums in the order of the indices, functions from `libm`.
//!
//! One build gives the same bits on every machine, because nothing here depends on the CPU. Other sets add in another
//! order and use other approximations, within the tolerances of `docs/numerics.md`. NaN propagates through every
//! operator, the clamps, maxima and minima included.

mod attention;
mod convert;
mod elementwise;
mod pool;
mod products;
mod rows;

pub use attention::attention_float;
pub use convert::{narrow_f32, widen_f16};
pub use elementwise::{binary_float, unary_float};
pub use pool::{avg_pool_float, max_pool_float};
pub use products::{conv_f32, depthwise_conv_float, gemm_f32, matmul_float};
pub use rows::{layer_norm_float, reduce_float, softmax_float};

/// `x` limited to [low, high]; NaN stays NaN.
pub(crate) fn clamp_f32(x: f32, [low, high]: [f32; 2]) -> f32 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

/// The larger; NaN when either is NaN.
pub(crate) fn max_f32(lhs: f32, rhs: f32) -> f32 {
    if lhs.is_nan() || lhs > rhs { lhs } else { rhs }
}

/// The smaller; NaN when either is NaN.
pub(crate) fn min_f32(lhs: f32, rhs: f32) -> f32 {
    if lhs.is_nan() || lhs < rhs { lhs } else { rhs }
}
