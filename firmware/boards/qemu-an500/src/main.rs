//! Pinhole on an emulated Cortex-M7, the Arm MPS2 AN500 of QEMU, see `docs/boards/qemu-an500.md`. Addresses are in `memory.x`, everything else is in `mps`.
#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    mps::run(env!("CARGO_PKG_NAME"))
}
