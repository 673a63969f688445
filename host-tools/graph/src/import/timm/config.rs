//! What the tensors of a network do not tell: from its name, from timm's `config.json` beside the checkpoint, or
//! assumed and said so.

use serde_json::Value as Json;

use super::architecture::{Architecture, Family, named};
use super::tiny_vit;
use super::{recognises, stages, torchvision};
use crate::import::ImportError;
use crate::import::checkpoint::{Checkpoint, read_file};
use crate::import::config::pixels;

/// Largest configuration.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Pixels of ImageNet, with which most were trained.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Pixels in [−1, 1], which TensorFlow's networks want.
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);
/// Where nothing says how large a part of the picture is looked at.
const CROP: f64 = 0.875;
/// Where neither a name nor a configuration says how many pixels a side has.
const SIDE: usize = 224;
/// Most of them.
const MAX_SIDE: usize = 4096;
/// What `model_args` may say without changing what is computed.
const HARMLESS_ARGUMENTS: [&str; 4] = ["img_size", "num_classes", "drop_rate", "drop_path_rate"];

/// What tensors do not tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Whose importer reads the checkpoint.
    pub family: Family,
    /// Where a name says so; the standard of the family otherwise.
    pub architecture: Option<&'static Architecture>,
    /// Pixels of a picture's side.
    pub side: usize,
    /// The share of the shorter side of a picture that is looked at.
    pub crop: f64,
    /// Of channels in [0, 1].
    pub mean: [f32; 3],
    /// Of channels in [0, 1].
    pub std: [f32; 3],
    /// How training scaled pictures, where a configuration says so.
    pub interpolation: Option<String>,
    /// Keys are torchvision's.
    pub torchvision: bool,
    /// What was assumed, one sentence each, for the person who imports.
    pub assumed: Vec<String>,
}

/// Reads `config.json` beside a checkpoint; `arch` is timm's name, which goes before the one in there. What neither
/// says is assumed.
///
/// # Errors
/// When the name is not known, the keys are of no family and no name is given, or the configuration is no JSON or says
/// what is not read.
pub fn config_beside(checkpoint: &Checkpoint, arch: Option<&str>) -> Result<Config, ImportError> {
    let path = checkpoint.path.with_file_name("config.json");
    let json: Json = if path.is_file() {
        serde_json::from_slice(&read_file(&path, MAX_CONFIG_BYTES)?)
            .map_err(|error| ImportError::malformed(&path, format!("no JSON: {error}")))?
    } else {
        Json::Null
    };
    let architecture = match (arch, json["architecture"].as_str()) {
        (Some(name), _) => {
            Some(named(name).map_err(|what| ImportError::malformed(&checkpoint.path, what))?)
        }
        (None, Some(name)) => {
            Some(named(name).map_err(|what| ImportError::malformed(&path, what))?)
        }
        (None, None) => None,
    };
    let mut config = Config::assumed(checkpoint, architecture)?;
    let pixels = config
        .read(&json)
        .map_err(|what| ImportError::malformed(&path, what))?;
    if pixels == Pixels::Assumed {
        config.assumed.push(format!(
            "pictures with a side of {} from {}, pixels of mean {:?}",
            config.side,
            config.resize_shorter(),
            config.mean
        ));
    }
    Ok(config)
}

/// Whether a configuration says what pixels were trained with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pixels {
    Said,
    Assumed,
}

impl Config {
    /// What a name tells, and what its family has in common.
    fn assumed(
        checkpoint: &Checkpoint,
        architecture: Option<&'static Architecture>,
    ) -> Result<Self, ImportError> {
        let family = architecture
            .map(|architecture| architecture.family)
            .or_else(|| recognises(checkpoint));
        let family = family.ok_or_else(|| {
            ImportError::malformed(&checkpoint.path, "its keys are of no network of timm's")
        })?;
        let torchvision =
            !family.has_keys(checkpoint) && torchvision::family(checkpoint) == Some(family);
        if let Some(architecture) = architecture.filter(|known| torchvision && known.tensorflow) {
            let what = format!(
                "found keys of torchvision's {}, expected those of timm's {}; leave out --arch",
                family.name(),
                architecture.name
            );
            return Err(ImportError::malformed(&checkpoint.path, what));
        }
        let tensorflow = architecture.is_some_and(|architecture| architecture.tensorflow);
        let (mean, std) = if tensorflow { HALF } else { IMAGENET };
        let by_windows = match family {
            Family::TinyVit => tiny_vit::side(checkpoint, stages(checkpoint, family).len()),
            _ => None,
        };
        let named = architecture.map_or(SIDE, |architecture| architecture.side);
        let side = by_windows.unwrap_or(named);
        let mut assumed = Vec::new();
        if architecture.is_none() && !torchvision {
            assumed.push(format!(
                "a plain {} with zeros on all sides; config.json or --arch NAME says which",
                family.name()
            ));
        }
        Ok(Self {
            family,
            architecture,
            side,
            crop: CROP,
            mean,
            std,
            interpolation: None,
            torchvision,
            assumed,
        })
    }

    /// Takes what timm's configuration says.
    fn read(&mut self, json: &Json) -> Result<Pixels, String> {
        if let Some(arguments) = json["model_args"].as_object() {
            let harmless = |name: &String| HARMLESS_ARGUMENTS.contains(&name.as_str());
            if let Some(name) = arguments.keys().find(|name| !harmless(name)) {
                return Err(format!(
                    "model_args has {name}, expected at most {}",
                    HARMLESS_ARGUMENTS.join(", ")
                ));
            }
        }
        match json["global_pool"].as_str() {
            None | Some("avg") => {}
            Some(pool) => return Err(format!("global_pool is {pool}, expected avg")),
        }
        let pictures = &json["pretrained_cfg"];
        if let Some(size) = numbers(&pictures["input_size"]) {
            self.side = match size.as_slice() {
                [3.0, height, width] if height == width && side_is_known(*width) => *width as usize,
                _ => {
                    return Err(format!(
                        "input_size is {size:?}, expected 3 channels of a square with a side of 1 to {MAX_SIDE}"
                    ));
                }
            };
        }
        if let Some(crop) = pictures["crop_pct"].as_f64() {
            if !(0.1..=1.0).contains(&crop) {
                return Err(format!("crop_pct is {crop}, expected 0.1 to 1"));
            }
            self.crop = crop;
        }
        self.interpolation = pictures["interpolation"].as_str().map(str::to_owned);
        Ok(match pixels((&pictures["mean"], &pictures["std"]))? {
            Some(found) => {
                (self.mean, self.std) = found;
                Pixels::Said
            }
            None => Pixels::Assumed,
        })
    }

    /// Pixels of the shorter side of a picture, out of which the middle is cut.
    pub fn resize_shorter(&self) -> usize {
        (self.side as f64 / self.crop) as usize
    }
}

fn side_is_known(side: f64) -> bool {
    (1.0..=MAX_SIDE as f64).contains(&side) && side.fract() == 0.0
}

fn numbers(json: &Json) -> Option<Vec<f64>> {
    json.as_array()?.iter().map(Json::as_f64).collect()
}
