//! What is told of a run, and of one that is only tried.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use pinhole_graph::Graph;
use serde::Serialize;

use super::captions::CaptionReport;
use super::products::TEXT;
use super::run::Run;
use crate::data::{LeftOut, Pictures, Source};
use crate::{Precision, TrainError};

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct FitReport {
    /// The recipe's name.
    pub name: String,
    /// The trained graph, `image.phg`; not written by a dry run.
    pub image: PathBuf,
    /// The trained text graph, `text.phg`, where it trains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// The log, `log.csv`.
    pub log: PathBuf,
    /// The picture of the losses, `loss.svg`.
    pub curve: PathBuf,
    /// Steps done, those before a resume among them; of a dry run those that would be.
    pub steps: usize,
    /// Training samples, and steps of one pass over them.
    pub samples: usize,
    /// Steps of one pass over the samples.
    pub steps_per_epoch: usize,
    /// Parameters that train, and all of the graphs.
    pub parameters: [usize; 2],
    /// Weights that have a low-rank update.
    pub adapted: usize,
    /// The first and the last logged loss; 0 without one.
    pub loss: [f32; 2],
    /// The first and the last logged value of each loss that has a weight.
    pub losses: BTreeMap<String, [f32; 2]>,
    /// What captions of held-out pictures are worth, where captions train.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captions: Option<CaptionReport>,
    /// Zero-shot top-1 before the first and after the last step, where it is measured.
    pub top1: Option<[f32; 2]>,
    /// Pictures that it is measured on.
    pub evaluated: usize,
    /// Whether the graph is quantised.
    pub quantised: bool,
    /// Records that no sample was made of, with the reason, and captions without a picture.
    pub left_out: Vec<String>,
    /// Samples that have no text, where a loss asks for one: they take no part.
    pub without_text: usize,
    /// Pictures that turned out broken in this call, each replaced by another.
    #[serde(skip)]
    pub broken: usize,
    /// Which of the processes that trained this is, from 0; the first one wrote.
    #[serde(skip)]
    pub rank: usize,
    /// Processes that trained.
    #[serde(skip)]
    pub ranks: usize,
    /// SHA-256 of the recipe.
    pub recipe_sha256: String,
    /// Where it computed.
    pub device: String,
    /// The numbers that the encoders computed in.
    pub precision: String,
    /// What a dry run estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Time of this call, and steps done in it.
    #[serde(skip)]
    pub elapsed: (Duration, usize),
}

/// What a run would take.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Estimate {
    /// Bytes of memory of a process: parameters, their moments, activations of a chunk, batches.
    pub memory_bytes: usize,
    /// Of one step, from one chunk that was timed, without loading and teachers.
    pub seconds_per_step: f64,
}

fn left_out(found: &LeftOut) -> Vec<String> {
    let broken = found.broken.iter();
    let broken = broken.map(|broken| format!("{}: {}", broken.place, broken.reason));
    let lone = found.without_picture.iter();
    broken
        .chain(lone.map(|place| format!("{place}: a caption without a picture")))
        .collect()
}

impl Run {
    /// What was done so far.
    pub(super) fn report(&self, elapsed: (Duration, usize)) -> FitReport {
        let Self { setup, state, .. } = self;
        let ends = |name: &str| {
            let column = state.log.column(name);
            Some([column.first()?.1, column.last()?.1])
        };
        let file = |name| self.folder.join(name);
        FitReport {
            name: setup.loaded.recipe.name.clone(),
            image: file("image.phg"),
            text: state.learner.text.as_ref().map(|_| file(TEXT)),
            log: file("log.csv"),
            curve: file("loss.svg"),
            steps: state.step,
            samples: setup.plan.samples(),
            steps_per_epoch: setup.plan.steps(),
            parameters: state.learner.counts(),
            adapted: state.learner.image.tower.adapted(),
            loss: ends("loss").unwrap_or_default(),
            losses: setup
                .loaded
                .recipe
                .loss
                .weights()
                .iter()
                .filter_map(|(name, _)| Some(((*name).to_owned(), ends(name)?)))
                .collect(),
            captions: self.captions,
            top1: ends("top1"),
            evaluated: setup
                .measure
                .as_ref()
                .map_or(0, super::evaluate::Measure::len),
            quantised: state.learner.image.tower.is_quantised(),
            left_out: left_out(setup.source.left_out()),
            without_text: setup.source.samples().len() - setup.plan.samples(),
            broken: self.broken,
            rank: self.ranks.rank(),
            ranks: self.ranks.count(),
            recipe_sha256: setup.loaded.sha256.clone(),
            device: setup.place.name().to_owned(),
            precision: setup.place.precision.to_string(),
            estimate: None,
            elapsed,
        }
    }

    /// Times one chunk, and counts what is in memory.
    pub(super) fn estimate(&mut self) -> Result<Estimate, TrainError> {
        let recipe = &self.setup.loaded.recipe;
        let options = &self.setup.options;
        let rows = options.batch.div_ceil(self.ranks.count()) * options.blocks();
        let chunk = recipe.optimiser.chunk.unwrap_or(rows).min(rows);
        let learner = &mut self.state.learner;
        learner.image.tower.prepare()?;
        let student = &learner.image;
        let input = vec![0.1; chunk * student.picture_len()];
        let place = &self.setup.place;
        let forward = place.time(|| student.embed(&input).map(drop))?;
        let both = place.time(|| {
            drop(student.embed(&input)?.square().sum().backward());
            Ok(())
        })?;
        let passes = if chunk < rows { both + forward } else { both };
        let mut seconds = passes * rows as f64 / chunk as f64;
        let mut text_activations = 0;
        if let Some(text) = &learner.text {
            let own = options.batch.div_ceil(self.ranks.count());
            let texts = own.min(chunk);
            seconds += text.time(texts)? * own as f64 / texts as f64;
            text_activations = texts * activations(&text.tower.graph);
        }
        let numbers = |trains: bool| -> usize {
            let chosen = (0..learner.len()).filter(|&index| learner.trains(index) == trains);
            chosen.map(|index| learner.data(index).len()).sum()
        };
        let averages = 2 * usize::from(recipe.optimiser.ema.is_some());
        let numbers = (6 + averages) * numbers(true) + (2 + averages) * numbers(false);
        let kept = if student.tower.is_quantised() { 4 } else { 2 };
        let of_chunk = kept * chunk * activations(&student.tower.graph) + 2 * text_activations;
        let pictures = match options.pictures {
            // Each for itself, one behind the other, and as the network has them.
            Pictures::Checked => 3 * chunk,
            Pictures::Unread | Pictures::Kept => rows * (1 + options.prefetch),
        };
        let pictures = pictures * student.picture_len();
        let of_chunk = match recipe.optimiser.precision {
            Precision::F32 => of_chunk,
            Precision::Bf16 | Precision::F16 => of_chunk / 2,
        };
        Ok(Estimate {
            memory_bytes: 4 * (numbers + of_chunk + pictures),
            seconds_per_step: seconds,
        })
    }
}

/// Numbers that the nodes of a graph give for one picture or one longest text.
fn activations(graph: &Graph) -> usize {
    let outputs = graph.nodes.iter().map(|node| node.output);
    outputs
        .map(|output| graph.values[output].shape.iter().product::<usize>())
        .sum()
}
