//! Version 2 of the recipe: an image encoder trained end to end, in one TOML file that says everything it depends on.
//!
//! Unknown keys are refused with their line and the nearest known key, and so is what does not fit together. Paths are
//! relative to the recipe's folder. `docs/training.md` lists every key.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::data::{Augmentations, SourceSpec, TextSpec};
use crate::recipe::{default_checkpoint_every, default_log_every, parse_toml, read_text, refuse};

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

/// The encoder that trains.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// A graph (`.phg`) in f32.
    pub graph: PathBuf,
    /// Width of a new affine layer behind the graph's output.
    pub embedding: Option<usize>,
    /// How that layer starts.
    #[serde(default)]
    pub head: HeadStart,
    /// Training pictures that ridge regression sees.
    #[serde(default = "default_ridge_pictures")]
    pub ridge_pictures: usize,
    /// The ridge, in mean variances of a feature.
    #[serde(default = "default_ridge")]
    pub ridge: f32,
    /// Which layers train.
    #[serde(default)]
    pub trainable: Trainable,
    /// Whether the encoder up to its tokens is frozen, run once for each picture, and what it gave is kept in memory.
    #[serde(default)]
    pub cached: bool,
    /// Low-rank updates of these layers instead of their weights.
    pub lora: Option<Lora>,
}

/// Low-rank updates beside frozen weights (Hu et al., 2021, arXiv 2106.09685).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// `alpha / rank` is the factor of B·A; `rank` without it.
    pub alpha: Option<f32>,
}

/// How a new head starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadStart {
    /// Uniform in ±1/√(inputs).
    #[default]
    Random,
    /// Ridge regression onto the teachers' embeddings.
    Ridge,
}

/// Which layers train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trainable {
    /// All.
    #[default]
    All,
    /// So many at the end, a head among them.
    Last(usize),
}

impl<'de> Deserialize<'de> for Trainable {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Trainable;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"all\" or a number of layers")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Trainable, E> {
                match word {
                    "all" => Ok(Trainable::All),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Trainable, E> {
                usize::try_from(number)
                    .map(Trainable::Last)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// The text encoder: `model` frozen, as in locked-text tuning (the mirror of LiT, Zhai et al., 2022, arXiv 2111.07991), or
/// `graph`, which trains.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// A text encoder that stays as it is, `.phg` or `.phm`, with its vocabulary.
    pub model: Option<PathBuf>,
    /// A text graph in f32 (`.phg`) with its vocabulary, which trains.
    pub graph: Option<PathBuf>,
    /// Which layers of `graph` train; none of them for 0.
    #[serde(default)]
    pub trainable: Trainable,
    /// A text tower from nothing, which trains.
    pub new: Option<NewText>,
    /// Width of a new affine layer behind `graph`; of the embeddings of `new`, the student's without it.
    pub embedding: Option<usize>,
    /// How that layer starts.
    #[serde(default)]
    pub head: HeadStart,
    /// The classes of `logits`: a built-in list, a file, or names with commas; those of the sources without it.
    pub classes: Option<String>,
    /// The factor of cosines to start from, learned.
    #[serde(default = "default_logit_scale")]
    pub logit_scale: f32,
    /// SigLIP's bias to start from, learned.
    #[serde(default = "default_logit_bias")]
    pub logit_bias: f32,
}

impl Text {
    /// The file of an encoder that stays as it is.
    pub(super) fn frozen(&self) -> Option<&PathBuf> {
        let graph = self.graph.as_ref();
        self.model
            .as_ref()
            .or(graph.filter(|_| self.trainable == Trainable::Last(0)))
    }

    /// Whether it trains.
    pub(super) fn trains(&self) -> bool {
        let is_there = self.graph.is_some() || self.new.is_some();
        is_there && self.trainable != Trainable::Last(0)
    }
}

/// A causal transformer, as CLIP's, of random weights.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewText {
    /// Blocks.
    pub layers: usize,
    /// Numbers of a token.
    pub width: usize,
    /// Heads of every attention.
    pub heads: usize,
    /// Tokens of the longest text, the two around it among them.
    pub max_tokens: usize,
    /// A WordPiece vocabulary, of which the tokens stay that training captions use; the words of those captions without it.
    pub vocabulary: Option<PathBuf>,
}

/// The decoder of CoCa and its pooler (Yu et al., 2022, arXiv 2205.01917).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caption {
    /// Pairs of a causal and a cross attention.
    pub layers: usize,
    /// Heads of every attention.
    pub heads: usize,
    /// Tokens that the pooler makes of a picture.
    pub queries: usize,
    /// The share of a target that is spread over all tokens.
    pub label_smoothing: f32,
    /// Of how many captions one is held out with its pictures.
    pub held: usize,
    /// Captions that are followed at once when held-out pictures are captioned.
    pub beams: usize,
}

