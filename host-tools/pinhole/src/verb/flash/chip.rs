//! A board with a chip: its program, model and bank by a debug probe, by the drive of its bootloader, or over its line.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use pinhole_device::{
    BAUD, BoardSpec, Files, ImageFormat, Options, ProbeWrites, RunningBoard, Which,
};

use super::{Args, checked, program};
use crate::failure::{Failure, Outcome};
use crate::keys::private_key;
use crate::output::{json, note, say};
use crate::verb::board::{Image, Tested, tested_or_failed};

/// What `--json` prints; the order of keys is part of the output.
#[derive(serde::Serialize)]
struct Done<'a> {
    board: &'a str,
    /// `probe` or `drive`, where one of them wrote.
    program_by: Option<&'static str>,
    /// How model and class bank came: `probe`, `drive` or `line`.
    files_by: Option<&'static str>,
    selftest: Option<Tested>,
}

/// Puts into a board what its ways reach, and has it test itself over its line.
pub(super) fn run(args: &Args, spec: &BoardSpec) -> Outcome {
    if let (Some(program), false, None) = (&args.program, args.probe, &args.drive) {
        return Err(Failure::new(format_args!(
            "found the program {} and --port alone, over which no program goes",
            program.display()
        ))
        .help("write it by --probe or --drive FOLDER"));
    }
    let checked = checked(args, spec)?;
    let mut done = Done {
        board: spec.name,
        program_by: None,
        files_by: None,
        selftest: None,
    };
    if let Some(folder) = &args.drive {
        let image = checked.image(&program(args, spec)?)?;
        copy(&image.encode(ImageFormat::Uf2)?, folder)?;
        (done.program_by, done.files_by) = (Some("drive"), Some("drive"));
        tell(
            args,
            format_args!(
                "{}: program, model and class bank are there",
                folder.display()
            ),
        );
    }
    if args.probe {
        let writes = probe(args, spec, &checked)?;
        done.program_by = Some("probe");
        if writes == ProbeWrites::Image {
            done.files_by = Some("probe");
        }
    }
    if let Some(port) = &args.port {
        let result = over_the_line(args, spec, port, &mut done)?;
        done.selftest = Some(Tested::of(&result));
        if args.json {
            json(&done)?;
        }
        let said = tested_or_failed(&result)?;
        tell(args, format_args!("{said}"));
        return Ok(());
    }
    if done.files_by.is_none() {
        tell(
            args,
            format_args!(
                "the probe does not reach the flash of model and class bank: pinhole flash … --port PORT sends them",
            ),
        );
    } else {
        tell(
            args,
            format_args!("to test it: pinhole board selftest --port PORT"),
        );
    }
    match args.json {
        true => json(&done),
        false => Ok(()),
    }
}

/// Says something to people; with `--json` on standard error.
fn tell(args: &Args, text: std::fmt::Arguments<'_>) {
    match args.json {
        true => note!("{text}"),
        false => say!("{text}"),
    }
}

/// Copies a UF2 file to the drive of a bootloader, which starts the board when it has the last block.
fn copy(bytes: &[u8], folder: &Path) -> Outcome {
    let refused = |found: std::fmt::Arguments<'_>| {
        Failure::new(format_args!("{}: {found}", folder.display()))
            .help("hold BOOTSEL, plug the board in, and name the folder at which its drive appears")
    };
    // Every bootloader of this kind describes itself in this file.
    if !folder.join("INFO_UF2.TXT").is_file() {
        return Err(refused(format_args!(
            "found no INFO_UF2.TXT, expected the drive of a bootloader"
        )));
    }
    let path = folder.join("pinhole.uf2");
    fs::File::create(&path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|fault| refused(format_args!("the copy was not taken whole: {fault}")))
}

