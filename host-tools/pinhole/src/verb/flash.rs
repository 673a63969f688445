//! `pinhole flash`: a model and a class bank into the flash of a board, or into an image for a programmer.

mod chip;

use std::path::{Path, PathBuf};

use pinhole_device::{
    BoardSpec, Files, ImageFormat, Options, RunningBoard, Section, board, build_firmware,
};

use crate::failure::{Failure, Outcome};
use crate::files;
use crate::keys::public_key;
use crate::output::{json, say};
use crate::verb::board::{Tested, tested_or_failed};

/// Put a model and a class bank into a board's flash, or make an image for a programmer.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole flash --board qemu-an547 --model image.phm --bank bank.phc \\
    --flash board.bin
  pinhole flash --board qemu-an547 --model image.signed.phm \\
    --bank bank.signed.phc --key board.key.pub --flash board.bin
  pinhole flash --board qemu-an547 --model image.phm --bank bank.phc \\
    --image board.hex --json
  pinhole flash --board rp2350 --model models/nano/image.phm \\
    --bank models/nano/bank.phc --drive /media/$USER/RP2350
  pinhole flash --board stm32h743 --model models/nano/image.phm \\
    --bank models/nano/bank.phc --probe --port /dev/ttyACM0

Before anything is written, model and class bank are checked as the board checks
them: slots, arena, kernels, that the bank belongs to the model, signatures.
With --flash the flash of an emulated board is written anew and read back, and
the board starts and tests itself. With --image the file holds the program too:
Intel HEX (.hex), raw bytes (.bin) or UF2 (.uf2). A board with a chip takes its
program by a debug probe (--probe, which runs probe-rs) or by the drive that its
bootloader shows (--drive), and what these do not reach over its line (--port),
where the board tests itself.")]
pub(crate) struct Args {
    /// See pinhole board list.
    #[arg(long, value_name = "NAME")]
    board: String,
    /// Packed image encoder (.phm), signed or not.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Class bank (.phc), signed or not.
    #[arg(long, value_name = "FILE")]
    bank: PathBuf,
    /// The file in which the flash of an emulated board is kept; what it held is gone.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["image", "probe", "drive", "port"])]
    flash: Option<PathBuf>,
    /// Make an image of program, model and class bank instead: OUT.hex, OUT.bin or OUT.uf2.
    #[arg(long, value_name = "OUT", conflicts_with = "flash")]
    image: Option<PathBuf>,
    /// Write a board with a chip by a debug probe: runs probe-rs.
    #[arg(long, conflicts_with_all = ["flash", "image", "drive"])]
    probe: bool,
    /// Write a board with a chip by the drive that its bootloader shows: where that is mounted.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["flash", "image"])]
    drive: Option<PathBuf>,
    /// Send model and class bank to a board that runs, where they are not there yet, and have it test itself: a serial port
    /// (/dev/ttyACM0, COM3), or ADDRESS:PORT.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["flash", "image"])]
    port: Option<String>,
    /// Bits a second of the serial port; 921600 when left out.
    #[arg(long, value_name = "BITS", requires = "port", conflicts_with_all = ["flash", "image"])]
    baud: Option<u32>,
    /// Private key of a board that has its public one, for --port.
    #[arg(long, value_name = "KEY", requires = "port", conflicts_with_all = ["flash", "image"])]
    unlock: Option<PathBuf>,
    /// The program, an ELF file; built from firmware/boards when left out.
    #[arg(long, value_name = "ELF", conflicts_with = "flash")]
    program: Option<PathBuf>,
    /// Public key that both files have to be signed by.
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
    /// Show the log of an emulated board.
    #[arg(long, conflicts_with_all = ["image", "probe", "drive", "port"])]
    verbose: bool,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// A flash that was written.
#[derive(serde::Serialize)]
struct Written<'a> {
    board: &'a str,
    flash: &'a Path,
    bytes: usize,
    selftest: Tested,
}

/// An image that was made.
#[derive(serde::Serialize)]
struct Made<'a> {
    board: &'a str,
    image: &'a Path,
    bytes: usize,
    sections: Vec<Row>,
    /// What to type, one of them.
    program_by: &'a [String],
}

/// A section of an image.
#[derive(serde::Serialize)]
struct Row {
    section: &'static str,
    address: u32,
    bytes: usize,
    crc32: String,
}

