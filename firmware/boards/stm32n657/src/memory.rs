//! The memories that are off after a reset: AXISRAM 3 to 6, clocked by the RCC and powered by the RAMCFG (RM0486, chapters
//! "Reset and clock control" and "RAMs configuration controller").

use core::ptr::with_exposed_provenance_mut;
use embassy_stm32::pac::{RAMCFG, RCC};

/// Registers of one memory behind those of the one before, and how many memories lie before AXISRAM 3.
const STRIDE: usize = 0x80;
const BEFORE: usize = 2;
const MEMORIES: usize = 4;
/// Bit of the control register that powers a memory down.
const SHUT_DOWN: u32 = 1 << 20;

/// Switches them on.
pub fn wake() {
    RCC.memenr().modify(|memories| {
        memories.set_axisram3en(true);
        memories.set_axisram4en(true);
        memories.set_axisram5en(true);
        memories.set_axisram6en(true);
    });
    RCC.ahb2enr().modify(|clocks| clocks.set_ramcfgen(true));
    // The read delays the program until the clock runs.
    let _ = RCC.ahb2enr().read();
    for memory in BEFORE..BEFORE + MEMORIES {
        let address = RAMCFG.as_ptr().addr() + memory * STRIDE;
        let control = with_exposed_provenance_mut::<u32>(address);
        // SAFETY: The control register of this memory, which is clocked now; nothing else uses the controller.
        let value = unsafe { control.read_volatile() };
        // SAFETY: As above; the memory holds nothing yet that could be lost.
        unsafe { control.write_volatile(value & !SHUT_DOWN) };
    }
}
