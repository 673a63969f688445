//! The three losses that CLIP-KD adds to CLIP's own (Yang et al., 2024, arXiv 2307.12732).
//!
//! ```text
//! L = λ_FD·L_FD + λ_CRD·L_CRD + λ_ICL·L_ICL
//! L_FD    mean squared differences of embeddings of images, and of texts ([`feature_loss`])
//! L_CRD   the teacher's affinities of a batch ([`affinity_loss`])
//! L_ICL   the student's rows among the teacher's ([`interactive_loss`])
//! ```
//!
//! Learned: the student's rows and scale. A student of another width is projected to the teacher's before.

use burn::tensor::Tensor;

use super::{FeatureDistance, Towers, affinity_loss, check_both, feature_loss, interactive_loss};
use crate::loss::error::{Inputs, LossError};

/// The weights of the three; the paper's are the default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipKdWeights {
    /// Of feature distillation, whose differences of unit rows are small.
    pub feature: f32,
    /// Of contrastive relational distillation.
    pub relational: f32,
    /// Of interactive contrastive learning.
    pub interactive: f32,
}

impl Default for ClipKdWeights {
    fn default() -> Self {
        Self {
            feature: 2000.0,
            relational: 1.0,
            interactive: 1.0,
        }
    }
}

/// The weighted sum for `student` and `teacher` over the same pairs, both of one width.
///
/// # Errors
/// Inputs that are empty or disagree in shape, or a weight below 0.
pub fn clip_kd_loss(
    student: Towers,
    teacher: Towers,
    weights: ClipKdWeights,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("clip_kd_loss");
    let [dims, _] = check_both(inputs, &student, &teacher)?;
    inputs.shape("teacher images", &teacher.images, dims)?;
    inputs.not_negative("the feature weight", weights.feature)?;
    inputs.not_negative("the relational weight", weights.relational)?;
    inputs.not_negative("the interactive weight", weights.interactive)?;
    let distance = FeatureDistance::MeanSquared;
    let feature = |a: &Tensor<2>, b: &Tensor<2>| feature_loss(a.clone(), b.clone(), None, distance);
    let features =
        feature(&student.images, &teacher.images)? + feature(&student.texts, &teacher.texts)?;
    let relational = affinity_loss(student.clone(), teacher.clone())?;
    let interactive = interactive_loss(student, teacher)?;
    Ok(features.mul_scalar(weights.feature)
        + relational.mul_scalar(weights.relational)
        + interactive.mul_scalar(weights.interactive))
}

#[cfg(test)]
mod tests {
    use super::{ClipKdWeights, clip_kd_loss};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::loss::{Towers, interactive_loss};
    use crate::model::elements;
    use burn::tensor::Tensor;

    const IMAGES: [[f32; 2]; 2] = [[1.0, 0.0], [0.6, 0.8]];

    fn towers(images: Tensor<2>) -> Towers {
        Towers {
            images,
            texts: matrix([[0.8f32, 0.6], [0.0, 1.0]]),
            logit_scale: matrix([[3.0f32]]),
        }
    }

    #[test]
    fn a_student_that_is_the_teacher_pays_for_interaction_alone() {
        let (student, teacher) = (towers(matrix(IMAGES)), towers(matrix(IMAGES)));
        let interactive = interactive_loss(student.clone(), teacher.clone()).unwrap();
        let all = clip_kd_loss(student, teacher, ClipKdWeights::default()).unwrap();
        assert!((elements(all)[0] - elements(interactive)[0]).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let weights = ClipKdWeights {
            feature: 3.0,
            relational: 2.0,
            interactive: 0.5,
        };
        assert_gradient_matches_differences(IMAGES, |x| {
            let teacher = towers(matrix([[0.3f32, 0.9], [0.9, -0.2]]));
            clip_kd_loss(towers(x), teacher, weights).unwrap()
        });
    }

    #[test]
    fn a_weight_below_zero_is_refused() {
        let weights = ClipKdWeights {
            feature: -1.0,
            ..ClipKdWeights::default()
        };
        let both = towers(matrix(IMAGES));
        let error = clip_kd_loss(both.clone(), both, weights).unwrap_err();
        let message = "clip_kd_loss: the feature weight is -1, expected a number of at least 0";
        assert_eq!(error.to_string(), message);
    }
}
