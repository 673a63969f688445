//! The kernel sets of the Cortex-M on emulated boards: builds `firmware/boards/kernels` for a CPU and runs it under
//! QEMU.
//!
//! Instructions are those that QEMU executes (`-icount shift=0`), not cycles. What CMSIS-NN needs for the same layers
//! was counted on the same emulator, the lower of gcc 12 and clang.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::root;

/// An emulated CPU.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// As `-C target-cpu` spells it.
    pub name: &'static str,
    /// QEMU's machine with it.
    pub machine: &'static str,
    /// The Rust target.
    pub target: &'static str,
    /// Kernel sets that a program for it must have, slowest first.
    pub sets: &'static [&'static str],
    /// What CMSIS-NN takes for each of the first of [`LAYERS`], instructions for each MAC or element; the others are
    /// none of its, or not counted.
    pub cmsis_nn: [f64; 12],
}

/// The CPUs.
pub const CPUS: [Cpu; 3] = [
    Cpu {
        name: "cortex-m4",
        machine: "mps2-an386",
        target: "thumbv7em-none-eabihf",
        sets: &["scalar", "cortex_m-dsp"],
        cmsis_nn: [
            1.95, 1.52, 2.54, 1.93, 4.16, 1.77, 8.42, 8.84, 8.64, 1.91, 2.07, 424.0,
        ],
    },
    Cpu {
        name: "cortex-m7",
        machine: "mps2-an500",
        target: "thumbv7em-none-eabihf",
        sets: &["scalar", "cortex_m-dsp"],
        cmsis_nn: [
            1.91, 1.49, 2.52, 1.92, 4.10, 1.76, 8.29, 8.56, 8.50, 1.91, 2.07, 418.0,
        ],
    },
    Cpu {
        name: "cortex-m55",
        machine: "mps3-an547",
        target: "thumbv8m.main-none-eabihf",
        sets: &["scalar", "cortex_m-dsp", "cortex_m-helium"],
        cmsis_nn: [
            0.34, 0.20, 0.55, 0.25, 1.01, 0.21, 2.09, 1.58, 2.23, 0.17, 0.20, 90.0,
        ],
    },
];

/// Layers that are counted, with their MACs, then operations with their MACs or elements; the order of `layers.rs` and
/// `operations.rs` in `firmware/boards/kernels/src`.
pub const LAYERS: [(&str, u64); 27] = [
    ("conv 1×1, 14×14×80→480", 14 * 14 * 80 * 480),
    ("conv 1×1, 14×14×480→80", 14 * 14 * 480 * 80),
    ("conv 1×1, 28×28×40→240", 28 * 28 * 40 * 240),
    ("conv 3×3, 16×16×32→32", 16 * 16 * 9 * 32 * 32),
    ("conv 3×3 stride 2, 64×64×3→32", 32 * 32 * 9 * 3 * 32),
    ("patch 16×16 stride 16, 112×112×3→256", 49 * 768 * 256),
    ("depthwise 3×3, 14×14×480", 14 * 14 * 9 * 480),
    ("depthwise 5×5, 14×14×480", 14 * 14 * 25 * 480),
    ("depthwise 3×3 stride 2, 28×28×144", 14 * 14 * 9 * 144),
    ("fully connected 1×1280→400", 1280 * 400),
    ("fully connected 50×256→1024", 50 * 256 * 1024),
    ("softmax 50×50, per element", 50 * 50),
    ("layer norm 50×256, per element", 50 * 256),
    ("attention 50×256, 4 heads", 2 * 50 * 50 * 256),
    ("add int8, 50×256, per element", 50 * 256),
    ("add int16, 50×256, per element", 50 * 256),
    ("average pool 3×3, 14×14×64, per output", 14 * 14 * 64),
    ("table, 50×256, per element", 50 * 256),
    ("tables of channels, 50×256, per element", 50 * 256),
    ("depthwise int16 3×3, 14×14×64", 14 * 14 * 9 * 64),
    ("normalize int16, 12800, per element", 50 * 256),
    ("quantize, 50×256, per element", 50 * 256),
    ("dequantize, 50×256, per element", 50 * 256),
    ("dot products, 256 by 50 rows", 50 * 256),
    ("score of 1000 classes × 256, per class", 1000),
    ("resize 320×240 RGB888, per sample", 224 * 224 * 3),
    ("resize 320×240 RGB565, per sample", 224 * 224 * 3),
];

