//! The boards that there are, and what this machine needs for one.

use crate::{DeviceError, ImageFormat, Layout, layout};
use std::path::Path;
use std::process::{Command, Stdio};

/// A board, with everything that the host has to know about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardSpec {
    /// As `--board` spells it; also its folder in `firmware/boards` and the name of its program.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Its CPU, for people.
    pub cpu: &'static str,
    /// The CPU as `-C target-cpu` spells it.
    pub target_cpu: &'static str,
    /// The Rust target of its firmware.
    pub target: &'static str,
    /// The program that emulates it; empty for a process.
    pub emulator: &'static str,
    /// The emulator's name of the machine; empty for a process.
    pub machine: &'static str,
    /// Bytes of its flash, without that of the program.
    pub flash_bytes: u32,
    /// Bytes of its RAM, the arena among them.
    pub ram_bytes: u32,
    /// Bytes for the values of a model while it runs.
    pub arena_bytes: u32,
    /// Where program and storage lie, and how they get there.
    pub flashing: Flashing,
}

/// The flash of a board as a programmer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flashing {
    /// Address of the flash of the program.
    pub program_address: u32,
    /// Bytes of it.
    pub program_bytes: u32,
    /// Address of the first partition of the storage.
    pub storage_address: u32,
    /// What is erased at once.
    pub sector_bytes: u32,
    /// Whether an image holds the program. A boot ROM that copies it into RAM wants a header before it, which a tool of the
    /// chip's vendor writes.
    pub program_in_image: bool,
    /// The family of the chip in UF2 files, where its bootloader takes them.
    pub uf2_family: Option<u32>,
    /// What brings an image into the board.
    pub programmer: Programmer,
}

impl Flashing {
    /// Behind the last byte of the program's flash.
    pub(crate) fn program_end(&self) -> u64 {
        u64::from(self.program_address) + u64::from(self.program_bytes)
    }
}

/// What brings an image into a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programmer {
    /// None: the board is emulated, and its flash is a file of the host.
    Emulator,
    /// None: the board is a process of Linux, and its flash is a file.
    Process,
    /// A debug probe for the program. The storage lies in a flash beside the chip, for which probes have no loader of their own.
    Probe {
        /// The chip as `probe-rs` spells it.
        chip: &'static str,
    },
    /// A drive that the bootloader shows, or a debug probe.
    Drive {
        /// The name of the drive.
        label: &'static str,
        /// The chip as `probe-rs` spells it.
        chip: &'static str,
    },
}

/// What `probe-rs` writes of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeWrites {
    /// An image: program, model and class bank.
    Image,
    /// The program alone; model and class bank go over the line.
    Program,
}

impl BoardSpec {
    /// Whether an emulator runs the board.
    pub fn is_emulated(&self) -> bool {
        self.flashing.programmer == Programmer::Emulator
    }

    /// Whether the board is a process of Linux.
    pub fn is_process(&self) -> bool {
        self.flashing.programmer == Programmer::Process
    }

    /// Whether this machine runs the board, in one way or the other, and its flash is a file.
    pub fn runs_here(&self) -> bool {
        self.is_emulated() || self.is_process()
    }

    /// The chip as `probe-rs` spells it, and what that writes; nothing for a board without a probe, or whose program starts from
    /// RAM.
    pub fn probe(&self) -> Option<(&'static str, ProbeWrites)> {
        match self.flashing.programmer {
            Programmer::Emulator | Programmer::Process => None,
            Programmer::Drive { chip, .. } => Some((chip, ProbeWrites::Image)),
            Programmer::Probe { .. } if !self.flashing.program_in_image => None,
            Programmer::Probe { chip } => Some((chip, ProbeWrites::Program)),
        }
    }