impl Default for Caption {
    fn default() -> Self {
        Self {
            layers: 2,
            heads: 4,
            queries: 16,
            label_smoothing: 0.0,
            held: 10,
            beams: 1,
        }
    }
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

/// The loss that is not one of embeddings, as the log names it.
pub(super) const CAPTION: &str = "caption";

/// The weights of the losses, each at least 0, and their parameters.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// [`crate::loss::clip_loss`] of pictures and texts.
    pub clip: f32,
    /// [`crate::loss::siglip_loss`] of pictures and texts.
    pub siglip: f32,
    /// [`crate::loss::sup_con_loss`] of views and labels.
    pub sup_con: f32,
    /// [`crate::loss::triplet_loss_in_batch`] of labels.
    pub triplet: f32,
    /// [`crate::loss::feature_loss`] against teachers.
    pub feature: f32,
    /// [`crate::loss::affinity_loss`] against teachers.
    pub affinity: f32,
    /// [`crate::loss::interactive_loss`] against teachers.
    pub interactive: f32,
    /// [`crate::loss::contrastive_distill_loss`] against teachers.
    pub contrastive_distill: f32,
    /// [`crate::loss::relation_loss`] against teachers.
    pub relation: f32,
    /// [`crate::loss::logit_distill_loss`] against teachers, over the classes.
    pub logits: f32,
    /// [`crate::loss::transform_loss`] of turned and flipped pictures.
    pub transform: f32,
    /// [`crate::loss::caption_loss`] of captions; needs `[caption]`.
    pub caption: f32,
    /// How far features are apart.
    pub feature_distance: Distance,
    /// Of `logits`.
    pub temperature: f32,
    /// Of `triplet`, in cosines.
    pub margin: f32,
    /// The factor of cosines in `sup_con`.
    pub sup_con_scale: f32,
    /// The factor of cosines in `contrastive_distill`.
    pub contrastive_scale: f32,
    /// Hidden width of the head of `transform`.
    pub transform_hidden: usize,
}

/// [`crate::loss::FeatureDistance`] as a recipe names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// 1 − cos.
    #[default]
    Cosine,
    /// Of unit rows.
    MeanSquared,
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            clip: 0.0,
            siglip: 0.0,
            sup_con: 0.0,
            triplet: 0.0,
            feature: 0.0,
            affinity: 0.0,
            interactive: 0.0,
            contrastive_distill: 0.0,
            relation: 0.0,
            logits: 0.0,
            transform: 0.0,
            caption: 0.0,
            feature_distance: Distance::Cosine,
            temperature: 1.0,
            margin: 0.2,
            sup_con_scale: 10.0,
            contrastive_scale: 20.0,
            transform_hidden: 128,
        }
    }
}

impl Loss {
    /// Names and weights, in the order of the log.
    pub(super) fn weights(&self) -> [(&'static str, f32); 12] {
        [
            ("clip", self.clip),
            ("siglip", self.siglip),
            ("sup_con", self.sup_con),
            ("triplet", self.triplet),
            ("feature", self.feature),
            ("affinity", self.affinity),
            ("interactive", self.interactive),
            ("contrastive_distill", self.contrastive_distill),
            ("relation", self.relation),
            ("logits", self.logits),
            ("transform", self.transform),
            (CAPTION, self.caption),
        ]
    }
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

impl Default for Reinforced {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("reinforced"),
            epochs: 1,
            plain: false,
        }
    }
}

fn default_ridge_pictures() -> usize {
    512
}
fn default_ridge() -> f32 {
    0.1
}
fn default_logit_scale() -> f32 {
    14.0
}
fn default_logit_bias() -> f32 {
    -10.0
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
