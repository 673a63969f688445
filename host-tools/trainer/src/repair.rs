//! Repair of a quantised encoder: a few hundred steps of quantisation-aware fine-tuning towards its own f32 embeddings, where
//! calibration alone misses the target. No label and no text is needed: the f32 graph is the teacher.
//!
//! Loss: 1 − cos(int8 embedding, f32 embedding), averaged over a batch of augmented pictures. Weights, biases and the ranges of
//! activations train, by AdamW without decay; `network::quantised` says how rounding lets gradients through. Pictures that are
//! set apart are embedded by the packed model every eighth of the way, and the best is kept, the start among them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Tensor;
use pinhole_graph::Graph;
use pinhole_quantize::Input;
use pinhole_quantize::report::{cosine, outputs};

use crate::TrainError;
use crate::checkpoint::Saved;
use crate::device::Place;
use crate::model::elements;
use crate::network::forward;
use crate::network::quantised::{Quantised, Role};
use crate::optim::Moments;
use crate::rng::Rng;

/// How a repair trains.
#[derive(Clone, Debug)]
pub struct RepairOptions {
    /// Steps of the optimiser.
    pub steps: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Largest step of a weight, in units of the largest weight of its channel.
    pub learning_rate: f32,
    /// Largest relative step of a range; 0 leaves ranges as they are.
    pub range_rate: f32,
    /// Of the order and the augmentation of pictures.
    pub seed: u64,
    /// Where the state is kept between steps, and the SHA-256 of all that it depends on; taken up where both agree.
    pub checkpoint: Option<(PathBuf, String)>,
    /// Set to stop after the current step, with a checkpoint.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self {
            steps: 300,
            batch: 8,
            learning_rate: 1e-4,
            range_rate: 1e-3,
            seed: 0,
            checkpoint: None,
            stop: None,
        }
    }
}

/// How far a repair is.
#[derive(Clone, Copy, Debug)]
pub struct RepairProgress {
    /// Steps done.
    pub step: usize,
    /// Of the last batch.
    pub loss: f32,
    /// Best mean cosine to f32 so far, of the pictures that are set apart.
    pub best: f64,
}

/// What came of a repair.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The repaired graph; the one that was given when nothing was better.
    pub graph: Graph,
    /// Mean cosine to f32 on the inputs that were set apart.
    pub before: f64,
    /// The same of `graph`.
    pub after: f64,
    /// The step after which `graph` was what it is; 0 for the one that was given.
    pub step: usize,
}

/// Fine-tunes `quantized`, a copy with parameters of the f32 graph `prepared`, on `inputs`, and measures it on `check`.
///
/// The same graphs, inputs and options give the same bytes, also when a run was stopped and taken up again.
///
/// # Errors
/// A node without a derivative, a graph that does not run, no inputs, or a stop, in which case the state was saved first.
pub fn repair(
    [prepared, quantized]: [&Graph; 2],
    [inputs, check]: [&[Vec<f32>]; 2],
    options: &RepairOptions,
    progress: &dyn Fn(RepairProgress),
) -> Result<Repaired, TrainError> {
    if inputs.is_empty() || check.is_empty() {
        return Err(pinhole_quantize::QuantizeError::NoInputs.into());
    }
    let expected = run(prepared, check)?;
    let measure = |graph: &Graph| -> Result<f64, TrainError> {
        let found = run(graph, check)?;
        let cosines = expected.iter().zip(&found).map(|(a, b)| cosine(a, b));
        // As a checkpoint keeps it.
        Ok(f64::from(
            (cosines.sum::<f64>() / check.len() as f64) as f32,
        ))
    };
    let before = measure(quantized)?;
    let mut state = State::new(quantized, before, options);
    state.take_up(options);
    let every = (options.steps / MEASUREMENTS).max(1);
    while state.step < options.steps {
        let loss = state.step(prepared, quantized, inputs, options)?;
        if state.step.is_multiple_of(every) || state.step == options.steps {
            state.keep_best(measure(&state.network.write(quantized))?);
            state.save(options)?;
        }
        progress(RepairProgress {
            step: state.step,
            loss,
            best: state.best.cosine,
        });
        let stop = options.stop.as_ref();
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            state.save(options)?;
            let checkpoint = options.checkpoint.as_ref();
            return Err(TrainError::Stopped {
                step: state.step,
                checkpoint: checkpoint.map(|(path, _)| path.clone()),
            });
        }
    }
    let Best { cosine, step, data } = state.best;
    let mut network = state.network;
    let graph = match step {
        0 => quantized.clone(),
        _ => {
            let leaves = data.into_iter().enumerate();
            leaves.for_each(|(index, data)| network.set(index, data));
            network.write(quantized)
        }
    };
    Ok(Repaired {
        graph,
        before,
        after: cosine,
        step,
    })
}

