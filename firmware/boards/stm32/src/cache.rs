//! The caches of the Cortex-M7 and M55: flash that is read in place is read through them, and what changed behind them has to be
//! forgotten.

use cortex_m::Peripherals;

/// Switches both caches on.
pub fn enable() {
    // SAFETY: A board calls it once, before anything else uses these registers; the HAL does not.
    let mut core = unsafe { Peripherals::steal() };
    core.SCB.enable_icache();
    core.SCB.enable_dcache(&mut core.CPUID);
}

/// Writes back what was written and forgets everything, so that the flash is read anew.
pub fn forget() {
    // SAFETY: The registers of the maintenance of caches are write-only commands; they keep no state that another could hold.
    let mut core = unsafe { Peripherals::steal() };
    core.SCB.clean_invalidate_dcache(&mut core.CPUID);
}
