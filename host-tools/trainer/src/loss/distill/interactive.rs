//! Interactive contrastive learning (Yang et al., 2024, CLIP-KD, arXiv 2307.12732): the student's images look for their
//! texts among the teacher's, its texts for their images among the teacher's.
//!
//! With the student's unit rows `x`, `y` (images, texts), the teacher's `X`, `Y`, and a scale `s`,
//!
//! ```text
//! L = ½ · InfoNCE(s·x·Yᵀ, I) + ½ · InfoNCE(s·y·Xᵀ, I)
//! ```
//!
//! Learned: `x`, `y` `[pairs, embedding]`, and `s`, which is the student's here. Widths have to agree.

use burn::tensor::Tensor;

use super::{Towers, check_both};
use crate::loss::error::{Inputs, LossError};
use crate::loss::info_nce;

/// The loss of `student` against `teacher` over the same pairs, at the student's scale.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn interactive_loss(student: Towers, teacher: Towers) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("interactive_loss");
    let [dims, _] = check_both(inputs, &student, &teacher)?;
    inputs.shape("teacher images", &teacher.images, dims)?;
    let teacher = teacher.detach();
    let identity = Tensor::<2>::eye(dims[0], &student.images.device());
    let scale = student.logit_scale;
    let of_images = student.images.matmul(teacher.texts.transpose()) * scale.clone();
    let of_texts = student.texts.matmul(teacher.images.transpose()) * scale;
    let sum = info_nce(of_images, identity.clone())? + info_nce(of_texts, identity)?;
    Ok(sum.div_scalar(2.0))
}

#[cfg(test)]
mod tests {
    use super::interactive_loss;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::loss::{Towers, clip_loss};
    use crate::model::elements;

    const IMAGES: [[f32; 2]; 2] = [[1.0, 0.0], [0.6, 0.8]];
    const TEXTS: [[f32; 2]; 2] = [[0.8, 0.6], [0.0, 1.0]];

    fn towers(images: [[f32; 2]; 2]) -> Towers {
        Towers {
            images: matrix(images),
            texts: matrix(TEXTS),
            logit_scale: matrix([[3.0f32]]),
        }
    }

    #[test]
    fn a_student_that_is_the_teacher_pays_the_loss_of_clip() {
        let found = interactive_loss(towers(IMAGES), towers(IMAGES)).unwrap();
        let clip = clip_loss(matrix(IMAGES), matrix(TEXTS), matrix([[3.0f32]])).unwrap();
        assert!((elements(found)[0] - elements(clip)[0]).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        assert_gradient_matches_differences(IMAGES, |x| {
            let student = Towers {
                images: x,
                ..towers(IMAGES)
            };
            interactive_loss(student, towers([[0.3, 0.9], [0.9, -0.2]])).unwrap()
        });
    }

    #[test]
    fn widths_that_disagree_are_refused() {
        let student = Towers {
            images: matrix([[1.0f32], [1.0]]),
            texts: matrix([[1.0f32], [1.0]]),
            logit_scale: matrix([[1.0f32]]),
        };
        let error = interactive_loss(student, towers(IMAGES)).unwrap_err();
        let message = "interactive_loss: `teacher images` is 2 by 2, expected 2 by 1";
        assert_eq!(error.to_string(), message);
    }
}
