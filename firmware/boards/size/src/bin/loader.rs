//! The loader and the interpreter.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use size as _;

#[entry]
fn main() -> ! {
    size::run(&size::Nothing);
    loop {
        cortex_m::asm::wfi();
    }
}
