//! The towers before the first step: what trains and what is held out, the text tower's start, a frozen front that is run
//! once.

use std::collections::BTreeMap;
use std::path::Path;

use pinhole_graph::Graph;
use pinhole_ranks::Ranks;
use pinhole_runtime::preprocess::InputGeometry;
use rayon::prelude::*;

use super::caption::Captioner;
use super::captions::is_held;
use super::encoder::Encoder;
use super::extras::Extras;
use super::learner::Learner;
use super::new_text;
use super::recipe::{FitRecipe, Loaded};
use super::setup::Setup;
use super::source::Mixed;
use super::student::Student;
use super::text_tower::{self, TextTower};
use crate::TrainError;
use crate::data::{LoadError, Pixels, Source};
use crate::device::Place;

/// Pictures in memory at once.
const CHUNK: usize = 64;

/// Numbers of the student's embedding.
pub(super) fn output_width(recipe: &FitRecipe, imported: &Graph) -> usize {
    let own = imported.values[imported.outputs[0]].shape.iter().product();
    recipe.image.embedding.unwrap_or(own)
}

/// The samples that train, and those that captions are measured on.
pub(super) fn split(loaded: &Loaded, source: Mixed) -> Result<(Mixed, Option<Mixed>), TrainError> {
    let Some(caption) = &loaded.recipe.caption else {
        return Ok((source, None));
    };
    let held = source.part(|sample| is_held(sample, caption.held));
    if held.samples().len() < 2 {
        let captioned = source.samples().iter();
        let captioned = captioned
            .filter(|sample| !sample.captions.is_empty())
            .count();
        let message = format!(
            "is {}, which leaves {} of {captioned} captioned pictures to measure on, expected 2 or more",
            caption.held,
            held.samples().len()
        );
        return Err(loaded.fault("caption.held", message));
    }
    Ok((
        source.part(|sample| !is_held(sample, caption.held)),
        Some(held),
    ))
}

/// The text graph that trains, as it starts, beside an image encoder of `width` numbers.
pub(super) fn text_graph(
    loaded: &Loaded,
    base: &Path,
    source: &Mixed,
    width: usize,
    place: &Place,
) -> Result<Option<Graph>, TrainError> {
    let recipe = &loaded.recipe;
    let Some(text) = recipe.text.as_ref().filter(|text| text.trains()) else {
        return Ok(None);
    };
    let samples = source.samples().iter();
    let captions = samples.flat_map(|sample| sample.captions.iter().map(String::as_str));
    let captions = captions.chain(source.classnames().iter().map(String::as_str));
    let graph = match (&text.graph, &text.new) {
        (Some(path), _) => text_tower::load(&base.join(path), text.embedding, recipe.seed)?,
        (None, Some(new)) => {
            let vocabulary = match &new.vocabulary {
                Some(path) => new_text::seen_tokens(&base.join(path), captions)?,
                None => new_text::words(captions),
            };
            new_text::tower(
                new,
                vocabulary,
                text.embedding.unwrap_or(width),
                recipe.seed,
            )?
        }
        (None, None) => return Ok(None),
    };
    // Whatever is wrong with it is told before the first step.
    TextTower::new(graph.clone(), text.trainable, place)?;
    Ok(Some(graph))
}

impl Setup {
    /// Everything that trains, beside the encoder `image`, as it starts.
    ///
    /// # Errors
    /// Towers that cannot serve what the recipe asks for.
    pub(super) fn learner(&self, image: Student) -> Result<Learner, TrainError> {
        let recipe = &self.loaded.recipe;
        let trainable = recipe.text.as_ref().map(|text| text.trainable);
        let text = self.text_graph.clone().zip(trainable);
        let text = text
            .map(|(graph, trainable)| TextTower::new(graph, trainable, &self.place))
            .transpose()?;
        let captioner = match (&recipe.caption, &text) {
            (Some(caption), Some(text)) => Some(Captioner::new(caption, &image.tower.graph, text)?),
            _ => None,
        };
        let mut extras = Extras::new(recipe, image.width(), &self.teacher_widths(), &self.place);
        if let Some(captioner) = &captioner {
            extras = extras.with_captioner(&captioner.settings, recipe.seed);
        }
        Ok(Learner {
            image,
            text,
            extras,
            captioner,
        })
    }

    /// What `encoder` gives for each training picture that takes part, as it is, by its place among the samples; each of
    /// `ranks` sees a part of them. `say` is told how many of its part a rank has seen, and how many there are.
    ///
    /// # Errors
    /// A picture that cannot be read: its sample has no other.
    pub(super) fn seen(
        &self,
        encoder: &Encoder,
        geometry: &InputGeometry,
        ranks: &Ranks,
        say: &dyn Fn(usize, usize),
    ) -> Result<BTreeMap<usize, Vec<f32>>, TrainError> {
        let samples = self.plan.usable();
        let rows = ranks.rows(samples.len(), |part| {
            self.rows(encoder, geometry, &samples[part], say)
        })?;
        Ok(samples.iter().copied().zip(rows).collect())
    }

    /// What `encoder` gives for the pictures of `samples`.
    fn rows(
        &self,
        encoder: &Encoder,
        geometry: &InputGeometry,
        samples: &[usize],
        say: &dyn Fn(usize, usize),
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut rows = Vec::with_capacity(samples.len());
        for chunk in samples.chunks(CHUNK) {
            let input = |&index: &usize| -> Result<Vec<f32>, LoadError> {
                let picture = self.source.picture(index)?;
                Ok(Pixels::fitted(&picture, geometry)?.normalised(geometry))
            };
            let inputs: Result<Vec<_>, LoadError> = chunk.par_iter().map(input).collect();
            let inputs = inputs?;
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            rows.extend(encoder.pictures(&inputs)?);
            say(rows.len(), samples.len());
        }
        Ok(rows)
    }
}
