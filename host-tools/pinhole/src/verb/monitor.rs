//! `pinhole monitor`: what a board sees, while it sees it, in a terminal or as lines of JSON.

mod screen;
mod state;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinhole_device::{
    LiveEvent, LiveFrame, LiveMode, LogLevel, Options, Pushed, Reports, RunningBoard, Smoothing,
};

use crate::failure::{Failure, Outcome};
use crate::output::{json, note};
use crate::verb::board::{Port, built};
use state::{Names, State};
pub(crate) use state::{camera, mode};

/// Show what a board sees: labels, scores, frame rate, latency, its log.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole monitor --board linux --model models/lite0/image.phm \\
    --bank models/lite0/bank.phc --camera pictures:models/demo:512x512
  pinhole monitor --board qemu-an500 --flash board.bin
  pinhole monitor --port /dev/ttyACM0
  pinhole monitor --port 192.168.1.20:7777
  pinhole monitor --flash board.bin --json --frames 10

Keys: c all frames, s one frame, m after motion, i none, p picture on and off,
q ends. A board that was started here ends too; one that was connected to stays
in its mode. Emulated boards see a test pattern: a box that moves.")]
pub(crate) struct Args {
    /// See pinhole board list.
    #[arg(long, default_value = "qemu-an547", value_name = "NAME")]
    board: String,
    #[command(flatten)]
    port: Port,
    /// Packed image encoder (.phm); with --flash, what is there when left out.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["flash", "port"], conflicts_with = "port")]
    model: Option<PathBuf>,
    /// Class bank (.phc); with --flash, what is there when left out.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["flash", "port"], conflicts_with = "port")]
    bank: Option<PathBuf>,
    /// The file in which the flash of a board is kept.
    #[arg(long, value_name = "FILE")]
    flash: Option<PathBuf>,
    /// Camera of the board linux: pictures:PATH:SIZE, yuyv:FILE:SIZE, v4l2:DEVICE:SIZE, test.
    #[arg(long, value_name = "CAMERA", conflicts_with = "port")]
    camera: Option<String>,
    /// When frames are classified; of a board that was connected to, as it is when left out.
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// Weight of the newest frame in the averages, above 0 and at most 1.
    #[arg(long, value_name = "ALPHA")]
    smoothing: Option<f32>,
    /// Show every Nth frame, and those with which something changed.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
    /// End after so many frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Log lines that are shown: off, error, warn, info.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log: Level,
    /// One JSON object a frame, and log lines on standard error; no terminal is needed.
    #[arg(long)]
    json: bool,
}

/// What `--mode` takes.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// All frames.
    Continuous,
    /// Frames after motion.
    Motion,
    /// Frames after an edge of the board's pin.
    Pin,
    /// One frame.
    Once,
    /// None.
    Idle,
}

/// Frames that are classified for a motion or an edge.
const FRAMES_OF_TRIGGER: u16 = 5;

impl From<Mode> for LiveMode {
    fn from(mode: Mode) -> Self {
        let frames = FRAMES_OF_TRIGGER;
        match mode {
            Mode::Continuous => Self::Continuous,
            Mode::Motion => Self::OnMotion { frames },
            Mode::Pin => Self::OnPin { frames },
            Mode::Once => Self::SingleShot,
            Mode::Idle => Self::Idle,
        }
    }
}

/// What `--log` takes.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    /// None.
    Off,
    /// What needs somebody.
    Error,
    /// What the board helped itself out of.
    Warn,
    /// What it does.
    Info,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::Off,
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
        }
    }
}

/// How long a look at the line takes when nothing comes.
const LOOK: Duration = Duration::from_millis(50);
/// Without a frame for so long, `--json` says why on standard error.
const QUIET: Duration = Duration::from_secs(20);

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Outcome {
    let mut board = start(args)?;
    board.ask(|link| link.set_log(args.log.into()))?;
    if let Some(alpha) = args.smoothing {
        let now = board.ask(|link| link.live_status())?.smoothing;
        board.ask(|link| link.set_smoothing(Smoothing { alpha, ..now }))?;
    }
    board.ask(|link| link.set_reports(reports(args, !args.json)))?;
    let mode = match (args.mode, args.port.name()) {
        (Some(mode), _) => Some(mode),
        (None, None) => Some(Mode::Continuous),
        (None, Some(_)) => None,
    };
    if let Some(mode) = mode {
        board.ask(|link| link.set_mode(mode.into()))?;
    }
    let done = match args.json {
        true => print_frames(args, &mut board),
        false => screen::show(args, &mut board),
    };
    if args.port.name().is_some() {
        // It goes on without a listener; a line that broke has none.
        let _ = board.ask(|link| link.set_reports(Reports::default()));
    }
    done
}

