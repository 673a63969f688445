//! Class banks: made from names, opened from files.

use std::path::Path;

use pinhole_ranks::Ranks;
use pinhole_runtime::bank::{BankSpec, ClassBank, ClassSpec};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_text::classes::ClassList;
use pinhole_text::ensemble::{self, EnsembleError};
use pinhole_text::templates::Templates;

use crate::encoder::TextEncoder;
use crate::failure::{Failure, Outcome, refused_bank};
use crate::files::{self, FileKind};
use crate::progress;

/// Prompts that are encoded between two steps of the progress bar.
const BATCH_PROMPTS: usize = 64;
/// Pages of the flash that a device rewrites when it adds a class.
const PAGE_BYTES: u32 = 4096;

/// Classes that a device can add to a bank.
const SPARE_SLOTS: u32 = 16;

/// Temperature of the energy. At 1, many classes that fit a little outweigh one that fits well, and the energy says nothing
/// about whether the best label is right; low enough, it follows the best score.
const TEMPERATURE: f32 = 0.25;

/// A bank that stays loaded until the process ends.
pub(crate) fn load(
    name: impl std::fmt::Display,
    bytes: AlignedBytes,
) -> Outcome<ClassBank<'static>> {
    let bytes: &'static AlignedBytes = Box::leak(Box::new(bytes));
    ClassBank::load(bytes).map_err(|error| refused_bank(name, &error))
}

/// Opens `bank.phc`.
pub(crate) fn open(path: &Path) -> Outcome<ClassBank<'static>> {
    let bytes = files::read_aligned(path)?;
    files::expect(path, &bytes, FileKind::Bank)?;
    load(path.display(), bytes)
}

/// Unit embeddings of all classes, in order; each of `ranks` encodes a part of the prompts.
pub(crate) fn class_embeddings(
    text: &TextEncoder,
    classes: &ClassList,
    templates: &Templates,
    ranks: &Ranks,
) -> Outcome<Vec<Vec<f32>>> {
    let bar = progress::bar("embedding classes", 0);
    let embeddings = ensemble::class_embeddings(
        classes,
        templates,
        &text.tokenizer,
        BATCH_PROMPTS,
        &mut |prompts: &[Vec<u32>]| {
            ranks.rows(prompts.len(), |part| text.encode(&prompts[part], &|| ()))
        },
        &mut |progress| {
            bar.set_length(progress.count as u64);
            bar.set_position(progress.done as u64);
        },
    );
    bar.finish_and_clear();
    embeddings.map_err(|error| match error {
        EnsembleError::NoDirection { .. } => Failure::new(error)
            .help("describe the class in other words, which the vocabulary of the encoder has: NAME | a sentence"),
        error => Failure::new(error),
    })
}

/// A bank of `classes` for the space of `text`.
pub(crate) fn make(
    text: &TextEncoder,
    classes: &ClassList,
    embeddings: &[Vec<f32>],
    templates: &Templates,
    reject_threshold: f32,
) -> Outcome<AlignedBytes> {
    let specs: Vec<ClassSpec<'_>> = classes
        .as_slice()
        .iter()
        .zip(embeddings)
        .map(|(class, embedding)| ClassSpec {
            name: class.name(),
            embedding,
        })
        .collect();
    let header = text.loaded.model.header();
    let templates: String = templates
        .as_slice()
        .iter()
        .map(|template| template.text() + "\n")
        .collect();
    let spec = BankSpec {
        embedding_space_id: header.embedding_space,
        dim: u16::try_from(embeddings.first().map_or(0, Vec::len)).map_err(Failure::new)?,
        classes: &specs,
        logit_scale: if header.logit_scale.get() > 0.0 {
            header.logit_scale.get()
        } else {
            100.0
        },
        logit_bias: header.logit_bias.get(),
        temperature: TEMPERATURE,
        reject_threshold,
        templates: &templates,
        page_bytes: PAGE_BYTES,
        spare_slots: SPARE_SLOTS,
    };
    let mut bytes = AlignedBytes::zeroed(spec.bytes_len().map_err(Failure::new)?);
    spec.write_into(&mut bytes).map_err(Failure::new)?;
    Ok(bytes)
}
