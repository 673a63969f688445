//! Float kernels of both levels, over f32 and over IEEE halves.
//!
//! What is done to one number after another is plain Rust: the compiler makes vectors of it where there are any, and
//! unrolled scalar code elsewhere. Products are cut into tiles ([`product`]) and depthwise windows into tables of taps
//! ([`depthwise`]), whose inner loops a level brings along. Halves that have no kernel of their own are widened a chunk
//! at a time ([`number`]). `docs/numerics.md` states the errors.

mod attention;
mod depthwise;
mod elementwise;
mod level;
mod math;
mod number;
mod pool;
mod product;
mod products;
mod rows;
mod select;

#[cfg(cortex_m_helium)]
pub(super) use depthwise::BLOCK_BYTES;
pub(super) use depthwise::{DepthwiseBlock, Tap};
pub(super) use level::FloatLevel;
pub(super) use number::{CHUNK, Number};
pub(super) use product::{Call, Outputs, SUMS_ROW, Tile};

pub(super) use attention::attention;
pub(super) use depthwise::depthwise_conv;
pub(super) use elementwise::{binary, unary};
pub(super) use pool::{avg_pool, max_pool};
#[cfg(cortex_m_helium)]
pub(super) use products::{conv_f16, gemm_f16};
pub(super) use products::{conv_f32, gemm_f32, matmul};
pub(super) use rows::{layer_norm, reduce, softmax};
pub(super) use select::{clamp, max};

/// The float methods of an `impl Kernels` for a [`FloatLevel`].
macro_rules! float_methods {
    () => {
        fn gemm_f32(&self, args: $crate::kernel::GemmF32<'_>) {
            $crate::kernel::cortex_m::float::gemm_f32::<Self>(args);
        }
        fn conv_f32(&self, args: $crate::kernel::ConvF32<'_>) {
            $crate::kernel::cortex_m::float::conv_f32::<Self>(args);
        }
        fn widen_f16(&self, src: &[half::f16], dst: &mut [f32]) {
            <Self as $crate::kernel::cortex_m::float::FloatLevel>::widen(src, dst);
        }
        fn narrow_f32(&self, src: &[f32], dst: &mut [half::f16]) {
            <Self as $crate::kernel::cortex_m::float::FloatLevel>::narrow(src, dst);
        }
        $crate::kernel::cortex_m::float::float_methods! { @each f32,
        depthwise_conv_f32, matmul_f32, attention_f32, avg_pool_f32, max_pool_f32,
        unary_f32, binary_f32, softmax_f32, layer_norm_f32, reduce_f32 }
        $crate::kernel::cortex_m::float::float_methods! { @each half::f16,
        depthwise_conv_f16, matmul_f16, attention_f16, avg_pool_f16, max_pool_f16,
        unary_f16, binary_f16, softmax_f16, layer_norm_f16, reduce_f16 }
    };
    (@each $number:ty, $depthwise_conv:ident, $matmul:ident, $attention:ident, $avg_pool:ident, $max_pool:ident,
        $unary:ident, $binary:ident, $softmax:ident, $layer_norm:ident, $reduce:ident) => {
        fn $depthwise_conv(&self, args: $crate::kernel::DepthwiseConvFloat<'_, $number>) {
            $crate::kernel::cortex_m::float::depthwise_conv::<Self, $number>(args);
        }
        fn $matmul(&self, args: $crate::kernel::MatmulFloat<'_, $number>) {
            $crate::kernel::cortex_m::float::matmul::<Self, $number>(args);
        }
        fn $attention(&self, args: $crate::kernel::AttentionFloat<'_, $number>) {
            $crate::kernel::cortex_m::float::attention::<Self, $number>(args);
        }
        fn $avg_pool(&self, args: $crate::kernel::PoolFloat<'_, $number>) {
            $crate::kernel::cortex_m::float::avg_pool::<Self, $number>(args);
        }
        fn $max_pool(&self, args: $crate::kernel::PoolFloat<'_, $number>) {
            $crate::kernel::cortex_m::float::max_pool::<Self, $number>(args);
        }
        fn $unary(
            &self,
            function: $crate::model::op::UnaryKind,
            constants: [f32; 2],
            src: &[$number],
            dst: &mut [$number],
        ) {
            $crate::kernel::cortex_m::float::unary::<Self, $number>(function, constants, src, dst);
        }
        fn $binary(
            &self,
            function: $crate::model::op::BinaryKind,
            lhs: &[$number],
            rhs: &[$number],
            dst: &mut [$number],
        ) {
            $crate::kernel::cortex_m::float::binary::<Self, $number>(function, lhs, rhs, dst);
        }
        fn $softmax(&self, columns: usize, src: &[$number], dst: &mut [$number]) {
            $crate::kernel::cortex_m::float::softmax::<Self, $number>(columns, src, dst);
        }
        fn $layer_norm(
            &self,
            epsilon: f32,
            gamma: &[f32],
            beta: &[f32],
            src: &[$number],
            dst: &mut [$number],
        ) {
            $crate::kernel::cortex_m::float::layer_norm::<Self, $number>(
                epsilon,
                [gamma, beta],
                src,
                dst,
            );
        }
        fn $reduce(
            &self,
            function: $crate::model::op::ReduceKind,
            dims: [usize; 3],
            src: &[$number],
            dst: &mut [$number],
        ) {
            $crate::kernel::cortex_m::float::reduce::<Self, $number>(function, dims, src, dst);
        }
    };
}
pub(super) use float_methods;