/// Types that the layers are counted over.
pub const TYPES: [&str; 3] = ["s8", "f32", "f16"];

/// Layers and operations over floats, as [`LAYERS`]; the order of `layers.rs` and `float_layers.rs`.
pub const FLOAT_LAYERS: [(&str, u64); 17] = [
    LAYERS[0],
    LAYERS[1],
    LAYERS[2],
    LAYERS[3],
    LAYERS[4],
    LAYERS[5],
    LAYERS[6],
    LAYERS[7],
    LAYERS[8],
    LAYERS[9],
    LAYERS[10],
    LAYERS[11],
    LAYERS[12],
    LAYERS[13],
    ("add, 50×256, per element", 50 * 256),
    LAYERS[16],
    ("GELU, 50×256, per element", 50 * 256),
];

/// The layers and operations over one of [`TYPES`].
pub fn layers(of: &str) -> &'static [(&'static str, u64)] {
    match of {
        "s8" => &LAYERS,
        _ => &FLOAT_LAYERS,
    }
}

/// What a program may take, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(1200);

/// Instructions of one layer by one kernel set.
#[derive(Clone, Debug)]
pub struct Count {
    /// One of [`TYPES`].
    pub of: String,
    /// Name of the kernel set.
    pub set: String,
    /// Index in [`layers`].
    pub layer: usize,
    /// Instructions for each MAC or element.
    pub per_unit: f64,
}

/// Builds the program for `cpu`.
///
/// # Errors
/// What Cargo says.
pub fn build(cpu: &Cpu) -> Result<PathBuf, String> {
    let boards = root().join("firmware/boards");
    let target_folder = boards.join("target").join(cpu.machine);
    let mut command = cargo(&boards.join("kernels"), cpu, &target_folder);
    finish(command.env("PINHOLE_BOARD", cpu.machine))?;
    Ok(target_folder.join(cpu.target).join("release/kernels"))
}