impl Row {
    fn of(section: &Section) -> Self {
        Self {
            section: section.name,
            address: section.address,
            bytes: section.bytes.len(),
            crc32: format!("{:08x}", section.crc32()),
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    let spec = board(&args.board)?;
    if args.probe || args.drive.is_some() || args.port.is_some() {
        return chip::run(&args, spec);
    }
    let format = args.image.as_deref().map(format_of).transpose()?;
    match (&args.flash, args.image.as_deref().zip(format)) {
        (_, Some((path, format))) => make_image(&args, spec, path, format),
        (Some(path), None) if spec.runs_here() => write_flash(&args, spec, path),
        _ => Err(Failure::new(format_args!(
            "found --flash for {}, whose flash is no file, expected an emulated board",
            spec.name
        ))
        .help(
            "write to it by --probe, --drive FOLDER or --port PORT, or make a file for a programmer: --image OUT.hex",
        )),
    }
}

fn format_of(path: &Path) -> Outcome<ImageFormat> {
    files::check_target(path)?;
    ImageFormat::of(path).ok_or_else(|| {
        Failure::new(format_args!(
            "{}: found another ending, expected .hex, .bin or .uf2",
            path.display()
        ))
        .help("Intel HEX suits every programmer: --image OUT.hex")
    })
}

fn checked<'a>(args: &Args, spec: &'a BoardSpec) -> Outcome<Files<'a>> {
    let key = args.key.as_deref().map(public_key).transpose()?;
    Ok(Files::read(spec, &args.model, &args.bank, key)?)
}

/// The program of the board.
fn program(args: &Args, spec: &BoardSpec) -> Outcome<PathBuf> {
    match &args.program {
        Some(program) => Ok(program.clone()),
        None => Ok(build_firmware(spec)?),
    }
}

fn write_flash(args: &Args, spec: &BoardSpec, path: &Path) -> Outcome {
    files::check_target(path)?;
    let checked = checked(args, spec)?;
    // A program that cannot be built is told before anything is written.
    let firmware = build_firmware(spec)?;
    let kept = checked.write(path)?;
    if !args.json {
        say!(
            "{}: {} bytes, written and read back",
            path.display(),
            kept.bytes
        );
    }
    let options = Options {
        show_log: args.verbose,
        flash: Some(path.to_path_buf()),
        ..Options::default()
    };
    let mut board = RunningBoard::start(spec, &firmware, None, None, &options)?;
    let result = board.ask(|link| link.self_test())?;
    if args.json {
        json(&Written {
            board: spec.name,
            flash: path,
            bytes: kept.bytes,
            selftest: Tested::of(&result),
        })?;
    }
    let said = tested_or_failed(&result)?;
    if args.json {
        return Ok(());
    }
    say!("{said}");
    if let Some(key) = &args.key {
        say!(
            "both files are signed; the board takes its key by pinhole board provision --board {} --key {} --flash {}",
            spec.name,
            key.display(),
            path.display()
        );
    }
    Ok(())
}

fn make_image(args: &Args, spec: &BoardSpec, path: &Path, format: ImageFormat) -> Outcome {
    let checked = checked(args, spec)?;
    let image = checked.image(&program(args, spec)?)?;
    let bytes = image.encode(format)?;
    files::write(path, &bytes)?;
    let rows: Vec<Row> = image.sections().iter().map(Row::of).collect();
    let ways = spec.programming(path);
    if args.json {
        return json(&Made {
            board: spec.name,
            image: path,
            bytes: bytes.len(),
            sections: rows,
            program_by: &ways,
        });
    }
    say!("{}: {} bytes", path.display(), bytes.len());
    say!(
        "{:<12} {:>10} {:>10} {:>10}",
        "section",
        "address",
        "bytes",
        "CRC-32"
    );
    for row in &rows {
        say!(
            "{:<12} {:#010x} {:>10} {:>10}",
            row.section,
            row.address,
            row.bytes,
            row.crc32
        );
    }
    match ways.is_empty() {
        true => say!("an emulated board starts from the file of --flash, not from an image"),
        false => say!("to program it: {}", ways.join("\nor: ")),
    }
    if !spec.flashing.program_in_image && !spec.runs_here() {
        say!(
            "the program is not in it: the chip copies it into RAM, behind a header of its vendor's tool; docs/boards/{}.md",
            spec.name
        );
    }
    Ok(())
}
