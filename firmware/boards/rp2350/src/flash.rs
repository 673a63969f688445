//! The QSPI flash behind the program, for the storage: erased and programmed by functions of the boot ROM while the program
//! waits in RAM, read in place through the XIP cache, which those functions empty (RP2350 Datasheet, 5.4.8.9).
//!
//! Interrupts wait meanwhile, 45 ms and more for a sector: the host sends nothing before it has the answer to what it sent.

use core::ptr::with_exposed_provenance;
use core::slice;
use embassy_rp::Peri;
use embassy_rp::flash::{Blocking, ERASE_SIZE, Error, Flash, WRITE_SIZE};
use embassy_rp::peripherals::FLASH;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use pinhole_firmware::storage::MappedFlash;

/// The flash of a Pico 2.
const CHIP_BYTES: usize = 4 << 20;
/// Where the CPU sees it.
const XIP_BASE: usize = 0x1000_0000;

unsafe extern "C" {
    static __nor_start: u8;
    static __nor_bytes: u8;
}

/// The region `NOR` of `memory.x`.
pub struct Slots {
    chip: Flash<'static, FLASH, Blocking, CHIP_BYTES>,
    address: usize,
    bytes: usize,
}

impl Slots {
    pub fn new(flash: Peri<'static, FLASH>) -> Self {
        Self {
            chip: Flash::new_blocking(flash),
            address: (&raw const __nor_start).addr(),
            bytes: (&raw const __nor_bytes).addr(),
        }
    }

    /// Where an offset of this flash is in the chip; beyond its end where this flash ends before, so that the driver refuses it.
    fn place(&self, offset: u32, bytes: usize) -> u32 {
        let end = (offset as usize).saturating_add(bytes);
        match end <= self.bytes {
            true => (self.address - XIP_BASE) as u32 + offset,
            false => u32::MAX / ERASE_SIZE as u32 * ERASE_SIZE as u32,
        }
    }
}

impl ErrorType for Slots {
    type Error = Error;
}

impl ReadNorFlash for Slots {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        let place = self.place(offset, bytes.len());
        self.chip.blocking_read(place, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl NorFlash for Slots {
    const WRITE_SIZE: usize = WRITE_SIZE;
    const ERASE_SIZE: usize = ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        if from > to || to as usize > self.bytes {
            return Err(Error::OutOfBounds);
        }
        let (from, to) = (self.place(from, 0), self.place(to, 0));
        self.chip.blocking_erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let place = self.place(offset, bytes.len());
        self.chip.blocking_write(place, bytes)
    }
}

impl MappedFlash for Slots {
    fn mapped(&self) -> &[u8] {
        // SAFETY: `memory.x` sets NOR apart in the mapped flash: readable memory that only this value changes, by methods that
        // borrow it mutably while this slice borrows it.
        unsafe { slice::from_raw_parts(with_exposed_provenance(self.address), self.bytes) }
    }
}
