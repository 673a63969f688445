//! The run: teachers first, then steps, measurements, checkpoints, products.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pinhole_graph::Graph;
use sha2::{Digest, Sha256};

use super::captions::CaptionReport;
use super::encoder::Encoder;
use super::inputs::Inputs;
use super::learner::Learner;
use super::log::Log;
use super::recipe::Loaded;
use super::report::FitReport;
use super::setup::Setup;
use super::state::{Identity, State};
use super::step::{Gradients, Optimiser, gradients};
use super::student::Student;
use super::watch::Watch;
use crate::data::{Batch, Loader, Position, Shard};
use crate::device::Place;
use crate::model::elements;
use crate::optim::warm_cosine;
use crate::output::write_atomically;
use crate::recipe::hex;
use crate::train::stop_on_interrupt;
use crate::{TrainError, TrainOptions};
use pinhole_ranks::Ranks;

/// Trains as the recipe of version 2 at `recipe_path` says.
///
/// # Errors
/// When recipe, files or checkpoint are not as they should be, the loss explodes, the disk refuses, or the run was
/// interrupted, in which case the state was saved first.
pub fn fit(recipe_path: &Path, options: TrainOptions) -> Result<FitReport, TrainError> {
    fit_on(recipe_path, options, Ranks::of_process()?)
}

/// [`fit`] as one of `ranks`, of which the first writes.
pub(super) fn fit_on(
    recipe_path: &Path,
    mut options: TrainOptions,
    ranks: Ranks,
) -> Result<FitReport, TrainError> {
    let started = Instant::now();
    options.quiet |= !ranks.is_first();
    let loaded = ranks.agree(Loaded::open(recipe_path))?;
    ranks.same("recipe", &loaded.sha256)?;
    ranks.same("answer to --dry-run", &options.dry_run.to_string())?;
    let home = recipe_path.parent().unwrap_or(Path::new(""));
    let base = options.inputs.clone().unwrap_or_else(|| home.to_path_buf());
    let folder = options
        .output
        .clone()
        .unwrap_or_else(|| home.join(&loaded.recipe.output.folder));
    let asked = &loaded.recipe.optimiser;
    let device = options.device.unwrap_or(asked.device);
    let place = ranks.agree(Place::open(device, asked.precision))?;
    let setup = Setup::new(loaded, (&base, home), Shard::of(&ranks), place);
    let setup = ranks.agree(setup)?;
    ranks.same("graph, pictures, texts and teachers", &setup.inputs_sha256)?;
    let mut run = Run::new(setup, &folder, &options, ranks)?;
    if options.dry_run {
        let estimate = run.estimate()?;
        let report = FitReport {
            steps: run.steps,
            estimate: Some(estimate),
            ..run.report((started.elapsed(), 0))
        };
        run.ranks.finish();
        return Ok(report);
    }
    let before = run.state.step;
    run.run(&options)?;
    let done = run.state.step - before;
    let elapsed = started.elapsed();
    run.finish()?;
    let report = run.report((elapsed, done));
    run.ranks.first(|| write_report(&report, &folder))?;
    run.ranks.finish();
    Ok(report)
}

fn write_report(report: &FitReport, folder: &Path) -> Result<(), TrainError> {
    let name = |path: &Path| path.file_name().map_or(PathBuf::new(), PathBuf::from);
    let written = FitReport {
        image: name(&report.image),
        log: name(&report.log),
        curve: name(&report.curve),
        text: report.text.as_deref().map(name),
        ..report.clone()
    };
    let text = serde_json::to_string_pretty(&written).unwrap_or_default() + "\n";
    write_atomically(&folder.join("report.json"), text.as_bytes())
}

pub(super) struct Run {
    pub(super) ranks: Ranks,
    pub(super) setup: Setup,
    pub(super) state: State,
    pub(super) identity: Identity,
    pub(super) folder: PathBuf,
    /// In all.
    pub(super) steps: usize,
    /// Pictures that turned out broken in this call.
    pub(super) broken: usize,
    /// What the frozen front of the encoder gave for each sample, where it is run once.
    seen: BTreeMap<usize, Vec<f32>>,
    /// What captions of held-out pictures are worth, once all steps are done.
    pub(super) captions: Option<CaptionReport>,
}

