//! What a frozen text encoder says of captions and classes: each text is embedded once.

use std::collections::HashMap;
use std::path::Path;

use pinhole_graph::Graph;
use pinhole_text::classes::ClassList;
use pinhole_text::ensemble;
use pinhole_text::templates::Templates;

use super::encoder::{Encoder, TextEncoder, unit};
use crate::TrainError;

/// Prompts of a run of the encoder.
const BATCH: usize = 64;

/// A text encoder and what it has said.
#[derive(Debug)]
pub(super) struct FrozenTexts {
    encoder: TextEncoder,
    said: HashMap<String, Vec<f32>>,
}

impl FrozenTexts {
    /// Opens the encoder at `path`.
    ///
    /// # Errors
    /// [`TextEncoder::open`].
    pub(super) fn open(path: &Path) -> Result<Self, TrainError> {
        Ok(Self {
            encoder: TextEncoder::open(path)?,
            said: HashMap::new(),
        })
    }

    /// A text graph as it is now; `path` is for error messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn of_graph(path: &Path, graph: &Graph) -> Result<Self, TrainError> {
        Ok(Self {
            encoder: TextEncoder::new(Encoder::of_graph(path, graph)?)?,
            said: HashMap::new(),
        })
    }

    pub(super) fn width(&self) -> usize {
        self.encoder.encoder.width
    }

    pub(super) fn embedding_space(&self) -> [u8; 16] {
        self.encoder.encoder.embedding_space()
    }

    pub(super) fn sha256(&self) -> &str {
        &self.encoder.encoder.sha256
    }

    /// Unit rows of `texts`, one behind the other.
    ///
    /// # Errors
    /// A run of the encoder.
    pub(super) fn rows(&mut self, texts: &[&str]) -> Result<Vec<f32>, TrainError> {
        let mut new: Vec<&str> = texts
            .iter()
            .copied()
            .filter(|text| !self.said.contains_key(*text))
            .collect();
        new.sort_unstable();
        new.dedup();
        let ids: Vec<Vec<u32>> = new
            .iter()
            .map(|text| self.encoder.tokenizer.encode(text))
            .collect();
        let embeddings = self.encoder.ids(&ids)?;
        let embeddings = embeddings.into_iter().map(unit);
        self.said
            .extend(new.into_iter().map(str::to_owned).zip(embeddings));
        Ok(texts
            .iter()
            .flat_map(|text| &self.said[*text])
            .copied()
            .collect())
    }

    /// Unit rows of `classes` in `templates`, one behind the other: the mean over templates, as zero-shot
    /// classification takes it.
    ///
    /// # Errors
    /// A run of the encoder, or a class without a direction.
    pub(super) fn classes(
        &self,
        classes: &ClassList,
        templates: &Templates,
    ) -> Result<Vec<f32>, TrainError> {
        let mut encode = |ids: &[Vec<u32>]| self.encoder.ids(ids);
        let tokenizer = &self.encoder.tokenizer;
        let rows = ensemble::class_embeddings(
            classes,
            templates,
            tokenizer,
            BATCH,
            &mut encode,
            &mut |_| (),
        );
        let rows = rows.map_err(|error| TrainError::Setup(error.to_string()))?;
        Ok(rows.concat())
    }
}
