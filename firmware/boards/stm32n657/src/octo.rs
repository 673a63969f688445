//! The XSPI controller for the driver of the flash: all over one lane, as the flash starts, with addresses of 32 bits.

use core::ptr::with_exposed_provenance;
use core::slice;
use embassy_stm32::mode::Blocking;
use embassy_stm32::peripherals::XSPI2;
use embassy_stm32::xspi::{AddressSize, DummyCycles, TransferConfig, Xspi, XspiWidth};
use parts::serial_nor::Controller;

/// Reads with 8 clocks of waiting, and programs: the mapping wants both, and nothing here writes through it.
const FAST_READ: u32 = 0x0c;
const PAGE_PROGRAM: u32 = 0x12;
/// Where the CPU sees the flash.
const MAP: usize = 0x7000_0000;

unsafe extern "C" {
    static __nor_start: u8;
    static __nor_bytes: u8;
}

/// The controller, set up by the board. Its offsets begin at the region `NOR` of `memory.x`.
pub struct Octo(pub Xspi<'static, XSPI2, Blocking>);

fn single(instruction: u32) -> TransferConfig {
    TransferConfig {
        iwidth: XspiWidth::SING,
        isize: AddressSize::_8bit,
        instruction: Some(instruction),
        ..Default::default()
    }
}

fn with_address(instruction: u32, address: Option<u32>) -> TransferConfig {
    TransferConfig {
        adwidth: XspiWidth::SING,
        adsize: AddressSize::_32bit,
        address,
        ..single(instruction)
    }
}

fn with_data(transfer: TransferConfig) -> TransferConfig {
    TransferConfig {
        dwidth: XspiWidth::SING,
        ..transfer
    }
}

impl Controller for Octo {
    // The HAL refuses transfers without instruction or data alone, and the driver sends none: what comes back is `Ok`. Were a
    // transfer refused, the status that the driver reads next would say that nothing happened.
    fn command(&mut self, instruction: u8) {
        let _ = self.0.blocking_command(&single(instruction.into()));
    }

    fn read_register(&mut self, instruction: u8, bytes: &mut [u8]) {
        let _ = self
            .0
            .blocking_read(bytes, with_data(single(instruction.into())));
    }

    fn write_register(&mut self, instruction: u8, bytes: &[u8]) {
        let _ = self
            .0
            .blocking_write(bytes, with_data(single(instruction.into())));
    }

    fn command_at(&mut self, instruction: u8, address: u32, bytes: &[u8]) {
        let base = (&raw const __nor_start).addr() - MAP;
        let transfer = with_address(instruction.into(), Some(base as u32 + address));
        let _ = match bytes.is_empty() {
            true => self.0.blocking_command(&transfer),
            false => self.0.blocking_write(bytes, with_data(transfer)),
        };
    }

    fn map(&mut self) {
        let read = TransferConfig {
            dummy: DummyCycles::_8,
            ..with_data(with_address(FAST_READ, None))
        };
        let write = with_data(with_address(PAGE_PROGRAM, None));
        let _ = self.0.enable_memory_mapped_mode(read, write);
        stm32::cache::forget();
    }

    fn unmap(&mut self) {
        self.0.disable_memory_mapped_mode();
    }

    fn mapped(&self) -> &[u8] {
        let (start, bytes) = (
            (&raw const __nor_start).addr(),
            (&raw const __nor_bytes).addr(),
        );
        // SAFETY: `memory.x` gives the flash's place and length; the driver maps it whenever it lends this slice, and changes it
        // only while it borrows this value mutably.
        unsafe { slice::from_raw_parts(with_exposed_provenance(start), bytes) }
    }
}
