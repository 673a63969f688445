//! What calibrates: pictures of folders and of CIFAR-10 for an image encoder, lines of files for a text encoder.

use std::collections::BTreeSet;
use std::path::Path;

use pinhole_data::{Cifar10, load_picture};
use pinhole_graph::{Graph, ModelKind};
use pinhole_pack::{PackOptions, pack};
use pinhole_quantize::Input;
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel;

use super::Calibration;
use crate::encoder::{ImageEncoder, LoadedModel, TextEncoder};
use crate::failure::{Context, Failure, Outcome};
use crate::output::note;
use crate::{pictures, texts};

/// Inputs of a model.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) inputs: Vec<Input>,
    /// Where each is from.
    pub(super) names: Vec<String>,
}

impl Inputs {
    fn push(&mut self, name: String, input: Input) {
        self.names.push(name);
        self.inputs.push(input);
    }
}

/// All that `choices` name, as `graph` takes it.
pub(super) fn load(graph: &Graph, name: &Path, choices: &Calibration) -> Outcome<Inputs> {
    let share = share(choices);
    let mut found = Inputs::default();
    if graph.meta.kind == ModelKind::TextEncoder {
        let encoder = TextEncoder::new(name.display(), loaded(graph, name)?)?;
        for source in &choices.calibrate {
            for text in texts::load(&encoder, source, share)? {
                found.push(text.name, text.ids.into());
            }
        }
        return Ok(found);
    }
    let encoder = ImageEncoder::new(name.display(), loaded(graph, name)?)?;
    for source in &choices.calibrate {
        if source.starts_with(texts::PREFIX) {
            return Err(Failure::new(format_args!(
                "{}: found {source} for an image encoder, expected pictures",
                name.display()
            ))
            .help("--calibrate DIR, or --calibrate cifar10:DIR"));
        }
        match source.strip_prefix("cifar10:") {
            Some(dir) => cifar10(&encoder, source, dir, share, &mut found)?,
            None => folder(&encoder, source, share, &mut found)?,
        }
    }
    Ok(found)
}

/// Inputs of each source.
fn share(choices: &Calibration) -> usize {
    choices.calibration_count.div_ceil(choices.calibrate.len())
}

/// The pictures of CIFAR-10's training split that calibrate, of `len` in all.
pub(super) fn cifar10_indices(len: usize, choices: &Calibration) -> BTreeSet<usize> {
    let mut sources = choices.calibrate.iter();
    match sources.any(|source| source.starts_with("cifar10:")) {
        true => pictures::spread(&(0..len).collect::<Vec<_>>(), share(choices))
            .into_iter()
            .collect(),
        false => BTreeSet::new(),
    }
}

/// The graph packed in f32, for its preprocessing.
pub(super) fn loaded(graph: &Graph, name: &Path) -> Outcome<LoadedModel> {
    let packed = pack(graph, &PackOptions::default()).context(name.display())?;
    let bytes = AlignedBytes::from_slice(&packed.bytes);
    LoadedModel::from_bytes(name.display(), bytes, kernel::detect())
}

fn cifar10(
    encoder: &ImageEncoder,
    source: &str,
    dir: &str,
    count: usize,
    found: &mut Inputs,
) -> Outcome {
    let data = Cifar10::train_unlabelled(dir)?;
    let all: Vec<usize> = (0..data.len()).collect();
    for index in pictures::spread(&all, count) {
        let name = format!("{source} training picture {index}");
        found.push(name, encoder.input_f32(&data.picture(index))?.into());
    }
    Ok(())
}

fn folder(encoder: &ImageEncoder, source: &str, count: usize, found: &mut Inputs) -> Outcome {
    for path in pictures::spread(&pictures::below(Path::new(source))?, count) {
        match load_picture(&path) {
            Ok(picture) => {
                let name = path.display().to_string();
                found.push(name, encoder.input_f32(&picture)?.into());
            }
            Err(error) => note!("left out: {error}"),
        }
    }
    Ok(())
}
