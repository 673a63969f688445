//! The sigmoid loss of SigLIP (Zhai et al., 2023, arXiv 2303.15343, section 3.2): every pair of a batch is a question
//! of its own.
//!
//! With unit rows `x_i` (images) and `y_j` (texts), a scale `t`, a bias `b`, and `z_ij` 1 on the diagonal and −1 off
//! it,
//!
//! ```text
//! L = −1/pairs · Σ_i Σ_j ln σ( z_ij · (t·x_i·y_j + b) )
//! ```
//!
//! No sum runs over the batch inside a logarithm. Learned: rows, `ln t` and `b`; the paper starts with `t = 10`, `b =
//! −10`, for nearly all questions have the answer no.

use burn::tensor::Tensor;

use super::error::{Inputs, LossError};
use super::stable::minus_log_sigmoid;

/// The loss of paired unit rows `images` and `texts`, both `[pairs, embedding]`, with `logit_scale` and `logit_bias`,
/// `[1, 1]` each.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn siglip_loss(
    images: Tensor<2>,
    texts: Tensor<2>,
    logit_scale: Tensor<2>,
    logit_bias: Tensor<2>,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("siglip_loss");
    let [pairs, width] = inputs.dims("images", &images)?;
    inputs.shape("texts", &texts, [pairs, width])?;
    inputs.scalar("logit_scale", &logit_scale)?;
    inputs.scalar("logit_bias", &logit_bias)?;
    let signs = Tensor::<2>::eye(pairs, &images.device())
        .mul_scalar(2.0)
        .sub_scalar(1.0);
    let logits = images.matmul(texts.transpose()) * logit_scale + logit_bias;
    let costs = minus_log_sigmoid(logits * signs);
    Ok(costs.sum().div_scalar(pairs as f32))
}

#[cfg(test)]
mod tests {
    use super::siglip_loss;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    #[test]
    fn two_orthogonal_pairs_cost_what_the_formula_says() {
        // Logits are 10 − 10 on the diagonal and −10 off it.
        let unit = || matrix([[1.0f32, 0.0], [0.0, 1.0]]);
        let (scale, bias) = (matrix([[10.0f32]]), matrix([[-10.0f32]]));
        let loss = elements(siglip_loss(unit(), unit(), scale, bias).unwrap())[0];
        let expected = 2f32.ln() + (-10f32).exp().ln_1p();
        assert!((loss - expected).abs() < 1e-7, "{loss}");
    }

    #[test]
    fn the_gradients_of_images_scale_and_bias_are_those_of_finite_differences() {
        let (images, texts) = ([[1.0f32, 0.0], [0.6, 0.8]], [[0.8f32, 0.6], [0.0, 1.0]]);
        let (scale, bias) = ([[3.0f32]], [[-1.0f32]]);
        assert_gradient_matches_differences(images, |x| {
            siglip_loss(x, matrix(texts), matrix(scale), matrix(bias)).unwrap()
        });
        assert_gradient_matches_differences(scale, |s| {
            siglip_loss(matrix(images), matrix(texts), s, matrix(bias)).unwrap()
        });
        assert_gradient_matches_differences(bias, |b| {
            siglip_loss(matrix(images), matrix(texts), matrix(scale), b).unwrap()
        });
    }

    #[test]
    fn a_bias_a_row_is_refused() {
        let one = || matrix([[1.0f32, 0.0]]);
        let bias = matrix([[1.0f32, 0.0]]);
        let error = siglip_loss(one(), one(), matrix([[1.0f32]]), bias).unwrap_err();
        let message = "siglip_loss: `logit_bias` is 1 by 2, expected 1 by 1";
        assert_eq!(error.to_string(), message);
    }
}
