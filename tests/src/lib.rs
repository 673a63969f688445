//! What tests that cross packages share: the default model, photographs, and the shortest way from a picture to an embedding.

pub mod code_size;
pub mod cortex_m;
pub mod whole_models;

use std::path::{Path, PathBuf};

use image::RgbImage;
use pinhole_runtime::interpreter::{AlignedBytes, Interpreter, Observer};
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the repository, where models can be read in place.
///
/// # Panics
/// When it cannot be read: the test then has nothing to say.
pub fn file(path: &str) -> AlignedBytes {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    AlignedBytes::from_slice(&bytes)
}

/// The photographs of `models/demo`, by name.
///
/// # Panics
/// When one cannot be read.
pub fn photographs() -> Vec<(String, RgbImage)> {
    let folder = root().join("models/demo");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jpg"))
        .collect();
    paths.sort();
    let open = |path: &PathBuf| {
        image::open(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .to_rgb8()
    };
    paths
        .iter()
        .map(|path| {
            (
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                open(path),
            )
        })
        .collect()
}

/// The int8 embedding of a picture.
///
/// # Panics
/// When the model takes no picture or gives no int8 embedding.
pub fn embed(model: &Model<'_>, picture: &RgbImage, kernels: &'static dyn Kernels) -> Vec<i8> {
    embed_observed(model, picture, kernels, &mut Unobserved)
}

struct Unobserved;

impl Observer for Unobserved {
    fn after_op(&mut self, _op: usize, _value: usize, _output: &[u8]) {}
}

/// As [`embed`]; `observer` sees every operator.
///
/// # Panics
/// As [`embed`].
pub fn embed_observed(
    model: &Model<'_>,
    picture: &RgbImage,
    kernels: &'static dyn Kernels,
    observer: &mut dyn Observer,
) -> Vec<i8> {
    let geometry = model.geometry().expect("an image encoder");
    let (width, height) = picture.dimensions();
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter =
        Interpreter::new(model, &mut arena, kernels).expect("an arena of the model's size");
    let input = model
        .inputs()
        .next()
        .map(|value| model.value(value))
        .expect("an input");
    let words = Preprocessor::scratch_len(&geometry, width, height).expect("a size in range");
    let mut scratch = vec![0u32; words];
    let mut preprocessor = Preprocessor::new(
        kernels,
        &geometry,
        width,
        height,
        PixelFormat::Rgb888,
        &mut scratch,
    )
    .expect("enough scratch");
    let destination = interpreter.input_s8_mut(0).expect("an int8 input");
    let mut sink = S8Sink::new(
        kernels,
        &geometry,
        input.scale,
        input.zero_point,
        destination,
    )
    .expect("an input of that size");
    for row in picture.as_raw().chunks_exact(width as usize * 3) {
        preprocessor
            .push_row(row, &mut sink)
            .expect("rows of one length");
    }
    preprocessor.finish(&mut sink).expect("all rows");
    interpreter.run_observed(observer);
    interpreter
        .output_s8(0)
        .expect("an int8 embedding")
        .to_vec()
}
