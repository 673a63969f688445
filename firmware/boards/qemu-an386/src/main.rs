//! Pinhole on an emulated Cortex-M4, the Arm MPS2 AN386 of QEMU, see `docs/boards/qemu-an386.md`. Addresses are in `memory.x`, everything else is in `mps`.
#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    mps::run(env!("CARGO_PKG_NAME"))
}
