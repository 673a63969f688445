//! What the tensors of a CLIP do not tell: from the configuration beside the checkpoint, or assumed and said so.

use serde_json::Value as Json;

use super::{Keys, fastvit};
use crate::import::ImportError;
use crate::import::checkpoint::{Checkpoint, read_file};
use crate::import::config::{epsilon, pixels};
use crate::op::Unary;

/// Largest configuration.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Of CoCa.
const POOLER_HEADS: usize = 8;
/// Of every CLIP.
const HEAD_WIDTH: usize = 64;
/// Pixels of OpenAI's training pictures, which most of the family kept.
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// See [`CLIP_MEAN`].
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// Of SigLIP.
const HALF: [f32; 3] = [0.5; 3];
/// Mean and deviation of pixels that stay in [0, 1], as MobileCLIP's.
const AS_THEY_ARE: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0; 3]);
/// Of the layers that normalise an image tower of timm.
const TIMM_EPSILON: f32 = 1e-6;
/// Where open_clip's configurations do not say how timm's towers gather a picture.
const TIMM_POOL: &str = "avg";
/// A norm in front of the blocks, which timm's towers after CLIP have; they normalise as CLIP does.
const TIMM_CLIP_NORM: &str = "visual.trunk.norm_pre.weight";

/// What tensors do not tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Of the image tower.
    pub image: TowerConfig,
    /// Of the text tower.
    pub text: TowerConfig,
    /// Heads of CoCa's pooler.
    pub pooler_heads: usize,
    /// Whether tokens of texts see those behind them: where a configuration says so, and in SigLIP always.
    pub no_causal_mask: bool,
    /// Whether a configuration says that the class token of a text (CoCa's) sees itself and no padding.
    pub correct_cls_mask: bool,
    /// How a configuration of open_clip says that a text is gathered (`pool_type`).
    pub text_pool: Option<String>,
    /// Pixels of a side, where a configuration says so; many towers have positions that tell.
    pub image_size: Option<usize>,
    /// timm's name of the image tower, where a configuration says so.
    pub trunk: Option<String>,
    /// How a configuration says that timm's image tower gathers a picture (`timm_pool`).
    pub image_pool: Option<String>,
    /// Of channels in [0, 1].
    pub mean: [f32; 3],
    /// Of channels in [0, 1].
    pub std: [f32; 3],
    /// What was assumed, one sentence each, for the person who imports.
    pub assumed: Vec<String>,
}

/// What the tensors of one tower do not tell.
#[derive(Clone, Debug, PartialEq)]
pub struct TowerConfig {
    /// Of attention, where a configuration says so; otherwise as many as have 64 columns.
    pub heads: Heads,
    /// Between the two products of an MLP.
    pub activation: Unary,
    /// Of every layer normalisation.
    pub epsilon: f32,
}

/// How many heads attention has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    /// So many.
    Count(usize),
    /// As many as have this number of columns.
    Width(usize),
}

impl TowerConfig {
    /// Columns of a head in a tower of this width.
    ///
    /// # Errors
    /// With the sentence for it, when heads do not divide the width.
    pub(super) fn head_width(&self, width: usize) -> Result<usize, String> {
        let (divisor, head_width) = match self.heads {
            Heads::Count(count) => (count, width.checked_div(count)),
            Heads::Width(columns) => (columns, Some(columns)),
        };
        match head_width {
            Some(columns) if divisor > 0 && width > 0 && width.is_multiple_of(divisor) => {
                Ok(columns)
            }
            _ => Err(match self.heads {
                Heads::Count(count) => format!("{count} heads do not divide the width {width}"),
                Heads::Width(columns) => {
                    format!("heads of {columns} columns do not divide the width {width}")
                }
            }),
        }
    }

    /// Takes what `vision_config`, `text_config`, `vision_cfg` or `text_cfg` say.
    fn read(&mut self, json: &Json) -> Result<(), String> {
        if let Some(name) = json["hidden_act"].as_str() {
            self.activation = match name {
                "quick_gelu" => Unary::QuickGelu,
                "gelu" => Unary::Gelu,
                "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Unary::GeluTanh,
                other => {
                    return Err(format!(
                        "hidden_act is {other}, expected gelu, quick_gelu or gelu_pytorch_tanh"
                    ));
                }
            };
        }
        if json["act_kwargs"]["approximate"].as_str() == Some("tanh") {
            self.activation = Unary::GeluTanh;
        }
        for json in [&json["norm_kwargs"]["eps"], &json["layer_norm_eps"]] {
            self.epsilon = epsilon(json)?.unwrap_or(self.epsilon);
        }
        let count = &json["num_attention_heads"];
        if let Some(count) = count.as_u64().or(json["heads"].as_u64()) {
            self.heads = Heads::Count(count as usize);
        } else if let Some(width) = json["head_width"].as_u64() {
            self.heads = Heads::Width(width as usize);
        }
        Ok(())
    }
}

