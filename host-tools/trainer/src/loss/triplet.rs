//! The triplet loss (Schroff, Kalenichenko and Philbin, 2015, FaceNet, arXiv 1503.03832, section 3.1).
//!
//! With the score `s` (FaceNet: the negative squared Euclidean distance of unit rows; torch: without the square),
//!
//! ```text
//! L = 1/triplets · Σ_i max(0, margin − s(a_i, p_i) + s(a_i, n_i))
//! ```
//!
//! the positive `p_i` has to score better than the negative `n_i` by the margin. Learned: all three, `[triplets,
//! dim]`. The paper sums; the mean keeps the learning rate apart from the number of triplets.
//! [`super::triplet_loss_in_batch`] finds triplets.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::error::{Inputs, LossError};
use super::score::Score;

/// The loss of `anchors`, `positives` and `negatives`, each `[triplets, dim]`.
///
/// # Errors
/// Inputs that are empty or disagree in shape, or a margin below 0.
pub fn triplet_loss(
    anchors: Tensor<2>,
    positives: Tensor<2>,
    negatives: Tensor<2>,
    margin: f32,
    score: &Score,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("triplet_loss");
    let dims = inputs.dims("anchors", &anchors)?;
    inputs.shape("positives", &positives, dims)?;
    inputs.shape("negatives", &negatives, dims)?;
    inputs.not_negative("margin", margin)?;
    let near = score.rows(anchors.clone(), positives)?;
    let far = score.rows(anchors, negatives)?;
    Ok(hinge(near, far, margin))
}

/// Mean of `max(0, margin − near + far)` over scores `[triplets, 1]`.
pub(crate) fn hinge(near: Tensor<2>, far: Tensor<2>, margin: f32) -> Tensor<1> {
    relu((far - near).add_scalar(margin)).mean()
}

#[cfg(test)]
mod tests {
    use super::triplet_loss;
    use crate::loss::Score;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    #[test]
    fn the_value_is_the_margin_less_the_difference_of_distances() {
        let (anchor, near, far) = ([[0.0f32, 0.0]], [[0.0f32, 1.0]], [[2.0f32, 0.0]]);
        let loss = |margin| {
            let [a, p, n] = [anchor, near, far].map(matrix);
            elements(triplet_loss(a, p, n, margin, &Score::SquaredL2).unwrap())[0]
        };
        assert_eq!(loss(3.5), 0.5);
        assert_eq!(loss(2.5), 0.0);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (near, far) = ([[0.0f32, 1.0]], [[0.6f32, 0.8]]);
        for score in [Score::L2, Score::SquaredL2, Score::Cosine, Score::L1] {
            assert_gradient_matches_differences([[0.3, 0.5]], |a| {
                triplet_loss(a, matrix(near), matrix(far), 1.0, &score).unwrap()
            });
        }
    }

    #[test]
    fn shapes_that_disagree_and_margins_that_are_no_numbers_are_refused() {
        let one = || matrix([[1.0f32, 0.0]]);
        let error = triplet_loss(one(), one(), matrix([[1.0f32]]), 0.2, &Score::L2).unwrap_err();
        let message = "triplet_loss: `negatives` is 1 by 1, expected 1 by 2";
        assert_eq!(error.to_string(), message);
        let error = triplet_loss(one(), one(), one(), f32::NAN, &Score::L2).unwrap_err();
        let message = "triplet_loss: margin is NaN, expected a number of at least 0";
        assert_eq!(error.to_string(), message);
    }
}
