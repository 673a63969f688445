//! Noise-contrastive estimation (Gutmann and Hyvärinen, 2012, JMLR 13, section 2; 2010 in AISTATS for `ν = 1`).
//!
//! A model gives samples a score `s`, the logarithm of a density up to a constant, and learns to tell data from
//! samples of a noise distribution whose density `p_n` is known. With `ν` noise samples for each of `T` of the data
//! and the log-normaliser `c`,
//!
//! ```text
//! G(u) = s(u) − c − ln p_n(u) − ln ν       log-odds that u is data
//! L    = −1/T · ( Σ_t ln σ(G(x_t)) + Σ_t' ln(1 − σ(G(y_t'))) )       t' runs over T·ν samples of noise
//! ```
//!
//! Learned: the scores, `[T, 1]` and `[T·ν, 1]`, and `c` `[1, 1]`, which the optimum makes the true normaliser.

use burn::tensor::Tensor;

use super::error::{Inputs, LossError};
use super::stable::minus_log_sigmoid;

/// Samples as the model and the noise distribution see them.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The model's scores, `[samples, 1]`.
    pub scores: Tensor<2>,
    /// ln of the noise density at the same samples, `[samples, 1]`.
    pub log_noise: Tensor<2>,
}

/// The loss of samples of the `data` and of the `noise`, with the model's `log_normaliser` `[1, 1]`.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn nce_loss(
    data: Scored,
    noise: Scored,
    log_normaliser: Tensor<2>,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("nce_loss");
    let of_data = inputs.rows("scores of data", &data.scores, 1)?;
    let of_noise = inputs.rows("scores of noise", &noise.scores, 1)?;
    inputs.shape("log_noise of data", &data.log_noise, [of_data, 1])?;
    inputs.shape("log_noise of noise", &noise.log_noise, [of_noise, 1])?;
    inputs.scalar("log_normaliser", &log_normaliser)?;
    let log_ratio = (of_noise as f32 / of_data as f32).ln();
    let odds = |samples: Scored| {
        (samples.scores - log_normaliser.clone() - samples.log_noise).sub_scalar(log_ratio)
    };
    let costs = minus_log_sigmoid(odds(data)).sum() + minus_log_sigmoid(odds(noise).neg()).sum();
    Ok(costs.div_scalar(of_data as f32))
}

#[cfg(test)]
mod tests {
    use super::{Scored, nce_loss};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    fn scored<const R: usize>(scores: [[f32; 1]; R], log_noise: [[f32; 1]; R]) -> Scored {
        Scored {
            scores: matrix(scores),
            log_noise: matrix(log_noise),
        }
    }

    #[test]
    fn a_model_that_is_the_noise_cannot_tell() {
        // Log-odds are ln(1 / ν): one sample of data, two of noise.
        let data = scored([[-1.0]], [[-1.0]]);
        let noise = scored([[-2.0], [-3.0]], [[-2.0], [-3.0]]);
        let loss = elements(nce_loss(data, noise, matrix([[0.0f32]])).unwrap())[0];
        let expected = -(1f32 / 3.0).ln() - 2.0 * (2f32 / 3.0).ln();
        assert!((loss - expected).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn the_gradients_of_scores_and_normaliser_are_those_of_finite_differences() {
        let noise = || {
            scored(
                [[0.3], [-0.8], [0.1], [1.0]],
                [[-1.0], [-2.0], [-1.5], [-0.5]],
            )
        };
        let log_noise = || matrix([[-1.2f32], [-0.7]]);
        assert_gradient_matches_differences([[0.5], [-0.4]], |scores| {
            let log_noise = log_noise();
            nce_loss(Scored { scores, log_noise }, noise(), matrix([[0.2f32]])).unwrap()
        });
        assert_gradient_matches_differences([[0.2]], |c| {
            let data = scored([[0.5], [-0.4]], [[-1.2], [-0.7]]);
            nce_loss(data, noise(), c).unwrap()
        });
    }

    #[test]
    fn scores_of_several_columns_are_refused() {
        let noise = scored([[0.0]], [[0.0]]);
        let data = Scored {
            scores: matrix([[1.0f32, 2.0]]),
            log_noise: matrix([[0.0f32]]),
        };
        let error = nce_loss(data, noise, matrix([[0.0f32]])).unwrap_err();
        let message = "nce_loss: `scores of data` is 1 by 2, expected 1 by 1";
        assert_eq!(error.to_string(), message);
    }
}
