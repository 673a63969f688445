//! What `pinhole bench` prints.

use pinhole_device::Instructions;
use pinhole_runtime::model::Model;
use pinhole_runtime::model::op::OpKind;
use serde::Serialize;

use crate::output::say;

/// The whole; the order of keys is part of the output. Times are null where an emulator counts, and what an emulator counts
/// is left out where a CPU is timed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    pub(super) kernels: String,
    pub(super) median_us: Option<f64>,
    pub(super) min_us: Option<f64>,
    pub(super) macs: u64,
    pub(super) arena_bytes: usize,
    pub(super) arena_lower_bound_bytes: usize,
    pub(super) ops: Vec<OpRow>,
    pub(super) threads: usize,
    pub(super) runs: usize,
    /// Of all threads.
    pub(super) median_cpu_us: Option<f64>,
    #[serde(flatten)]
    pub(super) counted: Option<Counted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
}

/// One operator.
#[derive(Debug, Default, Serialize)]
pub(super) struct OpRow {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) op: &'static str,
    pub(super) median_us: Option<f64>,
    pub(super) share: f64,
    pub(super) macs: u64,
    pub(super) data_bytes: usize,
    #[serde(flatten)]
    pub(super) counted: Option<OpCounted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratio: Option<f64>,
}

/// Instructions of an inference, and of what comes before it.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    #[serde(flatten)]
    pub(super) inference: OpCounted,
    /// Reading the checked model, with the hash over the whole file.
    pub(super) load_instructions: u64,
    /// From the loaded model to one that can run.
    pub(super) interpreter_instructions: u64,
    pub(super) first_inference_instructions: u64,
}

/// Instructions of an operator, or of all.
#[derive(Debug, Serialize)]
pub(super) struct OpCounted {
    pub(super) instructions: u64,
    /// Null without MACs.
    pub(super) instructions_per_mac: Option<f64>,
    /// Where the counter tells them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) classes: Option<Classes>,
}

impl OpCounted {
    /// What took `instructions` for `macs`.
    pub(super) fn new(instructions: Instructions, macs: u64, has_classes: bool) -> Self {
        let total = instructions.total;
        Self {
            instructions: total,
            instructions_per_mac: (macs > 0).then(|| total as f64 / macs as f64),
            classes: has_classes.then(|| instructions.into()),
        }
    }

    /// Shares in per cent: dot products, all other vectors and floats, memory, jumps, the rest.
    fn shares(&self) -> Option<[f64; 5]> {
        let classes = self.classes?;
        let vector = classes.vector_int + classes.vector_float + classes.scalar_float;
        let counts = [
            classes.dot,
            vector,
            classes.load_store,
            classes.branch,
            classes.other,
        ];
        Some(counts.map(|count| 100.0 * count as f64 / self.instructions.max(1) as f64))
    }

    /// Instructions per MAC and the shares, as columns.
    fn columns(&self) -> String {
        let shares = self.shares().map_or(String::new(), |shares| {
            shares.map(|share| format!(" {share:>4.0}%")).concat()
        });
        format!("{}{shares}", ratio_column(self.instructions_per_mac))
    }

    /// The shares as a sentence's end.
    fn shares_in_words(&self) -> String {
        let Some([dot, vector, memory, branch, other]) = self.shares() else {
            return String::new();
        };
        format!(
            "; {dot:.0} % dot products, {vector:.0} % other vectors, {memory:.0} % memory, {branch:.0} % jumps, {other:.0} % other"
        )
    }
}

/// Instructions by what they are for.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Classes {
    dot: u64,
    vector_int: u64,
    vector_float: u64,
    scalar_float: u64,
    load_store: u64,
    branch: u64,
    other: u64,
}

impl From<Instructions> for Classes {
    fn from(from: Instructions) -> Self {
        Self {
            dot: from.dot,
            vector_int: from.vector_int,
            vector_float: from.vector_float,
            scalar_float: from.scalar_float,
            load_store: from.load_store,
            branch: from.branch,
            other: from.other,
        }
    }
}

impl OpRow {
    /// Operator `index` of a model, not yet measured.
    pub(super) fn of(model: &Model<'_>, index: usize) -> Self {
        let record = &model.ops()[index];
        Self {
            index,
            name: model.op_name(index).unwrap_or_default().to_string(),
            op: OpKind::from_u16(record.kind.get()).map_or("unknown", OpKind::name),
            macs: model.op_macs(index),
            data_bytes: record
                .data
                .iter()
                .map(|data| data.bytes.get() as usize)
                .sum(),
            ..Self::default()
        }
    }

    /// What is compared: instructions where they are counted, else microseconds.
    pub(super) fn cost(&self) -> Option<f64> {
        match &self.counted {
            Some(counted) => Some(counted.instructions as f64),
            None => self.median_us,
        }
    }

