//! The f32 graphs of EfficientNet-Lite0 to 2 and MiniLM, packed and run by the runtime with every kernel set, against
//! PyTorch.
//!
//! ```console
//! $ cargo run --release -p pinhole-tests --example float_parity -- \
//!       $(pinhole data get efficientnet-lite0)/efficientnet-lite0.pth $(pinhole data get minilm)/model.safetensors
//! ```
//!
//! A file called `efficientnet-liteN.pth` is that network, any other is MiniLM. The last line of each file has its least
//! cosine and, of unit vectors, its largest difference.
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
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        return Err(
            "expected paths of efficientnet-liteN.pth or of MiniLM's model.safetensors".into(),
        );
    }
    let golden =
        Checkpoint::load(pinhole_tests::root().join("tests/golden/float_parity.safetensors"))?;
    let mut least = f64::INFINITY;
    for file in files.iter().map(Path::new) {
        let name = file
            .file_stem()
            .map_or("".into(), |name| name.to_string_lossy());
        let parity = match name.starts_with("efficientnet-lite") {
            true => pictures(&golden, file, &name)?,
            false => sentences(&golden, file)?,
        };
        println!(
            "{name}: least cosine {:.9}, largest error {:.1e}",
            parity.cosine, parity.error
        );
        least = least.min(parity.cosine);
    }
    println!("least cosine {least:.9}, expected at least {LEAST_COSINE}");
    Ok(if least >= LEAST_COSINE {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How near outputs come to those of PyTorch.
struct Parity {
    cosine: f64,
    /// Largest difference of two unit vectors.
    error: f64,
}

impl Parity {
    const EQUAL: Self = Self {
        cosine: 1.0,
        error: 0.0,
    };

    fn worse(self, other: Self) -> Self {
        Self {
            cosine: self.cosine.min(other.cosine),
            error: self.error.max(other.error),
        }
    }
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

fn pictures(golden: &Checkpoint, path: &Path, name: &str) -> Result<Parity, Failure> {
    let graph = efficientnet_lite::import(
        &Checkpoint::load(path)?,
        efficientnet_lite::Output::Features,
    )?;
    let bytes = packed(graph)?;
    let model = Model::load(&bytes)?;
    let seeds = tensor(golden, "image.seeds")?
        .as_i32()
        .ok_or("seeds are not integers")?;
    let key = match name {
        "efficientnet-lite0" => "image.features".to_owned(),
        name => format!("{name}.features"),
    };
    let expected = tensor(golden, &key)?
        .as_f32()
        .ok_or("features are not floats")?;
    let mut least = Parity::EQUAL;
    for set in kernel::available() {
        for (&seed, expected) in seeds
            .iter()
            .zip(expected.chunks_exact(expected.len() / seeds.len()))
        {
            let mut arena = AlignedBytes::zeroed(model.arena_bytes());
            let mut interpreter = Interpreter::new(&model, &mut arena, set)?;
            fill(interpreter.input_f32_mut(0)?, seed as u64);
            interpreter.run();
            least = least.worse(report(
                &format!("{name}, picture {seed}"),
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

fn sentences(golden: &Checkpoint, path: &Path) -> Result<Parity, Failure> {
    let checkpoint = Checkpoint::load(path)?;
    let config = bert::config_beside(&checkpoint)?;
    let bytes = packed(bert::import(&checkpoint, &config, 64)?)?;
    let model = Model::load(&bytes)?;
    let mut least = Parity::EQUAL;
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
            least = least.worse(report(
                &format!("MiniLM, sentence {sentence}"),
                set,
                interpreter.output_f32(0)?,
                expected,
            ));
        }
    }
    Ok(least)
}

fn report(what: &str, set: &dyn Kernels, found: &[f32], expected: &[f32]) -> Parity {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&x, &y)| f64::from(x) * f64::from(y))
            .sum()
    };
    let (ours, theirs) = (dot(found, found).sqrt(), dot(expected, expected).sqrt());
    // A minimum passes over what is no number.
    let cosine = match dot(found, expected) / (ours * theirs) {
        cosine if cosine.is_nan() => f64::NEG_INFINITY,
        cosine => cosine,
    };
    let pairs = || found.iter().zip(expected);
    let largest = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let error = pairs()
        .map(|(&a, &b)| (f64::from(a) / ours - f64::from(b) / theirs).abs())
        .fold(0.0, f64::max);
    println!(
        "{what:<29} {:<20} cosine {cosine:.9}, largest difference {largest:.1e}",
        set.name()
    );
    Parity { cosine, error }
}