/// How often the packed model is measured.
const MEASUREMENTS: usize = 8;

/// What was best so far.
struct Best {
    cosine: f64,
    step: usize,
    /// Of each leaf.
    data: Vec<Vec<f32>>,
}

/// What is between two steps.
struct State {
    step: usize,
    network: Quantised,
    moments: Vec<Moments>,
    rng: Rng,
    best: Best,
}

impl State {
    fn new(quantized: &Graph, cosine: f64, options: &RepairOptions) -> Self {
        let network = Quantised::new(quantized, options.range_rate > 0.0, &Place::cpu());
        let leaves = network.leaves.iter();
        let moments = leaves.map(|leaf| Moments::zero(leaf.data.len())).collect();
        let data = network
            .leaves
            .iter()
            .map(|leaf| leaf.data.clone())
            .collect();
        Self {
            step: 0,
            network,
            moments,
            rng: Rng::new(options.seed),
            best: Best {
                cosine,
                step: 0,
                data,
            },
        }
    }

    /// One step of the optimiser; the loss before it.
    fn step(
        &mut self,
        prepared: &Graph,
        quantized: &Graph,
        inputs: &[Vec<f32>],
        options: &RepairOptions,
    ) -> Result<f32, TrainError> {
        let batch: Vec<Vec<f32>> = (0..options.batch)
            .map(|_| {
                let input = &inputs[self.rng.index(inputs.len())];
                augment(prepared, input, &mut self.rng)
            })
            .collect();
        let teacher = run(prepared, &batch)?;
        let width = teacher[0].len();
        let runner = self.network.runner(quantized)?;
        let network = self.network.follow(quantized, &runner, &batch)?;
        let x = self.network.input(quantized, batch.concat());
        let student = forward(quantized, &network, x)?.reshape([options.batch, width]);
        let loss = distance(student, self.network.rows(teacher.concat(), width));
        let gradients = loss.backward();
        let loss = elements(loss)[0];
        if !loss.is_finite() {
            return Err(TrainError::Diverged {
                step: self.step,
                loss,
                learning_rate: options.learning_rate,
            });
        }
        let rate = schedule(self.step, options.steps);
        self.step += 1;
        for (index, moments) in self.moments.iter_mut().enumerate() {
            let leaf = &self.network.leaves[index];
            let Some(gradient) = leaf.tensor.grad(&gradients) else {
                continue;
            };
            let top = match leaf.role {
                Role::Weight | Role::Bias => options.learning_rate,
                Role::Range => options.range_rate,
            };
            let mut data = leaf.data.clone();
            moments.update(&mut data, &elements(gradient), self.step, rate * top, 0.0);
            self.network.set(index, data);
        }
        Ok(loss)
    }

    fn keep_best(&mut self, cosine: f64) {
        if cosine > self.best.cosine {
            let leaves = self.network.leaves.iter();
            self.best = Best {
                cosine,
                step: self.step,
                data: leaves.map(|leaf| leaf.data.clone()).collect(),
            };
        }
    }

