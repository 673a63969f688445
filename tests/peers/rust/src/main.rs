//! tract and rten, to be timed and counted beside Pinhole by `tests/peers/host.py` and `tests/peers/aarch64.py`.
//!
//! ```text
//! peer tract|rten MODEL.onnx SIDE time     # a line `N` on standard input: N inferences, a line of CPU:WALL, in ms, for each
//! peer tract|rten MODEL.onnx SIDE count    # one inference to warm up, one in region 1 of tests/tcg-count
//! ```
//!
//! The model takes a picture (1, 3, SIDE, SIDE) in f32. `RTEN_NUM_THREADS` sets the threads of rten; tract has one here.

mod mark;

use std::error::Error;
use std::io::BufRead;
use std::process::ExitCode;
use std::time::Instant;

use rten_tensor::NdTensor;
use rten_tensor::prelude::AsView;
use rustix::time::{ClockId, clock_gettime};
use tract_onnx::prelude::*;

type Anything = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Anything> {
    let [engine, path, side, mode] = arguments else {
        return Err("expected tract|rten MODEL.onnx SIDE time|count".into());
    };
    let side: usize = side.parse()?;
    let mut infer: Box<dyn FnMut() -> Result<(), Anything>> = match engine.as_str() {
        "tract" => tract(path, side)?,
        "rten" => rten(path, side)?,
        _ => return Err(format!("found {engine}, expected tract or rten").into()),
    };
    match mode.as_str() {
        "time" => time(&mut infer),
        "count" => {
            infer()?;
            mark::enter(1);
            let result = infer();
            mark::enter(0);
            result
        }
        _ => Err(format!("found {mode}, expected time or count").into()),
    }
}

/// Answers every number on standard input by as many times.
fn time(infer: &mut dyn FnMut() -> Result<(), Anything>) -> Result<(), Anything> {
    for line in std::io::stdin().lock().lines() {
        let mut times = Vec::new();
        for _ in 0..line?.trim().parse()? {
            let (cpu, wall) = (cpu_ms(), Instant::now());
            infer()?;
            let wall_ms = wall.elapsed().as_secs_f64() * 1e3;
            times.push(format!("{:.4}:{wall_ms:.4}", cpu_ms() - cpu));
        }
        println!("{}", times.join(" "));
    }
    Ok(())
}

/// CPU time of all threads of this process.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn tract(path: &str, side: usize) -> Result<Box<dyn FnMut() -> Result<(), Anything>>, Anything> {
    let shape = [1, 3, side, side];
    let plan = tract_onnx::onnx()
        .model_for_path(path)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let picture = Tensor::zero::<f32>(&shape)?;
    Ok(Box::new(move || {
        plan.run(tvec!(picture.clone().into()))?;
        Ok(())
    }))
}

fn rten(path: &str, side: usize) -> Result<Box<dyn FnMut() -> Result<(), Anything>>, Anything> {
    let mut options = ::rten::ModelOptions::with_all_ops();
    options.prepack_weights(true);
    let model = options.load_file(path)?;
    let picture = NdTensor::<f32, 4>::zeros([1, 3, side, side]);
    Ok(Box::new(move || {
        model.run_one(picture.view().into(), None)?;
        Ok(())
    }))
}
