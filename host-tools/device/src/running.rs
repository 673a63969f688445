//! A board under QEMU: its standard input carries requests in, its UART on a loopback socket carries replies out, and its
//! standard output the log; its flash is a file. See `docs/boards/emulated.md` for why requests do not go over the UART.
//!
//! A board that is a process connects to the socket itself, for both directions, and logs to its standard error.

use crate::board::emulator_available;
use crate::cpu::{Folder, escaped};
use crate::flash::{FlashFile, check_arena, image};
use crate::logs::LogReader;
use crate::wire::{POLL, Wire, configure};
use crate::{BoardSpec, DeviceError, Link, Options};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the emulator may take to connect its serial line, and a board that runs to answer for the first time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A board that runs, whether or not it has a sound model and bank. Dropping it ends it.
pub struct RunningBoard {
    link: Link<Wire>,
    /// None for a board that somebody else started.
    process: Option<Process>,
    // The last one: another board may use it when the emulator has ended.
    _flash: Option<FlashFile>,
}

impl RunningBoard {
    /// Starts the firmware, with a model and a bank put into the flash before, where they are given.
    ///
    /// # Errors
    /// Before anything is started: when the emulator or a file is missing, a file is too large, or the model needs a larger
    /// arena than the board has. Then when the emulator does not start.
    pub fn start(
        board: &BoardSpec,
        firmware: &Path,
        model: Option<&Path>,
        bank: Option<&Path>,
        options: &Options,
    ) -> Result<Self, DeviceError> {
        if !board.runs_here() {
            return Err(DeviceError::NotEmulated { board: board.name });
        }
        if board.is_emulated() {
            emulator_available(board)?;
        }
        if !firmware.is_file() {
            return Err(DeviceError::File {
                access: "read",
                what: "firmware",
                path: firmware.into(),
                source: ErrorKind::NotFound.into(),
            });
        }
        let start_failed = |reason: String| DeviceError::Start {
            emulator: match board.is_emulated() {
                true => board.emulator,
                false => board.name,
            },
            reason,
        };
        let (path, temporary) = match &options.flash {
            Some(path) => (path.clone(), None),
            None => {
                let folder = Folder::new().map_err(|error| start_failed(error.to_string()))?;
                (folder.file("flash.bin"), Some(folder))
            }
        };
        let flash = flash(board, &path, model, bank)?;
        let (listener, port) = listen()?;
        let mut command = match board.is_emulated() {
            true => emulator(board, firmware, flash.path(), port, options),
            false => program(firmware, flash.path(), port, options),
        };
        let mut child = command
            .spawn()
            .map_err(|error| start_failed(error.to_string()))?;
        let requests = child.stdin.take();
        let log = match board.is_emulated() {
            true => LogReader::open(firmware),
            false => LogReader::none(),
        };
        let shows_errors = options.show_log && board.is_process();
        let mut process = Process::new(child, log, options.show_log, shows_errors);
        let replies = accept(&listener, &mut process).map_err(|error| match error {
            DeviceError::Stopped { reason } => start_failed(reason),
            other => other,
        })?;
        let wire = match (board.is_process(), requests) {
            (true, _) => Wire::of(replies),
            (false, Some(input)) => Wire::emulated(replies, input),
            (false, None) => return Err(start_failed("it has no input".into())),
        };
        let link = Link::new(wire, options.timeout);
        // The board has opened a temporary file when it answers, and needs no name for it then; without one nothing is left
        // over however this process ends.
        let mut running = Self {
            link,
            process: Some(process),
            _flash: Some(flash),
        };
        running.ask(|link| link.statistics())?;
        drop(temporary);
        Ok(running)
    }

    /// Speaks with a board that runs already: one with a chip at a serial port (`/dev/ttyACM0`, `COM3`), or one that listens at
    /// a TCP address (`192.168.1.20:7777`), as `pinhole-linux --listen`. Dropping this leaves it running.
    ///
    /// # Errors
    /// When the port cannot be opened, another program has it, or nobody answers.
    pub fn connect(port: &str, options: &Options) -> Result<Self, DeviceError> {
        let wire = Wire::open(port, options.baud).map_err(|source| DeviceError::Connect {
            port: port.into(),
            source,
        })?;
        let mut running = Self {
            link: Link::new(wire, options.timeout.min(CONNECT_TIMEOUT)),
            process: None,
            _flash: None,
        };
        running.ask(|link| link.statistics())?;
        running.link.set_timeout(options.timeout);
        Ok(running)
    }

    /// Speaks with the board; a line that breaks is told with its cause.
    ///
    /// # Errors
    /// Those of `ask`.
    pub fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut Link<Wire>) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        ask(&mut self.link).map_err(|error| match &mut self.process {
            Some(process) => process.explain(error),
            None => error,
        })
    }
}

/// The flash in `path`, with model and bank in their first partitions, where they are given. The journal of the device is erased
/// then, as by a programmer: what it says of slots is no longer so.
fn flash(
    board: &BoardSpec,
    path: &Path,
    model: Option<&Path>,
    bank: Option<&Path>,
) -> Result<FlashFile, DeviceError> {
    let layout = board.layout();
    let mut images = Vec::new();
    if let Some(path) = model {
        let model = image(board, "model", path, layout.models[0].clone())?;
        check_arena(board, path, &model)?;
        images.push((layout.models[0].clone(), model));
    }
    if let Some(path) = bank {
        let bank = image(board, "class bank", path, layout.banks[0].clone())?;
        images.push((layout.banks[0].clone(), bank));
    }
    let mut flash = FlashFile::open(board, path)?;
    if !images.is_empty() {
        flash.put(layout.state, &[])?;
    }
    for (partition, image) in images {
        flash.put(partition, &image)?;
    }
    Ok(flash)
}

/// The emulator of a board, with its UART on a port of this machine.
fn emulator(
    board: &BoardSpec,
    firmware: &Path,
    flash: &Path,
    port: u16,
    options: &Options,
) -> Command {
    // The last argument, since a path may have spaces, which separate them.
    let flash = escaped(&flash.display().to_string());
    let name = board.name;
    let mut command = Command::new(board.emulator);
    command
        .args(["-machine", board.machine])
        .args(["-display", "none", "-monitor", "none"])
        .arg("-semihosting-config")
        .arg(format!(
            "enable=on,target=native,arg={name},arg=flash={flash}"
        ))
        .arg("-chardev")
        // Without nodelay the bytes of a reply wait for the acknowledgement of the first, 40 ms on a line with two directions.
        .arg(format!(
            "socket,id=uart,host=127.0.0.1,port={port},nodelay=on"
        ))
        .args(["-serial", "chardev:uart"])
        .arg("-kernel")
        .arg(firmware);
    if options.counts_instructions {
        command.args(["-icount", "shift=0"]);
    }
    piped(command)
}

/// The program of a board that is a process, which connects to a port of this machine. The file of the flash is locked already.
fn program(firmware: &Path, flash: &Path, port: u16, options: &Options) -> Command {
    let mut words = options.runner.iter();
    let mut command = match words.next() {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.args(words).arg(firmware);
            command
        }
        None => Command::new(firmware),
    };
    command
        .arg("--flash")
        .arg(flash)
        .args(["--no-lock", "--connect", &format!("127.0.0.1:{port}")])
        .args(&options.arguments);
    piped(command)
}

fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
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
    /// `log` decodes the standard output; the standard error is lines.
    fn new(mut child: Child, log: LogReader, show: bool, shows_errors: bool) -> Self {
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
                    if shows_errors {
                        eprintln!("board: {line}");
                    }
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
