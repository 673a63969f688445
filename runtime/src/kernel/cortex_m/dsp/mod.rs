//! `cortex_m-dsp`: two 16-bit products an instruction.
//!
//! Bytes are widened to pairs of 16 bits by `sxtb16`, bytes 0 and 2 of a word in one register and 1 and 3 in another, and
//! multiplied by `smlad`. Inputs are widened once for all output channels, into scratch; weights each time they are read,
//! for four rows. One file per operation, as in [`crate::kernel::scalar`].

mod conv_s8;
mod depthwise_conv_s8;
mod gemm_s8;
mod instruction;
mod requantize;
mod widen;

use crate::kernel::{ConvS8, DepthwiseConvS8, GemmS8, Kernels};

/// Proof of the DSP extension; the set `cortex_m-dsp`.
#[derive(Debug)]
pub struct Dsp(());

impl Dsp {
    /// The set: this program is compiled for a CPU that has it.
    pub fn compiled_for() -> &'static Self {
        &Self(())
    }
}

impl Kernels for Dsp {
    fn name(&self) -> &'static str {
        "cortex_m-dsp"
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