    fn save(&self, options: &RepairOptions) -> Result<(), TrainError> {
        let Some((path, sha256)) = &options.checkpoint else {
            return Ok(());
        };
        let mut tensors = vec![(
            "best".to_owned(),
            vec![2],
            vec![self.best.cosine as f32, self.best.step as f32],
        )];
        let leaves = self.network.leaves.iter().zip(&self.moments);
        for (index, (leaf, moments)) in leaves.enumerate() {
            let parts = [
                ("now", &leaf.data),
                ("first", &moments.first),
                ("second", &moments.second),
                ("best", &self.best.data[index]),
            ];
            for (part, data) in parts {
                tensors.push((format!("{index}/{part}"), vec![data.len()], data.clone()));
            }
        }
        let saved = Saved {
            step: self.step,
            tensors,
        };
        saved.write(path, &[("sha256_of_inputs", sha256)], &self.rng)
    }

    /// Goes on from a checkpoint of the same inputs; one that is missing, damaged or of others is passed over.
    fn take_up(&mut self, options: &RepairOptions) {
        let Some((path, sha256)) = &options.checkpoint else {
            return;
        };
        let Ok((mut saved, rng)) = Saved::read(path, &[("sha256_of_inputs", sha256)]) else {
            return;
        };
        let mut read = || -> Result<_, String> {
            let best = saved.take("best", &[2])?;
            let mut parts = Vec::new();
            for (index, leaf) in self.network.leaves.iter().enumerate() {
                let mut part = |part| saved.take(&format!("{index}/{part}"), &[leaf.data.len()]);
                parts.push([part("now")?, part("first")?, part("second")?, part("best")?]);
            }
            Ok((best, parts))
        };
        let Ok((best, parts)) = read() else {
            return;
        };
        (self.step, self.rng) = (saved.step, rng);
        self.best.cosine = f64::from(best[0]);
        self.best.step = best[1] as usize;
        for (index, [now, first, second, best]) in parts.into_iter().enumerate() {
            self.network.set(index, now);
            self.moments[index] = Moments { first, second };
            self.best.data[index] = best;
        }
    }
}

