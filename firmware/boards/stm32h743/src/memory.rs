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
    set(&unit, 2, nor, READ_ONLY | CACHED | size(8 << 20));
    // SAFETY: Everything that the program uses stays accessible: the default map holds for the rest (PRIVDEFENA).
    unsafe { unit.ctrl.write(0b101) };
    asm::dsb();
    asm::isb();
    stm32::cache::enable();
}

fn set(unit: &MPU, number: u32, start: u32, attributes: u32) {
    // SAFETY: The unit is off.
    unsafe { unit.rnr.write(number) };
    // SAFETY: As above; `start` is a multiple of the region's size.
    unsafe { unit.rbar.write(start) };
    // SAFETY: As above.
    unsafe { unit.rasr.write(NEVER_EXECUTED | attributes) };
}
