//! What a run leaves behind beside its log: the graphs, the captioner, what it says of held-out pictures.

use pinhole_graph::Graph;
use sha2::{Digest, Sha256};

use super::captions::{CaptionReport, Fixed, Measured, write};
use super::run::Run;
use super::setup::{START, Setup, save};
use super::text_tower::TextTower;
use crate::TrainError;
use crate::data::Source;
use crate::model::elements;

/// The text graph, where it trained.
pub(super) const TEXT: &str = "text.phg";

/// The decoder of captions and its pooler, where they trained.
pub(super) const CAPTIONER: &str = "caption.safetensors";

impl Run {
    /// Captions held-out pictures, of which each rank takes a part, and lets the first rank write the products.
    pub(super) fn finish(&mut self) -> Result<(), TrainError> {
        let values = self.state.optimiser.products(&self.state.learner);
        let captions = self.caption(&values)?;
        self.ranks.first(|| self.write(&values))?;
        self.captions = captions;
        Ok(())
    }

    /// Writes the graphs and the log.
    fn write(&self, values: &[Vec<f32>]) -> Result<(), TrainError> {
        let (state, recipe) = (&self.state, &self.setup.loaded.recipe);
        let learner = &state.learner;
        let mut image = learner.image_graph(values);
        image.name.clone_from(&recipe.name);
        image.meta.source.remove(START);
        self.sign(&mut image);
        if recipe.text.is_some() {
            image.meta.logit_scale = Some(elements(learner.extras.logit_scale())[0]);
            image.meta.logit_bias = Some(elements(learner.extras.logit_bias())[0]);
        }
        save(&image, &self.folder.join("image.phg"))?;
        if let Some(mut text) = learner.text_graph(values) {
            text.name = format!("{}-text", recipe.name);
            self.sign(&mut text);
            save(&text, &self.folder.join(TEXT))?;
        }
        state.log.write_csv(&self.folder.join("log.csv"))?;
        state.log.write_svg(&self.folder.join("loss.svg"))
    }

    /// Has the captioner, and what it says of held-out pictures, written; `None` where none is trained.
    fn caption(&self, values: &[Vec<f32>]) -> Result<Option<CaptionReport>, TrainError> {
        let (setup, learner) = (&self.setup, &self.state.learner);
        let recipe = &setup.loaded.recipe;
        let parts = (
            learner.captioner,
            learner.text_graph(values),
            &setup.held,
            &recipe.caption,
        );
        let (Some(captioner), Some(text), Some(held), Some(caption)) = parts else {
            return Ok(None);
        };
        let of_extras = learner.of_extras(values);
        let source = self.identity[..2].iter();
        let source = source.map(|(key, value)| (format!("trained.{key}"), value.clone()));
        let path = self.folder.join(CAPTIONER);
        self.ranks.first(|| {
            let extras = &learner.extras;
            extras.write_captioner(&path, of_extras, source.collect())
        })?;
        let measured = Measured {
            captioner,
            image: &learner.image_graph(values),
            geometry: learner.image.geometry,
            text: self.ranks.agree(TextTower::frozen(text, &setup.place))?,
            weights: Fixed(learner.extras.fixed(of_extras)),
            beams: caption.beams,
        };
        let samples = setup.source.samples().iter();
        let captions: Vec<&str> = samples
            .flat_map(|sample| sample.captions.iter().map(String::as_str))
            .collect();
        let rows = measured.rows(held, &self.ranks)?;
        let path = self.folder.join("captions.csv");
        self.ranks.first(|| write(&path, &rows))?;
        Ok(Some(measured.report(&rows, &captions, recipe.seed)))
    }

    /// Says in a product what made it, and the space of its embeddings.
    fn sign(&self, graph: &mut Graph) {
        for (key, value) in &self.identity[..2] {
            let key = format!("trained.{key}");
            graph.meta.source.insert(key, value.clone());
        }
        graph.meta.embedding_space = Some(self.setup.embedding_space());
    }
}

impl Setup {
    /// That of frozen texts; else that of the teacher whose embeddings the student is to give; else one of its own.
    fn embedding_space(&self) -> [u8; 16] {
        let recipe = &self.loaded.recipe;
        let of_texts = self
            .texts
            .as_ref()
            .map(super::texts::FrozenTexts::embedding_space);
        let stands_in = recipe.loss.feature > 0.0
            && recipe.teacher.len() == 1
            && !recipe.teacher[0].projection
            && self.text_graph.is_none();
        let of_teacher = || stands_in.then(|| self.teachers[0].cache.encoder.embedding_space());
        let own = || {
            let digest = Sha256::digest(format!("{} {}", self.loaded.sha256, self.inputs_sha256));
            std::array::from_fn(|i| digest[i])
        };
        of_texts.or_else(of_teacher).unwrap_or_else(own)
    }
}
