//! `pinhole board`: the same classification on a board, what the board holds ([`manage`]), and who may change it
//! ([`keys`]).

mod keys;
mod manage;
mod port;
mod stats;

pub(crate) use manage::{Image, Target, Tested, tested_or_failed};
pub(crate) use port::Port;

use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::load_picture;
use pinhole_device::{
    BoardResult, BoardSpec, DeviceError, Options, ReadyBoard, RgbRows, board, boards,
    build_firmware, serial_ports,
};

use crate::failure::{Context, Failure, Outcome};
use crate::files;
use crate::output::{json, say};
use crate::verb::classify::{Classified, TopClass, at_least_one};

/// Run a model on a board, and change what the board holds.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole board list
  pinhole board run --board qemu-an547 --model models/lite0/image.phm \\
    --bank models/lite0/bank.phc models/demo/cat.jpg
  pinhole board run --model image.phm --bank bank.phc --json *.jpg
  pinhole board run --board qemu-an500 --flash board.bin --model image.phm \\
    --bank bank.phc cat.jpg
  pinhole board run --board qemu-an500 --flash board.bin dog.jpg
  pinhole board upload image.phm bank.phc --board qemu-an500 --flash board.bin
  pinhole board slots --board qemu-an500 --flash board.bin
  pinhole board slots --port /dev/ttyACM0
  pinhole board provision --key board.key.pub --flash board.bin

pinhole flash puts a model and a class bank into a new flash, pinhole classes
changes the classes that a board knows.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print the boards: CPU, flash, RAM and how much of it is the arena; and the serial ports of this machine.
    #[command(after_help = "Example:\n  pinhole board list")]
    List,
    /// Put a model and a class bank into a board's flash: pinhole flash.
    Flash(super::flash::Args),
    /// Classify pictures on a board; prints what pinhole classify prints.
    #[command(after_help = "\
Example:
  pinhole board run --board qemu-an547 --model models/lite0/image.phm \\
    --bank models/lite0/bank.phc models/demo/cat.jpg
  pinhole board run --board qemu-an500 --flash board.bin models/demo/cat.jpg
  pinhole board run --port /dev/ttyACM0 models/demo/cat.jpg

The flash of an emulated board is the file of --flash, which is made when it is
not there and keeps what was put into it: the next run finds model and bank
without --model and --bank. With them the flash is programmed anew, in slots A,
and what the board had recorded of its slots is erased. Without --flash it is a
temporary file.")]
    Run(Run),
    /// Show what a board sees while it sees it: pinhole monitor.
    Monitor(super::monitor::Args),
    /// Print numbers of a board: classes, free slots, wear of the flash; frames, their latency, errors, memory.
    #[command(after_help = "\
Examples:
  pinhole board stats --flash board.bin --json
  pinhole board stats --port /dev/ttyACM0

Frames are those that a board took by itself since it started.")]
    Stats(Target),
    /// Print what the slots for models and class banks hold, and whether the board fell back.
    #[command(after_help = "\
Example:
  pinhole board slots --flash board.bin

A slot is empty, holds something (held: what was verified, or lay there when
the board started for the first time), or an upload waits in it.")]
    Slots(Target),
    /// Have the board check its files and compute its model's golden embedding, where there is one.
    #[command(after_help = "\
Example:
  pinhole board selftest --flash board.bin

Exit code 1 when the embedding differs.")]
    Selftest(Target),
    /// Run from the other slot.
    #[command(after_help = "Example:\n  pinhole board select model A --flash board.bin")]
    Select(manage::Select),
    /// Send a model, a class bank or both into the slots that are not in use, and switch to them.
    #[command(after_help = "\
Examples:
  pinhole board upload image.phm --flash board.bin
  pinhole board upload image.phm bank.phc --flash board.bin
  pinhole board upload image.phm --wait --flash board.bin

A model of another embedding space comes with its bank. An upload that was
interrupted goes on where it was.")]
    Upload(manage::Upload),
    /// Take verified uploads into use.
    #[command(after_help = "Example:\n  pinhole board activate model --flash board.bin")]
    Activate(manage::Activate),
    /// Set the reject threshold that takes the place of the bank's.
    #[command(after_help = "\
Examples:
  pinhole board threshold -18.5 --flash board.bin
  pinhole board threshold --flash board.bin")]
    Threshold(manage::Threshold),
    /// Give a board its first key, or another one.
    #[command(after_help = "\
Examples:
  pinhole board provision --key board.key.pub --flash board.bin
  pinhole board provision --key new.key.pub --unlock board.key --flash board.bin

What the board runs has to be signed by its first key. From then on it takes
files that the key signed, and changes from whoever answers a challenge with
the private key: --unlock.")]
    Provision(keys::Provision),
    /// Have a board start again, and wait until it answers.
    #[command(after_help = "Example:\n  pinhole board reboot --flash board.bin")]
    Reboot(Target),
}

