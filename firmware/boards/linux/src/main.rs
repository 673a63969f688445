//! Pinhole as a process of Linux, for boards of the kind of a Raspberry Pi: the application of `pinhole-firmware` over a flash
//! that is a file, a line that is a socket, and a camera of V4L2 or of files. See `docs/boards/linux.md`.

mod arguments;
mod camera;
mod clock;
mod flash;
#[path = "../../mps/src/layout.rs"]
#[expect(
    unreachable_pub,
    reason = "its function is one of the library of the emulated boards"
)]
mod layout;
mod line;
#[path = "../../mps/src/nor.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the rules of the flash of the emulated boards are those of this one"
)]
mod nor;
mod notify;

use arguments::Arguments;
use clap::Parser;
use flash::Flash;
use line::Line;
use pinhole_firmware::camera::{Camera, Configuration, Feed};
use pinhole_firmware::storage::{Options, Storage};
use pinhole_firmware::{App, Live, Memory, NonceSource, Served};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel::{self, Kernels, Threads};
use pinhole_runtime::preprocess::InputGeometry;
use std::process::ExitCode;

/// The name of the board, as `--board` spells it.
const BOARD: &str = "linux";
/// Words for the preparation of the largest picture that a host sends.
const SCRATCH_WORDS: usize = 1 << 20;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut flash = flash::open(&arguments.flash, arguments.flash_mib, !arguments.no_lock)?;
    let mut camera = camera::open(&arguments.camera, arguments.fps)?;
    let mut memory = Room {
        arena: AlignedBytes::zeroed((arguments.arena_mib as usize) << 20),
        scratch: vec![0; SCRATCH_WORDS.max(scratch_words(camera.1))],
    };
    let mut line = line::open(arguments)?;
    let kernels = kernels(arguments.threads)?;
    loop {
        let (served, again) = start(
            arguments,
            flash,
            &mut camera,
            &mut memory,
            &mut line,
            kernels,
        )?;
        if served != Served::Reboot {
            return Ok(());
        }
        flash = again;
    }
}

/// The memory of the board.
struct Room {
    arena: AlignedBytes,
    scratch: Vec<u32>,
}

/// Starts the application with what the flash holds; why it ended, and the flash.
fn start(
    arguments: &Arguments,
    flash: Flash,
    (camera, configuration): &mut Opened,
    room: &mut Room,
    line: &mut Line,
    kernels: &'static dyn Kernels,
) -> Result<(Served, Flash), String> {
    let options = Options {
        key: None,
        arena_bytes: room.arena.len(),
    };
    let layout = layout::layout(arguments.flash_mib << 20);
    let storage = Storage::open(flash, layout, options)
        .map_err(|fault| format!("the flash {}: {fault}", arguments.flash.display()))?;
    let memory = Memory {
        arena: &mut room.arena,
        scratch: &mut room.scratch,
    };
    let mut clock = clock::Monotonic::start();
    let mut watchdog = notify::Notify::of_systemd();
    let mut live =
        Live::new(camera.as_mut(), *configuration, &mut clock).in_mode(arguments.mode.into());
    if let Some(watchdog) = &mut watchdog {
        watchdog.ready();
        live = live.with_watchdog(watchdog);
    }
    let mut nonces = SystemRandom;
    let mut app = App::new(BOARD, storage, memory, kernels).with_nonces(&mut nonces);
    if let Err(fault) = app.ready() {
        eprintln!("warning: {fault}; a host can send what is missing: pinhole board upload");
    }
    let Ok(served) = app.serve_live(line, &mut live);
    Ok((served, app.into_storage().into_flash()))
}

/// Random bytes of the system.
struct SystemRandom;

impl NonceSource for SystemRandom {
    fn nonce(&mut self) -> Option<[u8; 32]> {
        let mut nonce = [0; 32];
        let mut source = std::fs::File::open("/dev/urandom").ok()?;
        std::io::Read::read_exact(&mut source, &mut nonce).ok()?;
        Some(nonce)
    }
}

/// The fastest set of this CPU, on several threads where there are several.
fn kernels(threads: Option<usize>) -> Result<&'static dyn Kernels, String> {
    let set = kernel::detect();
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or(here);
    if threads <= 1 {
        return Ok(set);
    }
    let threads = Threads::new(set, threads).map_err(|fault| format!("threads: {fault}"))?;
    // It lives as long as the process.
    Ok(Box::leak(Box::new(threads)))
}

/// What a frame of the camera needs at most: the model may change, and its input with it.
fn scratch_words(configuration: Configuration) -> usize {
    let geometry = InputGeometry {
        width: 1024,
        height: 1024,
        resize_shorter: 1024,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    Feed::scratch_len(&geometry, configuration).unwrap_or(SCRATCH_WORDS)
}

/// A camera that was opened.
type Opened = (Box<dyn Camera>, Configuration);
