//! Emulated CPUs: instructions of an inference, operator by operator, under QEMU.
//!
//! A program runs the model and marks its operators: `tests/guest` on CPUs of Linux boards, in QEMU's user mode, and
//! `firmware/boards/guest` on whole boards of Cortex-M. The plugin `tests/tcg-count` is loaded into QEMU and counts. All are
//! built when they have to be. Counts are exact and repeat. They are no time: an emulator has neither caches nor pipelines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::board::{QEMU_AN386, QEMU_AN500, QEMU_AN547, output, target_installed};
use crate::firmware::{boards_folder, cargo_build};
use crate::{BoardSpec, DeviceError, Missing};

const LINUX_EMULATOR: &str = "qemu-aarch64";
const LINUX_LINKER: &str = "aarch64-linux-gnu-gcc";
const LINUX_TARGET: &str = "aarch64-unknown-linux-gnu";

/// Files of [`Folder`].
const MODEL: &str = "model.phm";
const TABLE: &str = "table.txt";

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
    /// The kernel sets of a program on it, slowest first.
    pub kernel_sets: &'static [&'static str],
    /// What model, arena and picture share, in bytes; `None` where that is the memory of this machine.
    pub memory_bytes: Option<usize>,
    machine: Machine,
}

impl Cpu {
    /// Whether the counter knows the classes of its instructions; else all of them are [`Instructions::other`].
    pub fn has_classes(&self) -> bool {
        matches!(self.machine, Machine::Linux { .. })
    }
}

/// How it is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    /// A Linux program in user mode.
    Linux {
        /// QEMU's name of the CPU, with its options.
        cpu: &'static str,
    },
    /// A program without a system, on the machine of a board; it has a memory map of its own there.
    Board(&'static BoardSpec),
}

/// All CPUs, the first one for `qemu-aarch64` alone.
pub fn cpus() -> &'static [Cpu] {
    &[
        Cpu {
            name: "qemu-aarch64:cortex-a76",
            description: "Armv8.2 with dot products and fp16 (Raspberry Pi 5)",
            kernel_sets: &["scalar", "aarch64-neon", "aarch64-dotprod"],
            memory_bytes: None,
            machine: Machine::Linux { cpu: "cortex-a76" },
        },
        Cpu {
            name: "qemu-aarch64:max",
            description: "all that QEMU knows, i8mm among it, without SVE and SME",
            kernel_sets: &["scalar", "aarch64-neon", "aarch64-dotprod", "aarch64-i8mm"],
            memory_bytes: None,
            machine: Machine::Linux {
                cpu: "max,sve=off,sme=off",
            },
        },
        Cpu {
            name: "qemu-aarch64:cortex-a53",
            description: "Armv8.0, NEON alone (Raspberry Pi 3)",
            kernel_sets: &["scalar", "aarch64-neon"],
            memory_bytes: None,
            machine: Machine::Linux { cpu: "cortex-a53" },
        },
        Cpu {
            name: QEMU_AN547.name,
            description: "Cortex-M55 with Helium",
            kernel_sets: &["scalar", "cortex_m-dsp", "cortex_m-helium"],
            memory_bytes: Some(256 << 20),
            machine: Machine::Board(&QEMU_AN547),
        },
        Cpu {
            name: QEMU_AN500.name,
            description: "Cortex-M7",
            kernel_sets: &["scalar", "cortex_m-dsp"],
            memory_bytes: Some(16 << 20),
            machine: Machine::Board(&QEMU_AN500),
        },
        Cpu {
            name: QEMU_AN386.name,
            description: "Cortex-M4",
            kernel_sets: &["scalar", "cortex_m-dsp"],
            memory_bytes: Some(16 << 20),
            machine: Machine::Board(&QEMU_AN386),
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
        LINUX_EMULATOR => cpus()[0].name,
        name => name,
    };
    cpus().iter().find(|cpu| cpu.name == name)
}

