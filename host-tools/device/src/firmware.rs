//! Finds the sources of the firmware and has Cargo build them.

use crate::{BoardSpec, DeviceError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Settings that a Cargo around this program may have left, and that must not reach the firmware: another target's flags.
const FOREIGN: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// The folder `firmware/boards`: in the folder that `PINHOLE_FIRMWARE` names, else in the checkout that this was built in.
pub(crate) fn boards_folder() -> Result<PathBuf, DeviceError> {
    let looked = match std::env::var_os("PINHOLE_FIRMWARE") {
        Some(folder) => vec![PathBuf::from(folder).join("boards")],
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .skip(2)
            .take(1)
            .map(|root| root.join("firmware/boards"))
            .collect(),
    };
    match looked
        .iter()
        .find(|folder| folder.join("Cargo.toml").is_file())
    {
        Some(folder) => Ok(folder.clone()),
        None => Err(DeviceError::NoSources { looked }),
    }
}

/// Builds the firmware of a board, which is fast when nothing changed, and returns the ELF file. `PINHOLE_LINUX` names a program of
/// the board `linux` that is taken instead of building one.
///
/// # Errors
/// [`DeviceError::NoSources`], [`DeviceError::Missing`] for the Rust target, [`DeviceError::Build`].
pub fn build_firmware(board: &BoardSpec) -> Result<PathBuf, DeviceError> {
    let ready = std::env::var_os("PINHOLE_LINUX").map(PathBuf::from);
    if let (true, Some(program)) = (board.is_process(), ready) {
        return Ok(program);
    }
    let boards = boards_folder()?;
    let folder = boards.join(board.name);
    let failed = |reason: String| DeviceError::Build {
        board: board.name,
        reason,
        folder: folder.clone(),
    };
    let target_folder = boards.join("target").join(match board.is_emulated() {
        true => board.machine,
        false => board.name,
    });
    if let Err(reason) = cargo_build(&folder, &target_folder, &[], &[]) {
        if board.runs_here() {
            crate::available(board)?;
        } else {
            crate::board::target_installed(board.target)?;
        }
        return Err(failed(reason));
    }
    let elf = match board.is_process() {
        true => target_folder.join("release").join("pinhole-linux"),
        false => target_folder
            .join(board.target)
            .join("release")
            .join(board.name),
    };
    if !elf.is_file() {
        return Err(failed(format!("there is no {}", elf.display())));
    }
    Ok(elf)
}

/// `cargo build --release` in `folder`, apart from the Cargo that may have started this program; the error is the compiler's
/// first one, or why Cargo did not start.
pub(crate) fn cargo_build(
    folder: &Path,
    target_folder: &Path,
    arguments: &[&str],
    settings: &[(&str, &str)],
) -> Result<(), String> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target-dir"])
        .arg(target_folder)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    for variable in FOREIGN {
        cargo.env_remove(variable);
    }
    let output = cargo
        .envs(settings.iter().copied())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().find(|line| line.starts_with("error"));
    Err(first.unwrap_or("no reason given").into())
}
