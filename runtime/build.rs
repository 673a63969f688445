//! Tells the source which kernel sets of the Cortex-M the compiled program may use: `cfg(cortex_m_dsp)`, `cfg(cortex_m_helium)`;
//! and whether it has a scalar FPU: `cfg(cortex_m_fpu)`.
//!
//! The stable compiler shows neither extension in `cfg`. A program for a microcontroller is compiled for one CPU, so what the
//! compiler was told about the CPU is what the program can rely on: the target, and `-C target-cpu` among its flags.

/// Cores with the DSP extension, on targets that do not imply it.
const DSP: [&str; 5] = [
    "cortex-m33",
    "cortex-m35p",
    "cortex-m52",
    "cortex-m55",
    "cortex-m85",
];
/// Cores with Helium (MVE), integer and float.
const HELIUM: [&str; 3] = ["cortex-m52", "cortex-m55", "cortex-m85"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(cortex_m_dsp, cortex_m_fpu, cortex_m_helium)");
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let target = std::env::var("TARGET").unwrap_or_default();
    if !target.starts_with("thumbv7em") && !target.starts_with("thumbv8m.main") {
        return;
    }
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    // `-C target-cpu=x` comes as one flag or as two; the last one counts.
    let cpu = flags
        .split('\u{1f}')
        .filter_map(|flag| flag.trim_start_matches("-C").strip_prefix("target-cpu="))
        .next_back()
        .unwrap_or_default();
    if target.starts_with("thumbv7em") || DSP.contains(&cpu) {
        println!("cargo::rustc-cfg=cortex_m_dsp");
        // Single precision and conversions of halves at least: what the floating-point ABI of these targets stands for.
        if target.ends_with("eabihf") {
            println!("cargo::rustc-cfg=cortex_m_fpu");
        }
    }
    // Without a floating-point ABI the vector registers may be off.
    if target.ends_with("eabihf") && HELIUM.contains(&cpu) {
        println!("cargo::rustc-cfg=cortex_m_helium");
    }
}
