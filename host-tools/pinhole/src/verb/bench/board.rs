//! What the operators of a model take on a board that runs, by its own clock.

use std::path::Path;

use pinhole_device::{BAUD, Options, RunningBoard};

use super::report::Report;
use super::{median_us, rows};
use crate::encoder::LoadedModel;
use crate::failure::{Failure, Outcome};
use crate::progress;

/// Has the board at `port` run its model `runs` times, which has to be that of `path`.
pub(super) fn measure(port: &str, baud: Option<u32>, path: &Path, runs: usize) -> Outcome<Report> {
    // What the board computes with is its own.
    let loaded = LoadedModel::open(path, false, &pinhole_runtime::kernel::Scalar)?;
    let model = loaded.model;
    let options = Options {
        baud: baud.unwrap_or(BAUD),
        ..Options::default()
    };
    let mut board = RunningBoard::connect(port, &options)?;
    let info = board.ask(|link| link.hello())?;
    let crc32 = model.header().crc32.get();
    if info.model_crc32 != crc32 {
        return Err(Failure::new(format_args!(
            "{}: found the CRC-32 {crc32:08x}, expected {:08x} as of the model that {} runs",
            path.display(),
            info.model_crc32,
            info.board
        ))
        .help(format_args!(
            "name the board's model, or send this one: pinhole board upload {} --port {port}",
            path.display()
        )));
    }
    let mut times = vec![Vec::new(); model.ops().len()];
    let mut whole = Vec::new();
    let bar = progress::bar("timing", runs);
    for _ in 0..runs {
        let (ticks, ticks_per_second) = board.ask(|link| link.operator_times())?;
        if ticks.len() != times.len() {
            return Err(Failure::new(format_args!(
                "the board ran {} operators, expected {}",
                ticks.len(),
                times.len()
            )));
        }
        let nanoseconds = |ticks: u64| ticks * 1_000_000_000 / u64::from(ticks_per_second.max(1));
        for (times, &ticks) in times.iter_mut().zip(&ticks) {
            times.push(nanoseconds(ticks.into()));
        }
        whole.push(nanoseconds(
            ticks.iter().map(|&ticks| u64::from(ticks)).sum(),
        ));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let min_us = whole.iter().min().copied().unwrap_or(0) as f64 / 1000.0;
    Ok(Report {
        target: Some(info.board),
        kernels: info.kernels,
        median_us: Some(median_us(&mut whole)),
        min_us: Some(min_us),
        ops: rows(&model, &mut times),
        runs,
        ..Report::of(&model)
    })
}