/// Cargo, to build the package in `folder` for `cpu`.
fn cargo(folder: &Path, cpu: &Cpu, target_folder: &Path) -> Command {
    let flags = [
        &format!("target-cpu={}", cpu.name),
        "no-vectorize-slp",
        "link-arg=--nmagic",
        "link-arg=-Tlink.x",
    ];
    let flags = flags.map(|flag| format!("-C{flag}")).join("\u{1f}");
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--target", cpu.target, "--target-dir"])
        .arg(target_folder)
        .current_dir(folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("RUSTC_WRAPPER")
        .stdin(Stdio::null());
    command
}

/// Runs Cargo.
fn finish(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Runs the program, `check`, `count` or `start` and what it takes, and returns what it prints.
///
/// # Errors
/// When the emulator is missing, or when the program fails or does not end.
pub fn run(cpu: &Cpu, words: &[&str]) -> Result<String, String> {
    let program = build(cpu)?;
    let mut command = Command::new("qemu-system-arm");
    command.args([
        "-machine",
        cpu.machine,
        "-display",
        "none",
        "-monitor",
        "none",
    ]);
    command.args(["-serial", "none", "-no-reboot", "-semihosting-config"]);
    let arguments: String = words.iter().map(|word| format!(",arg={word}")).collect();
    command.arg(format!("enable=on,target=native,arg=kernels{arguments}"));
    if words[0] != "check" {
        command.args(["-icount", "shift=0"]);
    }
    let mut child = command
        .arg("-kernel")
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("qemu-system-arm: {error}; apt install qemu-system-arm"))?;
    let mut stdout = child.stdout.take().ok_or("the emulator has no output")?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let start = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if start.elapsed() > TIMEOUT => {
                let _ = child.kill();
                break child.wait().map_err(|error| error.to_string())?;
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    let text = reader
        .join()
        .map_err(|_| "the reader of the emulator's output failed")?
        .map_err(|error| error.to_string())?;
    if status.success() {
        Ok(text)
    } else {
        Err(format!("{words:?} on {}: {status}\n{text}", cpu.machine))
    }
}

/// Counts every layer by every set of `cpu`.
///
/// # Errors
/// As [`run`], and when the emulator's clock is not proportional to its instructions.
pub fn count(cpu: &Cpu) -> Result<Vec<Count>, String> {
    let mut counts = Vec::new();
    for (words, instructions) in counted(&run(cpu, &["count"])?)? {
        let layer: usize = words[2].parse().map_err(|_| format!("{words:?}"))?;
        let (_, units) = layers(&words[0])
            .get(layer)
            .ok_or(format!("{words:?}: no layer"))?;
        counts.push(Count {
            of: words[0].clone(),
            set: words[1].clone(),
            layer,
            per_unit: instructions / *units as f64,
        });
    }
    Ok(counts)
}

/// Instructions before the first operator of a model.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// All checks of `Model::load` but the checksum.
    pub check: f64,
    /// From `Interpreter::new` to the first operator.
    pub first: f64,
}

/// Counts what `cpu` does with the model at `path` before its first operator.
///
/// # Errors
/// As [`count`].
pub fn start(cpu: &Cpu, path: &Path) -> Result<Start, String> {
    let path = path.to_str().ok_or("the path is no text")?;
    let text = run(cpu, &["start", path])?;
    let counts = counted(&text)?;
    let find = |name: &str| {
        let mut counts = counts.iter();
        let found = counts.find(|(words, _)| words[1] == name);
        found
            .map(|(_, instructions)| *instructions)
            .ok_or(text.clone())
    };
    Ok(Start {
        check: find("check")?,
        first: find("first")?,
    })
}

/// The words of each line but those of the loops of known length, and the instructions that its last word, ticks,
/// stands for.
fn counted(text: &str) -> Result<Vec<(Vec<String>, f64)>, String> {
    let mut counts = Vec::new();
    let mut instructions_per_tick: Option<f64> = None;
    for line in text.lines() {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let number = |index: usize| -> Result<f64, String> {
            let word = words.get(index).map_or("", String::as_str);
            word.parse().map_err(|_| format!("no number: {line}"))
        };
        let ticks = number(words.len() - 1)?;
        if words[0] == "loop" {
            let ratio = number(1)? / ticks;
            if instructions_per_tick.is_some_and(|other| (other / ratio - 1.0).abs() > 0.001) {
                return Err(format!("the clock is not linear:\n{text}"));
            }
            instructions_per_tick = Some(ratio);
        } else {
            let ratio = instructions_per_tick.ok_or("no loop of known length")?;
            counts.push((words, ticks * ratio));
        }
    }
    Ok(counts)
}

/// Bytes of code and of constants of one program of `firmware/boards/size`.
#[derive(Clone, Debug)]
pub struct Size {
    /// Name of the program.
    pub program: &'static str,
    /// `.text`.
    pub code: u64,
    /// `.rodata`.
    pub constants: u64,
}

/// Builds `firmware/boards/size` for a Cortex-M55 at `opt_level` and measures its programs.
///
/// # Errors
/// What Cargo says, or that `llvm-size` is missing.
pub fn sizes(opt_level: &str) -> Result<Vec<Size>, String> {
    let boards = root().join("firmware/boards");
    let target = CPUS[2].target;
    let folder = boards.join("target/size").join(opt_level);
    let mut command = cargo(&boards.join("size"), &CPUS[2], &folder);
    command.args(["--features", "helium"]);
    finish(command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", opt_level))?;
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = sysroot.map_err(|error| format!("rustc: {error}"))?.stdout;
    let rustlib = Path::new(String::from_utf8_lossy(&sysroot).trim()).join("lib/rustlib");
    let tool = std::fs::read_dir(&rustlib)
        .map_err(|error| format!("{}: {error}", rustlib.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/llvm-size")))
        .find(|path| path.exists())
        .ok_or("no llvm-size; rustup component add llvm-tools")?;
    ["empty", "loader", "int8"]
        .map(|program| {
            let file = folder.join(target).join("release").join(program);
            let output = Command::new(&tool).arg("-A").arg(file).output();
            let output = output.map_err(|error| format!("llvm-size: {error}"))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let section = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name));
                let bytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
                bytes.ok_or(format!("{program} has no {name}\n{text}"))
            };
            Ok(Size {
                program,
                code: section(".text")?,
                constants: section(".rodata")?,
            })
        })
        .into_iter()
        .collect()
}
