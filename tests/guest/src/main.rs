//! Runs a model on the CPU that it is started on and marks, for a counter of instructions, what it does. Cross-compiled and
//! run under QEMU by `pinhole bench --target`; `tests/tcg-count` is the counter.
//!
//! ```text
//! guest MODEL TOKENS [KERNELS]
//! ```
//!
//! Regions: 1 is the load of the model with its checks, 2 making an interpreter, 3 the first inference, and 4 + n operator n
//! of the second one. It prints the name of the kernel set; what it cannot do is one line on standard error and exit code 2.

mod mark;

use std::process::ExitCode;

use pinhole_runtime::interpreter::{AlignedBytes, Interpreter, Observer};
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;

const OUTSIDE: u64 = 0;
const LOAD: u64 = 1;
const INTERPRETER: u64 = 2;
const FIRST_INFERENCE: u64 = 3;
const FIRST_OP: u64 = 4;

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

fn run(arguments: &[String]) -> Result<(), String> {
    let [path, tokens, kernels @ ..] = arguments else {
        return Err("found too few arguments, expected MODEL TOKENS [KERNELS]".into());
    };
    let tokens: usize = tokens
        .parse()
        .map_err(|error| format!("{tokens}: {error}"))?;
    let kernels = kernel_set(kernels.first())?;
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let bytes = AlignedBytes::from_slice(&bytes);
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

/// The kernel set of a name, or the fastest.
fn kernel_set(name: Option<&String>) -> Result<&'static dyn Kernels, String> {
    let Some(name) = name else {
        return Ok(kernel::detect());
    };
    kernel::named(name).ok_or_else(|| {
        let names: Vec<&str> = kernel::available().map(Kernels::name).collect();
        format!(
            "found no kernel set {name} on the emulated CPU, expected one of {}",
            names.join(", ")
        )
    })
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
