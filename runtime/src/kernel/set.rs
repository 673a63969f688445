//! Which kernel sets exist and which of them this CPU can run.
//!
//! Without the feature `std` there is no detection. A program for one CPU has the sets of that CPU (Cortex-M, and 64-bit ARM
//! without an operating system); on x86-64 the scalar set is the only one that is known to be safe.

use super::Kernels;
use super::packing::WeightLayout;

/// The definition of every operation; runs everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

impl Kernels for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }
    fn reads(&self, _: WeightLayout) -> bool {
        true
    }
}

/// The kernel sets that this CPU can run, slowest first.
pub fn available() -> impl Iterator<Item = &'static dyn Kernels> {
    let scalar: &'static dyn Kernels = &Scalar;
    core::iter::once(scalar).chain(accelerated().into_iter().flatten())
}

/// The fastest kernel set that this CPU can run.
pub fn detect() -> &'static dyn Kernels {
    available().last().unwrap_or(&Scalar)
}

/// The fastest kernel set that this CPU can run and that reads weights of `layout`.
pub fn detect_for(layout: WeightLayout) -> &'static dyn Kernels {
    available()
        .filter(|kernels| kernels.reads(layout))
        .last()
        .unwrap_or(&Scalar)
}

/// The kernel set called `name`, if it exists and this CPU can run it.
pub fn named(name: &str) -> Option<&'static dyn Kernels> {
    available().find(|kernels| kernels.name() == name)
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn accelerated() -> [Option<&'static dyn Kernels>; 2] {
    let avx2 = super::x86_64::Avx2::detect().map(|set| set as &dyn Kernels);
    let avx512_vnni = super::x86_64::Avx512Vnni::detect().map(|set| set as &dyn Kernels);
    [avx2, avx512_vnni]
}

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
fn accelerated() -> [Option<&'static dyn Kernels>; 3] {
    use super::aarch64::{Dotprod, I8mm, Neon};
    [
        Neon::detect().map(|set| set as &dyn Kernels),
        Dotprod::detect().map(|set| set as &dyn Kernels),
        I8mm::detect().map(|set| set as &dyn Kernels),
    ]
}

/// What the program is compiled for, slowest first: see `build.rs`.
#[cfg(cortex_m_dsp)]
fn accelerated() -> [Option<&'static dyn Kernels>; 2] {
    let dsp: &'static dyn Kernels = super::cortex_m::Dsp::compiled_for();
    #[cfg(cortex_m_helium)]
    let helium = Some(super::cortex_m::Helium::compiled_for() as &dyn Kernels);
    #[cfg(not(cortex_m_helium))]
    let helium = None;
    [Some(dsp), helium]
}

#[cfg(not(any(
    all(target_arch = "x86_64", feature = "std"),
    all(target_arch = "aarch64", target_feature = "neon"),
    cortex_m_dsp
)))]
fn accelerated() -> [Option<&'static dyn Kernels>; 0] {
    []
}