/// Whether this machine has all that counting on `cpu` takes.
///
/// # Errors
/// The first thing that is missing.
pub fn counter_available(cpu: &Cpu) -> Result<(), Missing> {
    match cpu.machine {
        Machine::Linux { .. } => {
            loads_plugins(LINUX_EMULATOR, "qemu-user")?;
            if output(Command::new(LINUX_LINKER).arg("--version")).is_none() {
                return Err(Missing {
                    what: format!("the linker {LINUX_LINKER}"),
                    get: "apt install gcc-aarch64-linux-gnu (Debian, Ubuntu)".into(),
                });
            }
            target_installed(LINUX_TARGET)
        }
        Machine::Board(board) => {
            loads_plugins(board.emulator, "qemu-system-arm")?;
            target_installed(board.target)
        }
    }
}

/// An emulator that is there, and dynamic: a static one has no `-plugin`.
fn loads_plugins(emulator: &str, package: &str) -> Result<(), Missing> {
    match output(Command::new(emulator).arg("-h")) {
        None => Err(Missing {
            what: format!("the emulator {emulator}"),
            get: format!("apt install {package} (Debian, Ubuntu)"),
        }),
        Some(help) if !help.contains("-plugin") => Err(Missing {
            what: format!("an emulator {emulator} that loads plugins"),
            get: format!("apt install {package}, of which the static build loads none"),
        }),
        Some(_) => Ok(()),
    }
}

/// Runs `model` on `cpu` with the kernel set of a name, or the fastest, and counts.
///
/// # Errors
/// [`DeviceError::Missing`], [`DeviceError::Build`], [`DeviceError::Start`], and [`DeviceError::Guest`] with what the program
/// says when it does not take the model or the kernel set.
pub fn count(
    cpu: &Cpu,
    model: &[u8],
    kernels: Option<&str>,
    tokens: usize,
) -> Result<Counted, DeviceError> {
    counter_available(cpu)?;
    let counter = build_counter(cpu)?;
    let guest = build_guest(cpu)?;
    let start_failed = |reason: String| start_failed(cpu, reason);
    let folder = Folder::new().map_err(|error| start_failed(error.to_string()))?;
    let table = folder.file(TABLE);
    let model = folder
        .write(MODEL, model)
        .map_err(|error| start_failed(error.to_string()))?;
    let mut arguments = vec!["count".to_string(), model, tokens.to_string()];
    arguments.extend(kernels.map(str::to_string));
    let escaped = |path: &Path| escaped(&path.display().to_string());
    let plugin = format!("{},out={}", escaped(&counter), escaped(&table));
    let kernels = run_guest(cpu, &guest, Some(&plugin), &arguments)?;
    let kernels = kernels.trim_start_matches("kernels ").trim().to_string();
    let text = fs::read_to_string(&table).map_err(|error| start_failed(error.to_string()))?;
    parse(&text, kernels).ok_or_else(|| start_failed(format!("it counted nothing: {text}")))
}

pub(crate) fn start_failed(cpu: &Cpu, reason: String) -> DeviceError {
    DeviceError::Start {
        emulator: cpu.machine.emulator(),
        reason,
    }
}