impl Run {
    fn new(
        setup: Setup,
        folder: &Path,
        options: &TrainOptions,
        ranks: Ranks,
    ) -> Result<Self, TrainError> {
        let (recipe, place) = (&setup.loaded.recipe, &setup.place);
        let graph = ranks.broadcast(|| start(&setup, folder, options))?;
        let start_sha256 = hex(&Sha256::digest(&graph));
        let graph = Graph::parse(Path::new("the start"), &graph)
            .map_err(|error| TrainError::Setup(error.to_string()))?;
        let ranges = recipe
            .quantise
            .as_ref()
            .is_some_and(|quantise| quantise.range_rate > 0.0);
        let (mut image, front) = match recipe.image.cached {
            true => {
                let (image, front) = Student::behind_tokens(graph, recipe.image.trainable, place)?;
                (image, Some(front))
            }
            false => {
                let image = Student::new(graph, recipe.image.trainable, ranges, place)?;
                (image, None)
            }
        };
        image.tower.recomputes = recipe.optimiser.recompute;
        if let Some(lora) = &recipe.image.lora {
            let has_head = recipe.image.embedding.is_some();
            image.tower.adapt(lora, has_head, recipe.seed)?;
        }
        let learner = setup.learner(image)?;
        let seen = match front.filter(|_| !options.dry_run) {
            Some(front) => seen(&setup, &front, (&learner, &ranks), options.quiet)?,
            None => BTreeMap::new(),
        };
        let optimiser = Optimiser::new(recipe, &learner);
        let per_epoch = setup.plan.steps();
        let steps = recipe
            .optimiser
            .steps
            .unwrap_or(recipe.optimiser.epochs.unwrap_or(1) * per_epoch);
        let identity = [
            ("recipe_sha256", setup.loaded.sha256.clone()),
            ("inputs_sha256", setup.inputs_sha256.clone()),
            ("start_sha256", start_sha256),
        ];
        let mut state = State {
            step: 0,
            position: Position::default(),
            learner,
            optimiser,
            watch: Watch::default(),
            log: Log::new(&recipe.loss),
        };
        let checkpoint = folder.join(CHECKPOINT);
        let saved = ranks.broadcast(|| match options.resume && !options.dry_run {
            true if checkpoint.exists() => {
                std::fs::read(&checkpoint).map_err(TrainError::io("read", &checkpoint))
            }
            _ => Ok(Vec::new()),
        })?;
        if !saved.is_empty() {
            state.load((&checkpoint, &saved), &identity)?;
        }
        Ok(Self {
            ranks,
            setup,
            state,
            identity,
            folder: folder.to_path_buf(),
            steps,
            broken: 0,
            seen,
            captions: None,
        })
    }

    fn run(&mut self, options: &TrainOptions) -> Result<(), TrainError> {
        let stop = options.stop.clone().unwrap_or_else(stop_on_interrupt);
        if self.state.step == self.steps {
            return Ok(());
        }
        let output = self.setup.loaded.recipe.output.clone();
        let checkpoint = self.folder.join(CHECKPOINT);
        if self.state.step == 0 {
            // Before the first step, so that whatever goes wrong leaves a state, and never that of an earlier run.
            if self.state.log.rows.is_empty()
                && let Some(top1) = self.top1()?
            {
                self.state
                    .log
                    .push(&[("step", 0.0), ("epoch", 0.0), ("top1", top1)]);
            }
            self.save()?;
        }
        self.reinforce(options.quiet, &stop)?;
        let averaged = match self.ranks.is_first() {
            true => self.setup.average_over_neighbours(),
            false => Ok(()),
        };
        self.ranks.agree(averaged)?;
        let source = Box::new(self.setup.source.clone());
        let mut loader = Loader::new(source, self.setup.options.clone(), self.state.position)?;
        let template = "train {bar:24} {pos}/{len} steps  {per_sec}  {eta} left  {msg}";
        let progress = bar(options.quiet, template, self.steps);
        progress.set_position(self.state.step as u64);
        progress.reset_eta();
        while self.state.step < self.steps {
            let batch = loader
                .next()
                .ok_or_else(|| TrainError::Setup("the loader ended early".to_owned()))
                .and_then(|batch| Ok(batch?));
            let batch = self.ranks.agree(batch)?;
            let loss = self.step(&batch, &loader)?;
            let step = self.state.step;
            let last = step == self.steps;
            if (last || step.is_multiple_of(output.evaluate_every))
                && let Some(top1) = self.top1()?
            {
                self.state.log.push(&[
                    ("step", step as f32),
                    ("epoch", self.state.position.epoch as f32),
                    ("top1", top1),
                ]);
            }
            let top1 = self
                .state
                .log
                .column("top1")
                .last()
                .map_or(String::new(), |(_, top1)| {
                    format!("  top-1 {:.1} %", 100.0 * top1)
                });
            progress.set_message(format!("loss {loss:.4}{top1}"));
            progress.inc(1);
            let stopped = self.ranks.any(stop.load(Ordering::Relaxed))?;
            let is_due = step.is_multiple_of(output.checkpoint_every);
            if last || stopped || (is_due && !self.state.watch.is_rising()) {
                self.save()?;
            }
            if stopped && !last {
                progress.abandon();
                return Err(TrainError::Interrupted { step, checkpoint });
            }
        }
        let broken = loader.broken().into_iter().map(|broken| broken.place);
        let broken = self.ranks.gather(broken.collect::<BTreeSet<String>>())?;
        self.broken = broken.into_iter().flatten().collect::<BTreeSet<_>>().len();
        progress.finish();
        Ok(())
    }

    /// Lets the first rank write the state and the log; all of them have come through the same steps, or this says so.
    fn save(&self) -> Result<(), TrainError> {
        if self.ranks.count() > 1 {
            let what = format!("parameters after step {}", self.state.step);
            self.ranks.same(&what, &self.state.sha256())?;
        }
        let written = match self.ranks.is_first() {
            true => self
                .state
                .save(&self.folder.join(CHECKPOINT), &self.identity)
                .and_then(|()| self.state.log.write_csv(&self.folder.join("log.csv"))),
            false => Ok(()),
        };
        self.ranks.agree(written)
    }

