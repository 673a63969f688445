//! The run: inputs, steps, checkpoints, products.
//!
//! One step draws synthetic pictures of some classes, real pictures without labels and views of photographs, one sentence of
//! every class and some group sentences; sums the weighted losses; and moves the parameters. All random choices of a step come from one
//! generator in a fixed order, so the state between two steps says everything about what follows.

use crate::checkpoint::{Identity, State};
use crate::curve::{Row, write_csv, write_svg};
use crate::device::{DeviceName, Place, Precision};
use crate::features::{Features, Matrix};
use crate::loss::{LossError, clip_loss, group_loss, group_targets, info_nce};
use crate::model::{Projection, elements, gather};
use crate::optim::{Moments, learning_rate};
use crate::output::{Standard, write_projection};
use crate::recipe::{Recipe, line_of_key};
use crate::rng::Rng;
use crate::start::closed_form;
use crate::{TrainError, teacher};
use burn::tensor::Tensor;
use indicatif::{ProgressBar, ProgressStyle};
use pinhole_ranks::refuse_several;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How to run a recipe.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// Continue from the checkpoint in the output folder, if there is one.
    pub resume: bool,
    /// Check the recipe and the inputs, and stop before the first step.
    pub dry_run: bool,
    /// No progress bar.
    pub quiet: bool,
    /// Where to compute, instead of where the recipe says.
    pub device: Option<DeviceName>,
    /// The folder of the feature files, instead of the recipe's own folder.
    pub inputs: Option<PathBuf>,
    /// The folder of the products, instead of the recipe's `output.folder`.
    pub output: Option<PathBuf>,
    /// Set to stop after the current step, with a checkpoint. Without it, Ctrl-C does that where no other handler is set.
    pub stop: Option<Arc<AtomicBool>>,
}

/// What a run did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TrainReport {
    /// The trained projections, `projection.safetensors`; not written by a dry run.
    pub projection: PathBuf,
    /// The log, `log.csv`.
    pub log: PathBuf,
    /// The picture of the losses, `loss.svg`.
    pub curve: PathBuf,
    /// Steps done, those before a resume among them.
    pub steps: usize,
    /// The last logged loss; 0 for a dry run.
    pub loss: f32,
    /// The final logit scale.
    pub logit_scale: f32,
    /// Classes, sentences and pictures of the inputs.
    pub inputs: [usize; 3],
    /// Where it computed.
    pub device: String,
    /// SHA-256 of the recipe.
    pub recipe_sha256: String,
    /// Time of this call.
    pub elapsed: Duration,
}

/// Runs the recipe at `recipe_path` to its end.
///
/// # Errors
/// When recipe, inputs or checkpoint are not as they should be, the loss diverges, the disk refuses, or the run was
/// interrupted, in which case the state was saved first.
pub fn train(recipe_path: &Path, options: TrainOptions) -> Result<TrainReport, TrainError> {
    let started = Instant::now();
    refuse_several("a recipe of version 1 trains in one process")?;
    let (recipe, recipe_sha256) = Recipe::load(recipe_path)?;
    let device = options.device.unwrap_or(recipe.optimiser.device);
    let place = Place::open(device, Precision::F32)?;
    let home = recipe_path.parent().unwrap_or(Path::new(""));
    let features = Features::load(&recipe.inputs, options.inputs.as_deref().unwrap_or(home))?;
    let inputs = [
        features.classes(),
        features.texts.rows,
        features.pictures.rows,
    ];
    check_batches(&recipe, &features, recipe_path)?;
    let folder = options
        .output
        .clone()
        .unwrap_or_else(|| home.join(&recipe.output.folder));
    let identity = Identity {
        recipe_sha256,
        inputs_sha256: features.sha256.clone(),
    };
    let mut rng = Rng::new(recipe.seed);
    let mut projection = Projection::random(
        &recipe.model,
        features.pictures.columns,
        features.texts.columns,
        &mut rng,
        &place,
    );
    let task = match options.dry_run {
        true => None,
        false => Some(Task::new(
            features,
            &recipe,
            &mut projection,
            (recipe_path, &place),
        )?),
    };
    let moments = (0..projection.parameters.len())
        .map(|index| Moments::zero(projection.data(index).len()))
        .collect();
    let mut state = State {
        step: 0,
        projection,
        moments,
        rng,
        rows: Vec::new(),
    };
    let checkpoint = folder.join("checkpoint.safetensors");
    if options.resume && checkpoint.exists() {
        state = State::load(&checkpoint, &identity, state)?;
    }
    let [projection, log, curve] =
        ["projection.safetensors", "log.csv", "loss.svg"].map(|name| folder.join(name));
    if let Some(task) = task {
        std::fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
        run(&task, &mut state, &checkpoint, &identity, &options)?;
        let blended = task.blended(&state);
        write_projection(
            &projection,
            &blended,
            &task.image,
            &task.text,
            &recipe,
            &identity,
        )?;
        write_csv(&log, &state.rows)?;
        write_svg(&curve, &state.rows, &recipe.loss)?;
    }
    Ok(TrainReport {
        projection,
        log,
        curve,
        steps: state.step,
        loss: state.rows.last().map_or(0.0, |row| row.loss),
        logit_scale: elements(state.projection.logit_scale())[0],
        inputs,
        device: place.name().to_owned(),
        recipe_sha256: identity.recipe_sha256,
        elapsed: started.elapsed(),
    })
}

