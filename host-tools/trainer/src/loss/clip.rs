//! The symmetric contrastive loss of CLIP (Radford et al., 2021, arXiv 2103.00020, figure 3).
//!
//! With unit rows `x_i` (images) and `y_i` (texts), pair `i` belonging together, and a scale `s`,
//!
//! ```text
//! L = ½ · InfoNCE(s·X·Yᵀ, I) + ½ · InfoNCE(s·Y·Xᵀ, I)
//! ```

use burn::tensor::Tensor;

use super::error::{Inputs, LossError};
use super::info_nce;

/// The loss of paired unit rows `images` and `texts`, both `[pairs, embedding]`, at scale `logit_scale` `[1, 1]`.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn clip_loss(
    images: Tensor<2>,
    texts: Tensor<2>,
    logit_scale: Tensor<2>,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("clip_loss");
    let [pairs, width] = inputs.dims("images", &images)?;
    inputs.shape("texts", &texts, [pairs, width])?;
    inputs.scalar("logit_scale", &logit_scale)?;
    symmetric(images.matmul(texts.transpose()) * logit_scale)
}

/// The mean of InfoNCE over rows and over columns of `logits` `[pairs, pairs]`, whose diagonal is right.
pub(crate) fn symmetric(logits: Tensor<2>) -> Result<Tensor<1>, LossError> {
    let identity = Tensor::<2>::eye(logits.dims()[0], &logits.device());
    let of_images = info_nce(logits.clone(), identity.clone())?;
    let of_texts = info_nce(logits.transpose(), identity)?;
    Ok((of_images + of_texts).div_scalar(2.0))
}

#[cfg(test)]
mod tests {
    use super::clip_loss;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};

    #[test]
    fn swapping_the_sides_changes_nothing() {
        let (a, b) = ([[1.0f32, 0.0], [0.6, 0.8]], [[0.8f32, 0.6], [0.0, 1.0]]);
        let one = clip_loss(matrix(a), matrix(b), matrix([[5.0f32]]))
            .unwrap()
            .into_scalar::<f32>();
        let other = clip_loss(matrix(b), matrix(a), matrix([[5.0f32]]))
            .unwrap()
            .into_scalar::<f32>();
        assert!((one - other).abs() < 1e-6);
    }

    #[test]
    fn two_orthogonal_pairs_cost_what_the_formula_says() {
        // Logits are s on the diagonal and 0 off it: each term is ln(1 + e^(-s)).
        let unit = [[1.0f32, 0.0], [0.0, 1.0]];
        let loss = clip_loss(matrix(unit), matrix(unit), matrix([[2.0f32]])).unwrap();
        let loss = loss.into_scalar::<f32>();
        assert!((loss - (1.0 + (-2f32).exp()).ln()).abs() < 1e-6);
    }

    #[test]
    fn the_gradients_of_images_and_scale_are_those_of_finite_differences() {
        let texts = [[0.8f32, 0.6], [0.0, 1.0]];
        assert_gradient_matches_differences([[1.0, 0.0], [0.6, 0.8]], |x| {
            clip_loss(x, matrix(texts), matrix([[3.0f32]])).unwrap()
        });
        let images = [[1.0f32, 0.0], [0.6, 0.8]];
        assert_gradient_matches_differences([[3.0]], |s| {
            clip_loss(matrix(images), matrix(texts), s).unwrap()
        });
    }

    #[test]
    fn a_single_pair_costs_nothing() {
        let one = || matrix([[0.6f32, 0.8]]);
        let loss = clip_loss(one(), one(), matrix([[9.0f32]])).unwrap();
        assert_eq!(loss.into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn an_empty_batch_and_a_row_too_many_are_refused() {
        let (one, scale) = (|| matrix([[0.6f32, 0.8]]), || matrix([[9.0f32]]));
        let message = |images, texts| {
            let error = clip_loss(images, texts, scale()).unwrap_err();
            error.to_string()
        };
        let empty = matrix::<0, 2>([]);
        assert_eq!(
            message(empty, one()),
            "clip_loss: `images` is empty, expected at least one row and one column"
        );
        assert_eq!(
            message(one(), matrix([[0.6, 0.8], [1.0, 0.0]])),
            "clip_loss: `texts` is 2 by 2, expected 1 by 2"
        );
    }
}
