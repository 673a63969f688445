//! Nothing but the start of a program.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use size as _;

#[entry]
fn main() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