/// Runs a guest to its end, with a plugin and its options, and returns what it prints.
///
/// # Errors
/// [`DeviceError::Guest`] with the program's words, [`DeviceError::Start`].
pub(crate) fn run_guest(
    cpu: &Cpu,
    guest: &Path,
    plugin: Option<&str>,
    arguments: &[String],
) -> Result<String, DeviceError> {
    let mut emulator = Command::new(cpu.machine.emulator());
    if let Some(plugin) = plugin {
        emulator.args(["-plugin", plugin]);
    }
    cpu.machine.add_guest(&mut emulator, guest, arguments);
    let output = emulator
        .stdin(Stdio::null())
        .output()
        .map_err(|error| start_failed(cpu, error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    // The counter's own words, when it has any, come after the program's.
    let reason = words.lines().next().unwrap_or_default();
    Err(match output.status.code() {
        Some(2) => DeviceError::Guest(reason.into()),
        _ => start_failed(cpu, format!("{reason} ({})", output.status)),
    })
}

/// QEMU separates options by commas, and takes two for one.
pub(crate) fn escaped(option: &str) -> String {
    option.replace(',', ",,")
}

impl Machine {
    fn emulator(self) -> &'static str {
        match self {
            Self::Linux { .. } => LINUX_EMULATOR,
            Self::Board(board) => board.emulator,
        }
    }

    /// The options that start a program with arguments.
    fn add_guest(self, emulator: &mut Command, guest: &Path, arguments: &[String]) {
        match self {
            Self::Linux { cpu } => {
                emulator.args(["-cpu", cpu]).arg(guest).args(arguments);
            }
            Self::Board(board) => {
                let arguments: String = arguments
                    .iter()
                    .map(|argument| format!(",arg={}", escaped(argument)))
                    .collect();
                emulator
                    .args([
                        "-machine",
                        board.machine,
                        "-display",
                        "none",
                        "-monitor",
                        "none",
                    ])
                    .args(["-serial", "none", "-no-reboot", "-semihosting-config"])
                    .arg(format!("enable=on,target=native,arg=guest{arguments}"))
                    .arg("-kernel")
                    .arg(guest);
            }
        }
    }
}

/// A folder of this process for a guest's files, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> std::io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pinhole-guest-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0)?;
        Ok(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path as a guest's argument.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<String> {
        let path = self.file(name);
        fs::write(&path, bytes)?;
        Ok(path.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The folder of the workspace.
fn root() -> Result<PathBuf, DeviceError> {
    let boards = boards_folder()?;
    Ok(boards
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .to_path_buf())
}

fn build_failed(cpu: &Cpu, root: &Path, reason: String) -> DeviceError {
    DeviceError::Build {
        board: cpu.name,
        reason,
        folder: root.into(),
    }
}

/// Builds the plugin that counts.
fn build_counter(cpu: &Cpu) -> Result<PathBuf, DeviceError> {
    let root = root()?;
    let target_folder = root.join("target/emulated");
    let counter = ["--package", "pinhole-tcg-count"];
    cargo_build(&root, &target_folder, &counter, &[])
        .map_err(|reason| build_failed(cpu, &root, reason))?;
    Ok(target_folder.join("release/libtcg_count.so"))
}

/// Builds the program that runs models on `cpu`, which is fast when nothing changed.
pub(crate) fn build_guest(cpu: &Cpu) -> Result<PathBuf, DeviceError> {
    let root = root()?;
    match cpu.machine {
        Machine::Linux { .. } => build_linux(&root, &root.join("target/emulated")),
        Machine::Board(board) => build_board(&boards_folder()?, board),
    }
    .map_err(|reason| build_failed(cpu, &root, reason))
}

fn build_linux(root: &Path, target_folder: &Path) -> Result<PathBuf, String> {
    let guest = ["--package", "pinhole-guest", "--target", LINUX_TARGET];
    // Static, so that the emulator needs no libraries of the guest's system.
    let settings = [
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            LINUX_LINKER,
        ),
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-Ctarget-feature=+crt-static",
        ),
    ];
    cargo_build(root, target_folder, &guest, &settings)?;
    Ok(target_folder
        .join(LINUX_TARGET)
        .join("release/pinhole-guest"))
}

/// With the flags of the board's firmware and of its kernel tests, so that it shares what they built.
fn build_board(boards: &Path, board: &BoardSpec) -> Result<PathBuf, String> {
    let target_folder = boards.join("target").join(board.machine);
    let flags = [
        &format!("-Ctarget-cpu={}", board.target_cpu),
        "-Cno-vectorize-slp",
        "-Clink-arg=--nmagic",
        "-Clink-arg=-Tlink.x",
    ]
    .join("\u{1f}");
    let settings = [
        ("PINHOLE_BOARD", board.machine),
        ("CARGO_ENCODED_RUSTFLAGS", &flags),
    ];
    let folder = boards.join("guest");
    let arguments = ["--target", board.target];
    cargo_build(&folder, &target_folder, &arguments, &settings)?;
    Ok(target_folder.join(board.target).join("release/guest"))
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
