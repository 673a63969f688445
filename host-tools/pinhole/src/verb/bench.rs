//! `pinhole bench`: time of an inference and of each operator.

use std::path::PathBuf;
use std::time::Instant;

use pinhole_runtime::interpreter::{AlignedBytes, Interpreter, Observer};
use pinhole_runtime::kernel::{self, Kernels, Threads};
use pinhole_runtime::model::Model;
use pinhole_runtime::model::op::OpKind;
use serde::Serialize;

use crate::encoder::{LoadedModel, kernels};
use crate::failure::{Failure, Outcome};
use crate::output::{json, say};
use crate::verb::classify::at_least_one;

/// Time a model, operator by operator.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pinhole bench --model models/lite0/image.phm
  pinhole bench --model models/lite0/image.phm --threads 2
  pinhole bench --model models/lite0/image.phm --kernels scalar --json
  pinhole bench --list-kernels")]
pub(crate) struct Args {
    /// Packed model (.phm) or graph (.phg).
    #[arg(long, value_name = "FILE", required_unless_present = "list_kernels")]
    model: Option<PathBuf>,
    /// Kernel set; the fastest when left out.
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Threads of one inference.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number_of_threads)]
    threads: usize,
    /// Inferences that are timed, after 3 that are not.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = at_least_one)]
    runs: usize,
    /// Tokens of a text encoder's input.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = at_least_one)]
    tokens: usize,
    /// Print the kernel sets that this CPU can run, one a line.
    #[arg(long)]
    list_kernels: bool,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// One operator.
#[derive(Debug, Serialize)]
struct OpRow {
    index: usize,
    name: String,
    op: &'static str,
    median_us: f64,
    share: f64,
    macs: u64,
    data_bytes: usize,
}

/// The whole; the order of keys is part of the output.
#[derive(Debug, Serialize)]
struct Result {
    kernels: String,
    median_us: f64,
    min_us: f64,
    macs: u64,
    arena_bytes: usize,
    arena_lower_bound_bytes: usize,
    ops: Vec<OpRow>,
    threads: usize,
    runs: usize,
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
    let loaded = LoadedModel::open(path, false, kernels(args.kernels.as_deref())?)?;
    let result = measure(loaded, args.runs, args.tokens, args.threads)?;
    if args.json {
        return json(&result);
    }
    print(&result);
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
) -> Outcome<Result> {
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
    let mut whole = match &pool {
        Some(pool) => pool.install(|| time(&mut interpreter, &mut stopwatch, runs)),
        None => time(&mut interpreter, &mut stopwatch, runs),
    };
    let min_us = whole.iter().min().copied().unwrap_or(0) as f64 / 1000.0;
    Ok(Result {
        kernels: kernels.name().to_string(),
        median_us: median_us(&mut whole),
        min_us,
        macs: model.header().macs.get(),
        arena_bytes: model.arena_bytes(),
        arena_lower_bound_bytes: model.header().arena_lower_bound_bytes.get() as usize,
        ops: rows(&model, &mut stopwatch),
        threads,
        runs,
    })
}

/// Nanoseconds of whole runs; then as many runs by the stopwatch.
fn time(interpreter: &mut Interpreter<'_, '_>, stopwatch: &mut Stopwatch, runs: usize) -> Vec<u64> {
    (0..3).for_each(|_| interpreter.run());
    let whole = (0..runs)
        .map(|_| {
            let start = Instant::now();
            interpreter.run();
            start.elapsed().as_nanos() as u64
        })
        .collect();
    for _ in 0..runs {
        stopwatch.last = Instant::now();
        interpreter.run_observed(stopwatch);
    }
    whole
}

fn rows(model: &Model<'_>, stopwatch: &mut Stopwatch) -> Vec<OpRow> {
    let medians: Vec<f64> = stopwatch
        .nanoseconds
        .iter_mut()
        .map(|times| median_us(times))
        .collect();
    let total: f64 = medians.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    model
        .ops()
        .iter()
        .enumerate()
        .map(|(index, record)| OpRow {
            index,
            name: model.op_name(index).unwrap_or_default().to_string(),
            op: OpKind::from_u16(record.kind.get()).map_or("unknown", OpKind::name),
            median_us: medians[index],
            share: medians[index] / total,
            macs: model.op_macs(index),
            data_bytes: record
                .data
                .iter()
                .map(|data| data.bytes.get() as usize)
                .sum(),
        })
        .collect()
}

fn print(result: &Result) {
    say!(
        "{:>4} {:<40} {:<20} {:>10} {:>7} {:>12} {:>9} {:>10}",
        "",
        "layer",
        "operator",
        "median µs",
        "share",
        "MAC",
        "GMAC/s",
        "data B"
    );
    for row in &result.ops {
        let rate = row.macs as f64 / (row.median_us.max(1e-3) * 1000.0);
        say!(
            "{:>4} {:<40} {:<20} {:>10.1} {:>6.1}% {:>12} {:>9.1} {:>10}",
            row.index,
            row.name,
            row.op,
            row.median_us,
            100.0 * row.share,
            row.macs,
            rate,
            row.data_bytes
        );
    }
    say!(
        "{}: median {:.0} µs, least {:.0} µs of {} runs, {}; {} MAC, {:.1} GMAC/s",
        result.kernels,
        result.median_us,
        result.min_us,
        result.runs,
        match result.threads {
            1 => "1 thread".to_string(),
            count => format!("{count} threads"),
        },
        result.macs,
        result.macs as f64 / (result.median_us.max(1e-3) * 1000.0)
    );
    say!(
        "arena {} bytes, lower bound {} bytes, ratio {:.3}",
        result.arena_bytes,
        result.arena_lower_bound_bytes,
        result.arena_bytes as f64 / result.arena_lower_bound_bytes.max(1) as f64
    );
}