    fn print(&self) {
        let (index, name, op) = (self.index, &self.name, self.op);
        let (share, macs, bytes) = (100.0 * self.share, self.macs, self.data_bytes);
        let compared = compared(self.before, self.ratio);
        match &self.counted {
            Some(counted) => say!(
                "{index:>4} {name:<40} {op:<20} {:>12} {share:>6.1}% {macs:>12} {} {bytes:>10}{compared}",
                counted.instructions,
                counted.columns()
            ),
            None => {
                let median_us = self.median_us.unwrap_or_default();
                say!(
                    "{index:>4} {name:<40} {op:<20} {median_us:>10.1} {share:>6.1}% {macs:>12} {:>9.1} {bytes:>10}{compared}",
                    gmacs_per_second(macs, median_us)
                );
            }
        }
    }
}

impl Report {
    /// A model, not yet measured.
    pub(super) fn of(model: &Model<'_>) -> Self {
        Self {
            macs: model.header().macs.get(),
            arena_bytes: model.arena_bytes(),
            arena_lower_bound_bytes: model.header().arena_lower_bound_bytes.get() as usize,
            threads: 1,
            ..Self::default()
        }
    }

    /// As [`OpRow::cost`].
    pub(super) fn cost(&self) -> Option<f64> {
        match &self.counted {
            Some(counted) => Some(counted.inference.instructions as f64),
            None => self.median_us,
        }
    }

    /// The table for people.
    pub(super) fn print(&self) {
        let columns = match &self.counted {
            None => " median µs   share          MAC    GMAC/s     data B",
            Some(counted) if counted.inference.classes.is_none() => {
                "instructions   share          MAC  ins/MAC     data B"
            }
            Some(_) => {
                "instructions   share          MAC  ins/MAC   dot  vec.  mem. jump other     data B"
            }
        };
        let compared = match self.ratio {
            Some(_) => "       before  ratio",
            None => "",
        };
        say!(
            "     {:<40} {:<20} {columns}{compared}",
            "layer",
            "operator"
        );
        self.ops.iter().for_each(OpRow::print);
        match &self.counted {
            Some(counted) => self.print_counted(counted),
            None => self.print_times(),
        }
        if let (Some(before), Some(ratio)) = (self.before, self.ratio) {
            say!("before {before:.0}, ratio {ratio:.3}: below 1 is better");
        }
        say!(
            "arena {} bytes, lower bound {} bytes, ratio {:.3}",
            self.arena_bytes,
            self.arena_lower_bound_bytes,
            self.arena_bytes as f64 / self.arena_lower_bound_bytes.max(1) as f64
        );
    }

    fn print_times(&self) {
        let median_us = self.median_us.unwrap_or_default();
        let place = self.target.as_deref();
        let place = place.map_or(String::new(), |target| format!(" on {target}"));
        let cpu = self.median_cpu_us;
        let cpu = cpu.map_or(String::new(), |us| format!(" (CPU {us:.0} µs)"));
        say!(
            "{}{place}: median {median_us:.0} µs{cpu}, least {:.0} µs of {} runs, {}; {} MAC, {:.1} GMAC/s",
            self.kernels,
            self.min_us.unwrap_or_default(),
            self.runs,
            match self.threads {
                1 => "1 thread".into(),
                threads => format!("{threads} threads"),
            },
            self.macs,
            gmacs_per_second(self.macs, median_us)
        );
    }

    fn print_counted(&self, counted: &Counted) {
        let inference = &counted.inference;
        say!(
            "{} on {}: {} instructions, {} MAC, {} instructions per MAC{}",
            self.kernels,
            self.target.as_deref().unwrap_or_default(),
            inference.instructions,
            self.macs,
            ratio_column(inference.instructions_per_mac).trim(),
            inference.shares_in_words()
        );
        say!(
            "once: load with checks {}, interpreter {}; first inference {} instructions",
            counted.load_instructions,
            counted.interpreter_instructions,
            counted.first_inference_instructions
        );
    }
}

fn gmacs_per_second(macs: u64, median_us: f64) -> f64 {
    macs as f64 / (median_us.max(1e-3) * 1000.0)
}

fn ratio_column(ratio: Option<f64>) -> String {
    ratio.map_or(format!("{:>8}", "-"), |ratio| format!("{ratio:>8.3}"))
}

/// The columns of a comparison, when there is one.
fn compared(before: Option<f64>, ratio: Option<f64>) -> String {
    match (before, ratio) {
        (Some(before), Some(ratio)) => format!(" {before:>12.1} {ratio:>6.3}"),
        _ => String::new(),
    }
}
