//! A board under QEMU: its standard input carries requests in, its UART on a loopback socket carries replies out, and its
//! standard output the log. See `docs/boards/qemu-an547.md` for why requests do not go over the UART.

use crate::board::emulator_available;
use crate::logs::LogReader;
use crate::{BoardInfo, BoardResult, BoardSpec, DeviceError, Link, Partition, RgbRows};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the emulator may take to connect its serial line.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a wait looks whether the emulator still lives.
const POLL: Duration = Duration::from_millis(50);

/// How to run a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Write the board's log to standard error as it comes.
    pub show_log: bool,
}

impl Default for Options {
    /// Three minutes, for an emulator on a busy machine.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(180),
            show_log: false,
        }
    }
}

/// A running board. Dropping it ends the emulator.
pub struct EmulatedBoard {
    link: Link<Wire>,
    info: BoardInfo,
    process: Process,
}

impl EmulatedBoard {
    /// Starts the firmware with a model and a bank in their partitions, and waits until it answers.
    ///
    /// # Errors
    /// When the emulator is missing, a file is missing or too large, or the board refuses the model or the bank.
    pub fn start(
        board: &BoardSpec,
        firmware: &Path,
        model: &Path,
        bank: &Path,
        options: &Options,
    ) -> Result<Self, DeviceError> {
        emulator_available(board)?;
        if !firmware.is_file() {
            return Err(DeviceError::File {
                what: "firmware",
                path: firmware.into(),
                source: ErrorKind::NotFound.into(),
            });
        }
        let model = image(board, "model", model, board.model)?;
        let bank = image(board, "class bank", bank, board.bank)?;
        let start_failed = |reason: String| DeviceError::Start {
            emulator: board.emulator,
            reason,
        };
        let (listener, port) = listen()?;
        let mut child = Command::new(board.emulator)
            .args(["-machine", board.machine, "-no-reboot"])
            .args(["-display", "none", "-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .arg("-chardev")
            .arg(format!("socket,id=uart,host=127.0.0.1,port={port}"))
            .args(["-serial", "chardev:uart"])
            .arg("-kernel")
            .arg(firmware)
            .args(["-device", &model, "-device", &bank])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| start_failed(error.to_string()))?;
        let requests = child.stdin.take();
        let log = LogReader::open(firmware);
        let mut process = Process::new(child, log, options.show_log);
        let replies = accept(&listener, &mut process).map_err(|error| match error {
            DeviceError::Stopped { reason } => start_failed(reason),
            other => other,
        })?;
        let requests = requests.ok_or_else(|| start_failed("it has no input".into()))?;
        let stream = Wire { requests, replies };
        let mut link = Link::new(stream, options.timeout);
        let info = link.hello().map_err(|error| process.explain(error))?;
        Ok(Self {
            link,
            info,
            process,
        })
    }

    /// What the board said when it was started.
    pub fn info(&self) -> &BoardInfo {
        &self.info
    }

    /// Sends a picture and returns what the board says about it, with its five best classes.
    ///
    /// # Errors
    /// When the board refuses the picture, stops or does not answer.
    pub fn classify(&mut self, picture: &RgbRows<'_>) -> Result<BoardResult, DeviceError> {
        self.classify_top(picture, 5)
    }

    /// As [`EmulatedBoard::classify`] with the `top` best classes, at most 8.
    ///
    /// # Errors
    /// As [`EmulatedBoard::classify`].
    pub fn classify_top(
        &mut self,
        picture: &RgbRows<'_>,
        top: usize,
    ) -> Result<BoardResult, DeviceError> {
        self.link
            .classify(picture, top)
            .map_err(|error| self.process.explain(error))
    }
}

/// The argument that puts a file into a partition.
fn image(
    board: &BoardSpec,
    what: &'static str,
    path: &Path,
    partition: Partition,
) -> Result<String, DeviceError> {
    let unreadable = |source| DeviceError::File {
        what,
        path: path.into(),
        source,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(std::io::Error::other("not a regular file")));
    }
    if metadata.len() > u64::from(partition.bytes) {
        return Err(DeviceError::TooLarge {
            what,
            path: path.into(),
            board: board.name,
            limit: partition.bytes.into(),
            found: metadata.len(),
        });
    }
    let path: PathBuf = std::path::absolute(path).map_err(unreadable)?;
    // QEMU separates options by commas, and takes two for one.
    let path = path.display().to_string().replace(',', ",,");
    Ok(format!(
        "loader,file={path},addr={:#x},force-raw=on",
        partition.address
    ))
}

