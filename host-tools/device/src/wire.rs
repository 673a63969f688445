//! The line to a board: the socket and the input of an emulator, a socket, a serial port.

use serial2::SerialPort;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ChildStdin;
use std::time::Duration;

/// How often a read that waits comes back with nothing, so that a board that ended is noticed.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// Longer than the longest request takes on a slow line: a serial port that takes nothing for so long is broken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Tells an emulated board that a request is at its input, see `firmware/boards/mps/src/line.rs`.
const RING: u8 = 1;
/// Tells it that this side is there.
const ALIVE: u8 = 0;

/// The line to a board.
pub struct Wire {
    line: Line,
    /// Where requests to an emulated board go, which is told of each over the line.
    input: Option<ChildStdin>,
    /// Something was written since the last flush.
    asks: bool,
}

enum Line {
    Socket(TcpStream),
    Serial {
        port: SerialPort,
        /// Keeps other programs of this kind from the port.
        _held: Option<File>,
    },
}

impl Wire {
    /// A socket for both directions.
    pub(crate) fn of(socket: TcpStream) -> Self {
        Self {
            line: Line::Socket(socket),
            input: None,
            asks: false,
        }
    }

    /// An emulator, whose replies come over a socket.
    pub(crate) fn emulated(replies: TcpStream, input: ChildStdin) -> Self {
        Self {
            input: Some(input),
            ..Self::of(replies)
        }
    }

    /// A board that runs already, at a TCP address or at a serial port with `baud` bits a second.
    pub(crate) fn open(port: &str, baud: u32) -> std::io::Result<Self> {
        if is_address(port) {
            let socket = TcpStream::connect(port)?;
            configure(&socket)?;
            return Ok(Self::of(socket));
        }
        let mut serial = SerialPort::open(port, baud)?;
        let held = hold(&serial)?;
        serial.set_read_timeout(POLL)?;
        serial.set_write_timeout(WRITE_TIMEOUT)?;
        // What the board said to somebody else.
        serial.discard_input_buffer()?;
        Ok(Self {
            line: Line::Serial {
                port: serial,
                _held: held,
            },
            input: None,
            asks: false,
        })
    }
}

/// Whether a name is an address and a port, and no file or device.
pub(crate) fn is_address(port: &str) -> bool {
    let digits = port.rsplit_once(':').map(|(_, digits)| digits);
    digits.is_some_and(|digits| digits.parse::<u16>().is_ok()) && !Path::new(port).exists()
}

/// The serial ports of this machine, by name.
pub fn serial_ports() -> Vec<String> {
    // A system that cannot list them has none to suggest.
    let found = SerialPort::available_ports().unwrap_or_default();
    let mut names: Vec<String> = found
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.sort();
    names
}

/// Holds a port for this process; on Windows opening it has done so.
#[cfg(unix)]
fn hold(port: &SerialPort) -> std::io::Result<Option<File>> {
    let held = File::from(std::os::fd::OwnedFd::from(port.try_clone()?));
    match held.try_lock() {
        Ok(()) => Ok(Some(held)),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::ResourceBusy,
            "another program speaks with the board",
        )),
        // A device whose driver knows no locks.
        Err(std::fs::TryLockError::Error(_)) => Ok(None),
    }
}

#[cfg(not(unix))]
fn hold(_: &SerialPort) -> std::io::Result<Option<File>> {
    Ok(None)
}

