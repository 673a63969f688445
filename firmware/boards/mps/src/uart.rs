//! The CMSDK APB UART (Arm DDI 0479, chapter 4.3), on which the board answers and hears the bell of requests.
//!
//! It is the same on all three boards, at another address. It has no queue: one byte at a time. QEMU takes what is written at once, and so there is nothing to wait for long.

use core::convert::Infallible;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use embedded_io::{ErrorType, Write};

unsafe extern "C" {
    /// The registers of UART 0: `memory.x` gives the address.
    static __uart0: u8;
}

const DATA: usize = 0;
const STATE: usize = 1;
const CTRL: usize = 2;
const BAUDDIV: usize = 4;

const STATE_TX_FULL: u32 = 1 << 0;
const STATE_RX_FULL: u32 = 1 << 1;
const CTRL_TX_ENABLE: u32 = 1 << 0;
const CTRL_RX_ENABLE: u32 = 1 << 1;

/// The smallest divider that the device takes; an emulated line has no other speed.
const SMALLEST_DIVIDER: u32 = 16;

/// The UART, enabled.
pub struct Uart {
    registers: NonNull<u32>,
}

/// The UART, once.
pub(crate) fn take() -> Option<Uart> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    let uart0 = (&raw const __uart0).addr();
    let mut uart = Uart {
        registers: NonNull::new(core::ptr::with_exposed_provenance_mut(uart0))?,
    };
    uart.write_register(BAUDDIV, SMALLEST_DIVIDER);
    uart.write_register(CTRL, CTRL_TX_ENABLE | CTRL_RX_ENABLE);
    Some(uart)
}

impl Uart {
    /// `index` is one of the constants above.
    fn read_register(&self, index: usize) -> u32 {
        // SAFETY: The registers of UART 0 are the words from `__uart0` on, see DDI 0479 table 4-4; `index` is within them.
        let register = unsafe { self.registers.add(index) };
        // SAFETY: A register of a device that `take` gave to this value alone.
        unsafe { register.read_volatile() }
    }

    fn write_register(&mut self, index: usize, value: u32) {
        // SAFETY: As in `read_register`.
        let register = unsafe { self.registers.add(index) };
        // SAFETY: As in `read_register`; a write changes nothing but this device.
        unsafe { register.write_volatile(value) }
    }

    /// A byte that came.
    pub(crate) fn take_byte(&mut self) -> Option<u8> {
        let came = self.read_register(STATE) & STATE_RX_FULL != 0;
        came.then(|| self.read_register(DATA) as u8)
    }

    fn is_full(&self) -> bool {
        self.read_register(STATE) & STATE_TX_FULL != 0
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while self.is_full() {}
            self.write_register(DATA, byte.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while self.is_full() {}
        Ok(())
    }
}