fn run(graph: &Graph, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, TrainError> {
    let inputs: Vec<Input> = inputs.iter().cloned().map(Input::from).collect();
    Ok(outputs(graph, &inputs.iter().collect::<Vec<_>>())?)
}

/// Share of the largest rate: a warm-up over the first twentieth, then half a cosine down to zero.
fn schedule(step: usize, steps: usize) -> f32 {
    let warmup = (steps / 20).max(1);
    if step < warmup {
        return (step + 1) as f32 / warmup as f32;
    }
    let done = (step - warmup) as f32 / (steps - warmup).max(1) as f32;
    0.5 * (1.0 + (std::f32::consts::PI * done).cos())
}

/// Mean of 1 − cos over rows `[batch, width]`.
fn distance(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let length = |x: &Tensor<2>| x.clone().square().sum_dim(1).add_scalar(1e-12).sqrt();
    let lengths = length(&a) * length(&b);
    let cosines = (a * b).sum_dim(1) / lengths;
    cosines.mean().neg().add_scalar(1.0)
}

/// Least share of a picture's area that a crop keeps.
const LEAST_AREA: f32 = 0.5;

/// A crop of a picture (1, h, w, c), mirrored or not, scaled back to its size; inputs of other shapes stay as they are.
fn augment(graph: &Graph, input: &[f32], rng: &mut Rng) -> Vec<f32> {
    let &[1, h, w, c] = &graph.values[graph.inputs[0]].shape[..] else {
        return input.to_vec();
    };
    let side = (LEAST_AREA + (1.0 - LEAST_AREA) * rng.unit()).sqrt();
    let mirrored = rng.index(2) == 1;
    let [top, left] = [h, w].map(|size| rng.unit() * (1.0 - side) * (size - 1) as f32);
    let mut out = Vec::with_capacity(input.len());
    for row in 0..h {
        let y = top + side * row as f32;
        let (y0, dy) = (y as usize, y.fract());
        let y1 = (y0 + 1).min(h - 1);
        for column in 0..w {
            let column = if mirrored { w - 1 - column } else { column };
            let x = left + side * column as f32;
            let (x0, dx) = (x as usize, x.fract());
            let x1 = (x0 + 1).min(w - 1);
            for channel in 0..c {
                let at = |y: usize, x: usize| input[(y * w + x) * c + channel];
                let upper = at(y0, x0) + dx * (at(y0, x1) - at(y0, x0));
                let lower = at(y1, x0) + dx * (at(y1, x1) - at(y1, x0));
                out.push(upper + dy * (lower - upper));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use pinhole_graph::{Graph, QuantDType};
    use pinhole_quantize::{Options, quantize};

    use super::{RepairOptions, repair};
    use crate::TrainError;
    use crate::network::fixture::{encoder, inputs, pictures};

    /// An encoder, and the same with ranges of activations that are far too wide.
    fn badly_quantised() -> [Graph; 2] {
        let found = quantize(&encoder(), &inputs(16), &Options::default(), &|_| ()).unwrap();
        let mut quantized = found.quantized;
        let computed: Vec<_> = quantized.nodes.iter().map(|node| node.output).collect();
        for value in computed {
            if let Some(quant) = &mut quantized.values[value].quant
                && quant.dtype == QuantDType::I8
            {
                quant.scales[0] *= 8.0;
            }
        }
        [found.prepared, quantized]
    }

    fn options() -> RepairOptions {
        RepairOptions {
            steps: 150,
            batch: 8,
            learning_rate: 2e-3,
            range_rate: 5e-2,
            ..RepairOptions::default()
        }
    }

    #[test]
    fn bad_ranges_are_repaired_on_pictures_that_were_not_seen() {
        let [prepared, quantized] = badly_quantised();
        let all = pictures(32);
        let (inputs, check) = all.split_at(16);
        let found = repair(
            [&prepared, &quantized],
            [inputs, check],
            &options(),
            &|_| (),
        )
        .unwrap();
        assert!(found.step > 0);
        let (before, after) = (1.0 - found.before, 1.0 - found.after);
        assert!(after < 0.5 * before, "{before} to {after}");
        assert!(found.graph.meta == quantized.meta && found.graph.nodes == quantized.nodes);
    }

    #[test]
    fn a_repair_that_was_stopped_ends_with_the_same_bytes() {
        let [prepared, quantized] = badly_quantised();
        let all = pictures(12);
        let (inputs, check) = all.split_at(8);
        let run = |options: &RepairOptions| {
            repair([&prepared, &quantized], [inputs, check], options, &|_| ())
        };
        let few = RepairOptions {
            steps: 10,
            ..options()
        };
        let whole = run(&few).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Some((folder.path().join("repair.safetensors"), "0".repeat(64)));
        let stop = Arc::new(AtomicBool::new(true));
        let mut steps = 0;
        let resumed = loop {
            let options = RepairOptions {
                checkpoint: checkpoint.clone(),
                // Every other run is stopped after one step.
                stop: (steps < 7).then(|| stop.clone()),
                ..few.clone()
            };
            match run(&options) {
                Err(TrainError::Stopped { step, .. }) => {
                    assert_eq!(step, steps + 1, "a run goes on where the last one was");
                    steps = step;
                }
                found => break found.unwrap(),
            }
        };
        assert_eq!(steps, 7);
        assert_eq!(
            whole.graph.to_bytes().unwrap(),
            resumed.graph.to_bytes().unwrap()
        );
        assert_eq!((whole.after, whole.step), (resumed.after, resumed.step));
    }

    #[test]
    fn a_checkpoint_of_other_inputs_is_passed_over() {
        let [prepared, quantized] = badly_quantised();
        let all = pictures(6);
        let (inputs, check) = all.split_at(4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repair.safetensors");
        let run = |sha256: &str, steps| {
            let options = RepairOptions {
                steps,
                checkpoint: Some((path.clone(), sha256.to_owned())),
                ..options()
            };
            let steps = std::cell::Cell::new(0);
            let count = |_| steps.set(steps.get() + 1);
            repair([&prepared, &quantized], [inputs, check], &options, &count).unwrap();
            steps.get()
        };
        assert_eq!(run("a", 3), 3);
        assert_eq!(run("a", 3), 0);
        assert_eq!(run("b", 3), 3);
    }
}
