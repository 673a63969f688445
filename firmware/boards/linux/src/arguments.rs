//! The command line.

use pinhole_firmware::modes::LiveMode;
use std::path::PathBuf;

/// Classify what a camera sees, and speak with a host over a line.
///
/// What it runs lies in its flash, a file. A new one is empty: the host sends model and classes with
/// pinhole board upload, or puts them there with pinhole board run.
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "\
Examples:
  pinhole-linux --flash /var/lib/pinhole/flash.bin --listen 127.0.0.1:7777 \\
    --camera v4l2:/dev/video0:640x480 --mode continuous
  pinhole-linux --flash flash.bin --socket /run/pinhole/line --camera pictures:photos:320x240
  pinhole-linux --flash flash.bin --camera yuyv:frames.yuv:640x480

The host: pinhole monitor --port 127.0.0.1:7777"
)]
pub(crate) struct Arguments {
    /// The file of the flash; made when it is not there.
    #[arg(long, value_name = "FILE")]
    pub(crate) flash: PathBuf,
    /// Size of a flash that is made, in MiB.
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u32).range(2..=4095))]
    pub(crate) flash_mib: u32,
    /// Leave the file unlocked: whoever started this has locked it.
    #[arg(long)]
    pub(crate) no_lock: bool,
    /// Memory for the values of a model, in MiB.
    #[arg(long, default_value_t = 32, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=4095))]
    pub(crate) arena_mib: u32,
    /// Threads of an inference; as many as the CPU has when left out.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Wait for hosts here, one at a time; without this, --socket and --connect the line is standard input and output.
    #[arg(long, value_name = "ADDRESS:PORT", group = "where")]
    pub(crate) listen: Option<String>,
    /// Wait for hosts at a Unix socket, one at a time.
    #[arg(long, value_name = "PATH", group = "where")]
    pub(crate) socket: Option<PathBuf>,
    /// Connect to a host, and end when it does.
    #[arg(long, value_name = "ADDRESS:PORT", group = "where")]
    pub(crate) connect: Option<String>,
    /// test, test:SIZE, pictures:PATH:SIZE, yuyv:FILE:SIZE, v4l2:DEVICE:SIZE; SIZE is WIDTHxHEIGHT.
    #[arg(long, default_value = "test", value_name = "CAMERA")]
    pub(crate) camera: String,
    /// Most frames a second of a camera that is no hardware.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    pub(crate) fps: f64,
    /// When frames are classified at the start.
    #[arg(long, default_value = "idle", value_name = "MODE")]
    pub(crate) mode: StartMode,
}

/// What `--mode` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StartMode {
    /// Never.
    Idle,
    /// All frames.
    Continuous,
    /// Five frames after each motion.
    Motion,
}

impl From<StartMode> for LiveMode {
    fn from(mode: StartMode) -> Self {
        match mode {
            StartMode::Idle => Self::Idle,
            StartMode::Continuous => Self::Continuous,
            StartMode::Motion => Self::OnMotion { frames: 5 },
        }
    }
}