/// Refuses batches larger than what they are drawn from.
fn check_batches(recipe: &Recipe, features: &Features, path: &Path) -> Result<(), TrainError> {
    let mut faults = Vec::new();
    let groups = drawable(features, false).len();
    let related = drawable(features, true).len();
    let asked = [
        (
            "optimiser.classes",
            recipe.optimiser.classes,
            features.classes(),
            "classes",
            true,
        ),
        (
            "optimiser.groups",
            recipe.optimiser.groups,
            groups,
            "groups with sentences",
            recipe.loss.groups > 0.0,
        ),
        (
            "optimiser.groups",
            recipe.optimiser.groups,
            related,
            "related groups",
            recipe.loss.related > 0.0,
        ),
    ];
    for (key, asked, found, what, used) in asked {
        if used && asked > found {
            faults.push((
                key,
                format!("`{key}` is {asked}, the inputs have {found} {what}"),
            ));
        }
    }
    let Some((key, _)) = faults.first() else {
        return Ok(());
    };
    // Only for the number of the line; a recipe that has gone meanwhile leaves it out.
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let messages: Vec<&str> = faults.iter().map(|(_, message)| message.as_str()).collect();
    Err(TrainError::Recipe {
        path: path.to_path_buf(),
        line: line_of_key(&text, key),
        message: messages.join("; "),
    })
}

/// The groups of several classes (or, `related`, those near classes) that have sentences.
fn drawable(features: &Features, related: bool) -> Vec<usize> {
    let is_drawable = |&group: &usize| {
        features.related[group] == related && !features.sentences[group].is_empty()
    };
    (features.classes()..features.members.len())
        .filter(is_drawable)
        .collect()
}

/// Steps until the recipe's last, with checkpoints; a set stop flag saves and leaves.
fn run(
    task: &Task,
    state: &mut State,
    checkpoint: &Path,
    identity: &Identity,
    options: &TrainOptions,
) -> Result<(), TrainError> {
    let stop = options.stop.clone().unwrap_or_else(stop_on_interrupt);
    let Recipe {
        optimiser, output, ..
    } = task.recipe;
    let bar = progress_bar(optimiser.steps, state.step, options.quiet);
    let folder = checkpoint.parent().unwrap_or(Path::new(""));
    while state.step < optimiser.steps {
        let row = task.step(state)?;
        if !row.loss.is_finite() {
            let learning_rate = optimiser.learning_rate;
            return Err(TrainError::Diverged {
                step: state.step,
                loss: row.loss,
                learning_rate,
            });
        }
        let last = state.step == optimiser.steps;
        if last || state.step.is_multiple_of(output.log_every) {
            state.rows.push(row);
        }
        bar.set_message(format!(
            "loss {:.3}  scale {:.1}",
            row.loss, row.logit_scale
        ));
        bar.inc(1);
        let stopped = stop.load(Ordering::Relaxed);
        if last || stopped || state.step.is_multiple_of(output.checkpoint_every) {
            state.save(checkpoint, identity)?;
            write_csv(&folder.join("log.csv"), &state.rows)?;
        }
        if stopped && !last {
            bar.abandon();
            return Err(TrainError::Interrupted {
                step: state.step,
                checkpoint: checkpoint.to_path_buf(),
            });
        }
    }
    bar.finish();
    Ok(())
}