    /// What to type so that an image gets into the board, one of them; nothing for one that this machine runs.
    pub fn programming(&self, image: &Path) -> Vec<String> {
        let format = ImageFormat::of(image).unwrap_or(ImageFormat::Hex);
        let image = image.display();
        // Raw bytes have no addresses.
        let start = self.image_address();
        let (flags, place) = match format {
            ImageFormat::Hex => ("hex".to_string(), String::new()),
            ImageFormat::Uf2 => ("uf2".to_string(), String::new()),
            ImageFormat::Bin => (
                format!("bin --base-address {start:#x}"),
                format!("{start:#x} "),
            ),
        };
        match self.flashing.programmer {
            Programmer::Emulator | Programmer::Process => Vec::new(),
            Programmer::Probe { .. } => vec![
                format!(
                    "STM32_Programmer_CLI -c port=SWD -el LOADER.stldr -w {image} {place}-v -rst, with the loader of the board's flash"
                ),
                format!(
                    "model and bank over the line: pinhole flash --board {} --model MODEL --bank BANK --port PORT",
                    self.name
                ),
            ],
            Programmer::Drive { label, chip } => {
                let copied =
                    format!("hold BOOTSEL, plug the board in, cp {image} /media/$USER/{label}/");
                let probe = format!(
                    "probe-rs download --chip {chip} --binary-format {flags} --verify {image}"
                );
                match format {
                    ImageFormat::Uf2 => vec![copied, probe],
                    ImageFormat::Hex | ImageFormat::Bin => vec![probe],
                }
            }
        }
    }

    /// The lowest address of an image.
    fn image_address(&self) -> u32 {
        match self.flashing.program_in_image {
            true => self.flashing.program_address,
            false => self.flashing.storage_address,
        }
    }

    /// What lies where in its flash.
    pub fn layout(&self) -> Layout {
        layout::layout(self.flash_bytes)
    }
}

/// Something that this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is not there.
    pub what: String,
    /// How to get it: a command to type where there is one.
    pub get: String,
}

/// Lengths as in `firmware/boards/qemu-an547/memory.x`; likewise for the others.
pub(crate) const QEMU_AN547: BoardSpec = BoardSpec {
    name: "qemu-an547",
    description: "emulated Arm MPS3 AN547",
    cpu: "Cortex-M55 with Helium",
    target_cpu: "cortex-m55",
    target: "thumbv8m.main-none-eabihf",
    emulator: "qemu-system-arm",
    machine: "mps3-an547",
    flash_bytes: 32 << 20,
    ram_bytes: (4 << 20) + (512 << 10),
    arena_bytes: 3 << 20,
    flashing: Flashing {
        program_address: 0x1000_0000,
        program_bytes: 512 << 10,
        storage_address: 0x7000_0000,
        sector_bytes: 4096,
        program_in_image: true,
        uf2_family: None,
        programmer: Programmer::Emulator,
    },
};

pub(crate) const QEMU_AN500: BoardSpec = BoardSpec {
    name: "qemu-an500",
    description: "emulated Arm MPS2 AN500",
    cpu: "Cortex-M7",
    target_cpu: "cortex-m7",
    target: "thumbv7em-none-eabihf",
    emulator: "qemu-system-arm",
    machine: "mps2-an500",
    flash_bytes: 16 << 20,
    ram_bytes: 5 << 20,
    arena_bytes: 3 << 20,
    flashing: Flashing {
        program_address: 0,
        program_bytes: 1 << 20,
        storage_address: 0x6000_0000,
        ..QEMU_AN547.flashing
    },
};

pub(crate) const QEMU_AN386: BoardSpec = BoardSpec {
    name: "qemu-an386",
    description: "emulated Arm MPS2 AN386",
    cpu: "Cortex-M4",
    target_cpu: "cortex-m4",
    machine: "mps2-an386",
    flashing: Flashing {
        storage_address: 0x2100_0000,
        ..QEMU_AN500.flashing
    },
    ..QEMU_AN500
};

/// Lengths as in `firmware/boards/linux/src/arguments.rs`.
pub(crate) const LINUX: BoardSpec = BoardSpec {
    name: "linux",
    description: "a process of this machine",
    cpu: "64-bit Arm or x86",
    target_cpu: "",
    target: "",
    emulator: "",
    machine: "",
    flash_bytes: 64 << 20,
    ram_bytes: 36 << 20,
    arena_bytes: 32 << 20,
    flashing: Flashing {
        program_address: 0,
        program_bytes: 0,
        storage_address: 0,
        sector_bytes: 4096,
        program_in_image: false,
        uf2_family: None,
        programmer: Programmer::Process,
    },
};

