//! Encoders of the CLIP family, networks of timm and of torchvision, imported, packed in f32 and run by the runtime,
//! against the library that their checkpoints come from.
//!
//! ```console
//! $ python tests/import/make_clip.py target/clip
//! $ cargo run --release -p pinhole-tests --example encoder_parity -- target/clip/*
//! $ python tests/import/make_timm.py target/timm
//! $ cargo run --release -p pinhole-tests --example encoder_parity -- target/timm/*
//! $ python tests/import/make_torchvision.py target/torchvision
//! $ cargo run --release -p pinhole-tests --example encoder_parity -- target/torchvision/*
//! ```
//!
//! Each folder holds a checkpoint, its configuration and `expected.safetensors`. Prints a table in Markdown. Exit code
//! 1 when a cosine is below 0.99999 or an encoder cannot be imported.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pinhole_graph::import::efficientnet_lite::Output;
use pinhole_graph::import::{Checkpoint, clip, timm};
use pinhole_graph::{Graph, Tensor, pass};
use pinhole_pack::{PackOptions, pack};
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::Model;

/// What counts as equal.
const LEAST_COSINE: f64 = 0.999_99;

type Failure = Box<dyn std::error::Error>;

/// How far embeddings are from those of the library.
struct Parity {
    parameters: usize,
    macs: u64,
    least_cosine: f64,
    largest_error: f64,
}

fn main() -> Result<ExitCode, Failure> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        return Err(
            "expected the folders that tests/import/make_clip.py or make_timm.py wrote".into(),
        );
    }
    println!("| checkpoint | tower | parameters | MACs | least cosine | largest error |");
    println!("|---|---|--:|--:|--:|--:|");
    let mut failed = Vec::new();
    for folder in &folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let towers: &[&str] = match has_text(folder) {
            true => &["image", "text"],
            false => &["image"],
        };
        for tower in towers {
            match parity(folder, tower) {
                Ok(parity) => {
                    println!(
                        "| {name} | {tower} | {:.1} M | {:.2} G | {:.8} | {:.1e} |",
                        parity.parameters as f64 / 1e6,
                        parity.macs as f64 / 1e9,
                        parity.least_cosine,
                        parity.largest_error
                    );
                    if parity.least_cosine < LEAST_COSINE {
                        failed.push(format!("{name} {tower}: cosine {}", parity.least_cosine));
                    }
                }
                Err(failure) => {
                    println!("| {name} | {tower} | | | refused | |");
                    failed.push(format!("{name} {tower}: {failure}"));
                }
            }
        }
    }
    for line in &failed {
        eprintln!("{line}");
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether texts are expected; a checkpoint that cannot be read says so later.
fn has_text(folder: &Path) -> bool {
    Checkpoint::load(folder.join("expected.safetensors"))
        .is_ok_and(|expected| expected.tensors.contains_key("ids"))
}

fn parity(folder: &Path, tower: &str) -> Result<Parity, Failure> {
    let checkpoint = Checkpoint::load(checkpoint_in(folder)?)?;
    let expected = Checkpoint::load(folder.join("expected.safetensors"))?;
    let mut graph = imported(&checkpoint, tower)?;
    drop(checkpoint);
    pass::standard(&mut graph)?;
    let found = embeddings(
        &graph,
        tensor(&expected, if tower == "image" { "image" } else { "ids" })?,
    )?;
    let wanted = tensor(&expected, &format!("{tower}.embedding"))?;
    let wanted = wanted.as_f32().ok_or("embeddings are not floats")?;
    let width = wanted.len() / found.len();
    let mut parity = Parity {
        parameters: graph.parameter_count(),
        macs: graph.macs(),
        least_cosine: f64::INFINITY,
        largest_error: 0.0,
    };
    for (found, wanted) in found.iter().zip(wanted.chunks_exact(width)) {
        let (cosine, error) = compared(found, wanted)?;
        parity.least_cosine = parity.least_cosine.min(cosine);
        parity.largest_error = parity.largest_error.max(error);
    }
    Ok(parity)
}

/// The encoder, before any pass.
fn imported(checkpoint: &Checkpoint, tower: &str) -> Result<Graph, Failure> {
    let Some(keys) = clip::recognises(checkpoint) else {
        let config = timm::config_beside(checkpoint, None)?;
        return Ok(timm::import(checkpoint, &config, Output::Features)?);
    };
    let config = clip::config_beside(checkpoint, keys)?;
    Ok(if tower == "image" {
        clip::import_image(checkpoint, keys, &config)?
    } else {
        clip::import_text(checkpoint, keys, &config, None)?
    })
}

fn checkpoint_in(folder: &Path) -> Result<PathBuf, Failure> {
    ["open_clip_model.safetensors", "model.safetensors"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{}: no checkpoint", folder.display()).into())
}

fn tensor<'a>(checkpoint: &'a Checkpoint, key: &str) -> Result<&'a Tensor, Failure> {
    let tensor = checkpoint.tensors.get(key);
    tensor.ok_or_else(|| format!("{}: no {key}", checkpoint.path.display()).into())
}

/// The embedding of each row of `inputs`: pictures, or ids with −1 behind the end.
fn embeddings(graph: &Graph, inputs: &Tensor) -> Result<Vec<Vec<f32>>, Failure> {
    let bytes = AlignedBytes::from_slice(&pack(graph, &PackOptions::default())?.bytes);
    let model = Model::load(&bytes)?;
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(&model, &mut arena, kernel::detect())?;
    let row = inputs.shape[1..].iter().product();
    let mut run = |fill: &dyn Fn(&mut Interpreter<'_, '_>) -> Result<(), Failure>| {
        fill(&mut interpreter)?;
        interpreter.run();
        Ok::<_, Failure>(interpreter.output_f32(0)?.to_vec())
    };
    match (inputs.as_f32(), inputs.as_i32()) {
        (Some(pixels), _) => pixels
            .chunks_exact(row)
            .map(|pixels| {
                run(&|interpreter| {
                    interpreter.input_f32_mut(0)?.copy_from_slice(pixels);
                    Ok(())
                })
            })
            .collect(),
        (_, Some(ids)) => ids
            .chunks_exact(row)
            .map(|ids| {
                let ids: Vec<i32> = ids.iter().copied().filter(|&id| id >= 0).collect();
                run(&|interpreter| {
                    if interpreter.tokens() != 0 {
                        interpreter.set_tokens(ids.len())?;
                    }
                    interpreter.input_i32_mut(0)?.copy_from_slice(&ids);
                    Ok(())
                })
            })
            .collect(),
        _ => Err("inputs are neither floats nor integers".into()),
    }
}

/// Cosine, and the largest difference of unit vectors.
fn compared(found: &[f32], wanted: &[f32]) -> Result<(f64, f64), Failure> {
    if found.len() != wanted.len() {
        return Err(format!("{} numbers, expected {}", found.len(), wanted.len()).into());
    }
    let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let (found_norm, wanted_norm) = (norm(found), norm(wanted));
    for (whose, norm) in [("this", found_norm), ("the library's", wanted_norm)] {
        if !norm.is_normal() {
            return Err(format!("{whose} embedding has length {norm}").into());
        }
    }
    let mut cosine = 0.0;
    let mut error = 0.0f64;
    for (&a, &b) in found.iter().zip(wanted) {
        let (a, b) = (f64::from(a) / found_norm, f64::from(b) / wanted_norm);
        cosine += a * b;
        error = error.max((a - b).abs());
    }
    Ok((cosine, error))
}