/// Waits until the emulator connects its serial line.
fn accept(listener: &TcpListener, process: &mut Process) -> Result<TcpStream, DeviceError> {
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                return configure(&stream)
                    .map(|()| stream)
                    .map_err(DeviceError::Line);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(DeviceError::Line(error)),
        }
        if let Some(reason) = process.ended() {
            return Err(DeviceError::Stopped { reason });
        }
        if start.elapsed() > CONNECT_TIMEOUT {
            return Err(DeviceError::Timeout {
                request: "start",
                after: CONNECT_TIMEOUT,
            });
        }
        thread::sleep(POLL / 5);
    }
}

/// A port of this machine alone, which the emulator connects to.
fn listen() -> Result<(TcpListener, u16), DeviceError> {
    let open = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    open().map_err(DeviceError::Line)
}

fn configure(stream: &TcpStream) -> std::io::Result<()> {
    // Some systems pass the listener's mode on.
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(POLL))
}

/// The line to the board.
struct Wire {
    requests: ChildStdin,
    replies: TcpStream,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.replies.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.requests.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.requests.flush()
    }
}

/// The emulator's process and the threads that read what it prints.
struct Process {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    last_words: LastWords,
}

/// The last lines of the board's log and of the emulator's own messages.
#[derive(Clone, Default)]
struct LastWords(Arc<Mutex<Vec<String>>>);

impl LastWords {
    const LINES: usize = 4;

    fn push(&self, line: String) {
        // A reader that panicked leaves sound lines.
        let mut lines = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        if lines.len() == Self::LINES {
            lines.remove(0);
        }
        lines.push(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        lines.join("; ")
    }
}

impl Process {
    fn new(mut child: Child, log: LogReader, show: bool) -> Self {
        let last_words = LastWords::default();
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let words = last_words.clone();
            readers.push(thread::spawn(move || follow_log(stdout, log, show, &words)));
        }
        if let Some(stderr) = child.stderr.take() {
            let words = last_words.clone();
            readers.push(thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    words.push(line);
                }
            }));
        }
        Self {
            child,
            readers,
            last_words,
        }
    }

    /// Why it ended, when it has.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        for reader in self.readers.drain(..) {
            // A reader that panicked has no more to say.
            let _ = reader.join();
        }
        let words = self.last_words.text();
        Some(if words.is_empty() {
            status.to_string()
        } else {
            format!("{words} ({status})")
        })
    }

    /// Gives a broken line its cause, when the emulator ended.
    fn explain(&mut self, error: DeviceError) -> DeviceError {
        if !matches!(error, DeviceError::Line(_) | DeviceError::Timeout { .. }) {
            return error;
        }
        // The line breaks a moment before the process is gone.
        let start = Instant::now();
        while start.elapsed() < POLL * 10 {
            if let Some(reason) = self.ended() {
                return DeviceError::Stopped { reason };
            }
            thread::sleep(POLL / 5);
        }
        error
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Decodes the log until the emulator closes it.
fn follow_log(mut stdout: ChildStdout, mut log: LogReader, show: bool, words: &LastWords) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stdout.read(&mut bytes) {
        for line in log.take(&bytes[..count]) {
            if show {
                eprintln!("board: {line}");
            }
            words.push(line);
        }
    }
}
