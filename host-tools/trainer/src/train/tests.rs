//! Whole runs over made-up inputs.

use super::{TrainOptions, train};
use crate::TrainError;
use crate::fixture::Fixture;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn quiet() -> TrainOptions {
    TrainOptions {
        quiet: true,
        stop: Some(Arc::new(AtomicBool::new(false))),
        ..TrainOptions::default()
    }
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join("out").join(name)).unwrap()
}

#[test]
fn the_loss_falls_and_all_products_are_written() {
    let fixture = Fixture::new();
    let report = train(&fixture.recipe(), quiet()).unwrap();
    let log = String::from_utf8(bytes(fixture.folder(), "log.csv")).unwrap();
    let first: f32 = log
        .lines()
        .nth(1)
        .unwrap()
        .split(',')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(report.loss < first, "{} is not below {first}", report.loss);
    let file = bytes(fixture.folder(), "projection.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let mut shapes: Vec<_> = tensors
        .tensors()
        .iter()
        .map(|(n, t)| (n.clone(), t.shape().to_vec()))
        .collect();
    shapes.sort();
    let expected = [
        ("image.bias", vec![4]),
        ("image.weight", vec![4, 8]),
        ("logit_scale", vec![1]),
        ("text.bias", vec![4]),
        ("text.weight", vec![4, 4]),
    ];
    assert_eq!(
        shapes,
        expected.map(|(name, shape)| (name.to_owned(), shape))
    );
    assert!(report.curve.exists());
}

#[test]
fn two_runs_give_the_same_bytes() {
    let (one, other) = (Fixture::new(), Fixture::new());
    for fixture in [&one, &other] {
        train(&fixture.recipe(), quiet()).unwrap();
    }
    for name in [
        "projection.safetensors",
        "log.csv",
        "loss.svg",
        "checkpoint.safetensors",
    ] {
        assert_eq!(
            bytes(one.folder(), name),
            bytes(other.folder(), name),
            "{name} differs"
        );
    }
}

#[test]
fn an_interrupted_and_resumed_run_ends_with_the_bytes_of_an_uninterrupted_one() {
    let (whole, broken) = (Fixture::new(), Fixture::new());
    train(&whole.recipe(), quiet()).unwrap();
    let stop = TrainOptions {
        stop: Some(Arc::new(AtomicBool::new(true))),
        ..quiet()
    };
    for expected in 1..=3 {
        let options = TrainOptions {
            resume: true,
            ..stop.clone()
        };
        match train(&broken.recipe(), options) {
            Err(TrainError::Interrupted { step, .. }) => assert_eq!(step, expected),
            other => panic!("{other:?} is not an interruption"),
        }
    }
    train(
        &broken.recipe(),
        TrainOptions {
            resume: true,
            ..quiet()
        },
    )
    .unwrap();
    for name in [
        "projection.safetensors",
        "log.csv",
        "checkpoint.safetensors",
    ] {
        assert_eq!(
            bytes(whole.folder(), name),
            bytes(broken.folder(), name),
            "{name} differs"
        );
    }
}

#[test]
fn a_checkpoint_of_another_recipe_is_refused() {
    let fixture = Fixture::new();
    train(&fixture.recipe(), quiet()).unwrap();
    let text = std::fs::read_to_string(fixture.recipe())
        .unwrap()
        .replace("seed = 3", "seed = 4");
    std::fs::write(fixture.recipe(), text).unwrap();
    let error = train(
        &fixture.recipe(),
        TrainOptions {
            resume: true,
            ..quiet()
        },
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("recipe_sha256"), "{error}");
}

#[test]
fn a_checkpoint_cut_or_flipped_anywhere_is_refused() {
    let fixture = Fixture::new();
    train(&fixture.recipe(), quiet()).unwrap();
    let path = fixture.folder().join("out/checkpoint.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let resume = || {
        train(
            &fixture.recipe(),
            TrainOptions {
                resume: true,
                dry_run: true,
                ..quiet()
            },
        )
    };
    for len in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(resume().is_err(), "{len} bytes were accepted");
    }
    for at in (0..1200).chain((1200..whole.len()).step_by(7)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        std::fs::write(&path, damaged).unwrap();
        assert!(resume().is_err(), "a flip at {at} was accepted");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let fixture = Fixture::new();
    let report = train(
        &fixture.recipe(),
        TrainOptions {
            dry_run: true,
            ..quiet()
        },
    )
    .unwrap();
    assert_eq!((report.inputs, report.steps), ([6, 20, 20], 0));
    assert!(!fixture.folder().join("out").exists());
}

#[test]
fn a_batch_larger_than_the_inputs_is_refused_with_both_numbers() {
    let fixture = Fixture::new();
    let text = std::fs::read_to_string(fixture.recipe())
        .unwrap()
        .replace("classes = 5", "classes = 9");
    std::fs::write(fixture.recipe(), text).unwrap();
    let error = train(&fixture.recipe(), quiet()).unwrap_err().to_string();
    assert!(error.contains("is 9, the inputs have 6 classes"), "{error}");
    assert!(error.contains("recipe.toml, line "), "{error}");
}

#[test]
fn a_learning_rate_that_diverges_is_said_to() {
    let fixture = Fixture::new();
    let weight: Vec<u8> = (0..160).flat_map(|_| 3e38f32.to_le_bytes()).collect();
    let path = fixture.folder().join("pictures.safetensors");
    crate::fixture::write_tensors(
        &path,
        &[("features", safetensors::Dtype::F32, &[20, 8], &weight)],
    );
    let error = train(&fixture.recipe(), quiet()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}

fn product(fixture: &Fixture, tensor: &str) -> Vec<f32> {
    let file = bytes(fixture.folder(), "projection.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let data = tensors.tensor(tensor).unwrap().data().to_vec();
    let floats = data.as_chunks::<4>().0.iter();
    floats.map(|&b| f32::from_le_bytes(b)).collect()
}

fn with_blend(blend: &str) -> Fixture {
    let fixture = Fixture::new();
    let text = std::fs::read_to_string(fixture.recipe())
        .unwrap()
        .replace("blend = 0.75", &format!("blend = {blend}"));
    std::fs::write(fixture.recipe(), text).unwrap();
    train(&fixture.recipe(), quiet()).unwrap();
    fixture
}

#[test]
fn a_blend_lies_between_the_start_and_the_trained_parameters() {
    let [start, between, end] = ["0.0", "0.75", "1.0"].map(with_blend);
    for tensor in ["image.weight", "text.weight"] {
        let [s, b, e] = [&start, &between, &end].map(|fixture| product(fixture, tensor));
        assert_ne!(s, e);
        for ((s, b), e) in s.iter().zip(&b).zip(&e) {
            assert!((b - (s + 0.75 * (e - s))).abs() < 1e-4, "{s} {b} {e}");
        }
    }
}

#[test]
fn with_a_shared_centre_the_mean_photograph_lands_where_the_mean_picture_does() {
    let fixture = with_blend("1.0");
    let features = crate::Features::load(&fixture.inputs(), fixture.folder()).unwrap();
    let weight = product(&fixture, "image.weight");
    let mut photos = features.photos.unwrap().features;
    photos.data.truncate(3 * photos.columns);
    photos.rows = 3;
    let (pictures, photos) = (features.pictures.mean(), photos.mean());
    for row in weight.chunks_exact(pictures.len()) {
        let means = photos.iter().zip(&pictures);
        let apart: f32 = row.iter().zip(means).map(|(w, (a, b))| w * (a - b)).sum();
        assert!(apart.abs() < 1e-4, "{apart}");
    }
}
