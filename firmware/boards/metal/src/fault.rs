//! Panics and faults: logged to the probe, then the chip is reset.

use cortex_m::asm;
use cortex_m::peripheral::SCB;

/// Cycles for which a probe may read the last of the log: a tenth of a second or more, whatever the clock.
const LOG_CYCLES: u32 = 50_000_000;

fn restart() -> ! {
    asm::delay(LOG_CYCLES);
    SCB::sys_reset()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    restart()
}

/// A panic of the log itself cannot be logged twice.
#[defmt::panic_handler]
fn defmt_panic() -> ! {
    restart()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    defmt::error!(
        "hard fault at {=u32:#010x}, called from {=u32:#010x}",
        frame.pc(),
        frame.lr()
    );
    restart()
}
