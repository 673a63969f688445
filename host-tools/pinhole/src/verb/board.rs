//! `pinhole board`: the same classification on a board.

use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_data::load_picture;
use pinhole_device::{
    BoardResult, DeviceError, EmulatedBoard, Options, RgbRows, board, boards, build_firmware,
};

use crate::failure::{Context, Failure, Outcome};
use crate::files;
use crate::output::{json, say};
use crate::verb::classify::{Classified, TopClass, at_least_one};

/// Run a model on a board.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole board list
  pinhole board run --board qemu-an547 --model models/lite0/image.phm \\
    --bank models/lite0/bank.phc models/demo/cat.jpg
  pinhole board run --model image.phm --bank bank.phc --json *.jpg
  pinhole board run --board qemu-an500 --flash board.bin --model image.phm \\
    --bank bank.phc cat.jpg
  pinhole board run --board qemu-an500 --flash board.bin dog.jpg")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print the boards: CPU, flash, RAM and how much of it is the arena.
    #[command(after_help = "Example:\n  pinhole board list")]
    List,
    /// Classify pictures on a board; prints what pinhole classify prints.
    #[command(after_help = "\
Example:
  pinhole board run --board qemu-an547 --model models/lite0/image.phm \\
    --bank models/lite0/bank.phc models/demo/cat.jpg
  pinhole board run --board qemu-an500 --flash board.bin models/demo/cat.jpg

The flash of an emulated board is the file of --flash, which is made when it is
not there and keeps what was put into it: the next run finds model and bank
without --model and --bank. Without --flash it is a temporary file.")]
    Run(Run),
}

/// `pinhole board run`.
#[derive(clap::Args)]
struct Run {
    /// See pinhole board list.
    #[arg(long, default_value = "qemu-an547", value_name = "NAME")]
    board: String,
    /// Packed image encoder (.phm); with --flash, what is there when left out.
    #[arg(long, value_name = "FILE", required_unless_present = "flash")]
    model: Option<PathBuf>,
    /// Class bank (.phc); with --flash, what is there when left out.
    #[arg(long, value_name = "FILE", required_unless_present = "flash")]
    bank: Option<PathBuf>,
    /// The file in which the flash of an emulated board is kept.
    #[arg(long, value_name = "FILE")]
    flash: Option<PathBuf>,
    /// How many classes to show for each picture, at most 8.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = at_least_one)]
    top: usize,
    /// Show the board's log.
    #[arg(long)]
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
        Action::Run(args) => classify(&args),
    }
}

/// Sizes in MiB: memories have powers of two.
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
    let mib = |bytes: u32| format!("{}M", f64::from(bytes) / f64::from(1 << 20));
    for board in boards() {
        say!(
            "{:<12} {:<24} {:<24} {:>7} {:>7} {:>7}",
            board.name,
            board.cpu,
            board.description,
            mib(board.flash_bytes),
            mib(board.ram_bytes),
            mib(board.arena_bytes)
        );
    }
}

/// Starts a board with its firmware, which is built when it has to be.
pub(crate) fn start(
    name: &str,
    model: Option<&Path>,
    bank: Option<&Path>,
    options: &Options,
) -> Outcome<EmulatedBoard> {
    let spec = board(name)?;
    let firmware = build_firmware(spec)?;
    Ok(EmulatedBoard::start(spec, &firmware, model, bank, options)?)
}

/// A picture on the board.
pub(crate) fn classify_on(
    board: &mut EmulatedBoard,
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
    let options = Options {
        show_log: args.verbose,
        flash: args.flash.clone(),
        ..Options::default()
    };
    let (model, bank) = (args.model.as_deref(), args.bank.as_deref());
    let mut board = start(&args.board, model, bank, &options)?;
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
