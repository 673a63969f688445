//! Instructions of one call of a kernel, as QEMU counts them.
//!
//! With `-icount shift=0` every instruction takes one nanosecond of the emulated time, and SysTick, clocked by the CPU,
//! counts that time in ticks of 40 ns (MPS2) or 31.25 ns (MPS3). A loop of known length, which is printed first, tells
//! how many instructions a tick is and that the count is linear.

use core::arch::asm;

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use half::f16;
use pinhole_runtime::kernel;

use crate::float_layers;
use crate::layers::LAYERS;
use crate::operations::{OPERATIONS, Operands};

/// Largest reload value of SysTick.
pub(crate) const RELOAD: u32 = 0x00FF_FFFF;

/// Prints `TYPE SET INDEX TICKS` for every set and layer over `s8`, `f32` and `f16`; the host divides.
pub(crate) fn count() {
    calibrate();
    for (index, layer) in LAYERS.iter().enumerate() {
        let mut operands = layer.operands();
        for set in kernel::available() {
            if set.name() == "scalar" && layer.macs() > 3_000_000 {
                continue;
            }
            let ticks = ticks(|| operands.run(layer, set));
            println!("s8 {} {index} {ticks}", set.name());
        }
    }
    let mut operands = Operands::new();
    for (index, operation) in (LAYERS.len()..).zip(OPERATIONS) {
        for set in kernel::available() {
            let ticks = ticks(|| operands.run(operation, set));
            println!("s8 {} {index} {ticks}", set.name());
        }
    }
    float_layers::count::<f32>();
    float_layers::count::<f16>();
}

/// Starts the clock and prints `loop INSTRUCTIONS TICKS` twice.
pub(crate) fn calibrate() {
    let Some(mut peripherals) = Peripherals::take() else {
        return;
    };
    peripherals.SYST.set_clock_source(SystClkSource::Core);
    peripherals.SYST.set_reload(RELOAD);
    peripherals.SYST.clear_current();
    peripherals.SYST.enable_counter();
    for turns in [500_000, 2_000_000] {
        let ticks = ticks(|| two_instructions_a_turn(turns));
        println!("loop {} {ticks}", 2 * turns);
    }
}

/// Ticks that `work` takes, below 2²⁴ of them.
pub(crate) fn ticks(work: impl FnOnce()) -> u32 {
    let start = SYST::get_current();
    work();
    start.wrapping_sub(SYST::get_current()) & RELOAD
}

fn two_instructions_a_turn(turns: u32) {
    // SAFETY: Counts a register down to zero, nothing else.
    unsafe {
        asm!(
            "2: subs {turns}, {turns}, #1",
            "bne 2b",
            turns = inout(reg) turns => _,
            options(nomem, nostack)
        )
    };
}
