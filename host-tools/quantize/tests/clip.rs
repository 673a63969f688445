//! Small image towers of the CLIP family from f32 to integers: nothing stays in floats, attention of learned queries and of the
//! mean of a picture neither, and the direction of the embedding stays. `tests/import/make_clip.py --tiny` makes the files.

use std::path::Path;

use pinhole_graph::import::Checkpoint;
use pinhole_graph::import::clip::{self, Heads};
use pinhole_graph::{Graph, pass};
use pinhole_pack::{PackOptions, lower::lower};
use pinhole_quantize::{Input, Options, Progress, quantize, report::report};

fn silent(_: Progress) {}

/// The image tower of a file, and its two pictures.
fn tower(name: &str) -> (Graph, Vec<f32>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut checkpoint = Checkpoint::load(folder.join(format!("clip_{name}.safetensors"))).unwrap();
    let pictures = checkpoint.tensors["expected.image"]
        .as_f32()
        .unwrap()
        .to_vec();
    checkpoint
        .tensors
        .retain(|key, _| !key.starts_with("expected."));
    let keys = clip::recognises(&checkpoint).unwrap();
    let mut config = clip::config_beside(&checkpoint, keys).unwrap();
    config.image.heads = Heads::Width(32);
    let mut graph = clip::import_image(&checkpoint, keys, &config).unwrap();
    pass::standard(&mut graph).unwrap();
    (graph, pictures)
}

/// Blends of two pictures that lie side by side in memory.
fn blends(pictures: &[f32], shares: impl Iterator<Item = f32>) -> Vec<Input> {
    let (a, b) = pictures.split_at(pictures.len() / 2);
    shares
        .map(|share| {
            a.iter()
                .zip(b)
                .map(|(a, b)| a * share + b * (1.0 - share))
                .collect::<Vec<f32>>()
                .into()
        })
        .collect()
}

#[track_caller]
fn runs_in_integers(name: &str, least_cosine: f64) {
    let (graph, pictures) = tower(name);
    let calibration = blends(&pictures, (0..8).map(|i| i as f32 / 7.0));
    let test = blends(&pictures, (0..4).map(|i| (i as f32 + 0.4) / 4.0));
    let quantized = quantize(&graph, &calibration, &Options::default(), &silent).unwrap();
    let lowered = lower(&quantized.quantized, &PackOptions::default()).unwrap();
    let floats: Vec<&str> = lowered
        .ops
        .iter()
        .map(|op| op.kind.name())
        .filter(|name| name.ends_with("_f32") || name.starts_with("dequantize"))
        .collect();
    assert!(floats.is_empty(), "{floats:?}");
    let report = report(&quantized.prepared, &quantized.quantized, &test, &silent).unwrap();
    println!("{name}: cosine {:.5} at least", report.output_cosine_min);
    assert!(
        report.output_cosine_min > least_cosine,
        "{}",
        report.output_cosine_min
    );
}

#[test]
fn a_class_token() {
    runs_in_integers("vit", 0.99);
}

#[test]
fn a_learned_query() {
    runs_in_integers("coca", 0.99);
}

#[test]
fn the_mean_of_a_picture_as_a_query() {
    runs_in_integers("resnet", 0.99);
}