/// A flag that Ctrl-C sets, where the program has not set a handler of its own.
pub(crate) fn stop_on_interrupt() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let for_handler = Arc::clone(&flag);
    // An error means that the program has its own handler, which then decides.
    let _ = ctrlc::set_handler(move || for_handler.store(true, Ordering::Relaxed));
    flag
}

fn progress_bar(steps: usize, done: usize, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let template = "train {bar:32} {pos}/{len} steps  {per_sec}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    let bar = ProgressBar::new(steps as u64)
        .with_style(style)
        .with_position(done as u64);
    bar.reset_eta();
    bar
}

/// Everything that stays the same from step to step.
struct Task<'a> {
    recipe: &'a Recipe,
    /// Standardised features.
    features: Features,
    image: Standard,
    text: Standard,
    /// The teacher's opinion, `[pictures, classes]`.
    posteriors: Matrix,
    /// Implied class means, `[classes, D]`.
    means: Matrix,
    /// Directions in which pictures differ by their sharpness alone, of length one and orthogonal; no input has any of them.
    /// None where the recipe keeps them.
    sharpness: Vec<Vec<f32>>,
    /// The parameters before the first step.
    anchors: Vec<Vec<f32>>,
    groups: Vec<usize>,
    related: Vec<usize>,
}

impl<'a> Task<'a> {
    /// Prepares the inputs, and moves `projection` to the recipe's start where it has one.
    fn new(
        mut features: Features,
        recipe: &'a Recipe,
        projection: &mut Projection,
        (path, place): (&Path, &Place),
    ) -> Result<Self, TrainError> {
        let device = place.plain();
        let posteriors = teacher::posteriors(&features, &recipe.teacher, &device);
        let image = standardise(&mut features.pictures);
        let text = standardise(&mut features.texts);
        let mut sharpness = Vec::new();
        if let Some(photos) = &mut features.photos {
            photos.features.standardise(&image.centre, image.scale);
            if recipe.model.shared_centre {
                sharpness = teacher::sharpness_directions(photos);
                remove(&mut photos.features, &sharpness);
                remove(&mut features.pictures, &sharpness);
            }
        }
        if let Some(start) = &recipe.start {
            let Some(weights) = closed_form(&features, recipe.model.embedding, start) else {
                let message = "`start` finds no sentences to regress on".to_owned();
                let text = std::fs::read_to_string(path).unwrap_or_default();
                return Err(TrainError::Recipe {
                    path: path.to_path_buf(),
                    line: line_of_key(&text, "start"),
                    message,
                });
            };
            begin_at(projection, weights, &features);
        }
        project_out(projection, &sharpness, features.pictures.columns);
        let anchors = (0..projection.parameters.len())
            .map(|index| projection.data(index))
            .collect();
        let photos = features
            .photos
            .as_ref()
            .filter(|_| recipe.optimiser.photos > 0);
        let means = teacher::class_means(
            &features.prototypes,
            &features.pictures,
            photos.map(|photos| &photos.features),
            &recipe.synthetic,
            &device,
        );
        let (groups, related) = (drawable(&features, false), drawable(&features, true));
        Ok(Self {
            recipe,
            features,
            image,
            text,
            posteriors,
            means,
            sharpness,
            anchors,
            groups,
            related,
        })
    }

