//! What of the memory is cached and may be read ahead (ARMv7-M Architecture Reference Manual, B3.5 "Protected Memory System
//! Architecture"; Arm AN4838 of ST).

use cortex_m::Peripherals;
use cortex_m::asm;
use cortex_m::peripheral::MPU;

unsafe extern "C" {
    static __nor_start: u8;
    static __bands_start: u8;
}

/// Region enabled, of 2^(SIZE + 1) bytes.
const fn size(bytes: u32) -> u32 {
    (bytes.ilog2() - 1) << 1 | 1
}

const NEVER_EXECUTED: u32 = 1 << 28;
const NO_ACCESS: u32 = 0;
const READ_ONLY: u32 = 0b110 << 24;
const READ_WRITE: u32 = 0b011 << 24;
/// Normal memory that is not cached: TEX 1, C 0, B 0.
const UNCACHED: u32 = 1 << 19;
/// Normal memory, written through: TEX 0, C 1, B 0.
const CACHED: u32 = 1 << 17;

/// Sets the regions, and switches the caches on.
pub fn protect() {
    // SAFETY: `main` calls it once, before anything uses the unit; the HAL does not.
    let core = unsafe { Peripherals::steal() };
    let unit: MPU = core.MPU;
    let bands = (&raw const __bands_start).addr() as u32;
    let nor = (&raw const __nor_start).addr() as u32;
    // DMA writes there. Of the memory behind the QSPI controller the CPU would read ahead, which hangs where there is no flash.
    set(&unit, 0, bands, READ_WRITE | UNCACHED | size(64 << 10));
    set(&unit, 1, nor, NO_ACCESS | size(256 << 20));
    open_window(false);
    // SAFETY: Everything that the program uses stays accessible: the default map holds for the rest (PRIVDEFENA).
    unsafe { unit.ctrl.write(0b101) };
    asm::dsb();
    asm::isb();
    stm32::cache::enable();
}

/// Lets the CPU at the QSPI flash, while its controller maps it: at other times reading ahead would disturb the controller.
pub fn open_window(is_open: bool) {
    // SAFETY: The program has one thread, and no interrupt touches the unit.
    let core = unsafe { Peripherals::steal() };
    let nor = (&raw const __nor_start).addr() as u32;
    let access = if is_open { READ_ONLY } else { NO_ACCESS };
    // The window is not used while it changes, and of two regions the one with the higher number holds.
    set(&core.MPU, 2, nor, access | CACHED | size(8 << 20));
    asm::dsb();
    asm::isb();
}

fn set(unit: &MPU, number: u32, start: u32, attributes: u32) {
    // SAFETY: The unit is off, or the region is not in use.
    unsafe { unit.rnr.write(number) };
    // SAFETY: As above; `start` is a multiple of the region's size.
    unsafe { unit.rbar.write(start) };
    // SAFETY: As above.
    unsafe { unit.rasr.write(NEVER_EXECUTED | attributes) };
}
