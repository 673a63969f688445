//! Prints a hash of what a model computes from a made-up picture, for kernel sets of this CPU.
//!
//! `cargo run --release -p pinhole-runtime --example fingerprint -- models/lite0/image.phm scalar` on one machine, the same
//! without `scalar` on another: equal lines mean equal bits. It decodes no picture, so that it also runs where only an emulator
//! of the CPU is at hand.

use std::process::ExitCode;

use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::{Kernels, available};
use pinhole_runtime::model::Model;

fn main() -> ExitCode {
    let names: Vec<_> = available().map(|set| set.name()).collect();
    println!("kernel sets covered: {}", names.join(", "));
    if let Ok(expected) = std::env::var("PINHOLE_EXPECT_KERNELS")
        && names.join(",") != expected
    {
        eprintln!("kernel sets of this CPU: expected {expected}");
        return ExitCode::from(1);
    }
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: fingerprint FILE [SET…]; without names every set but the scalar one");
        return ExitCode::from(2);
    };
    let chosen: Vec<String> = arguments.collect();
    match run(&path, &chosen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{path}: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(path: &str, chosen: &[String]) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let bytes = AlignedBytes::from_slice(&bytes);
    let model = Model::load(&bytes).map_err(|error| error.to_string())?;
    let layout = model.weight_layout();
    for set in available().filter(|set| set.reads(layout)) {
        let wanted = match chosen {
            [] => set.name() != "scalar",
            chosen => chosen.iter().any(|name| name == set.name()),
        };
        if wanted {
            println!("{}: {:08x}", set.name(), fingerprint(&model, set)?);
        }
    }
    Ok(())
}

/// A hash of the output.
fn fingerprint(model: &Model<'_>, set: &'static dyn Kernels) -> Result<u32, String> {
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter =
        Interpreter::new(model, &mut arena, set).map_err(|error| error.to_string())?;
    let input = interpreter
        .input_s8_mut(0)
        .map_err(|error| error.to_string())?;
    // Stripes and noise: every byte occurs, and neighbours are alike as in a picture.
    let mut state = 1u32;
    for (index, byte) in input.iter_mut().enumerate() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = ((index / 96 % 192) as u8).wrapping_add((state >> 26) as u8) as i8;
    }
    interpreter.run();
    let output = interpreter
        .output_s8(0)
        .map_err(|error| error.to_string())?;
    // FNV-1a.
    Ok(output.iter().fold(0x811C_9DC5, |hash: u32, &value| {
        (hash ^ u32::from(value as u8)).wrapping_mul(0x0100_0193)
    }))
}
