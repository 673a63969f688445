//! The symmetric contrastive loss of CLIP (Radford et al., 2021, arXiv 2103.00020, figure 3).
//!
//! With unit rows `x_i` (images) and `y_i` (texts), pair `i` belonging together, and a scale `s`,
//!
//! ```text
//! L = ½ · InfoNCE(s·X·Yᵀ, I) + ½ · InfoNCE(s·Y·Xᵀ, I)
//! ```

use super::info_nce;
use burn::tensor::Tensor;

/// The loss of paired unit rows `images` and `texts`, both `[pairs, embedding]`, at scale `logit_scale` `[1, 1]`.
pub fn clip_loss(images: Tensor<2>, texts: Tensor<2>, logit_scale: Tensor<2>) -> Tensor<1> {
    let pairs = images.dims()[0];
    let identity = Tensor::<2>::eye(pairs, &images.device());
    let logits = images.matmul(texts.transpose()) * logit_scale;
    let of_images = info_nce(logits.clone(), identity.clone());
    let of_texts = info_nce(logits.transpose(), identity);
    (of_images + of_texts).div_scalar(2.0)
}

#[cfg(test)]
mod tests {
    use super::clip_loss;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};

    #[test]
    fn swapping_the_sides_changes_nothing() {
        let (a, b) = ([[1.0f32, 0.0], [0.6, 0.8]], [[0.8f32, 0.6], [0.0, 1.0]]);
        let one = clip_loss(matrix(a), matrix(b), matrix([[5.0f32]])).into_scalar::<f32>();
        let other = clip_loss(matrix(b), matrix(a), matrix([[5.0f32]])).into_scalar::<f32>();
        assert!((one - other).abs() < 1e-6);
    }

    #[test]
    fn two_orthogonal_pairs_cost_what_the_formula_says() {
        // Logits are s on the diagonal and 0 off it: each term is ln(1 + e^(-s)).
        let unit = [[1.0f32, 0.0], [0.0, 1.0]];
        let loss = clip_loss(matrix(unit), matrix(unit), matrix([[2.0f32]])).into_scalar::<f32>();
        assert!((loss - (1.0 + (-2f32).exp()).ln()).abs() < 1e-6);
    }

    #[test]
    fn the_gradients_of_images_and_scale_are_those_of_finite_differences() {
        let texts = [[0.8f32, 0.6], [0.0, 1.0]];
        assert_gradient_matches_differences([[1.0, 0.0], [0.6, 0.8]], |x| {
            clip_loss(x, matrix(texts), matrix([[3.0f32]]))
        });
        let images = [[1.0f32, 0.0], [0.6, 0.8]];
        assert_gradient_matches_differences([[3.0]], |s| {
            clip_loss(matrix(images), matrix(texts), s)
        });
    }
}
