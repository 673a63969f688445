//! The f32 graphs of EfficientNet-Lite0 and MiniLM, packed and run by the runtime with every kernel set, against PyTorch.
//!
//! ```console
//! $ cargo run --release -p pinhole-tests --example float_parity -- \
//!       $(pinhole data get efficientnet-lite0)/efficientnet-lite0.pth $(pinhole data get minilm)/model.safetensors
//! ```
//!
//! The outputs of PyTorch are in `tests/golden/float_parity.safetensors`, made by `make_float_parity.py` beside it. Exit
//! code 1 when a cosine is below 0.99999.

use std::path::Path;
use std::process::ExitCode;

use pinhole_graph::import::{Checkpoint, bert, efficientnet_lite};
use pinhole_graph::{Graph, pass};
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel::{self, Kernels};
use pinhole_runtime::model::Model;

/// What counts as equal.
const LEAST_COSINE: f64 = 0.999_99;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(lite0), Some(minilm)) = (arguments.next(), arguments.next()) else {
        return Err(
            "expected the paths of efficientnet-lite0.pth and of MiniLM's model.safetensors".into(),
        );
    };
    let golden =
        Checkpoint::load(pinhole_tests::root().join("tests/golden/float_parity.safetensors"))?;
    let least = pictures(&golden, Path::new(&lite0))?.min(sentences(&golden, Path::new(&minilm))?);
    println!("least cosine {least:.9}, expected at least {LEAST_COSINE}");
    Ok(if least >= LEAST_COSINE {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn packed(mut graph: Graph) -> Result<AlignedBytes, Failure> {
    pass::standard(&mut graph)?;
    Ok(AlignedBytes::from_slice(
        &pack(&graph, &PackOptions::default())?.bytes,
    ))
}

fn tensor<'a>(golden: &'a Checkpoint, key: &str) -> Result<&'a pinhole_graph::Tensor, Failure> {
    golden
        .tensors
        .get(key)
        .ok_or_else(|| format!("the golden file has no {key}").into())
}

fn pictures(golden: &Checkpoint, path: &Path) -> Result<f64, Failure> {
    let graph = efficientnet_lite::import(
        &Checkpoint::load(path)?,
        efficientnet_lite::Output::Features,
    )?;
    let bytes = packed(graph)?;
    let model = Model::load(&bytes)?;
    let seeds = tensor(golden, "image.seeds")?
        .as_i32()
        .ok_or("seeds are not integers")?;
    let expected = tensor(golden, "image.features")?
        .as_f32()
        .ok_or("features are not floats")?;
    let mut least = f64::INFINITY;
    for set in kernel::available() {
        for (&seed, expected) in seeds
            .iter()
            .zip(expected.chunks_exact(expected.len() / seeds.len()))
        {
            let mut arena = AlignedBytes::zeroed(model.arena_bytes());
            let mut interpreter = Interpreter::new(&model, &mut arena, set)?;
            fill(interpreter.input_f32_mut(0)?, seed as u64);
            interpreter.run();
            least = least.min(report(
                &format!("Lite0, picture {seed}"),
                set,
                interpreter.output_f32(0)?,
                expected,
            ));
        }
    }
    Ok(least)
}

/// The picture of a seed, as the script makes it.
fn fill(input: &mut [f32], seed: u64) {
    let mut state = seed;
    for x in input {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *x = ((state >> 56) as f32 - 127.0) / 128.0;
    }
}

fn sentences(golden: &Checkpoint, path: &Path) -> Result<f64, Failure> {
    let checkpoint = Checkpoint::load(path)?;
    let config = bert::config_beside(&checkpoint)?;
    let bytes = packed(bert::import(&checkpoint, &config, 64)?)?;
    let model = Model::load(&bytes)?;
    let mut least = f64::INFINITY;
    for set in kernel::available() {
        for sentence in 0..6 {
            let ids = tensor(golden, &format!("text.{sentence}.ids"))?
                .as_i32()
                .ok_or("ids are not integers")?;
            let expected = tensor(golden, &format!("text.{sentence}.mean"))?
                .as_f32()
                .ok_or("means are not floats")?;
            let mut arena = AlignedBytes::zeroed(model.arena_bytes());
            let mut interpreter = Interpreter::new(&model, &mut arena, set)?;
            interpreter.set_tokens(ids.len())?;
            interpreter.input_i32_mut(0)?[..ids.len()].copy_from_slice(ids);
            interpreter.run();
            least = least.min(report(
                &format!("MiniLM, sentence {sentence}"),
                set,
                interpreter.output_f32(0)?,
                expected,
            ));
        }
    }
    Ok(least)
}

fn report(what: &str, set: &dyn Kernels, found: &[f32], expected: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&x, &y)| f64::from(x) * f64::from(y))
            .sum()
    };
    let cosine = dot(found, expected) / (dot(found, found) * dot(expected, expected)).sqrt();
    let largest = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    println!(
        "{what:<24} {:<20} cosine {cosine:.9}, largest difference {largest:.1e}",
        set.name()
    );
    cosine
}
