//! The loader, the interpreter and the integer kernels.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use size as _;

#[entry]
fn main() -> ! {
    size::run(&size::Int8);
    loop {
        cortex_m::asm::wfi();
    }
}
