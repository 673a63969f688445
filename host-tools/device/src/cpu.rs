//! Emulated CPUs of Linux boards: instructions of an inference, operator by operator, under QEMU's user mode.
//!
//! `tests/guest` is cross-compiled and runs the model, `tests/tcg-count` is loaded into QEMU and counts; both are built when
//! they have to be. Counts are exact and repeat. They are no time: an emulator has neither caches nor pipelines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::board::{output, target_installed};
use crate::firmware::{boards_folder, cargo_build};
use crate::{DeviceError, Missing};

const EMULATOR: &str = "qemu-aarch64";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Regions of `tests/guest`.
const LOAD: usize = 1;
const INTERPRETER: usize = 2;
const FIRST_INFERENCE: usize = 3;
const FIRST_OP: usize = 4;

/// A CPU that can be emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// As `pinhole bench --target` spells it.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// As QEMU spells it.
    model: &'static str,
}

/// All CPUs, the first one for `qemu-aarch64` alone.
pub fn cpus() -> &'static [Cpu] {
    &[
        Cpu {
            name: "qemu-aarch64:cortex-a76",
            description: "Armv8.2 with dot products and fp16 (Raspberry Pi 5)",
            model: "cortex-a76",
        },
        Cpu {
            name: "qemu-aarch64:max",
            description: "all that QEMU knows, i8mm among it, without SVE and SME",
            model: "max,sve=off,sme=off",
        },
        Cpu {
            name: "qemu-aarch64:cortex-a53",
            description: "Armv8.0, NEON alone (Raspberry Pi 3)",
            model: "cortex-a53",
        },
    ]
}

/// Instructions by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instructions {
    /// All.
    pub total: u64,
    /// Integer dot products and matrix products.
    pub dot: u64,
    /// Other vector instructions on integers, moves too.
    pub vector_int: u64,
    /// Vector instructions on floats.
    pub vector_float: u64,
    /// Floats outside vectors.
    pub scalar_float: u64,
    /// Loads, stores, prefetches.
    pub load_store: u64,
    /// Jumps, calls, returns.
    pub branch: u64,
    /// Everything else.
    pub other: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The kernel set that ran.
    pub kernels: String,
    /// `Model::load`, with its checks and the hash over the file.
    pub load: Instructions,
    /// Making an interpreter.
    pub interpreter: Instructions,
    /// The first inference.
    pub first_inference: Instructions,
    /// Operators of the second inference.
    pub ops: Vec<Instructions>,
}

/// The CPU called `name`.
pub fn cpu(name: &str) -> Option<&'static Cpu> {
    let name = match name {
        EMULATOR => cpus()[0].name,
        name => name,
    };
    cpus().iter().find(|cpu| cpu.name == name)
}

/// Whether this machine has all that counting takes.
///
/// # Errors
/// The first thing that is missing.
pub fn counter_available() -> Result<(), Missing> {
    let Some(help) = output(Command::new(EMULATOR).arg("-h")) else {
        return Err(Missing {
            what: format!("the emulator {EMULATOR}"),
            get: "apt install qemu-user (Debian, Ubuntu)".into(),
        });
    };
    if !help.contains("-plugin") {
        return Err(Missing {
            what: format!("a {EMULATOR} that loads plugins"),
            get: "apt install qemu-user: the static one of qemu-user-static loads none".into(),
        });
    }
    if output(Command::new(LINKER).arg("--version")).is_none() {
        return Err(Missing {
            what: format!("the linker {LINKER}"),
            get: "apt install gcc-aarch64-linux-gnu (Debian, Ubuntu)".into(),
        });
    }
    target_installed(TARGET)
}

/// Runs `model` on `cpu` with the kernel set of a name, or the fastest, and counts.
///
/// # Errors
/// [`DeviceError::Missing`], [`DeviceError::Build`], [`DeviceError::Start`], and [`DeviceError::Guest`] with what the program
/// says when it does not take the model or the kernel set.
pub fn count(
    cpu: &Cpu,
    model: &Path,
    kernels: Option<&str>,
    tokens: usize,
) -> Result<Counted, DeviceError> {
    counter_available()?;
    let Programs { guest, counter } = build()?;
    let table = Table::new()?;
    // QEMU separates a plugin's arguments by commas, and takes two for one.
    let escaped = |path: &Path| path.display().to_string().replace(',', ",,");
    let output = Command::new(EMULATOR)
        .args(["-cpu", cpu.model, "-plugin"])
        .arg(format!("{},out={}", escaped(&counter), escaped(&table.0)))
        .arg(guest)
        .arg(model)
        .arg(tokens.to_string())
        .args(kernels)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| start_failed(error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let reason = words.lines().last().unwrap_or_default();
        return Err(match output.status.code() {
            Some(2) => DeviceError::Guest(reason.into()),
            _ => start_failed(format!("{reason} ({})", output.status)),
        });
    }
    let kernels = String::from_utf8_lossy(&output.stdout)
        .trim_start_matches("kernels ")
        .trim()
        .to_string();
    let text = fs::read_to_string(&table.0).map_err(|error| start_failed(error.to_string()))?;
    parse(&text, kernels).ok_or_else(|| start_failed(format!("it counted nothing: {text}")))
}

