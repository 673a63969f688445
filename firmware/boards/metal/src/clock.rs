//! The time of a board: that of the HAL's driver of `embassy-time`; and a tick that ends a sleep.

use cortex_m::peripheral::syst::SystClkSource;
use embassy_time::{Instant, TICK_HZ};
use pinhole_firmware::live::Clock;

/// Ticks of the core's timer in a second: a sleep ends after 5 ms at most.
const WAKES_HZ: u32 = 200;

/// The clock.
pub(crate) struct Ticks(());

impl Ticks {
    /// Starts the tick.
    pub(crate) fn start(cpu_hz: u32) -> Self {
        // SAFETY: Nothing else in these programs uses the core's timer: the HALs have timers of their own.
        let core = unsafe { cortex_m::Peripherals::steal() };
        let mut timer = core.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(cpu_hz / WAKES_HZ);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        Self(())
    }
}

#[cortex_m_rt::exception]
fn SysTick() {}

impl Clock for Ticks {
    fn ticks(&mut self) -> u64 {
        Instant::now().as_ticks()
    }

    fn ticks_per_second(&self) -> u32 {
        TICK_HZ as u32
    }

    fn pause(&mut self) {
        cortex_m::asm::wfi();
    }
}
