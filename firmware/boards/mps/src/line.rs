//! The line to the host: requests come by semihosting from the standard input of QEMU, replies go over UART 0.
//!
//! The UART could take requests too, but QEMU hands it one byte per turn of its event loop, some ten kilobytes a second,
//! where semihosting reads whatever is there at once. The emulator waits while there is nothing to read, and ends when the
//! input does: no board outlives its host.
//!
//! Semihosting cannot ask whether there is something to read. So the host rings: one byte over the UART for each request,
//! [`RING`], and another one now and then while it only listens. A board that heard neither for [`SILENCE_SECONDS`]
//! looks at the input, where it finds the end of a host that is gone, and otherwise waits for it.

use crate::clock::{turns, turns_of};
use crate::uart::Uart;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use semihosting::io::{Read as _, Stdin};

/// A request was written to the input.
const RING: u8 = 1;
/// How long a board takes frames for a host that says nothing.
const SILENCE_SECONDS: u32 = 30;
/// Looks at the UART after a byte: the next one comes with a turn of QEMU's event loop.
const LOOKS: u32 = 2000;

/// Both directions.
pub(crate) struct Line {
    requests: Stdin,
    replies: Uart,
    /// Rings that were heard, less requests that were taken: the UART may be late.
    waiting: i32,
    /// The last byte taken ended a request, or none was taken yet.
    between: bool,
    /// When the host was heard last.
    heard: u32,
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
        Ok(Self {
            requests,
            replies,
            waiting: 0,
            between: true,
            heard: turns(),
        })
    }

    /// Takes the rings that are there.
    fn listen(&mut self) {
        let mut looks = 0;
        while looks < LOOKS {
            match self.replies.take_byte() {
                Some(byte) => {
                    self.waiting += i32::from(byte == RING);
                    self.heard = turns();
                    looks = 1;
                }
                // Nothing came before, and so nothing is to follow at once.
                None if looks == 0 => return,
                None => looks += 1,
            }
        }
    }

    /// Counts the requests that end in `bytes`: a zero ends one, more zeros none.
    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let ends = *byte == 0;
            self.waiting -= i32::from(ends && !self.between);
            self.between = ends;
        }
    }
}

impl ErrorType for Line {
    type Error = InputFault;
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, InputFault> {
        let count = self.requests.read(buffer).map_err(|_| InputFault)?;
        self.count(buffer.get(..count).unwrap_or_default());
        self.listen();
        self.heard = turns();
        Ok(count)
    }
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, InputFault> {
        self.listen();
        let is_silent = turns().wrapping_sub(self.heard) > turns_of(SILENCE_SECONDS);
        Ok(self.waiting > 0 || is_silent)
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