/// Lengths of the boards with chips as in their `memory.x` too; none has run on hardware.
pub(crate) const RP2350: BoardSpec = BoardSpec {
    name: "rp2350",
    description: "Raspberry Pi Pico 2",
    cpu: "Cortex-M33",
    target_cpu: "cortex-m33",
    target: "thumbv8m.main-none-eabihf",
    emulator: "",
    machine: "",
    flash_bytes: 3328 << 10,
    ram_bytes: 512 << 10,
    arena_bytes: 288 << 10,
    flashing: Flashing {
        program_address: 0x1000_0000,
        program_bytes: 768 << 10,
        storage_address: 0x100c_0000,
        sector_bytes: 4096,
        program_in_image: true,
        // Arm, secure: the families of the datasheet, 5.5.3.
        uf2_family: Some(0xe48b_ff59),
        programmer: Programmer::Drive {
            label: "RP2350",
            chip: "RP235x",
        },
    },
};

pub(crate) const STM32H743: BoardSpec = BoardSpec {
    name: "stm32h743",
    description: "WeAct MiniSTM32H743",
    cpu: "Cortex-M7",
    target_cpu: "cortex-m7",
    target: "thumbv7em-none-eabihf",
    flash_bytes: 8 << 20,
    ram_bytes: 704 << 10,
    arena_bytes: 416 << 10,
    flashing: Flashing {
        program_address: 0x0800_0000,
        program_bytes: 2 << 20,
        storage_address: 0x9000_0000,
        uf2_family: None,
        programmer: Programmer::Probe {
            chip: "STM32H743VITx",
        },
        ..RP2350.flashing
    },
    ..RP2350
};

pub(crate) const STM32N657: BoardSpec = BoardSpec {
    name: "stm32n657",
    description: "NUCLEO-N657X0-Q",
    cpu: "Cortex-M55 with Helium",
    target_cpu: "cortex-m55",
    flash_bytes: 63 << 20,
    ram_bytes: 2304 << 10,
    arena_bytes: 1792 << 10,
    flashing: Flashing {
        program_address: 0x3418_0400,
        program_bytes: 511 << 10,
        storage_address: 0x7010_0000,
        program_in_image: false,
        uf2_family: None,
        programmer: Programmer::Probe { chip: "STM32N657" },
        ..RP2350.flashing
    },
    ..RP2350
};

/// All boards.
pub fn boards() -> &'static [BoardSpec] {
    &[
        QEMU_AN547, QEMU_AN500, QEMU_AN386, LINUX, RP2350, STM32H743, STM32N657,
    ]
}

/// Those that this machine runs under an emulator.
pub fn emulated_boards() -> impl Iterator<Item = &'static BoardSpec> {
    boards().iter().filter(|board| board.is_emulated())
}

/// Those that this machine runs: under an emulator, or as a process.
pub fn boards_run_here() -> impl Iterator<Item = &'static BoardSpec> {
    boards().iter().filter(|board| board.runs_here())
}

/// The one of `names` that takes the fewest edits to become `found`: what a slip was meant to be.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let names = names.into_iter();
    names.min_by_key(|name| strsim::levenshtein(found, name))
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
    if board.is_process() {
        return runs_processes(board);
    }
    if !board.is_emulated() {
        return Err(Missing {
            what: format!("an emulator of {}", board.name),
            get: format!(
                "name the port of a board that runs: --port PORT; pinhole flash --board {} puts its program there",
                board.name
            ),
        });
    }
    emulator_available(board)?;
    target_installed(board.target)
}

