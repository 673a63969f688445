//! The recipe: one TOML file that says everything a training run depends on.
//!
//! Version 1 of the format. Unknown keys are refused, with the line and the nearest known key; numbers are checked for the
//! ranges stated at each field. Paths are relative to the recipe's folder unless [`crate::TrainOptions`] moves them.
//!
//! ```toml
//! version = 1
//! name = "lite0"
//! seed = 20
//!
//! [inputs]
//! prototypes = "prototypes.safetensors"
//! texts = "texts.safetensors"
//! pictures = "pictures.safetensors"
//!
//! [model]
//! embedding = 256
//!
//! [loss]
//! clip = 1.0
//!
//! [optimiser]
//! steps = 600
//! learning_rate = 2e-3
//!
//! [output]
//! folder = "out"
//! ```

mod toml_text;

use crate::TrainError;
use crate::device::DeviceName;
use serde::Deserialize;
use std::path::{Path, PathBuf};

pub use toml_text::recipe_version;
pub(crate) use toml_text::{hex, line_of_key, parse_toml, read_text, refuse};

/// The version of the recipe format that this crate reads.
pub const RECIPE_VERSION: u32 = 1;

/// A whole recipe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The format's version: [`RECIPE_VERSION`].
    pub version: u32,
    /// A name for reports.
    pub name: String,
    /// The seed of every random choice.
    pub seed: u64,
    /// The feature files.
    pub inputs: Inputs,
    /// The shape of the projections.
    pub model: Model,
    /// Where the parameters start; random numbers without it. Needs an affine text side.
    pub start: Option<Start>,
    /// The synthetic pictures that stand for the classes.
    #[serde(default)]
    pub synthetic: Synthetic,
    /// How the teacher's opinion of pictures without a label is made.
    #[serde(default)]
    pub teacher: Teacher,
    /// The weights of the losses.
    pub loss: Loss,
    /// The optimiser and its schedule.
    pub optimiser: Optimiser,
    /// What is written, and how often.
    pub output: Output,
}

/// Feature files, as [`crate::Features`] reads them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Class prototypes: the rows of the image encoder's classifier head.
    pub prototypes: PathBuf,
    /// Sentence features and the groups of classes that they name.
    pub texts: PathBuf,
    /// Features of pictures without labels.
    pub pictures: PathBuf,
    /// Other image encoders' features of the same pictures, with their heads: they join the teacher.
    #[serde(default)]
    pub teachers: Vec<PathBuf>,
    /// Features of the same pictures by an encoder that says which of them are alike, for `teacher.neighbours`. Without it
    /// the features of the image encoder and of the teachers say so.
    #[serde(default)]
    pub neighbourhood: Option<PathBuf>,
    /// Views of photographs at several sharpnesses, with the teachers' opinion of the sharp ones.
    #[serde(default)]
    pub photos: Option<PathBuf>,
}

/// The shape of the projections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Dimensions of the shared space, at least 2.
    pub embedding: usize,
    /// Keep the mean embedding of the pictures at zero: the image side's bias only centres the features and is not trained.
    /// A trained one learns how frequent the teacher finds each class, which says nothing of pictures to come.
    #[serde(default)]
    pub centred: bool,
    /// Start without the directions that lead from the pictures' mean to the photographs' mean at each sharpness, so that one
    /// centre serves pictures of every sharpness. Needs `inputs.photos` and `start`.
    #[serde(default)]
    pub shared_centre: bool,
    /// Width of the text side's hidden layer (GELU); 0 for an affine text side.
    #[serde(default)]
    pub text_hidden: usize,
    /// The logit scale to start from, above 0 and at most 100.
    #[serde(default = "initial_logit_scale")]
    pub logit_scale: f32,
}

/// The closed-form start: ridge regression of reduced rank from sentences to prototypes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The ridge, in mean variances of a text feature; above 0.
    pub ridge: f32,
    /// Weight of a group of several classes beside a class's 1; at least 0.
    pub groups: f32,
}

