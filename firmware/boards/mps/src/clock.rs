//! Time by SysTick (Armv7-M Architecture Reference Manual, B3.3), which counts cycles of the CPU clock.
//!
//! Without QEMU's `-icount` that is the time of the host. With `-icount shift=0` an instruction takes a nanosecond, so that a
//! tick is as many instructions as a cycle has nanoseconds: 40 at 25 MHz.

use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use pinhole_firmware::live::Clock;

unsafe extern "C" {
    /// The frequency of the CPU clock: `memory.x` gives it as an address.
    static __core_hz: u8;
}

/// Cycles of a turn of the counter.
const TURN: u32 = 1 << 24;
/// Turns since the start; 2³² of them are 90 years.
static TURNS: AtomicU32 = AtomicU32::new(0);

#[cortex_m_rt::exception]
fn SysTick() {
    TURNS.fetch_add(1, Ordering::Relaxed);
}

/// The running counter.
pub(crate) struct SysTickClock(());

impl SysTickClock {
    pub(crate) fn start(mut counter: SYST) -> Self {
        counter.set_clock_source(SystClkSource::Core);
        counter.set_reload(TURN - 1);
        counter.clear_current();
        counter.enable_interrupt();
        counter.enable_counter();
        Self(())
    }
}

/// Turns of the counter since the start.
pub(crate) fn turns() -> u32 {
    TURNS.load(Ordering::Relaxed)
}

/// The turns of so many seconds, rounded down.
pub(crate) fn turns_of(seconds: u32) -> u32 {
    (u64::from(seconds) * u64::from(hertz()) / u64::from(TURN)) as u32
}

fn hertz() -> u32 {
    (&raw const __core_hz).addr() as u32
}

impl Clock for SysTickClock {
    fn ticks(&mut self) -> u64 {
        loop {
            let turns = turns();
            let down = SYST::get_current();
            // A turn that ended in between was counted by its exception.
            if turns == self::turns() {
                return u64::from(turns) * u64::from(TURN) + u64::from(TURN - 1 - down);
            }
        }
    }

    fn ticks_per_second(&self) -> u32 {
        hertz()
    }
}