fn start(args: &Args) -> Outcome<RunningBoard> {
    let mut options = args.port.options(Options {
        flash: args.flash.clone(),
        ..Options::default()
    })?;
    if let Some(port) = args.port.name() {
        return Ok(RunningBoard::connect(port, &options)?);
    }
    if let Some(camera) = &args.camera {
        if args.board != "linux" {
            return Err(Failure::new(format_args!(
                "found --camera with the board {}, which has one that cannot be chosen",
                args.board
            ))
            .help("leave --camera out, or take --board linux"));
        }
        options.arguments = vec!["--camera".into(), camera.clone()];
    }
    let (spec, program) = built(&args.board)?;
    let (model, bank) = (args.model.as_deref(), args.bank.as_deref());
    Ok(RunningBoard::start(spec, &program, model, bank, &options)?)
}

fn reports(args: &Args, picture: bool) -> Reports {
    Reports {
        every: args.every,
        preview_every: if picture { args.every } else { 0 },
        log: true,
    }
}

/// A frame for programs; the order of keys is part of the output.
#[derive(serde::Serialize)]
struct Line<'a> {
    frame: u32,
    label: &'a str,
    probability: f32,
    present: Vec<&'a str>,
    events: Vec<String>,
    energy: f32,
    rejected: bool,
    latency_ms: f64,
    run_ms: f64,
    embedding_crc32: String,
    top: Vec<Class<'a>>,
}

#[derive(serde::Serialize)]
struct Class<'a> {
    label: &'a str,
    probability: f32,
    average: f32,
}

impl<'a> Line<'a> {
    fn of(frame: &'a LiveFrame, names: &Names) -> Self {
        let best = frame.top.first();
        let present = frame.top.iter().filter(|class| class.present);
        let events = frame.events.iter().map(|event| words(event, names));
        let class = |class: &'a pinhole_device::LiveFrameClass| Class {
            label: &class.name,
            probability: class.probability,
            average: class.average,
        };
        Self {
            frame: frame.frame,
            label: best.map_or("", |class| &class.name),
            probability: best.map_or(0.0, |class| class.probability),
            present: present.map(|class| class.name.as_str()).collect(),
            events: events.collect(),
            energy: frame.energy,
            rejected: frame.rejected,
            latency_ms: frame.latency_ms(),
            run_ms: frame.run_ms(),
            embedding_crc32: format!("{:08x}", frame.embedding_crc32),
            top: frame.top.iter().map(class).collect(),
        }
    }
}

/// An event for people.
fn words(event: &LiveEvent, names: &Names) -> String {
    match *event {
        LiveEvent::Appeared { class_index } => format!("appeared: {}", names.of(class_index)),
        LiveEvent::Disappeared { class_index } => {
            format!("disappeared: {}", names.of(class_index))
        }
        LiveEvent::Changed { from, to } => {
            format!("changed: {} to {}", names.of(from), names.of(to))
        }
        LiveEvent::Rejecting => "in no class".into(),
        LiveEvent::Accepting => "in a class again".into(),
        LiveEvent::Motion { cells } => format!("motion in {cells} cells"),
    }
}

/// `--json`.
fn print_frames(args: &Args, board: &mut RunningBoard) -> Outcome {
    let (mut names, mut shown, mut last) = (Names::default(), 0, Instant::now());
    while args.frames.is_none_or(|frames| shown < frames) {
        match board.ask(|link| link.next_pushed(LOOK))? {
            Some(Pushed::Frame(frame)) => {
                names.learn(&frame);
                json(&Line::of(&frame, &names))?;
                (shown, last) = (shown + 1, Instant::now());
            }
            Some(Pushed::Log(_, text)) => note!("board: {text}"),
            Some(Pushed::Picture(_)) => {}
            None if last.elapsed() > QUIET => {
                last = Instant::now();
                note!(
                    "{}",
                    State::why_quiet(&board.ask(|link| link.live_status())?)
                );
            }
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