/// Reads the configuration beside a checkpoint: `config.json` (transformers), `open_clip_config.json` or the model
/// configuration of open_clip alone as `model_config.json`, and `preprocessor_config.json` for the pixels. What none of them
/// says is assumed.
///
/// # Errors
/// When a file is there and holds no JSON, or an activation that no transformer of this family has.
pub fn config_beside(checkpoint: &Checkpoint, keys: Keys) -> Result<Config, ImportError> {
    let mut config = Config::assumed(keys);
    if checkpoint.tensors.contains_key(TIMM_CLIP_NORM) {
        config.image.epsilon = config.text.epsilon;
    }
    for name in [
        "config.json",
        "open_clip_config.json",
        "model_config.json",
        "preprocessor_config.json",
    ] {
        let path = checkpoint.path.with_file_name(name);
        if !path.is_file() {
            continue;
        }
        let bytes = read_file(&path, MAX_CONFIG_BYTES)?;
        let json: Json = serde_json::from_slice(&bytes)
            .map_err(|error| ImportError::malformed(&path, format!("no JSON: {error}")))?;
        config
            .read(&json)
            .map_err(|what| ImportError::malformed(&path, what))?;
    }
    Ok(config)
}

impl Config {
    /// What the family has in common.
    fn assumed(keys: Keys) -> Self {
        let siglip = keys.is_siglip();
        let mobile = matches!(keys, Keys::OpenClipFastVit | Keys::OpenClipTimm);
        let tower = TowerConfig {
            heads: Heads::Width(HEAD_WIDTH),
            activation: match keys {
                Keys::HuggingFaceSiglip => Unary::GeluTanh,
                _ => Unary::Gelu,
            },
            epsilon: if siglip { 1e-6 } else { 1e-5 },
        };
        let (mean, std) = match (siglip, mobile) {
            (true, _) => (HALF, HALF),
            (_, true) => AS_THEY_ARE,
            _ => (CLIP_MEAN, CLIP_STD),
        };
        let mask = match keys {
            Keys::OpenClipFastVit => ", texts without a causal mask",
            _ => "",
        };
        let activation = match keys {
            Keys::HuggingFaceSiglip => "activation GELU by tanh",
            Keys::OpenClipSiglip | Keys::OpenClipFastVit | Keys::OpenClipTimm => "activation GELU",
            _ => "activation GELU; weights of OpenAI want QuickGELU: --quick-gelu",
        };
        let mut assumed = vec![
            format!("heads of width {HEAD_WIDTH}, {activation}{mask}"),
            format!("pixels of mean {mean:?}"),
        ];
        if keys == Keys::OpenClipFastVit {
            assumed.push(format!("pictures with a side of {}", fastvit::SIDE));
        }
        Self {
            image: TowerConfig {
                epsilon: match keys {
                    Keys::OpenClipTimm => TIMM_EPSILON,
                    _ => tower.epsilon,
                },
                ..tower.clone()
            },
            text: tower,
            pooler_heads: POOLER_HEADS,
            no_causal_mask: siglip || keys == Keys::OpenClipFastVit,
            correct_cls_mask: false,
            text_pool: None,
            image_size: None,
            trunk: None,
            image_pool: None,
            mean,
            std,
            assumed,
        }
    }

    /// QuickGELU, which OpenAI trained with and the keys do not tell.
    pub fn quick_gelu(&mut self) {
        self.image.activation = Unary::QuickGelu;
        self.text.activation = Unary::QuickGelu;
    }

    /// Whether timm's image tower gathers a picture as `pool` says, as far as a configuration tells.
    ///
    /// # Errors
    /// With the sentence for it, when it is in another way.
    pub(super) fn gathers_by(&self, pool: &str) -> Result<(), String> {
        match &self.image_pool {
            Some(found) if found != pool => Err(format!(
                "its image tower gathers a picture by {found} (timm_pool), expected {pool}"
            )),
            _ => Ok(()),
        }
    }

    fn settled(&mut self, what: &str) {
        self.assumed.retain(|line| !line.contains(what));
    }

    /// Takes what a configuration says: that of transformers, of open_clip, or of a processor.
    fn read(&mut self, json: &Json) -> Result<(), String> {
        let open_clip = match &json["model_cfg"] {
            Json::Null => json,
            inner => inner,
        };
        if open_clip["quick_gelu"].as_bool() == Some(true) {
            self.quick_gelu();
        }
        for (image, text) in [
            (&json["vision_config"], &json["text_config"]),
            (&open_clip["vision_cfg"], &open_clip["text_cfg"]),
        ] {
            self.image.read(image)?;
            self.text.read(text)?;
            if let Some(heads) = image["attn_pooler_heads"].as_u64() {
                self.pooler_heads = heads as usize;
            }
            if let Some(no_mask) = text["no_causal_mask"].as_bool() {
                self.no_causal_mask = no_mask;
            }
            if let Some(correct) = text["correct_cls_mask"].as_bool() {
                self.correct_cls_mask = correct;
            }
            if let Some(pool) = text["pool_type"].as_str() {
                self.text_pool = Some(pool.to_owned());
            }
            if let Some(name) = image["timm_model_name"].as_str() {
                self.trunk = Some(name.to_owned());
                let pool = image["timm_pool"].as_str().unwrap_or(TIMM_POOL);
                self.image_pool = Some(pool.to_owned());
                if name.contains("quickgelu") {
                    self.image.activation = Unary::QuickGelu;
                }
            }
            if let Some(size) = image["image_size"].as_u64() {
                self.image_size = Some(size as usize);
                self.settled("side");
            }
            if image.is_object() && text.is_object() {
                self.settled("activation");
            }
        }
        let processor = match &json["preprocess_cfg"] {
            Json::Null => (&json["image_mean"], &json["image_std"]),
            open_clip => (&open_clip["mean"], &open_clip["std"]),
        };
        if let Some(found) = pixels(processor)? {
            (self.mean, self.std) = found;
            self.settled("pixels");
        }
        Ok(())
    }
}
