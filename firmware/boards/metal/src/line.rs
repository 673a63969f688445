//! The line to the host: a UART that interrupts serve, and a lamp that is on while a request is answered.

use embedded_hal::digital::OutputPin;
use embedded_io::{ErrorType, Read, ReadReady, Write};

/// Both directions.
#[derive(Debug)]
pub(crate) struct Line<U, P> {
    uart: U,
    led: P,
}

impl<U, P> Line<U, P> {
    pub(crate) const fn new(uart: U, led: P) -> Self {
        Self { uart, led }
    }
}

impl<U: ErrorType, P> ErrorType for Line<U, P> {
    type Error = U::Error;
}

impl<U: ReadReady, P: OutputPin> ReadReady for Line<U, P> {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        let is_ready = self.uart.read_ready()?;
        if !is_ready {
            // A lamp that does not go out is no fault of the line.
            let _ = self.led.set_low();
        }
        Ok(is_ready)
    }
}

impl<U: Read, P: OutputPin> Read for Line<U, P> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let count = self.uart.read(buffer)?;
        let _ = self.led.set_high();
        Ok(count)
    }
}

impl<U: Write, P> Write for Line<U, P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.uart.write(bytes)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.uart.flush()
    }
}
