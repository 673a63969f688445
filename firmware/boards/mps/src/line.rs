//! The line to the host: requests come by semihosting from the standard input of QEMU, replies go over UART 0.
//!
//! The UART could take requests too, but QEMU hands it one byte per turn of its event loop, some ten kilobytes a second,
//! where semihosting reads whatever is there at once. The emulator waits while there is nothing to read, and ends when the
//! input does: no board outlives its host.

use crate::uart::Uart;
use embedded_io::{ErrorType, Read, Write};
use semihosting::io::{Read as _, Stdin};

/// Both directions.
pub(crate) struct Line {
    requests: Stdin,
    replies: Uart,
}

/// The input could not be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputFault;

impl core::fmt::Display for InputFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the standard input of the emulator cannot be read")
    }
}

impl core::error::Error for InputFault {}

impl embedded_io::Error for InputFault {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::Other
    }
}

impl Line {
    /// Opens the input.
    pub(crate) fn open(replies: Uart) -> Result<Self, InputFault> {
        let requests = semihosting::io::stdin().map_err(|_| InputFault)?;
        Ok(Self { requests, replies })
    }
}

impl ErrorType for Line {
    type Error = InputFault;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, InputFault> {
        self.requests.read(buffer).map_err(|_| InputFault)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, InputFault> {
        let Ok(count) = self.replies.write(bytes);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), InputFault> {
        let Ok(()) = self.replies.flush();
        Ok(())
    }
}
