//! The QSPI controller for the driver of the flash: changes over one lane, reading in place over four.

use crate::memory::open_window;
use core::ptr::with_exposed_provenance;
use core::slice;
use embassy_stm32::mode::Blocking;
use embassy_stm32::pac::QUADSPI;
use embassy_stm32::peripherals;
use embassy_stm32::qspi::enums::{DummyCycles, QspiWidth};
use embassy_stm32::qspi::{Qspi, TransferConfig};
use parts::serial_nor::Controller;

/// Read with address and data over four lanes (W25Q64JV, 8.2.11): 2 clocks of mode bits and 4 of waiting.
const FAST_READ_QUAD: u8 = 0xeb;

unsafe extern "C" {
    static __nor_start: u8;
    static __nor_bytes: u8;
}

/// The controller, set up by the board with addresses of 24 bits.
pub struct Quad(pub Qspi<'static, peripherals::QUADSPI, Blocking>);

fn single(instruction: u8) -> TransferConfig {
    TransferConfig {
        iwidth: QspiWidth::SING,
        instruction,
        ..Default::default()
    }
}

impl Controller for Quad {
    fn command(&mut self, instruction: u8) {
        self.0.blocking_command(single(instruction));
    }

    fn read_register(&mut self, instruction: u8, bytes: &mut [u8]) {
        let transfer = TransferConfig {
            dwidth: QspiWidth::SING,
            ..single(instruction)
        };
        self.0.blocking_read(bytes, transfer);
    }

    fn write_register(&mut self, instruction: u8, bytes: &[u8]) {
        let transfer = TransferConfig {
            dwidth: QspiWidth::SING,
            ..single(instruction)
        };
        self.0.blocking_write(bytes, transfer);
    }

    fn command_at(&mut self, instruction: u8, address: u32, bytes: &[u8]) {
        let transfer = TransferConfig {
            awidth: QspiWidth::SING,
            address: Some(address),
            ..single(instruction)
        };
        match bytes.is_empty() {
            true => self.0.blocking_command(transfer),
            false => self.0.blocking_write(
                bytes,
                TransferConfig {
                    dwidth: QspiWidth::SING,
                    ..transfer
                },
            ),
        }
    }

    fn map(&mut self) {
        self.0.enable_memory_map(&TransferConfig {
            iwidth: QspiWidth::SING,
            awidth: QspiWidth::QUAD,
            dwidth: QspiWidth::QUAD,
            instruction: FAST_READ_QUAD,
            address: None,
            dummy: DummyCycles::_6,
        });
        stm32::cache::forget();
        open_window(true);
    }

    fn unmap(&mut self) {
        open_window(false);
        // A mapped controller is busy until it is told to abort (RM0433, 23.3.8).
        QUADSPI.cr().modify(|control| control.set_abort(true));
        while QUADSPI.cr().read().abort() {}
        while QUADSPI.sr().read().busy() {}
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
