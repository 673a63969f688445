//! Pinhole on an emulated Cortex-M55, the Arm MPS3 AN547 of QEMU, see `docs/boards/qemu-an547.md`. Addresses are in `memory.x`, everything else is in `mps`.
#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    mps::run(env!("CARGO_PKG_NAME"))
}
