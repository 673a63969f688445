//! What a recipe says of networks that train: encoders of pictures and texts, and the decoder of captions.

use std::path::PathBuf;

use serde::Deserialize;

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
    pub(in crate::fit) fn frozen(&self) -> Option<&PathBuf> {
        let graph = self.graph.as_ref();
        self.model
            .as_ref()
            .or(graph.filter(|_| self.trainable == Trainable::Last(0)))
    }

    /// Whether it trains.
    pub(in crate::fit) fn trains(&self) -> bool {
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