    /// The state that is written: between start and end as `optimiser.blend` says, and blind to the sharpness directions.
    fn blended(&self, state: &State) -> State {
        let mut blended = state.clone();
        let blend = self.recipe.optimiser.blend;
        for (index, anchor) in self.anchors.iter().enumerate() {
            let parameter = &state.projection.parameters[index];
            if parameter.name == "log_scale" {
                continue;
            }
            let data = state.projection.data(index);
            let between = data.iter().zip(anchor).map(|(x, a)| a + blend * (x - a));
            blended.projection.set(index, between.collect());
        }
        let columns = self.features.pictures.columns;
        project_out(&mut blended.projection, &self.sharpness, columns);
        blended
    }

    /// One step: draws, computes the losses, moves the parameters.
    fn step(&self, state: &mut State) -> Result<Row, TrainError> {
        let rate = learning_rate(&self.recipe.optimiser, state.step);
        let (loss, mut row) = self.losses(&state.projection, &mut state.rng)?;
        row.loss = elements(loss.clone())[0];
        state.step += 1;
        (row.step, row.learning_rate) = (state.step, rate);
        let gradients = loss.backward();
        for index in 0..state.projection.parameters.len() {
            let parameter = &state.projection.parameters[index];
            let Some(gradient) = parameter.value.grad(&gradients) else {
                continue;
            };
            if self.recipe.model.centred && parameter.name == "image.bias" {
                continue;
            }
            let decay = if parameter.decays {
                self.recipe.optimiser.weight_decay
            } else {
                0.0
            };
            let is_text = parameter.name.starts_with("text");
            let rate = if is_text {
                rate * self.recipe.optimiser.text_rate
            } else {
                rate
            };
            let (mut value, mut gradient) = (state.projection.data(index), elements(gradient));
            if parameter.decays {
                pull(
                    &mut gradient,
                    &value,
                    &self.anchors[index],
                    self.recipe.optimiser.anchor,
                );
            }
            state.moments[index].update(&mut value, &gradient, state.step, rate, decay);
            state.projection.set(index, value);
        }
        Ok(row)
    }

    /// The weighted sum of the losses of one draw, and each of them in a row of the log.
    fn losses(
        &self,
        projection: &Projection,
        rng: &mut Rng,
    ) -> Result<(Tensor<1>, Row), LossError> {
        let sizes = &self.recipe.optimiser;
        let weights = &self.recipe.loss;
        let scale = projection.logit_scale();
        let classes = rng.distinct(sizes.classes, self.features.classes());
        let all: Vec<usize> = (0..self.features.classes()).collect();
        let drawn = self.synthetic(&classes, rng);
        let synthetic = projection.image(projection.constant(drawn, self.means.columns));
        let (rows, posteriors) = self.real(rng);
        let real = projection.image(projection.constant(rows, self.means.columns));
        let of_classes = self.sentences(projection, &all, rng);

        let targets = projection.constant(posteriors.clone(), all.len());
        let logits = real.clone().matmul(of_classes.clone().transpose()) * scale.clone();
        let of_pictures = info_nce(logits, targets)?;
        let indices = Tensor::from_data(
            classes
                .iter()
                .map(|&c| c as i32)
                .collect::<Vec<_>>()
                .as_slice(),
            &scale.device(),
        );
        let of_clip = clip_loss(
            synthetic.clone(),
            of_classes.clone().select(0, indices),
            scale.clone(),
        )?;

        let mut row = Row {
            logit_scale: elements(scale.clone())[0],
            ..Row::default()
        };
        (row.clip, row.pictures) = (
            elements(of_clip.clone())[0],
            elements(of_pictures.clone())[0],
        );
        let mut sum = of_clip.mul_scalar(weights.clip) + of_pictures.mul_scalar(weights.pictures);
        if weights.groups > 0.0 {
            let both = (real, synthetic);
            let loss =
                self.of_groups(projection, both, &posteriors, &classes, scale.clone(), rng)?;
            row.groups = elements(loss.clone())[0];
            sum = sum + loss.mul_scalar(weights.groups);
        }
        if weights.related > 0.0 {
            let loss = self.of_related(projection, of_classes, scale, rng)?;
            row.related = elements(loss.clone())[0];
            sum = sum + loss.mul_scalar(weights.related);
        }
        Ok((sum, row))
    }