/// `pinhole board run`.
#[derive(clap::Args)]
struct Run {
    /// See pinhole board list.
    #[arg(long, default_value = "qemu-an547", value_name = "NAME")]
    board: String,
    /// Packed image encoder (.phm); with --flash, what is there when left out.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["flash", "port"], conflicts_with = "port")]
    model: Option<PathBuf>,
    /// Class bank (.phc); with --flash, what is there when left out.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["flash", "port"], conflicts_with = "port")]
    bank: Option<PathBuf>,
    /// The file in which the flash of an emulated board is kept.
    #[arg(long, value_name = "FILE")]
    flash: Option<PathBuf>,
    #[command(flatten)]
    port: Port,
    /// How many classes to show for each picture, at most 8.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = at_least_one)]
    top: usize,
    /// Show the board's log.
    #[arg(long, conflicts_with = "port")]
    verbose: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Pictures.
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let failure = Self::new(&error);
        match error.help() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    match args.action {
        Action::List => {
            list();
            Ok(())
        }
        Action::Flash(args) => super::flash::run(args),
        Action::Run(args) => classify(&args),
        Action::Monitor(args) => super::monitor::run(&args),
        Action::Stats(target) => stats::run(&target),
        Action::Slots(target) => manage::run_slots(&target),
        Action::Selftest(target) => manage::run_self_test(&target),
        Action::Select(args) => manage::run_select(&args),
        Action::Upload(args) => manage::run_upload(&args),
        Action::Activate(args) => manage::run_activate(&args),
        Action::Threshold(args) => manage::run_threshold(&args),
        Action::Provision(args) => keys::run_provision(&args),
        Action::Reboot(target) => keys::run_reboot(&target),
    }
}

/// Sizes in KiB and MiB: memories have powers of two.
fn list() {
    say!(
        "{:<12} {:<24} {:<24} {:>7} {:>7} {:>7}",
        "board",
        "CPU",
        "what",
        "flash",
        "RAM",
        "arena"
    );
    let size = |bytes: u32| match bytes >> 20 {
        0 => format!("{}K", bytes >> 10),
        _ => format!("{}M", f64::from(bytes) / f64::from(1 << 20)),
    };
    for board in boards() {
        say!(
            "{:<12} {:<24} {:<24} {:>7} {:>7} {:>7}",
            board.name,
            board.cpu,
            board.description,
            size(board.flash_bytes),
            size(board.ram_bytes),
            size(board.arena_bytes)
        );
    }
    let ports = serial_ports();
    if !ports.is_empty() {
        say!("serial ports: {}", ports.join(", "));
    }
}

/// A board that this machine runs, and its program, which is built when it has to be.
pub(crate) fn built(name: &str) -> Outcome<(&'static BoardSpec, PathBuf)> {
    let spec = board(name)?;
    if !spec.runs_here() {
        return Err(DeviceError::NotEmulated { board: spec.name }.into());
    }
    Ok((spec, build_firmware(spec)?))
}

/// Starts a board with its firmware, which is built when it has to be.
pub(crate) fn start(
    name: &str,
    model: Option<&Path>,
    bank: Option<&Path>,
    options: &Options,
) -> Outcome<ReadyBoard> {
    let (spec, firmware) = built(name)?;
    Ok(ReadyBoard::start(spec, &firmware, model, bank, options)?)
}

/// A picture on the board.
pub(crate) fn classify_on(
    board: &mut ReadyBoard,
    picture: &RgbImage,
    top: usize,
) -> Outcome<BoardResult> {
    let rows = RgbRows {
        width: picture.width(),
        height: picture.height(),
        bytes: picture.as_raw(),
    };
    Ok(board.classify_top(&rows, top)?)
}

fn classify(args: &Run) -> Outcome {
    let options = args.port.options(Options {
        show_log: args.verbose,
        flash: args.flash.clone(),
        ..Options::default()
    })?;
    let (model, bank) = (args.model.as_deref(), args.bank.as_deref());
    let mut board = match args.port.name() {
        Some(port) => ReadyBoard::connect(port, &options)?,
        None => start(&args.board, model, bank, &options)?,
    };
    let kernels = board.info().kernels.clone();
    for path in &args.pictures {
        let picture = load_picture(path)?;
        let result =
            classify_on(&mut board, &picture, args.top.clamp(1, 8)).context(path.display())?;
        let result = as_classified(&path.display().to_string(), &result, &kernels);
        if args.json {
            json(&result)?;
        } else {
            crate::verb::classify::print(&result);
        }
    }
    Ok(())
}

/// The board's answer in the words of `pinhole classify`.
fn as_classified(name: &str, result: &BoardResult, kernels: &str) -> Classified {
    let bytes: Vec<u8> = result.embedding.iter().map(|&x| x as u8).collect();
    let top: Vec<TopClass> = result
        .top
        .iter()
        .map(|class| TopClass {
            label: class.name.clone(),
            score: class.cosine,
        })
        .collect();
    Classified {
        image: name.to_string(),
        label: top
            .first()
            .map_or(String::new(), |class| class.label.clone()),
        score: top.first().map_or(0.0, |class| class.score),
        energy: result.energy,
        rejected: result.rejected,
        top,
        embedding_sha256: files::sha256(&bytes),
        kernels: kernels.to_string(),
    }
}