/// Synthetic pictures: class means of the linear-discriminant model that the classifier head implies, plus noise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// Length of a class mean from the centre, in root-mean-square distances of real pictures.
    pub distance: f32,
    /// Strength of the noise, which has the covariance of real pictures.
    pub noise: f32,
}

/// The posterior over classes that the frozen heads give a picture, made calmer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Teacher {
    /// Power of the mean posterior that each posterior is divided by: 0 leaves it, 1 makes all classes equally frequent.
    pub prior: f32,
    /// Nearest pictures (by cosine of centred features) whose posteriors are averaged; 1 leaves each its own.
    pub neighbours: usize,
    /// Sharpness of the neighbours' weights: the cosine is multiplied by it before the softmax.
    pub sharpness: f32,
    /// How often posteriors are averaged: averages of averages reach further, along chains of neighbours.
    pub rounds: usize,
}

/// The weights of the losses, each at least 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// [`crate::loss::clip_loss`] of synthetic pictures and class sentences.
    pub clip: f32,
    /// [`crate::loss::info_nce`] of real pictures against class sentences, with the teacher's posterior as target.
    pub pictures: f32,
    /// [`crate::loss::group_loss`] of real pictures and synthetic ones against group sentences.
    pub groups: f32,
    /// [`crate::loss::info_nce`] of sentences of related groups against class sentences, which it does not move.
    pub related: f32,
}

/// AdamW (Loshchilov and Hutter, 2019) with linear warm-up and cosine decay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimiser {
    /// Steps in all, at least 1.
    pub steps: usize,
    /// Where it computes.
    #[serde(default)]
    pub device: DeviceName,
    /// The highest learning rate, above 0.
    pub learning_rate: f32,
    /// Steps of warm-up.
    #[serde(default)]
    pub warmup: usize,
    /// Decoupled weight decay of the weight matrices.
    #[serde(default)]
    pub weight_decay: f32,
    /// Weight of the squared distance of the weight matrices from their start, in squared lengths of the start (L2-SP, Li
    /// et al., 2018).
    #[serde(default)]
    pub anchor: f32,
    /// The text side's learning rate, as a factor of `learning_rate`.
    #[serde(default = "default_text_rate")]
    pub text_rate: f32,
    /// Real pictures a step, at least 1.
    #[serde(default = "default_pictures")]
    pub pictures: usize,
    /// Views of photographs a step, beside the pictures; half of the synthetic pictures then take their noise from them.
    #[serde(default)]
    pub photos: usize,
    /// Where the product lies between the start (0) and the trained parameters (1). What is between knows more of words that
    /// training did not meet (Wortsman et al., 2022, arXiv 2109.01903).
    #[serde(default = "default_blend")]
    pub blend: f32,
    /// Synthetic pictures (each of another class) a step, at least 2.
    #[serde(default = "default_classes")]
    pub classes: usize,
    /// Group sentences a step, at least 2.
    #[serde(default = "default_groups")]
    pub groups: usize,
}

/// What is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The folder of all products.
    pub folder: PathBuf,
    /// Steps between checkpoints, at least 1.
    #[serde(default = "default_checkpoint_every")]
    pub checkpoint_every: usize,
    /// Steps between rows of the log, at least 1.
    #[serde(default = "default_log_every")]
    pub log_every: usize,
}

fn initial_logit_scale() -> f32 {
    14.0
}
fn default_text_rate() -> f32 {
    1.0
}
fn default_blend() -> f32 {
    1.0
}
fn default_pictures() -> usize {
    256
}
fn default_classes() -> usize {
    256
}
fn default_groups() -> usize {
    128
}
pub(crate) fn default_checkpoint_every() -> usize {
    100
}
pub(crate) fn default_log_every() -> usize {
    10
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            distance: 0.7,
            noise: 1.0,
        }
    }
}

impl Default for Teacher {
    fn default() -> Self {
        Self {
            prior: 0.0,
            neighbours: 1,
            sharpness: 20.0,
            rounds: 1,
        }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Self {
            clip: 1.0,
            pictures: 1.0,
            groups: 1.0,
            related: 0.0,
        }
    }
}

