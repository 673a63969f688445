//! Version 2 of the recipe: an image encoder trained end to end, in one TOML file that says everything it depends on.
//!
//! Unknown keys are refused with their line and the nearest known key, and so is what does not fit together. Paths are
//! relative to the recipe's folder. `docs/training.md` lists every key. Here are the recipe, its data, teachers, optimiser and
//! output; what it says of networks is in `encoders`, of losses in `loss`.

mod encoders;
mod loss;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::TrainError;
use crate::data::{Augmentations, SourceSpec, TextSpec};
use crate::device::{DeviceName, Precision};
use crate::recipe::{default_checkpoint_every, default_log_every, parse_toml, read_text, refuse};

pub use encoders::{Caption, HeadStart, Image, Lora, NewText, Text, Trainable};
pub(super) use loss::CAPTION;
pub use loss::{Distance, Loss};

/// The version of the format that this module reads.
pub const FIT_VERSION: u32 = 2;

/// A whole recipe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitRecipe {
    /// [`FIT_VERSION`].
    pub version: u32,
    /// A name for reports.
    pub name: String,
    /// The seed of every random choice.
    pub seed: u64,
    /// The encoder that trains.
    pub image: Image,
    /// The text encoder.
    pub text: Option<Text>,
    /// Frozen image encoders to learn from.
    #[serde(default)]
    pub teacher: Vec<Teacher>,
    /// Where the teachers' embeddings are kept.
    #[serde(default)]
    pub reinforced: Reinforced,
    /// Teachers' embeddings are averaged over pictures that are alike.
    pub neighbourhood: Option<Neighbourhood>,
    /// Pictures and texts.
    pub data: Data,
    /// The weights of the losses.
    pub loss: Loss,
    /// The optimiser and its schedule.
    pub optimiser: Optimiser,
    /// What captions pictures beside the encoders.
    pub caption: Option<Caption>,
    /// Quantisation-aware training.
    pub quantise: Option<Quantise>,
    /// What is written, and how often.
    pub output: Output,
}

/// A frozen image encoder to learn from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    /// An image encoder, `.phg` or `.phm`.
    pub model: PathBuf,
    /// Its share beside the other teachers.
    #[serde(default = "one")]
    pub weight: f32,
    /// A learned linear map from the student's space to the teacher's, for `feature` and `contrastive_distill`.
    #[serde(default)]
    pub projection: bool,
    /// The text encoder of its space; that of `[text]` without it.
    pub text: Option<PathBuf>,
    /// The factor of its cosines; the model's own, or 100, without it.
    pub logit_scale: Option<f32>,
}

/// The cache of the teachers' embeddings (Faghri et al., 2023, arXiv 2303.08983).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reinforced {
    /// Its folder.
    pub folder: PathBuf,
    /// Epochs of augmentation that are drawn; later ones repeat them.
    pub epochs: usize,
    /// Teachers see each picture once and as it is: what they say is the target of all its views.
    pub plain: bool,
}

impl Default for Reinforced {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("reinforced"),
            epochs: 1,
            plain: false,
        }
    }
}

/// Each picture's targets become the mean of what teachers say of the pictures nearest to it, itself among them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbourhood {
    /// An image encoder, `.phg` or `.phm`, whose embeddings say what is near.
    pub model: PathBuf,
    /// Pictures of a mean.
    pub count: usize,
    /// A neighbour of cosine `c` weighs `exp(sharpness·(c − 1))`.
    #[serde(default)]
    pub sharpness: f32,
    /// How often targets are averaged: averages of averages.
    #[serde(default = "one_usize")]
    pub rounds: usize,
}

/// Pictures and texts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The sources, one behind the other.
    pub train: Vec<SourceSpec>,
    /// Templates.
    #[serde(default)]
    pub texts: TextSpec,
    /// What makes views differ.
    #[serde(default)]
    pub augmentation: Augmentations,
    /// Views of each picture a step.
    #[serde(default = "one_usize")]
    pub views: usize,
    /// Threads that load; as many as the machine runs at once without it.
    pub threads: Option<usize>,
    /// MiB that pictures may take, those of the batches that are made ahead among them, before those of a batch of
    /// chunks are made anew from their files in each pass; 16 without it.
    pub kept_mib: Option<usize>,
    /// Pictures that are measured and never trained on.
    pub evaluate: Option<Evaluate>,
}

/// Labelled pictures that are measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The source; of `cifar10` the test split.
    pub source: SourceSpec,
    /// At most so many pictures, spread evenly.
    #[serde(default = "default_limit")]
    pub limit: usize,
}

/// AdamW (Loshchilov and Hutter, 2019) with linear warm-up and cosine decay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimiser {
    /// Steps in all; this or `epochs`.
    pub steps: Option<usize>,
    /// Passes over the pictures.
    pub epochs: Option<usize>,
    /// Pictures a step.
    pub batch: usize,
    /// Pictures whose activations are in memory at once; all of the batch without it.
    pub chunk: Option<usize>,
    /// Where everything but teachers and measurements computes.
    #[serde(default)]
    pub device: DeviceName,
    /// The numbers that the encoders compute in.
    #[serde(default)]
    pub precision: Precision,
    /// Whether activations that are cheap to compute are computed again in the backward pass instead of kept.
    #[serde(default)]
    pub recompute: bool,
    /// The highest learning rate.
    pub learning_rate: f32,
    /// Steps of warm-up.
    #[serde(default)]
    pub warmup: usize,
    /// Decoupled weight decay of weights; biases and norms have none.
    #[serde(default)]
    pub weight_decay: f32,
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f32>,
    /// Decay of the moving average of parameters, which is then what is written and measured.
    pub ema: Option<f32>,
    /// Factor of the learning rate from a layer to the one before it.
    #[serde(default = "one")]
    pub layer_decay: f32,
}

/// Quantisation-aware training.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quantise {
    /// Training pictures that calibrate, as they are.
    pub pictures: usize,
    /// Learning rate of ranges, as a factor of `optimiser.learning_rate`; 0 leaves them.
    pub range_rate: f32,
}

impl Default for Quantise {
    fn default() -> Self {
        Self {
            pictures: 128,
            range_rate: 1.0,
        }
    }
}

/// What is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The folder of all products.
    pub folder: PathBuf,
    /// Steps between checkpoints.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: usize,
    /// Steps between rows of the log.
    #[serde(default = "default_log_every")]
    pub log_every: usize,
    /// Steps between measurements.
    #[serde(default = "default_evaluate_every")]
    pub evaluate_every: usize,
}

fn one() -> f32 {
    1.0
}
fn one_usize() -> usize {
    1
}
fn default_limit() -> usize {
    1000
}
fn default_evaluate_every() -> usize {
    100
}

/// A recipe with what error messages about it need.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) recipe: FitRecipe,
    pub(super) path: PathBuf,
    text: String,
    /// Of its bytes, hexadecimal.
    pub(super) sha256: String,
}

impl Loaded {
    /// Reads and checks the recipe at `path`.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML, has an unknown or missing key, a number outside its range, or keys
    /// that do not fit together.
    pub(super) fn open(path: &Path) -> Result<Self, TrainError> {
        let (text, sha256) = read_text(path)?;
        let recipe: FitRecipe = parse_toml(&text, path)?;
        refuse(super::check::faults(&recipe), &text, path)?;
        Ok(Self {
            recipe,
            path: path.to_path_buf(),
            text,
            sha256,
        })
    }

    /// An error at `key`.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) -> TrainError {
        let faults = vec![(key, message.into())];
        refuse(faults, &self.text, &self.path).expect_err("there is a fault")
    }
}
