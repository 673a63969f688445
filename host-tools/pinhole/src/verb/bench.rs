//! `pinhole bench`: what an inference and each of its operators take, in time on this CPU or on a board, in instructions on an
//! emulated one.

mod board;
mod compare;
pub(crate) mod emulated;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use pinhole_runtime::interpreter::{AlignedBytes, Interpreter, Observer};
use pinhole_runtime::kernel::{self, Kernels, Threads};
use pinhole_runtime::model::Model;

use crate::encoder::{LoadedModel, kernels};
use crate::failure::{Failure, Outcome};
use crate::output::{json, say};
use crate::verb::classify::at_least_one;
use report::{OpRow, Report};

/// Time a model, operator by operator, on this CPU or on a board that runs, or count its instructions on an emulated
/// CPU.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole bench --model models/lite0/image.phm
  pinhole bench --model models/lite0/image.phm --threads 2
  pinhole bench --model models/lite0/image.phm --kernels scalar --json
  pinhole bench --list-kernels
  pinhole bench --target qemu-aarch64:max --model models/lite0/image.phm
  pinhole bench --target qemu-an547 --model models/lite0/image.phm --json
  pinhole bench --model models/nano/image.phm --port /dev/ttyACM0
  pinhole bench --model image.phm --json > before.json
  pinhole bench --model image.phm --compare before.json

Targets, by --target:
  host                     this CPU, timed
  qemu-aarch64:cortex-a76  emulated, Armv8.2 with dot products and fp16
  qemu-aarch64:max         emulated, with i8mm too
  qemu-aarch64:cortex-a53  emulated, NEON alone
  qemu-an547               emulated Cortex-M55 with Helium
  qemu-an500, qemu-an386   emulated Cortex-M7, Cortex-M4
An emulator counts instructions exactly and does not time. qemu-aarch64 alone is
the first. Its programs are built when they have to be. See docs/bench.md.")]
pub(crate) struct Args {
    /// Packed model (.phm) or graph (.phg).
    #[arg(long, value_name = "FILE", required_unless_present = "list_kernels")]
    model: Option<PathBuf>,
    /// Where it runs, see below.
    #[arg(long, default_value = "host", value_name = "NAME")]
    target: String,
    /// Time a board that runs with this model: a serial port, or ADDRESS:PORT.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["target", "kernels", "threads", "tokens"])]
    port: Option<String>,
    /// Bits a second of the serial port.
    #[arg(long, value_name = "BITS", requires = "port")]
    baud: Option<u32>,
    /// Kernel set; the fastest of the target when left out.
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Threads of one inference.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number_of_threads)]
    threads: usize,
    /// Inferences that are timed, after 3 that are not; an emulated target
    /// counts one.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = at_least_one)]
    runs: usize,
    /// Tokens of a text encoder's input.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = at_least_one)]
    tokens: usize,
    /// Print the kernel sets that this CPU can run, one a line.
    #[arg(long)]
    list_kernels: bool,
    /// Compare with an earlier result, made with --json.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args) -> Outcome {
    if args.list_kernels {
        kernel::available().for_each(|set| say!("{}", set.name()));
        return Ok(());
    }
    let Some(path) = &args.model else {
        return Err(Failure::new("--model is missing"));
    };
    let before = args.compare.as_deref().map(compare::open).transpose()?;
    let mut report = if let Some(port) = &args.port {
        board::measure(port, args.baud, path, args.runs)?
    } else if args.target == "host" {
        let loaded = LoadedModel::open(path, false, kernels(args.kernels.as_deref())?)?;
        measure(loaded, args.runs, args.tokens, args.threads)?
    } else if args.threads == 1 {
        emulated::count(&args.target, path, args.kernels.as_deref(), args.tokens)?
    } else {
        return Err(Failure::new(format_args!(
            "--threads: found {}, expected 1: instructions of an emulated CPU are counted on one thread",
            args.threads
        ))
        .help("leave --threads or --target out"));
    };
    if let Some(before) = &before {
        compare::with(&mut report, before)?;
    }
    if args.json {
        return json(&report);
    }
    report.print();
    Ok(())
}

/// Most threads of an inference.
const MOST_THREADS: usize = 256;

