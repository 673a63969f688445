//! Runs a model on the CPU that it is started on, cross-compiled and under QEMU: `pinhole_device` builds and starts it.
//!
//! ```text
//! guest count MODEL TOKENS [KERNELS]
//! guest embed MODEL KERNELS,… PICTURE.ppm…
//! guest layers MODEL KERNELS PICTURE.ppm…
//! ```
//!
//! `count` marks, for the counter of instructions `tests/tcg-count`, what it does. Regions: 1 is the load of the model with its
//! checks, 2 making an interpreter, 3 the first inference, and 4 + n operator n of the second one. It prints the name of the
//! kernel set.
//!
//! `embed` prints `sets` and the kernel sets of this CPU, then for each of the named sets a line of its name and the
//! fingerprint of each picture's embedding. `layers` prints a line for each picture: the fingerprint of each operator's output.
//!
//! What cannot be done is one line on standard error and exit code 2.

extern crate alloc;

mod mark;
mod picture;

use std::process::ExitCode;

use pinhole_runtime::interpreter::{AlignedBytes, Interpreter, Observer};
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;

use picture::{Picture, fingerprint};

const OUTSIDE: u64 = 0;
const LOAD: u64 = 1;
const INTERPRETER: u64 = 2;
const FIRST_INFERENCE: u64 = 3;
const FIRST_OP: u64 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["count", words @ ..] => count(words),
        ["embed", words @ ..] => embed(words),
        ["layers", words @ ..] => layers(words),
        _ => Err("found no order, expected count, embed or layers".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn count(words: &[&str]) -> Result<(), String> {
    let [path, tokens, kernels @ ..] = words else {
        return Err("found too few arguments, expected MODEL TOKENS [KERNELS]".into());
    };
    let tokens: usize = tokens
        .parse()
        .map_err(|error| format!("{tokens}: {error}"))?;
    let kernels = match kernels.first() {
        Some(name) => kernel_set(name)?,
        None => kernel::detect(),
    };
    let bytes = AlignedBytes::from_slice(&read(path)?);
    mark::enter(LOAD);
    let model = Model::load(&bytes);
    mark::enter(OUTSIDE);
    let model = model.map_err(|error| format!("{path}: {error}"))?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    mark::enter(INTERPRETER);
    let interpreter = Interpreter::new(&model, &mut arena, kernels);
    mark::enter(OUTSIDE);
    let mut interpreter = interpreter.map_err(|error| error.to_string())?;
    if model.max_tokens() > 0 {
        let tokens = tokens.clamp(1, model.max_tokens());
        interpreter
            .set_tokens(tokens)
            .map_err(|error| error.to_string())?;
    }
    println!("kernels {}", kernels.name());
    infer(&mut interpreter);
    Ok(())
}

fn embed(words: &[&str]) -> Result<(), String> {
    let [path, sets, pictures @ ..] = words else {
        return Err("found too few arguments, expected MODEL KERNELS PICTURE…".into());
    };
    let bytes = AlignedBytes::from_slice(&read(path)?);
    let model = Model::load(&bytes).map_err(|error| format!("{path}: {error}"))?;
    println!("sets {}", set_names().join(" "));
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    for set in sets.split(',') {
        let kernels = kernel_set(set)?;
        let interpreter = Interpreter::new(&model, &mut arena, kernels);
        let mut interpreter = interpreter.map_err(|error| error.to_string())?;
        let mut hashes = String::new();
        for path in pictures {
            let bytes = read(path)?;
            let picture = Picture::parse(&bytes).ok_or_else(|| format!("{path}: no pixmap"))?;
            let hash = fingerprint(&model, kernels, &mut interpreter, &picture)?;
            hashes += &format!(" {hash:016x}");
        }
        println!("{set}{hashes}");
    }
    Ok(())
}

fn layers(words: &[&str]) -> Result<(), String> {
    let [path, set, pictures @ ..] = words else {
        return Err("found too few arguments, expected MODEL KERNELS PICTURE…".into());
    };
    let bytes = AlignedBytes::from_slice(&read(path)?);
    let model = Model::load(&bytes).map_err(|error| format!("{path}: {error}"))?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let kernels = kernel_set(set)?;
    let interpreter = Interpreter::new(&model, &mut arena, kernels);
    let mut interpreter = interpreter.map_err(|error| error.to_string())?;
    for path in pictures {
        let bytes = read(path)?;
        let picture = Picture::parse(&bytes).ok_or_else(|| format!("{path}: no pixmap"))?;
        let hashes = picture::layers(&model, kernels, &mut interpreter, &picture)?;
        let hashes: Vec<String> = hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        println!("{}", hashes.join(" "));
    }
    Ok(())
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{path}: {error}"))
}

/// The kernel set of a name.
fn kernel_set(name: &str) -> Result<&'static dyn Kernels, String> {
    kernel::named(name).ok_or_else(|| {
        format!(
            "found no kernel set {name} on the emulated CPU, expected one of {}",
            set_names().join(", ")
        )
    })
}

fn set_names() -> Vec<&'static str> {
    kernel::available().map(Kernels::name).collect()
}

/// Marks every operator.
struct Marker;

impl Observer for Marker {
    fn before_op(&mut self, op: usize) {
        mark::enter(FIRST_OP + op as u64);
    }
    fn after_op(&mut self, _op: usize, _value: usize, _output: &[u8]) {}
}

/// Two inferences over the same noise.
fn infer(interpreter: &mut Interpreter<'_, '_>) {
    fill(interpreter);
    mark::enter(FIRST_INFERENCE);
    interpreter.run();
    mark::enter(OUTSIDE);
    fill(interpreter);
    interpreter.run_observed(&mut Marker);
    mark::enter(OUTSIDE);
}

/// Noise for a picture, since the time of some kernels depends on the data; token 0 for a text.
fn fill(interpreter: &mut Interpreter<'_, '_>) {
    let Ok(input) = interpreter.input_s8_mut(0) else {
        return;
    };
    let mut state = 1u32;
    for x in input {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *x = (state >> 24) as u8 as i8;
    }
}
