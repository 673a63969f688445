//! Augmentations: the changes to a picture that its embedding should not tell.
//!
//! A list of them, each in a file with its parameters, is read from TOML and applied in its order. Every one has a
//! `probability` and draws from a generator of its own, which depends on the [`Draw`] and on its place in the list:
//! what one draws does not shift the draws of those behind it. Pixels are sRGB-coded numbers in 0..=1 at the
//! encoder's resolution, and stay in that range.
//!
//! ```
//! use pinhole_trainer::data::Augmentations;
//!
//! let text = r#"
//!     [[augmentation]]
//!     kind = "horizontal_flip"
//!
//!     [[augmentation]]
//!     kind = "blur"
//!     sigma = [0.1, 2.0]
//! "#;
//! assert_eq!(Augmentations::parse(text, "augmentations.toml".as_ref())?.len(), 2);
//! # Ok::<(), pinhole_trainer::data::LoadError>(())
//! ```

mod blur;
mod crop;
mod cut_out;
mod exposure;
mod flip;
mod grey;
mod jitter;
mod noise;
mod range;
mod rotation;
#[cfg(test)]
mod tests;
mod white_balance;

use std::path::Path;

use image::RgbImage;
use pinhole_runtime::preprocess::InputGeometry;
use serde::Deserialize;

pub use blur::Blur;
pub use crop::RandomResizedCrop;
pub use cut_out::CutOut;
pub use exposure::Exposure;
pub use flip::HorizontalFlip;
pub use grey::Grey;
pub use jitter::ColourJitter;
pub use noise::CameraNoise;
pub use rotation::Rotation;
pub use white_balance::WhiteBalance;

use super::error::LoadError;
use super::pixels::Pixels;
use super::resample::resample;
use super::seed::Draw;
use crate::rng::Rng;
use range::Faults;

/// One augmentation; the key `kind` of its table says which.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Augmentation {
    /// A part of the picture, resized. Only at the front of the list, because it works at the picture's own resolution.
    RandomResizedCrop(RandomResizedCrop),
    /// Left and right exchanged.
    HorizontalFlip(HorizontalFlip),
    /// Brightness, contrast, saturation and hue.
    ColourJitter(ColourJitter),
    /// Gaussian blur.
    Blur(Blur),
    /// Colours to grey.
    Grey(Grey),
    /// Rotation by an angle.
    Rotation(Rotation),
    /// A rectangle without content.
    CutOut(CutOut),
    /// Shot and read noise of a sensor.
    CameraNoise(CameraNoise),
    /// More or less light.
    Exposure(Exposure),
    /// Light of another colour.
    WhiteBalance(WhiteBalance),
}

/// What all augmentations of pixels share.
trait Invariance {
    /// How often it is applied.
    fn probability(&self) -> f32;

    /// Tells every parameter outside its range.
    fn check(&self, faults: &mut Faults);

    /// Draws parameters and changes the pixels.
    fn apply(&self, pixels: &mut Pixels, rng: &mut Rng);
}

impl Augmentation {
    /// The value of `kind` and the changes, `None` for the crop.
    fn parts(&self) -> (&'static str, Option<&dyn Invariance>) {
        match self {
            Self::RandomResizedCrop(_) => ("random_resized_crop", None),
            Self::HorizontalFlip(x) => ("horizontal_flip", Some(x)),
            Self::ColourJitter(x) => ("colour_jitter", Some(x)),
            Self::Blur(x) => ("blur", Some(x)),
            Self::Grey(x) => ("grey", Some(x)),
            Self::Rotation(x) => ("rotation", Some(x)),
            Self::CutOut(x) => ("cut_out", Some(x)),
            Self::CameraNoise(x) => ("camera_noise", Some(x)),
            Self::Exposure(x) => ("exposure", Some(x)),
            Self::WhiteBalance(x) => ("white_balance", Some(x)),
        }
    }

    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        self.parts().0
    }

    /// Every augmentation with its default parameters, always applied.
    pub fn all() -> Vec<Self> {
        let probability = 1.0;
        vec![
            Self::RandomResizedCrop(RandomResizedCrop::default()),
            Self::HorizontalFlip(HorizontalFlip { probability }),
            Self::ColourJitter(ColourJitter::default()),
            Self::Blur(Blur::default()),
            Self::Grey(Grey { probability }),
            Self::Rotation(Rotation::default()),
            Self::CutOut(CutOut::default()),
            Self::CameraNoise(CameraNoise::default()),
            Self::Exposure(Exposure::default()),
            Self::WhiteBalance(WhiteBalance::default()),
        ]
    }
}

