//! Kernels for the Cortex-M: with the DSP extension (M4, M7, M33) and with Helium (M55, M85).
//!
//! A program for a microcontroller is compiled for one CPU, and `build.rs` sets `cfg(cortex_m_dsp)` and
//! `cfg(cortex_m_helium)` from the flags that name it. Where a cfg is set the compiler itself uses the instructions, so
//! that a value of [`Dsp`] or [`Helium`] exists exactly in the programs that cannot run without them.
#![allow(
    unsafe_code,
    reason = "no intrinsics on the stable compiler: instructions through asm!, bounds proved beside them"
)]

mod attention;
mod dot_rows_s8;
#[cfg(cortex_m_dsp)]
mod dsp;
mod elementwise_s8;
mod exponential;
#[cfg(cortex_m_fpu)]
mod float;
#[cfg(cortex_m_helium)]
mod helium;
mod level;
mod pool_s8;
mod quotient;
mod row_scale;
mod stream_s16;
mod taps;

#[cfg(cortex_m_dsp)]
pub use dsp::Dsp;
#[cfg(cortex_m_helium)]
pub use helium::Helium;