    /// One step over `batch`, which is of `loader`; its loss.
    fn step(&mut self, batch: &Batch, loader: &Loader) -> Result<f32, TrainError> {
        let targets = self.targets(batch)?;
        let recipe = &self.setup.loaded.recipe;
        let inputs = match recipe.image.cached {
            true => {
                let rows = batch.indices.iter().map(|index| &self.seen[index]);
                Inputs::Kept(rows.map(Vec::as_slice).collect())
            }
            false => Inputs::of_batch(batch, (loader, &self.setup.options)),
        };
        let chunk = recipe.optimiser.chunk.unwrap_or(usize::MAX);
        let state = &mut self.state;
        let found = gradients(
            &mut state.learner,
            (&recipe.loss, state.optimiser.loss_scale.factor()),
            (&inputs, chunk),
            (&targets, &self.ranks),
        )?;
        let Gradients {
            loss,
            parts,
            mut gradients,
        } = found;
        let mut watch = state.watch;
        let exploded = |began: usize, step: usize| TrainError::Exploded {
            step: step + 1,
            began,
            loss,
            learning_rate: recipe.optimiser.learning_rate,
            checkpoint: Some(self.folder.join(CHECKPOINT)),
        };
        if let Some(began) = watch.see(state.step + 1, loss) {
            return Err(exploded(began, state.step));
        }
        let extras = &state.learner.extras;
        let [scale, bias] = [extras.logit_scale(), extras.logit_bias()].map(|x| elements(x)[0]);
        let norm = state.optimiser.step(
            &recipe.optimiser,
            (state.step, self.steps),
            &mut state.learner,
            &mut gradients,
        );
        if !state.optimiser.loss_scale.see(norm.is_finite()) {
            return Err(exploded(state.step + 1, state.step));
        }
        let rate = warm_cosine(
            recipe.optimiser.learning_rate,
            recipe.optimiser.warmup,
            self.steps,
            state.step,
        );
        state.watch = watch;
        state.step += 1;
        state.position = batch.next;
        if state.step == self.steps
            || state.step == 1
            || state.step.is_multiple_of(recipe.output.log_every)
        {
            let mut row = vec![
                ("step", state.step as f32),
                ("epoch", batch.position.epoch as f32),
                ("loss", loss),
                ("gradient_norm", norm),
                ("learning_rate", rate),
            ];
            if recipe.text.is_some() {
                row.extend([("logit_scale", scale), ("logit_bias", bias)]);
            }
            row.extend(
                recipe
                    .loss
                    .weights()
                    .iter()
                    .zip(parts)
                    .map(|((name, _), part)| (*name, part)),
            );
            state.log.push(&row);
        }
        Ok(loss)
    }

    fn top1(&self) -> Result<Option<f32>, TrainError> {
        let Some(measure) = &self.setup.measure else {
            return Ok(None);
        };
        let learner = &self.state.learner;
        let values = self.state.optimiser.products(learner);
        let text = learner.text_graph(&values);
        let image = learner.image_graph(&values);
        let geometry = &learner.image.geometry;
        measure
            .top1(&image, text.as_ref(), geometry, &self.ranks)
            .map(Some)
    }
}

/// What `front` gives for each sample; each of `ranks` runs it for a part of them.
fn seen(
    setup: &Setup,
    front: &Graph,
    (learner, ranks): (&Learner, &Ranks),
    quiet: bool,
) -> Result<BTreeMap<usize, Vec<f32>>, TrainError> {
    let encoder = ranks.agree(Encoder::of_graph(Path::new(&front.name), front))?;
    let progress = bar(quiet, "pictures {bar:24} {pos}/{len}", 0);
    let told = |done: usize, all: usize| {
        progress.set_length(all as u64);
        progress.set_position(done as u64);
    };
    let seen = setup.seen(&encoder, &learner.image.geometry, ranks, &told)?;
    progress.finish_and_clear();
    Ok(seen)
}

/// The bytes of the graph that training begins with; in a run that writes, what is costly of it is kept in `folder`.
fn start(setup: &Setup, folder: &Path, options: &TrainOptions) -> Result<Vec<u8>, TrainError> {
    let kept = folder.join("start.phg");
    let kept = (!options.dry_run).then_some(kept.as_path());
    if kept.is_some() {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
    }
    let spinner = bar(options.quiet, "{msg} {spinner}", 0);
    spinner.enable_steady_tick(Duration::from_millis(200));
    let graph = setup.start(kept, &|doing| spinner.set_message(doing.to_owned()))?;
    spinner.finish_and_clear();
    graph.to_bytes().map_err(TrainError::Setup)
}

/// The file in the output folder that a run goes on from.
pub(super) const CHECKPOINT: &str = "checkpoint.safetensors";

pub(super) fn bar(quiet: bool, template: &str, len: usize) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    ProgressBar::new(len as u64).with_style(style)
}