    /// Synthetic pictures of `classes`, `[classes.len(), D]`; the first half of them photographs where there are any.
    fn synthetic(&self, classes: &[usize], rng: &mut Rng) -> Vec<f32> {
        let noise = self.recipe.synthetic.noise;
        let like = |classes: &[usize], pictures: &Matrix, rng: &mut Rng| {
            teacher::synthetic(classes, &self.means, pictures, noise, rng)
        };
        match &self.features.photos {
            Some(photos) if self.recipe.optimiser.photos > 0 => {
                let (sharp, rest) = classes.split_at(classes.len() / 2);
                let mut drawn = like(sharp, &photos.features, rng);
                drawn.extend(like(rest, &self.features.pictures, rng));
                drawn
            }
            _ => like(classes, &self.features.pictures, rng),
        }
    }

    /// Drawn pictures and views of photographs `[rows, D]`, and the teachers' opinion of each `[rows, classes]`.
    fn real(&self, rng: &mut Rng) -> (Vec<f32>, Vec<f32>) {
        let sizes = &self.recipe.optimiser;
        let pictures: Vec<usize> = (0..sizes.pictures)
            .map(|_| rng.index(self.features.pictures.rows))
            .collect();
        let mut rows = gather(&self.features.pictures, pictures.iter().copied());
        let mut posteriors = gather(&self.posteriors, pictures);
        if let Some(photos) = &self.features.photos {
            let views: Vec<usize> = (0..sizes.photos)
                .map(|_| rng.index(photos.features.rows))
                .collect();
            let sharp = views.iter().map(|view| view % photos.posteriors.rows);
            posteriors.extend(gather(&photos.posteriors, sharp));
            rows.extend(gather(&photos.features, views));
        }
        (rows, posteriors)
    }

    /// Real and synthetic pictures against sentences of drawn groups: the mean of the two losses.
    fn of_groups(
        &self,
        projection: &Projection,
        (real, synthetic): (Tensor<2>, Tensor<2>),
        posteriors: &[f32],
        classes: &[usize],
        scale: Tensor<2>,
        rng: &mut Rng,
    ) -> Result<Tensor<1>, LossError> {
        let count = self.recipe.optimiser.groups;
        let groups: Vec<usize> = rng
            .distinct(count, self.groups.len())
            .iter()
            .map(|&at| self.groups[at])
            .collect();
        let texts = self.sentences(projection, &groups, rng);
        let members = |group: &usize| &self.features.members[*group];
        let row_of = |posterior: &[f32]| -> Vec<f32> {
            groups
                .iter()
                .map(|group| members(group).iter().map(|&class| posterior[class]).sum())
                .collect()
        };
        let of_real: Vec<f32> = posteriors
            .chunks_exact(self.posteriors.columns)
            .flat_map(row_of)
            .collect();
        let contains = |&class: &usize| {
            groups
                .iter()
                .map(move |group| members(group).binary_search(&class).is_ok())
        };
        let of_synthetic: Vec<f32> = classes
            .iter()
            .flat_map(|class| contains(class).map(f32::from))
            .collect();
        let target =
            |affinities: &[f32]| projection.constant(group_targets(affinities, count), count);
        let first = group_loss(real, texts.clone(), scale.clone(), target(&of_real))?;
        let second = group_loss(synthetic, texts, scale, target(&of_synthetic))?;
        Ok((first + second).div_scalar(2.0))
    }

