//! The boards that there are, and what this machine needs for one.

use crate::DeviceError;
use std::path::Path;
use std::process::{Command, Stdio};

/// A board, with everything that the host has to know about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardSpec {
    /// As `--board` spells it; also its folder in `firmware/boards` and the name of its program.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// The Rust target of its firmware.
    pub target: &'static str,
    /// The program that emulates it.
    pub emulator: &'static str,
    /// The emulator's name of the machine.
    pub machine: &'static str,
    /// Where the model lies.
    pub model: Partition,
    /// Where the class bank lies.
    pub bank: Partition,
}

/// A stretch of a board's memory that holds one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its first byte.
    pub address: u32,
    /// Most bytes of a file.
    pub bytes: u32,
}

/// Something that this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is not there.
    pub what: String,
    /// How to get it: a command to type where there is one.
    pub get: String,
}

/// Addresses as in `firmware/boards/qemu-an547/memory.x`.
const QEMU_AN547: BoardSpec = BoardSpec {
    name: "qemu-an547",
    description: "emulated Cortex-M55 (Arm MPS3 AN547)",
    target: "thumbv8m.main-none-eabihf",
    emulator: "qemu-system-arm",
    machine: "mps3-an547",
    model: Partition {
        address: 0x3800_0000,
        bytes: 8 << 20,
    },
    bank: Partition {
        address: 0x1100_0000,
        bytes: 1 << 20,
    },
};

/// All boards.
pub fn boards() -> &'static [BoardSpec] {
    &[QEMU_AN547]
}

/// The board called `name`.
///
/// # Errors
/// [`DeviceError::UnknownBoard`], which lists the names.
pub fn board(name: &str) -> Result<&'static BoardSpec, DeviceError> {
    boards()
        .iter()
        .find(|board| board.name == name)
        .ok_or_else(|| DeviceError::UnknownBoard {
            found: name.into(),
            expected: boards().iter().map(|board| board.name).collect(),
        })
}

/// Whether this machine has all that building and running the firmware of a board takes.
///
/// # Errors
/// The first thing that is missing.
pub fn available(board: &BoardSpec) -> Result<(), Missing> {
    emulator_available(board)?;
    target_installed(board.target)
}

/// The emulator alone, for a firmware that is already built.
pub(crate) fn emulator_available(board: &BoardSpec) -> Result<(), Missing> {
    let machines = output(Command::new(board.emulator).args(["-machine", "help"]));
    let Some(machines) = machines else {
        return Err(Missing {
            what: format!("the emulator {}", board.emulator),
            get: "apt install qemu-system-arm (Debian, Ubuntu), brew install qemu (macOS)".into(),
        });
    };
    let known = machines
        .lines()
        .any(|line| line.split_whitespace().next() == Some(board.machine));
    if !known {
        return Err(Missing {
            what: format!("the machine {} in {}", board.machine, board.emulator),
            get: "a newer QEMU: version 7.2 has it".into(),
        });
    }
    Ok(())
}

/// Whether the Rust toolchain of the firmware, that of the folder it lies in, builds for `target`.
pub(crate) fn target_installed(target: &str) -> Result<(), Missing> {
    let folder = crate::firmware::boards_folder().unwrap_or_else(|_| Path::new(".").into());
    let libraries = output(
        Command::new("rustc")
            .args(["--print", "target-libdir", "--target", target])
            .current_dir(folder),
    );
    match libraries {
        Some(folder) if Path::new(folder.trim()).is_dir() => Ok(()),
        _ => Err(Missing {
            what: format!("the Rust target {target}"),
            get: format!("rustup target add {target}"),
        }),
    }
}

/// What a command prints; `None` when there is no such command or it fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