impl Recipe {
    /// Reads and checks the recipe at `path`; also gives the SHA-256 of its bytes in hexadecimal.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, has an unknown or missing key, or a number outside its range.
    pub fn load(path: &Path) -> Result<(Self, String), TrainError> {
        let (text, sha256) = read_text(path)?;
        Ok((Self::parse(&text, path)?, sha256))
    }

    /// Checks the recipe `text`; `path` is for the error messages.
    ///
    /// # Errors
    /// As [`Recipe::load`], but for the reading.
    pub fn parse(text: &str, path: &Path) -> Result<Self, TrainError> {
        let recipe: Self = parse_toml(text, path)?;
        refuse(recipe.faults(), text, path)?;
        Ok(recipe)
    }

    /// Every number outside its range: its key and what is wrong.
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.version != RECIPE_VERSION {
            faults.push((
                "version",
                format!("is {}, this program reads {RECIPE_VERSION}", self.version),
            ));
        }
        let counts = [
            ("embedding", self.model.embedding, 2),
            ("neighbours", self.teacher.neighbours, 1),
            ("rounds", self.teacher.rounds, 1),
            ("steps", self.optimiser.steps, 1),
            ("pictures", self.optimiser.pictures, 1),
            ("classes", self.optimiser.classes, 2),
            ("groups", self.optimiser.groups, 2),
            ("checkpoint_every", self.output.checkpoint_every, 1),
            ("log_every", self.output.log_every, 1),
        ];
        for (key, found, least) in counts {
            if found < least {
                faults.push((key, format!("is {found}, at least {least} is needed")));
            }
        }
        let numbers = [
            (
                "logit_scale",
                self.model.logit_scale,
                f32::MIN_POSITIVE,
                100.0,
            ),
            ("distance", self.synthetic.distance, 0.0, 100.0),
            ("noise", self.synthetic.noise, 0.0, 100.0),
            ("prior", self.teacher.prior, 0.0, 1.0),
            ("sharpness", self.teacher.sharpness, 0.0, 1000.0),
            ("clip", self.loss.clip, 0.0, 1000.0),
            ("pictures", self.loss.pictures, 0.0, 1000.0),
            ("groups", self.loss.groups, 0.0, 1000.0),
            ("related", self.loss.related, 0.0, 1000.0),
            (
                "learning_rate",
                self.optimiser.learning_rate,
                f32::MIN_POSITIVE,
                10.0,
            ),
            ("weight_decay", self.optimiser.weight_decay, 0.0, 10.0),
            ("anchor", self.optimiser.anchor, 0.0, 1000.0),
            ("text_rate", self.optimiser.text_rate, 0.0, 100.0),
            ("blend", self.optimiser.blend, 0.0, 1.0),
            (
                "ridge",
                self.start.as_ref().map_or(1.0, |start| start.ridge),
                f32::MIN_POSITIVE,
                1000.0,
            ),
            (
                "groups",
                self.start.as_ref().map_or(0.0, |start| start.groups),
                0.0,
                1000.0,
            ),
        ];
        for (key, found, least, most) in numbers {
            if !(least..=most).contains(&found) {
                faults.push((key, format!("is {found}, expected {least} to {most}")));
            }
        }
        if self.start.is_some() && self.model.text_hidden > 0 {
            faults.push((
                "text_hidden",
                "must be 0 with a `start`, which is affine".to_owned(),
            ));
        }
        let has_photos = self.inputs.photos.is_some();
        if self.model.shared_centre && !(has_photos && self.start.is_some()) {
            faults.push((
                "shared_centre",
                "needs `photos` among the inputs, and a `start`".to_owned(),
            ));
        }
        if self.optimiser.photos > 0 && !has_photos {
            faults.push((
                "photos",
                format!(
                    "is {}, and the inputs name no `photos`",
                    self.optimiser.photos
                ),
            ));
        }
        if self.inputs.neighbourhood.is_some() && self.teacher.neighbours < 2 {
            let found = self.teacher.neighbours;
            let message = format!(
                "is {found}, and the inputs name a `neighbourhood`, which is read for 2 and more"
            );
            faults.push(("neighbours", message));
        }
        if self.teacher.rounds > 1 && self.teacher.neighbours < 2 {
            let message = format!(
                "is {}, and `neighbours` under [teacher] is {}: there is nothing to average in rounds; give 2 and more",
                self.teacher.rounds, self.teacher.neighbours
            );
            faults.push(("rounds", message));
        }
        if self.loss.clip + self.loss.pictures + self.loss.groups == 0.0 {
            faults.push((
                "loss",
                "needs `clip`, `pictures` or `groups` above 0".to_owned(),
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::Recipe;
    use std::path::Path;

    const GOOD: &str = "version = 1\nname = \"t\"\nseed = 1\n[inputs]\nprototypes = \"p\"\ntexts = \"t\"\npictures = \"u\"\n\
                        [model]\nembedding = 8\n[loss]\nclip = 1.0\n[optimiser]\nsteps = 3\nlearning_rate = 1e-3\n\
                        [output]\nfolder = \"o\"\n";

    fn fault(text: &str) -> String {
        Recipe::parse(text, Path::new("r.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_recipe_is_read_with_its_defaults() {
        let recipe = Recipe::parse(GOOD, Path::new("r.toml")).unwrap();
        assert_eq!(
            (
                recipe.model.embedding,
                recipe.model.text_hidden,
                recipe.optimiser.groups
            ),
            (8, 0, 128)
        );
    }

    #[test]
    fn a_misspelled_key_is_named_with_its_line_and_the_nearest_key() {
        let message = fault(&GOOD.replace("steps", "stepz"));
        assert!(
            message.contains("line 13")
                && message.contains("`stepz`")
                && message.contains("`steps`"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        assert!(fault(&GOOD.replace("seed = 1\n", "")).contains("`seed`"));
    }

    #[test]
    fn numbers_out_of_range_are_all_named_with_found_and_expected() {
        let message = fault(
            &GOOD
                .replace("steps = 3", "steps = 0")
                .replace("1e-3", "-1.0"),
        );
        assert!(
            message.contains("`steps` is 0") && message.contains("`learning_rate` is -1"),
            "{message}"
        );
        assert!(message.contains("line 13"), "{message}");
    }

    #[test]
    fn what_needs_photos_is_refused_without_them() {
        let message = fault(&GOOD.replace("steps = 3", "steps = 3\nphotos = 5"));
        assert!(message.contains("`photos` is 5"), "{message}");
        let message = fault(&GOOD.replace("embedding = 8", "embedding = 8\nshared_centre = true"));
        assert!(message.contains("`shared_centre` needs"), "{message}");
    }

    #[test]
    fn a_neighbourhood_that_nothing_reads_is_refused() {
        let named = "[inputs]\nneighbourhood = \"n\"";
        let text = GOOD.replace("[inputs]", named);
        let message = fault(&text);
        assert!(message.contains("`neighbours` is 1"), "{message}");
        let read = text.replace("[loss]", "[teacher]\nneighbours = 2\n[loss]");
        Recipe::parse(&read, Path::new("r.toml")).unwrap();
    }

    #[test]
    fn rounds_without_neighbours_are_refused() {
        let with = |teacher: &str| GOOD.replace("[loss]", &format!("[teacher]\n{teacher}[loss]"));
        let message = fault(&with("rounds = 3\n"));
        assert!(
            message.contains("`rounds` is 3")
                && message.contains("`neighbours` under [teacher] is 1"),
            "{message}"
        );
        let read = with("neighbours = 2\nrounds = 3\n");
        Recipe::parse(&read, Path::new("r.toml")).unwrap();
    }

    #[test]
    fn a_number_that_is_not_a_number_is_refused() {
        assert!(fault(&GOOD.replace("1e-3", "nan")).contains("`learning_rate` is NaN"));
    }

    #[test]
    fn a_newer_version_is_refused() {
        assert!(
            fault(&GOOD.replace("version = 1", "version = 2")).contains("this program reads 1")
        );
    }
}