    /// Sentences of related groups against the class sentences `[classes, embedding]`, which stay where they are.
    fn of_related(
        &self,
        projection: &Projection,
        classes: Tensor<2>,
        scale: Tensor<2>,
        rng: &mut Rng,
    ) -> Result<Tensor<1>, LossError> {
        let count = self.recipe.optimiser.groups;
        let groups: Vec<usize> = rng
            .distinct(count, self.related.len())
            .iter()
            .map(|&at| self.related[at])
            .collect();
        let texts = self.sentences(projection, &groups, rng);
        let mut targets = vec![0f32; count * self.features.classes()];
        for (row, &group) in targets
            .chunks_exact_mut(self.features.classes())
            .zip(&groups)
        {
            let members = &self.features.members[group];
            members
                .iter()
                .for_each(|&class| row[class] = 1.0 / members.len() as f32);
        }
        let targets = projection.constant(targets, self.features.classes());
        info_nce(texts.matmul(classes.detach().transpose()) * scale, targets)
    }

    /// Unit rows `[groups.len(), embedding]`, each of one sentence drawn from its group.
    fn sentences(&self, projection: &Projection, groups: &[usize], rng: &mut Rng) -> Tensor<2> {
        let drawn: Vec<usize> = groups
            .iter()
            .map(|&group| {
                let sentences = &self.features.sentences[group];
                sentences[rng.index(sentences.len())]
            })
            .collect();
        projection.text(projection.constant(
            gather(&self.features.texts, drawn),
            self.features.texts.columns,
        ))
    }
}

/// Adds the gradient of `weight·‖value − anchor‖² / ‖anchor‖²`.
fn pull(gradient: &mut [f32], value: &[f32], anchor: &[f32], weight: f32) {
    let square: f32 = anchor.iter().map(|x| x * x).sum();
    let factor = 2.0 * weight / square.max(f32::MIN_POSITIVE);
    for ((g, x), a) in gradient.iter_mut().zip(value).zip(anchor) {
        *g += factor * (x - a);
    }
}

/// Takes the components along `directions` out of every row.
fn remove(matrix: &mut Matrix, directions: &[Vec<f32>]) {
    for row in matrix.data.chunks_exact_mut(matrix.columns) {
        for direction in directions {
            let along: f32 = row.iter().zip(direction).map(|(x, d)| x * d).sum();
            row.iter_mut()
                .zip(direction)
                .for_each(|(x, d)| *x -= along * d);
        }
    }
}

/// Takes the components along `directions` out of the rows of the image side's weight, `[embedding, columns]`.
fn project_out(projection: &mut Projection, directions: &[Vec<f32>], columns: usize) {
    if directions.is_empty() {
        return;
    }
    let data = projection.data(0);
    let mut weight = Matrix {
        rows: data.len() / columns,
        data,
        columns,
    };
    remove(&mut weight, directions);
    projection.set(0, weight.data);
}

/// Sets the affine sides to `[image weight, text weight, text bias]`, each side scaled so that its outputs have unit variance:
/// only directions matter to the losses, and the optimiser's steps then fit the weights.
fn begin_at(projection: &mut Projection, [image, text, bias]: [Vec<f32>; 3], features: &Features) {
    let spread = |weight: &[f32], inputs: &Matrix| -> f32 {
        let rows = inputs.rows.min(2048);
        let inputs_rows = gather(inputs, 0..rows);
        let weight = projection.constant(weight.to_vec(), inputs.columns);
        let outputs = elements(
            projection
                .constant(inputs_rows, inputs.columns)
                .matmul(weight.transpose()),
        );
        let outputs = Matrix {
            columns: outputs.len() / rows,
            data: outputs,
            rows,
        };
        outputs.deviation(&outputs.mean())
    };
    let (of_image, of_text) = (
        spread(&image, &features.pictures),
        spread(&text, &features.texts),
    );
    let scaled = |data: Vec<f32>, by: f32| data.iter().map(|x| x / by).collect::<Vec<f32>>();
    projection.set(0, scaled(image, of_image));
    projection.set(2, scaled(text, of_text));
    projection.set(3, scaled(bias, of_text));
}

/// Centres and scales the rows of `matrix` in place and says how.
fn standardise(matrix: &mut Matrix) -> Standard {
    let centre = matrix.mean();
    let scale = matrix.deviation(&centre);
    matrix.standardise(&centre, scale);
    Standard { centre, scale }
}

#[cfg(test)]
mod tests;