fn start_failed(reason: String) -> DeviceError {
    DeviceError::Start {
        emulator: EMULATOR,
        reason,
    }
}

/// A file of this process for the counter's table, removed in the end.
struct Table(PathBuf);

impl Table {
    fn new() -> Result<Self, DeviceError> {
        let name = format!("pinhole-count-{}.txt", std::process::id());
        Ok(Self(std::env::temp_dir().join(name)))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // It is not there when the emulator did not start.
        let _ = fs::remove_file(&self.0);
    }
}

/// What is built.
struct Programs {
    guest: PathBuf,
    counter: PathBuf,
}

fn build() -> Result<Programs, DeviceError> {
    let boards = boards_folder()?;
    let root = boards.ancestors().nth(2).unwrap_or(Path::new("."));
    let target_folder = root.join("target/emulated");
    let failed = |reason: String| DeviceError::Build {
        board: EMULATOR,
        reason,
        folder: root.into(),
    };
    let counter = ["--package", "pinhole-tcg-count"];
    cargo_build(root, &target_folder, &counter, &[]).map_err(failed)?;
    let guest = ["--package", "pinhole-guest", "--target", TARGET];
    // Static, so that the emulator needs no libraries of the guest's system.
    let settings = [
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER),
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-Ctarget-feature=+crt-static",
        ),
    ];
    cargo_build(root, &target_folder, &guest, &settings).map_err(failed)?;
    Ok(Programs {
        guest: target_folder.join(TARGET).join("release/pinhole-guest"),
        counter: target_folder.join("release/libtcg_count.so"),
    })
}

/// Reads the counter's table: a line for each region, the instructions by class after its number and its entries.
fn parse(table: &str, kernels: String) -> Option<Counted> {
    let mut regions: Vec<Instructions> = Vec::new();
    for line in table.lines().skip(1) {
        let mut words = line.split(' ');
        let region: usize = words.next()?.parse().ok()?;
        let mut numbers = words.skip(1).map_while(|word| word.parse().ok());
        regions.resize(regions.len().max(region + 1), Instructions::default());
        regions[region] = Instructions {
            total: numbers.next()?,
            dot: numbers.next()?,
            vector_int: numbers.next()?,
            vector_float: numbers.next()?,
            scalar_float: numbers.next()?,
            load_store: numbers.next()?,
            branch: numbers.next()?,
            other: numbers.next()?,
        };
    }
    let ops = regions.get(FIRST_OP..)?.to_vec();
    Some(Counted {
        kernels,
        load: regions[LOAD],
        interpreter: regions[INTERPRETER],
        first_inference: regions[FIRST_INFERENCE],
        ops,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulator_alone_means_its_first_cpu() {
        assert_eq!(cpu("qemu-aarch64"), cpu("qemu-aarch64:cortex-a76"));
        assert_eq!(cpu("qemu-aarch64:z80"), None);
    }

    #[test]
    fn a_table_is_read_by_region() {
        let table = "region entries instructions dot vector_int vector_float scalar_float load_store branch other\n\
                     0 4 900 0 0 0 0 0 0 900\n\
                     1 1 10 0 0 0 0 0 0 10\n\
                     2 1 20 0 0 0 0 0 0 20\n\
                     3 1 60 0 0 0 0 0 0 60\n\
                     4 1 28 1 2 3 4 5 6 7\n\
                     5 1 32 0 0 0 0 0 32 0\n";
        let counted = parse(table, "scalar".into()).expect("a table");
        assert_eq!(counted.first_inference.total, 60);
        assert_eq!((counted.ops.len(), counted.ops[1].branch), (2, 32));
        assert_eq!((counted.ops[0].dot, counted.ops[0].other), (1, 7));
        assert_eq!(parse("", "scalar".into()), None);
    }
}