/// A program of Linux, and Cargo to build it.
fn runs_processes(board: &BoardSpec) -> Result<(), Missing> {
    if !cfg!(target_os = "linux") {
        return Err(Missing {
            what: format!("Linux, for the board {},", board.name),
            get: "take an emulated board: pinhole board list".into(),
        });
    }
    match output(Command::new("cargo").arg("--version")) {
        Some(_) => Ok(()),
        None => Err(Missing {
            what: "Cargo, which builds the board's program,".into(),
            get: "install Rust: https://rustup.rs".into(),
        }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of<'a>(script: &'a str, name: &str) -> &'a str {
        script
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))
            .unwrap_or_else(|| panic!("no region {name}"))
    }

    fn has_region(script: &str, name: &str) -> bool {
        script
            .lines()
            .any(|line| line.split_whitespace().next() == Some(name) && line.contains("ORIGIN"))
    }

    /// The address of a region of a linker script.
    fn origin(script: &str, name: &str) -> u32 {
        let (_, address) = line_of(script, name)
            .split_once("ORIGIN = 0x")
            .expect("an origin");
        let digits = address.split(',').next().expect("digits");
        u32::from_str_radix(digits, 16).expect("a number")
    }

    /// Bytes of a region, which a linker script writes in K or M.
    fn region(script: &str, name: &str) -> u32 {
        let line = line_of(script, name);
        let (_, length) = line.split_once("LENGTH = ").expect("a length");
        let (digits, unit) = length.trim().split_at(length.trim().len() - 1);
        let shift = match unit {
            "K" => 10,
            "M" => 20,
            _ => panic!("no unit: {line}"),
        };
        digits.parse::<u32>().expect("a number") << shift
    }

    #[test]
    fn the_table_says_what_the_memory_maps_say() {
        let folder = crate::firmware::boards_folder().expect("this checkout has firmware");
        for board in boards().iter().filter(|board| !board.is_process()) {
            let path = folder.join(board.name).join("memory.x");
            let script = std::fs::read_to_string(path).expect("a memory map");
            let bytes = |name| region(&script, name);
            let ram: u32 = ["ARENA", "SCRATCH", "RAM", "STACK", "BANDS"]
                .into_iter()
                .filter(|name| has_region(&script, name))
                .map(bytes)
                .sum();
            let found = [bytes("NOR"), ram, bytes("ARENA")];
            let said = [board.flash_bytes, board.ram_bytes, board.arena_bytes];
            assert_eq!(said, found, "{}", board.name);
            let flashing = board.flashing;
            let found = [
                origin(&script, "FLASH"),
                bytes("FLASH"),
                origin(&script, "NOR"),
            ];
            let said = [
                flashing.program_address,
                flashing.program_bytes,
                flashing.storage_address,
            ];
            assert_eq!(said, found, "{}", board.name);
            // Storage and program may share a flash, and must not share a byte.
            let storage = u64::from(flashing.storage_address)
                ..u64::from(flashing.storage_address) + u64::from(board.flash_bytes);
            let program = u64::from(flashing.program_address)..flashing.program_end();
            assert!(program.end <= storage.start || storage.end <= program.start);
            assert_eq!(flashing.storage_address % flashing.sector_bytes, 0);
        }
    }

    #[test]
    fn partitions_follow_each_other_and_end_within_the_flash() {
        for bytes in [0, 4096, 1 << 20, 2 << 20, 16 << 20, 32 << 20] {
            let layout = layout::layout(bytes);
            let [bank_a, bank_b] = layout.banks;
            let [model_a, model_b] = layout.models;
            let mut end = 0;
            let model_bytes = model_a.len();
            for partition in [layout.state, bank_a, bank_b, model_a, model_b] {
                assert_eq!(partition.start, end);
                assert_eq!(partition.len() % 4096, 0);
                end = partition.end;
            }
            assert!(end <= bytes || model_bytes == 0);
            // What is left over is less than a sector for each model.
            assert!(model_bytes == 0 || bytes - end < 2 * 4096);
        }
        // As `docs/boards` says.
        assert_eq!(layout::layout(16 << 20).models[1].start, 0x88_8000);
        assert_eq!(layout::layout(32 << 20).models[1].start, 0x108_8000);
    }

    #[test]
    fn a_board_with_a_chip_says_what_to_type() {
        let [copied, probe] = &RP2350.programming(Path::new("out.uf2"))[..] else {
            panic!("two ways");
        };
        assert!(copied.ends_with("cp out.uf2 /media/$USER/RP2350/"));
        assert!(probe.contains("--chip RP235x --binary-format uf2"));
        let raw = RP2350.programming(Path::new("out.bin")).join("");
        assert!(raw.contains("--base-address 0x10000000"), "{raw}");
        let raw = STM32N657.programming(Path::new("out.bin")).join("");
        assert!(raw.contains("-w out.bin 0x70100000 -v"), "{raw}");
        assert!(QEMU_AN500.programming(Path::new("out.hex")).is_empty());
        assert_eq!(RP2350.probe(), Some(("RP235x", ProbeWrites::Image)));
        assert_eq!(
            STM32H743.probe(),
            Some(("STM32H743VITx", ProbeWrites::Program))
        );
        assert_eq!(STM32N657.probe(), None);
    }

    #[test]
    fn an_unknown_board_is_answered_by_the_nearest_name() {
        let error = board("qemu-an50").expect_err("there is none");
        let help = error.help().expect("help");
        assert!(help.contains("qemu-an500"), "{help}");
    }
}
