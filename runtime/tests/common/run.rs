//! Runs of models that load, whatever they compute.

use super::{Aligned, Random};
use pinhole_runtime::interpreter::{Interpreter, Observer};
use pinhole_runtime::kernel::{Kernels, Scalar, available};
use pinhole_runtime::model::Model;
use pinhole_runtime::model::format::ModelKind;

/// Runs a model on inputs of random bytes, which as floats hold NaN and infinities, in an arena of random bytes, with a
/// random number of tokens.
pub fn run(model: &Model<'_>, kernels: &dyn Kernels, seed: u64) -> Vec<Vec<u8>> {
    // Inputs that do not depend on the size of the arena.
    let (mut random, mut noise) = (Random(seed), Random(!seed));
    let mut arena = Aligned::zeroed(model.arena_bytes());
    arena.fill_with(|| noise.next() as u8);
    let mut interpreter = Interpreter::new(model, &mut arena, kernels).unwrap();
    if model.max_tokens() != 0 {
        interpreter
            .set_tokens(1 + random.below(model.max_tokens()))
            .unwrap();
    }
    for input in 0..model.inputs().len() {
        interpreter
            .input_bytes_mut(input)
            .unwrap()
            .fill_with(|| random.next() as u8);
    }
    let mut outputs = Outputs::default();
    interpreter.run_observed(&mut outputs);
    outputs.0
}

/// Keeps what every operator wrote.
#[derive(Default)]
struct Outputs(Vec<Vec<u8>>);

impl Observer for Outputs {
    fn after_op(&mut self, _: usize, _: usize, output: &[u8]) {
        self.0.push(output.to_vec());
    }
}

/// Runs a model on every kernel set that reads its weights; integer operators must give the same bits.
pub fn run_on_all(model: &Model<'_>, seed: u64) {
    let expected = run(model, &Scalar, seed);
    for kernels in available().filter(|kernels| kernels.reads(model.weight_layout())) {
        let found = run(model, kernels, seed);
        if model.kind() != ModelKind::ImageEncoder {
            continue;
        }
        for (op, (found, expected)) in model.ops().iter().zip(found.iter().zip(&expected)) {
            assert_eq!(found, expected, "{} {op:?}", kernels.name());
        }
    }
}
