//! `pinhole flash`: a model and a class bank into the flash of a board, or into an image for a programmer.

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

Before anything is written, model and class bank are checked as the board checks
them: slots, arena, kernels, that the bank belongs to the model, signatures.
With --flash the flash of an emulated board is written anew and read back, and
the board starts and tests itself. With --image the file holds the program too:
Intel HEX (.hex), raw bytes (.bin) or UF2 (.uf2).")]
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
    #[arg(long, value_name = "FILE", required_unless_present = "image")]
    flash: Option<PathBuf>,
    /// Make an image of program, model and class bank instead: OUT.hex, OUT.bin or OUT.uf2.
    #[arg(long, value_name = "OUT", conflicts_with = "flash")]
    image: Option<PathBuf>,
    /// The program in the image, an ELF file; built from firmware/boards when left out.
    #[arg(long, value_name = "ELF", requires = "image")]
    program: Option<PathBuf>,
    /// Public key that both files have to be signed by.
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
    /// Show the board's log.
    #[arg(long)]
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
    let format = args.image.as_deref().map(format_of).transpose()?;
    match (&args.flash, args.image.as_deref().zip(format)) {
        (_, Some((path, format))) => make_image(&args, spec, path, format),
        (Some(path), None) if spec.runs_here() => write_flash(&args, spec, path),
        _ => Err(Failure::new(format_args!(
            "found --flash for {}, expected an emulated board: no program here writes to a real one",
            spec.name
        ))
        .help(format_args!(
            "make an image: pinhole flash --board {} --model {} --bank {} --image OUT.hex, then {}",
            spec.name,
            args.model.display(),
            args.bank.display(),
            spec.programming(Path::new("OUT.hex")).join(", or ")
        ))),
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
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build_firmware(spec)?,
    };
    let image = checked.image(&program)?;
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
    Ok(())
}
