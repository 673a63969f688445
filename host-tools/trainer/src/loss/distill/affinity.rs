//! Affinity mimicking (Wu et al., 2023, TinyCLIP, arXiv 2309.12314, section 3.1), which is also the contrastive
//! relational distillation of CLIP-KD (Yang et al., 2024, arXiv 2307.12732).
//!
//! Each tower pair gives logits `l = scale·X·Yᵀ` of images `X` against texts `Y`, and two distributions of a batch,
//!
//! ```text
//! A_I2T = softmax over texts of l            A_T2I = softmax over images of lᵀ        [pairs, pairs] each
//! L = ½ · ( KL(A_I2T of teacher ‖ A_I2T of student) + KL(A_T2I of teacher ‖ A_T2I of student) )     means over rows
//! ```
//!
//! TinyCLIP writes the cross-entropy, which is `KL` and the teacher's entropy, a constant. Learned: the student's
//! rows and scale. Widths of student and teacher may differ: only their batches meet.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use super::{Towers, check_both};
use crate::loss::error::{Inputs, LossError};

/// The loss of `student` and `teacher` over the same pairs.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn affinity_loss(student: Towers, teacher: Towers) -> Result<Tensor<1>, LossError> {
    check_both(Inputs("affinity_loss"), &student, &teacher)?;
    let (found, wanted) = (student.logits(), teacher.detach().logits());
    let of_images = divergence(found.clone(), wanted.clone());
    let of_texts = divergence(found.transpose(), wanted.transpose());
    Ok((of_images + of_texts).div_scalar(2.0))
}

/// `KL(softmax(wanted) ‖ softmax(found))`, averaged over rows of logits of one shape.
fn divergence(found: Tensor<2>, wanted: Tensor<2>) -> Tensor<1> {
    let (found, wanted) = (log_softmax(found, 1), log_softmax(wanted, 1));
    (wanted.clone().exp() * (wanted - found)).sum_dim(1).mean()
}

#[cfg(test)]
mod tests {
    use super::affinity_loss;
    use crate::loss::Towers;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;
    use burn::tensor::Tensor;

    const TEXTS: [[f32; 2]; 2] = [[0.8, 0.6], [0.0, 1.0]];

    fn towers(images: Tensor<2>) -> Towers {
        Towers {
            images,
            texts: matrix(TEXTS),
            logit_scale: matrix([[3.0f32]]),
        }
    }

    #[test]
    fn a_student_that_is_the_teacher_costs_nothing() {
        let images = || matrix([[1.0f32, 0.0], [0.6, 0.8]]);
        let loss = affinity_loss(towers(images()), towers(images())).unwrap();
        assert!(elements(loss)[0].abs() < 1e-7);
    }

    #[test]
    fn a_single_pair_has_one_affinity_and_nothing_to_learn() {
        let one = |x, y| Towers {
            images: matrix([[x, y]]),
            texts: matrix([[1.0, 0.0]]),
            logit_scale: matrix([[3.0]]),
        };
        let loss = affinity_loss(one(1.0f32, 0.0), one(0.6, 0.8)).unwrap();
        assert_eq!(elements(loss), [0.0]);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences_and_the_teacher_has_none() {
        assert_gradient_matches_differences([[1.0, 0.0], [0.6, 0.8]], |x| {
            let teacher = towers(matrix([[0.3f32, 0.9], [0.9, -0.2]]));
            affinity_loss(towers(x), teacher).unwrap()
        });
        let of_teacher = matrix([[0.3f32, 0.9], [0.9, -0.2]]).require_grad();
        let student = matrix([[1.0f32, 0.0], [0.6, 0.8]]).require_grad();
        let loss = affinity_loss(towers(student), towers(of_teacher.clone())).unwrap();
        assert!(of_teacher.grad(&loss.backward()).is_none());
    }

    #[test]
    fn batches_that_disagree_are_refused() {
        let teacher = Towers {
            images: matrix([[1.0f32]]),
            texts: matrix([[1.0f32]]),
            logit_scale: matrix([[1.0f32]]),
        };
        let error = affinity_loss(towers(matrix(TEXTS)), teacher).unwrap_err();
        let message = "affinity_loss: `teacher images` is 1 by 1, expected 2 by 1";
        assert_eq!(error.to_string(), message);
    }
}