fn number_of_threads(text: &str) -> std::result::Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=MOST_THREADS).contains(count))
        .ok_or_else(|| format!("expected a whole number from 1 to {MOST_THREADS}"))
}

/// Takes the time between operators.
struct Stopwatch {
    last: Instant,
    nanoseconds: Vec<Vec<u64>>, // (ops, runs)
}

impl Observer for Stopwatch {
    fn after_op(&mut self, op: usize, _value: usize, _output: &[u8]) {
        let now = Instant::now();
        self.nanoseconds[op].push((now - self.last).as_nanos() as u64);
        self.last = Instant::now();
    }
}

/// CPU time of all threads of this process, where the system tells it.
fn cpu_nanoseconds() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }
    #[cfg(not(unix))]
    None
}

/// The median, in microseconds.
fn median_us(nanoseconds: &mut [u64]) -> f64 {
    nanoseconds.sort_unstable();
    nanoseconds.get(nanoseconds.len() / 2).copied().unwrap_or(0) as f64 / 1000.0
}

fn measure(
    LoadedModel { model, kernels }: LoadedModel,
    runs: usize,
    tokens: usize,
    threads: usize,
) -> Outcome<Report> {
    let pool = match threads {
        1 => None,
        _ => Some(Threads::new(kernels, threads).map_err(Failure::new)?),
    };
    let set = pool.as_ref().map_or(kernels as &dyn Kernels, |pool| pool);
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, set).map_err(Failure::new)?;
    let max_tokens = model.header().max_tokens.get() as usize;
    if max_tokens > 0 {
        interpreter
            .set_tokens(tokens.clamp(1, max_tokens))
            .map_err(Failure::new)?;
    }
    if let Ok(input) = interpreter.input_s8_mut(0) {
        let mut state = 1u32;
        input.iter_mut().for_each(|x| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *x = (state >> 24) as u8 as i8;
        });
    }
    let mut stopwatch = Stopwatch {
        last: Instant::now(),
        nanoseconds: vec![Vec::new(); model.ops().len()],
    };
    let (mut whole, mut cpu) = match &pool {
        Some(pool) => pool.install(|| time(&mut interpreter, &mut stopwatch, runs)),
        None => time(&mut interpreter, &mut stopwatch, runs),
    };
    let min_us = whole.iter().min().copied().unwrap_or(0) as f64 / 1000.0;
    Ok(Report {
        kernels: kernels.name().to_string(),
        median_us: Some(median_us(&mut whole)),
        min_us: Some(min_us),
        ops: rows(&model, &mut stopwatch.nanoseconds),
        threads,
        runs,
        median_cpu_us: (!cpu.is_empty()).then(|| median_us(&mut cpu)),
        ..Report::of(&model)
    })
}

/// Nanoseconds of whole runs, by the clock and of CPUs; then as many runs by the stopwatch.
fn time(
    interpreter: &mut Interpreter<'_, '_>,
    stopwatch: &mut Stopwatch,
    runs: usize,
) -> (Vec<u64>, Vec<u64>) {
    (0..3).for_each(|_| interpreter.run());
    let (whole, cpu): (Vec<u64>, Vec<Option<u64>>) = (0..runs)
        .map(|_| {
            let (start, cpu_start) = (Instant::now(), cpu_nanoseconds());
            interpreter.run();
            let cpu = cpu_nanoseconds().zip(cpu_start);
            let cpu = cpu.map(|(end, start)| end.saturating_sub(start));
            (start.elapsed().as_nanos() as u64, cpu)
        })
        .unzip();
    for _ in 0..runs {
        stopwatch.last = Instant::now();
        interpreter.run_observed(stopwatch);
    }
    (whole, cpu.into_iter().flatten().collect())
}

/// The operators with their times, of several runs each, in nanoseconds.
fn rows(model: &Model<'_>, nanoseconds: &mut [Vec<u64>]) -> Vec<OpRow> {
    let medians: Vec<f64> = nanoseconds
        .iter_mut()
        .map(|times| median_us(times))
        .collect();
    let total: f64 = medians.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let row = |(index, median_us): (usize, &f64)| OpRow {
        median_us: Some(*median_us),
        share: median_us / total,
        ..OpRow::of(model, index)
    };
    medians.iter().enumerate().map(row).collect()
}
