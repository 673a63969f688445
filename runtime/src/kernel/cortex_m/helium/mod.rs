//! `cortex_m-helium`: 128-bit vectors and loops without overhead.
//!
//! Products are `vmladava.s8`, which adds 16 products to a general register; a tail of a row is predicated, not padded. The
//! stable compiler has no vector operands for `asm!` here, so that what stays in vectors between a load and a store is one
//! block. One file per operation, as in [`crate::kernel::scalar`].

mod conv_s8;
mod depthwise_conv_s8;
mod gemm_s8;
mod requantize;

use crate::kernel::{ConvS8, DepthwiseConvS8, GemmS8, Kernels};

/// Proof of Helium; the set `cortex_m-helium`.
#[derive(Debug)]
pub struct Helium(());

impl Helium {
    /// The set: this program is compiled for a CPU that has it.
    pub fn compiled_for() -> &'static Self {
        &Self(())
    }
}

impl Kernels for Helium {
    fn name(&self) -> &'static str {
        "cortex_m-helium"
    }
    fn gemm_s8(&self, args: GemmS8<'_>) {
        gemm_s8::gemm_s8(args);
    }
    fn conv_s8(&self, args: ConvS8<'_>) {
        conv_s8::conv_s8(args);
    }
    fn depthwise_conv_s8(&self, args: DepthwiseConvS8<'_>) {
        depthwise_conv_s8::depthwise_conv_s8(args);
    }
}