/// A list of augmentations, applied in its order.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Augmentations(Vec<Augmentation>);

/// A file that holds the list alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AugmentationFile {
    #[serde(default)]
    augmentation: Augmentations,
}

impl Augmentations {
    /// A checked list.
    ///
    /// # Errors
    /// [`LoadError::Settings`] with every parameter outside its range.
    pub fn new(list: Vec<Augmentation>) -> Result<Self, LoadError> {
        let list = Self(list);
        match list.faults() {
            faults if faults.is_empty() => Ok(list),
            faults => Err(LoadError::Settings { faults }),
        }
    }

    /// Reads tables `[[augmentation]]`; `path` is for the error messages.
    ///
    /// # Errors
    /// [`LoadError::Toml`] for text of another form or an unknown key, [`LoadError::Settings`] as
    /// [`Augmentations::new`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, LoadError> {
        let file: AugmentationFile = toml::from_str(text).map_err(|error| LoadError::Toml {
            path: path.to_path_buf(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        Self::new(file.augmentation.0)
    }

    /// Every parameter outside its range: its key, what was found and what was expected. [`Augmentations::new`]
    /// leaves none; a list that is part of another file is to be checked by its reader.
    pub fn faults(&self) -> Vec<String> {
        let mut list = Vec::new();
        for (index, augmentation) in self.0.iter().enumerate() {
            let place = format!("augmentation[{index}] ({})", augmentation.kind());
            let mut faults = Faults::new(&place, &mut list);
            match augmentation {
                Augmentation::RandomResizedCrop(crop) => {
                    crop.check(&mut faults);
                    if index > 0 {
                        faults.tell(
                            "kind",
                            "must be the first of the list, it works on the whole picture",
                        );
                    }
                }
                other => {
                    if let Some(invariance) = other.parts().1 {
                        faults.number("probability", invariance.probability(), [0.0, 1.0]);
                        invariance.check(&mut faults);
                    }
                }
            }
        }
        list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether views are the pictures as they are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One view of a picture at the size of `geometry`.
    ///
    /// # Errors
    /// [`LoadError::Geometry`] where the geometry is out of range or the picture too large.
    pub fn view(
        &self,
        picture: &RgbImage,
        geometry: &InputGeometry,
        draw: Draw,
    ) -> Result<Pixels, LoadError> {
        let mut rng = draw.rng("view");
        let mut rngs = self.0.iter().map(|_| Rng::new(rng.next_u64()));
        let (mut pixels, rest) = match self.0.split_first() {
            Some((Augmentation::RandomResizedCrop(crop), rest)) => {
                let rng = rngs.next();
                let drawn = rng.and_then(|mut rng| crop.draw(picture.dimensions(), &mut rng));
                let pixels = match drawn {
                    Some(part) => {
                        resample(picture, part, geometry.width.into(), geometry.height.into())
                    }
                    None => Pixels::fitted(picture, geometry)?,
                };
                (pixels, rest)
            }
            _ => (Pixels::fitted(picture, geometry)?, self.0.as_slice()),
        };
        for (augmentation, mut rng) in rest.iter().zip(rngs) {
            if let Some(invariance) = augmentation.parts().1 {
                // Drawn in any case, so that another probability leaves the parameters as they were.
                let is_applied = rng.unit() < invariance.probability();
                if is_applied {
                    invariance.apply(&mut pixels, &mut rng);
                }
            }
        }
        Ok(pixels)
    }
}
