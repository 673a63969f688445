//! The kernel sets of the Cortex-M on emulated boards: builds `firmware/boards/kernels` for a CPU and runs it under QEMU.
//!
//! Instructions are those that QEMU executes (`-icount shift=0`), not cycles. What CMSIS-NN needs for the same layers was
//! counted on the same emulator, the lower of gcc 12 and clang.

use std::io::Read;
use std::path::PathBuf;
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
    /// What CMSIS-NN takes for each of [`LAYERS`], instructions per MAC.
    pub cmsis_nn: [f64; LAYERS.len()],
}

/// The CPUs.
pub const CPUS: [Cpu; 3] = [
    Cpu {
        name: "cortex-m4",
        machine: "mps2-an386",
        target: "thumbv7em-none-eabihf",
        sets: &["scalar", "cortex_m-dsp"],
        cmsis_nn: [
            1.95, 1.52, 2.54, 1.93, 4.16, 1.77, 8.42, 8.84, 8.64, 1.91, 2.07,
        ],
    },
    Cpu {
        name: "cortex-m7",
        machine: "mps2-an500",
        target: "thumbv7em-none-eabihf",
        sets: &["scalar", "cortex_m-dsp"],
        cmsis_nn: [
            1.91, 1.49, 2.52, 1.92, 4.10, 1.76, 8.29, 8.56, 8.50, 1.91, 2.07,
        ],
    },
    Cpu {
        name: "cortex-m55",
        machine: "mps3-an547",
        target: "thumbv8m.main-none-eabihf",
        sets: &["scalar", "cortex_m-dsp", "cortex_m-helium"],
        cmsis_nn: [
            0.34, 0.20, 0.55, 0.25, 1.01, 0.21, 2.09, 1.58, 2.23, 0.17, 0.20,
        ],
    },
];

/// Layers that are counted, with their MACs; the order of `firmware/boards/kernels/src/layers.rs`.
pub const LAYERS: [(&str, u64); 11] = [
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
];

/// What a program may take, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(400);

/// Instructions of one layer by one kernel set.
#[derive(Clone, Debug)]
pub struct Count {
    /// Name of the kernel set.
    pub set: String,
    /// Index in [`LAYERS`].
    pub layer: usize,
    /// Instructions for each MAC.
    pub per_mac: f64,
}

/// Builds the program for `cpu`.
///
/// # Errors
/// What Cargo says.
pub fn build(cpu: &Cpu) -> Result<PathBuf, String> {
    let boards = root().join("firmware/boards");
    let target_folder = boards.join("target").join(cpu.machine);
    let flags = [
        &format!("target-cpu={}", cpu.name),
        "no-vectorize-slp",
        "link-arg=--nmagic",
        "link-arg=-Tlink.x",
    ];
    let output = Command::new("cargo")
        .args(["build", "--release", "--target", cpu.target, "--target-dir"])
        .arg(&target_folder)
        .current_dir(boards.join("kernels"))
        .env("PINHOLE_BOARD", cpu.machine)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags.map(|flag| format!("-C{flag}")).join("\u{1f}"),
        )
        .env_remove("RUSTC_WRAPPER")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(target_folder.join(cpu.target).join("release/kernels"))
}

/// Runs the program, `check` or `count`, and returns what it prints.
///
/// # Errors
/// When the emulator is missing, or when the program fails or does not end.
pub fn run(cpu: &Cpu, mode: &str) -> Result<String, String> {
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
    command.arg(format!("enable=on,target=native,arg=kernels,arg={mode}"));
    if mode == "count" {
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
        Err(format!("{} on {}: {status}\n{text}", mode, cpu.machine))
    }
}

/// Counts every layer by every set of `cpu`.
///
/// # Errors
/// As [`run`], and when the emulator's clock is not proportional to its instructions.
pub fn count(cpu: &Cpu) -> Result<Vec<Count>, String> {
    let text = run(cpu, "count")?;
    let mut counts = Vec::new();
    let mut instructions_per_tick: Option<f64> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| -> Result<u64, String> {
            let word: &str = words.get(index).copied().unwrap_or_default();
            word.parse().map_err(|_| format!("no number: {line}"))
        };
        match words[0] {
            "loop" => {
                let ratio = number(1)? as f64 / number(2)? as f64;
                if instructions_per_tick.is_some_and(|other| (other / ratio - 1.0).abs() > 0.001) {
                    return Err(format!("the clock is not linear:\n{text}"));
                }
                instructions_per_tick = Some(ratio);
            }
            "layer" => {
                let layer = number(2)? as usize;
                let (_, macs) = LAYERS.get(layer).ok_or(format!("no such layer: {line}"))?;
                let ratio = instructions_per_tick.ok_or("no loop of known length")?;
                counts.push(Count {
                    set: words[1].into(),
                    layer,
                    per_mac: number(3)? as f64 * ratio / *macs as f64,
                });
            }
            _ => return Err(format!("unknown line: {line}")),
        }
    }
    Ok(counts)
}
