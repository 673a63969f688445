//! The line to the host: standard input and output, a host that is connected to, or a socket at which hosts come and go.
//!
//! A thread reads, since nothing else can say whether there is something to read without waiting for it. What a device says
//! while nobody is connected is lost, as on a serial line; a line that breaks is one that ended.

use crate::arguments::Arguments;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

/// Pieces of input that wait; a host that sends more is kept waiting by the line.
const PIECES: usize = 64;
/// How often a wait for a host looks whether one came.
const LOOK: Duration = Duration::from_millis(20);

/// Both directions of a host.
struct Host {
    input: Receiver<Vec<u8>>,
    output: Box<dyn io::Write>,
}

/// Where hosts come from.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// There is one host, and no other after it.
    Closed,
}

/// The line.
pub(crate) struct Line {
    host: Option<Host>,
    door: Door,
    pending: Vec<u8>,
    ended: bool,
}

/// The line that the arguments name.
pub(crate) fn open(arguments: &Arguments) -> Result<Line, String> {
    let (host, door) = if let Some(address) = &arguments.listen {
        let listener = TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|fault| format!("--listen {address}: {fault}"))?;
        (None, Door::Tcp(listener))
    } else if let Some(path) = &arguments.socket {
        // One that a process left, which nobody listens at.
        if UnixStream::connect(path).is_err() && path.exists() {
            let _ = std::fs::remove_file(path);
        }
        let listener = UnixListener::bind(path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|fault| format!("--socket {}: {fault}", path.display()))?;
        (None, Door::Unix(listener))
    } else if let Some(address) = &arguments.connect {
        let host = TcpStream::connect(address)
            .and_then(tcp)
            .map_err(|fault| format!("--connect {address}: {fault}"))?;
        (Some(host), Door::Closed)
    } else {
        let host = Host {
            input: reader(io::stdin()),
            output: Box::new(io::stdout()),
        };
        (Some(host), Door::Closed)
    };
    Ok(Line {
        host,
        door,
        pending: Vec::new(),
        ended: false,
    })
}

fn tcp(stream: TcpStream) -> io::Result<Host> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let input = reader(stream.try_clone()?);
    let output = Box::new(stream);
    Ok(Host { input, output })
}

fn unix(stream: UnixStream) -> io::Result<Host> {
    stream.set_nonblocking(false)?;
    let input = reader(stream.try_clone()?);
    let output = Box::new(stream);
    Ok(Host { input, output })
}

/// A thread that reads `input` to its end.
fn reader(mut input: impl io::Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(PIECES);
    thread::spawn(move || read_all(&mut input, &sender));
    receiver
}

fn read_all(input: &mut dyn io::Read, sender: &SyncSender<Vec<u8>>) {
    let mut bytes = [0; 4096];
    loop {
        match input.read(&mut bytes) {
            Err(fault) if is_pause(&fault) => {}
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether an input or output that somebody made non-blocking has to be tried again; waits a little where it does.
fn is_pause(fault: &io::Error) -> bool {
    let waits = fault.kind() == io::ErrorKind::WouldBlock;
    if waits {
        thread::sleep(Duration::from_millis(1));
    }
    waits || fault.kind() == io::ErrorKind::Interrupted
}

/// Writes all of `bytes`, however often the output wants to be tried again.
fn write_all(output: &mut dyn io::Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(fault) if is_pause(&fault) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn flush(output: &mut dyn io::Write) -> io::Result<()> {
    loop {
        match output.flush() {
            Err(fault) if is_pause(&fault) => {}
            done => return done,
        }
    }
}

impl Line {
    /// Lets a host in, when one waits.
    fn welcome(&mut self) {
        let host = match &self.door {
            Door::Tcp(listener) => listener.accept().and_then(|(stream, _)| tcp(stream)),
            Door::Unix(listener) => listener.accept().and_then(|(stream, _)| unix(stream)),
            Door::Closed => return,
        };
        // Nobody there, or somebody who has gone already.
        self.host = host.ok();
    }

    /// The host went; whether another may come.
    fn part(&mut self) {
        self.host = None;
        self.ended = matches!(self.door, Door::Closed);
    }

    /// Looks for input for `patience`; whether there is some, or the end of the line.
    fn look(&mut self, patience: Duration) -> bool {
        if !self.pending.is_empty() || self.ended {
            return true;
        }
        if self.host.is_none() {
            self.welcome();
        }
        let Some(host) = &self.host else {
            if !patience.is_zero() {
                thread::sleep(patience);
            }
            return false;
        };
        let came = match patience.is_zero() {
            true => host
                .input
                .try_recv()
                .map_err(|empty| empty == TryRecvError::Empty),
            false => host
                .input
                .recv_timeout(patience)
                .map_err(|empty| empty == RecvTimeoutError::Timeout),
        };
        match came {
            Ok(bytes) => self.pending = bytes,
            Err(true) => return false,
            Err(false) => self.part(),
        }
        !self.pending.is_empty() || self.ended
    }
}

impl ErrorType for Line {
    type Error = Infallible;
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.look(Duration::ZERO))
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        while !self.look(LOOK) {}
        let count = self.pending.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(count)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        if let Some(host) = &mut self.host
            && write_all(host.output.as_mut(), bytes).is_err()
        {
            self.part();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        if let Some(host) = &mut self.host
            && flush(host.output.as_mut()).is_err()
        {
            self.part();
        }
        Ok(())
    }
}
