//! Distillation: what a student takes over from a teacher whose numbers are given, one loss a file.
//!
//! No loss here moves a teacher: its tensors are cut from the gradient graph first. Widths of student and teacher
//! have to agree only where a row of one meets a row of the other; [`feature_loss`] brings a projection.

mod affinity;
mod clip_kd;
mod contrastive;
mod feature;
mod interactive;
mod logits;
mod relation;

use burn::tensor::Tensor;

pub use affinity::affinity_loss;
pub use clip_kd::{ClipKdWeights, clip_kd_loss};
pub use contrastive::{contrastive_distill_loss, crd_loss};
pub use feature::{FeatureDistance, feature_loss};
pub use interactive::interactive_loss;
pub use logits::logit_distill_loss;
pub use relation::relation_loss;

use super::error::{Inputs, LossError};

/// The two towers of a dual encoder over one batch.
#[derive(Clone, Debug)]
pub struct Towers {
    /// Unit rows of images, `[pairs, embedding]`.
    pub images: Tensor<2>,
    /// Unit rows of their texts, `[pairs, embedding]`.
    pub texts: Tensor<2>,
    /// The scale of logits, `[1, 1]`.
    pub logit_scale: Tensor<2>,
}

impl Towers {
    /// The same numbers, as constants.
    pub(crate) fn detach(self) -> Self {
        Self {
            images: self.images.detach(),
            texts: self.texts.detach(),
            logit_scale: self.logit_scale.detach(),
        }
    }

    /// Logits of images against texts, `[pairs, pairs]`.
    pub(crate) fn logits(self) -> Tensor<2> {
        self.images.matmul(self.texts.transpose()) * self.logit_scale
    }
}

/// Pairs and width of `towers`, after checks that name the `images` and `texts` as given.
fn check(
    inputs: Inputs,
    towers: &Towers,
    [images, texts, scale]: [&'static str; 3],
) -> Result<[usize; 2], LossError> {
    let dims = inputs.dims(images, &towers.images)?;
    inputs.shape(texts, &towers.texts, dims)?;
    inputs.scalar(scale, &towers.logit_scale)?;
    Ok(dims)
}

/// The same of a student and of its teacher, whose number of pairs is to be the same.
fn check_both(
    inputs: Inputs,
    student: &Towers,
    teacher: &Towers,
) -> Result<[[usize; 2]; 2], LossError> {
    let names = ["student images", "student texts", "student logit_scale"];
    let of_student = check(inputs, student, names)?;
    let names = ["teacher images", "teacher texts", "teacher logit_scale"];
    let [pairs, width] = check(inputs, teacher, names)?;
    inputs.shape("teacher images", &teacher.images, [of_student[0], width])?;
    Ok([of_student, [pairs, width]])
}