/// Has reads come back with nothing now and then, and small requests go at once.
pub(crate) fn configure(socket: &TcpStream) -> std::io::Result<()> {
    // Some systems pass the listener's mode on.
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(POLL))
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.read(buffer),
            Self::Serial { port, .. } => port.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.write(bytes),
            Self::Serial { port, .. } => port.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Socket(socket) => socket.flush(),
            // The reply is waited for anyway; the port of an adapter that was pulled out would never be done.
            Self::Serial { .. } => Ok(()),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.line.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.asks = true;
        match &mut self.input {
            Some(input) => input.write(bytes),
            None => self.line.write(bytes),
        }
    }

    /// Ends a request; one of nothing says that this side is there.
    fn flush(&mut self) -> std::io::Result<()> {
        let asks = std::mem::take(&mut self.asks);
        match &mut self.input {
            Some(input) => {
                input.flush()?;
                self.line.write_all(&[if asks { RING } else { ALIVE }])
            }
            None => self.line.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_ends_in_a_port_and_is_no_file() {
        for address in ["127.0.0.1:7777", "[::1]:7777", "camera.local:1"] {
            assert!(is_address(address), "{address}");
        }
        for port in ["/dev/ttyACM0", "COM3", "camera", "camera:", "camera:70000"] {
            assert!(!is_address(port), "{port}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tty:7");
        std::fs::write(&file, "").unwrap();
        assert!(!is_address(&file.display().to_string()));
    }

    #[cfg(unix)]
    mod pairs {
        use super::*;
        use crate::{DeviceError, Options, RunningBoard};
        use pinhole_protocol::{Decoder, MAX_BODY_BYTES, NO_SEQUENCE, Reply, Status, body, encode};
        use std::convert::Infallible;

        /// A pseudo-terminal whose other end is a serial port of this machine.
        fn pair() -> (SerialPort, SerialPort, String) {
            let (near, far) = SerialPort::pair().unwrap();
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&far));
            let name = std::fs::read_link(link).unwrap();
            (near, far, name.display().to_string())
        }

        #[test]
        fn a_port_that_is_spoken_over_is_not_given_to_another() {
            let (_near, _far, name) = pair();
            let first = Wire::open(&name, 115_200).unwrap();
            let fault = Wire::open(&name, 115_200).err().unwrap();
            assert_eq!(fault.kind(), ErrorKind::ResourceBusy);
            drop(first);
            Wire::open(&name, 115_200).unwrap();
        }

        #[test]
        fn every_byte_value_passes_both_ways() {
            let (near, _far, name) = pair();
            let mut wire = Wire::open(&name, 921_600).unwrap();
            let all: Vec<u8> = (0..=255).collect();
            wire.write_all(&all).unwrap();
            let mut found = [0; 256];
            near.read_exact(&mut found).unwrap();
            assert_eq!(found[..], all);
            near.write_all(&all).unwrap();
            wire.read_exact(&mut found).unwrap();
            assert_eq!(found[..], all);
        }

        #[test]
        fn a_board_of_another_version_and_a_silent_one_are_told_apart() {
            let (near, _far, name) = pair();
            let quick = Options {
                timeout: Duration::from_millis(300),
                ..Options::default()
            };
            let fault = RunningBoard::connect(&name, &quick).err().unwrap();
            assert!(matches!(fault, DeviceError::Timeout { .. }), "{fault}");
            assert!(fault.to_string().contains("did not answer"), "{fault}");
            // It asked, and the request can be read.
            let mut decoder = Decoder::new();
            let mut asked = [0; 64];
            let count = near.read(&mut asked).unwrap();
            assert_eq!(decoder.take(&asked[..count]).1, Status::Complete);
            // What answers something else is no board of ours.
            let mut room = [0; MAX_BODY_BYTES];
            let reply = body(&Reply::Received(0), &mut room).unwrap();
            let answers = std::thread::spawn({
                let reply = reply.to_vec();
                move || {
                    let mut asked = [0; 64];
                    let mut decoder = Decoder::new();
                    let count = near.read(&mut asked).unwrap();
                    assert_eq!(decoder.take(&asked[..count]).1, Status::Complete);
                    assert_ne!(decoder.sequence(), NO_SEQUENCE);
                    let Ok(()) = encode::<Infallible>(decoder.sequence(), &reply, |part| {
                        near.write_all(part).unwrap();
                        Ok(())
                    });
                    near
                }
            });
            let fault = RunningBoard::connect(&name, &quick).err().unwrap();
            assert!(matches!(fault, DeviceError::Protocol { .. }), "{fault}");
            drop(answers.join().unwrap());
        }
    }
}
