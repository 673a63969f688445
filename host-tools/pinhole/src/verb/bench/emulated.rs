//! Instructions of a model on an emulated CPU.

use std::path::Path;

use pinhole_device::{Cpu, Instructions, cpu, cpus, nearest};

use super::report::{Counted, OpCounted, OpRow, Report};
use crate::encoder::LoadedModel;
use crate::failure::{Failure, Outcome};

/// Runs the model on the CPU of a name.
pub(super) fn count(
    target: &str,
    path: &Path,
    kernels: Option<&str>,
    tokens: usize,
) -> Outcome<Report> {
    let cpu = named("--target", target)?;
    // A graph is packed here, and this CPU's kernels have no part in it.
    let loaded = LoadedModel::open(path, false, &pinhole_runtime::kernel::Scalar)?;
    let model = loaded.model;
    let counts = pinhole_device::count(cpu, model.bytes(), kernels, tokens)?;
    if counts.ops.len() != model.ops().len() {
        return Err(Failure::new(format_args!(
            "the emulated program ran {} operators, expected {}",
            counts.ops.len(),
            model.ops().len()
        )));
    }
    let total = sum(&counts.ops);
    let has_classes = cpu.has_classes();
    let row = |(index, op): (usize, &Instructions)| {
        let row = OpRow::of(&model, index);
        OpRow {
            share: op.total as f64 / total.total.max(1) as f64,
            counted: Some(OpCounted::new(*op, row.macs, has_classes)),
            ..row
        }
    };
    let ops = counts.ops.iter().enumerate().map(row).collect();
    Ok(Report {
        target: Some(cpu.name.to_string()),
        ops,
        runs: 1,
        counted: Some(Counted {
            inference: OpCounted::new(total, model.header().macs.get(), has_classes),
            load_instructions: counts.load.total,
            interpreter_instructions: counts.interpreter.total,
            first_inference_instructions: counts.first_inference.total,
        }),
        kernels: counts.kernels,
        ..Report::of(&model)
    })
}

/// The emulated CPU of a name that was given to `option`.
pub(crate) fn named(option: &str, name: &str) -> Outcome<&'static Cpu> {
    cpu(name).ok_or_else(|| {
        let names: Vec<&str> = cpus().iter().map(|cpu| cpu.name).collect();
        let host = if option == "--target" { "host or " } else { "" };
        let nearest = nearest(name, names.iter().copied()).unwrap_or_default();
        Failure::new(format_args!(
            "{option}: found {name}, expected {host}one of {}",
            names.join(", ")
        ))
        .help(format_args!(
            "the nearest name is {nearest}; pinhole bench --help says what each is"
        ))
    })
}

fn sum(ops: &[Instructions]) -> Instructions {
    ops.iter()
        .fold(Instructions::default(), |sum, op| Instructions {
            total: sum.total + op.total,
            dot: sum.dot + op.dot,
            vector_int: sum.vector_int + op.vector_int,
            vector_float: sum.vector_float + op.vector_float,
            scalar_float: sum.scalar_float + op.scalar_float,
            load_store: sum.load_store + op.load_store,
            branch: sum.branch + op.branch,
            other: sum.other + op.other,
        })
}