/// Has `probe-rs` write what it reaches.
fn probe(args: &Args, spec: &BoardSpec, checked: &Files<'_>) -> Outcome<ProbeWrites> {
    let Some((chip, writes)) = spec.probe() else {
        let reason = match spec.runs_here() {
            true => "found --probe for a board that this machine runs, expected one with a chip",
            false => {
                "found --probe for a board whose chip copies its program into RAM, behind a header of its vendor's tool"
            }
        };
        return Err(Failure::new(format_args!("{}: {reason}", spec.name)).help(
            match spec.runs_here() {
                true => "name the file of its flash: --flash FILE".to_string(),
                false => format!(
                    "docs/boards/{}.md says how its program gets there; model and class bank: --port PORT",
                    spec.name
                ),
            },
        ));
    };
    if writes == ProbeWrites::Program && args.port.is_none() {
        note!(
            "model and class bank have to go over the line of {}: --port PORT",
            spec.name
        );
    }
    let elf = program(args, spec)?;
    // Checked against the map of the board before a probe writes it somewhere else.
    let image = checked.image(&elf)?;
    let folder = tempfile::tempdir()
        .map_err(|fault| Failure::new(format_args!("a temporary folder: {fault}")))?;
    let mut command = Command::new("probe-rs");
    command.args(["download", "--chip", chip, "--verify"]);
    match writes {
        ProbeWrites::Program => command.arg(&elf),
        ProbeWrites::Image => {
            let path = folder.path().join("image.hex");
            fs::write(&path, image.encode(ImageFormat::Hex)?)
                .map_err(|fault| Failure::new(format_args!("{}: {fault}", path.display())))?;
            command.args(["--binary-format", "hex"]).arg(path)
        }
    };
    started(&mut command, args)?;
    started(
        Command::new("probe-rs").args(["reset", "--chip", chip]),
        args,
    )?;
    tell(
        args,
        format_args!(
            "{}: {} by the probe, verified",
            spec.name,
            match writes {
                ProbeWrites::Program => "program",
                ProbeWrites::Image => "program, model and class bank",
            }
        ),
    );
    Ok(writes)
}

/// Runs `probe-rs`, whose progress people see.
fn started(command: &mut Command, args: &Args) -> Outcome {
    command.stdin(Stdio::null());
    if args.json {
        command.stdout(Stdio::null());
    }
    let install = "install it: cargo install probe-rs-tools --locked; an image for other programmers: --image OUT.hex";
    let status = command
        .status()
        .map_err(|fault| Failure::new(format_args!("probe-rs: {fault}")).help(install))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(format_args!(
            "probe-rs did not write the board ({status}); nothing else was changed"
        ))
        .help("its own words are above; probe-rs list says which probes it finds")),
    }
}

/// Sends model and bank where they are not there, switches to both, and has the board test itself.
fn over_the_line(
    args: &Args,
    spec: &BoardSpec,
    port: &str,
    done: &mut Done<'_>,
) -> Outcome<pinhole_device::SelfTest> {
    let [model, bank] = [Image::read(&args.model)?, Image::read(&args.bank)?];
    let options = Options {
        baud: args.baud.unwrap_or(BAUD),
        ..Options::default()
    };
    let seed = args.unlock.as_deref().map(private_key).transpose()?;
    let mut board = RunningBoard::connect(port, &options)?;
    // One that has a model says what it is; another learns of the mistake from its own checks.
    if let Ok(info) = board.ask(|link| link.hello()) {
        expect_board(spec, port, &info.board)?;
    }
    if done.files_by.is_none() {
        if let Some(seed) = seed {
            board.ask(|link| link.unlock(&seed))?;
        }
        model.upload(&mut board)?;
        bank.upload(&mut board)?;
        board.ask(|link| link.activate(Which::Both))?;
        done.files_by = Some("line");
        tell(
            args,
            format_args!("{port}: model and class bank are in use"),
        );
    }
    let info = board.ask(|link| link.hello())?;
    expect_board(spec, port, &info.board)?;
    Ok(board.ask(|link| link.self_test())?)
}

fn expect_board(spec: &BoardSpec, port: &str, found: &str) -> Outcome {
    match found == spec.name {
        true => Ok(()),
        false => Err(Failure::new(format_args!(
            "{port}: found the board {found}, expected {}",
            spec.name
        ))
        .help(format_args!(
            "name the board that is there: --board {found}"
        ))),
    }
}
