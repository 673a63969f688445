//! The caption loss of CoCa, and CoCa's sum of it and the contrastive loss (Yu et al., 2022, arXiv 2205.01917,
//! equations 3 and 4).
//!
//! A decoder gives logits `l_t` over `V` tokens at each of the positions `t` of a batch of captions, the batch
//! flattened: `[positions, V]`. With the right token `y_t`, over the `N` positions that are not padding, and label
//! smoothing `ε` (Szegedy et al., 2015, arXiv 1512.00567, section 7),
//!
//! ```text
//! L_cap  = −1/N · Σ_t ( (1 − ε)·ln p_t(y_t) + ε/V · Σ_v ln p_t(v) ),   p_t = softmax(l_t)
//! L_coca = λ_con·L_clip + λ_cap·L_cap
//! ```
//!
//! Learned: what gives the logits. Attention that hides later tokens is the decoder's business.

use burn::tensor::{Tensor, activation::log_softmax};

use super::clip_loss;
use super::distill::Towers;
use super::error::{Inputs, LossError};
use super::stable::{indices, pick};

/// How a caption loss reads its targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CaptionOptions {
    /// The token whose positions do not count.
    pub padding: Option<usize>,
    /// The share `ε` of the target that is spread over all tokens; at least 0, below 1.
    pub label_smoothing: f32,
}

/// The loss of `logits` `[positions, tokens]` against `targets`, one token a position.
///
/// # Errors
/// Inputs that are empty or disagree in number, a target that is no token, a smoothing outside `[0, 1)`, or nothing
/// but padding.
pub fn caption_loss(
    logits: Tensor<2>,
    targets: &[usize],
    options: CaptionOptions,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("caption_loss");
    let [positions, tokens] = inputs.dims("logits", &logits)?;
    inputs.count("targets", targets.len(), positions)?;
    let smoothing = options.label_smoothing;
    let is_fine = (0.0..1.0).contains(&smoothing);
    let range = "a number of at least 0 and below 1";
    inputs.setting("label_smoothing", smoothing, range, is_fine)?;
    let is_padding = |target: usize| options.padding == Some(target);
    let is_wrong = |&target: &usize| target >= tokens && !is_padding(target);
    if let Some(index) = targets.iter().position(is_wrong) {
        return Err(LossError::Label {
            loss: inputs.0,
            index,
            found: targets[index],
            limit: tokens,
        });
    }
    let counted: Vec<usize> = (0..positions)
        .filter(|&t| !is_padding(targets[t]))
        .collect();
    if counted.is_empty() {
        return Err(inputs.nothing("token that is not padding"));
    }
    let right: Vec<usize> = counted.iter().map(|&t| targets[t]).collect();
    let kept = logits
        .clone()
        .select(0, indices(&counted, &logits.device()));
    let log_probabilities = log_softmax(kept, 1);
    let of_right = pick(log_probabilities.clone(), &right).mean();
    if smoothing == 0.0 {
        return Ok(of_right.neg());
    }
    let of_all = log_probabilities.mean();
    Ok((of_right.mul_scalar(1.0 - smoothing) + of_all.mul_scalar(smoothing)).neg())
}

/// The weights of CoCa's two losses; the paper's are the default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CocaWeights {
    /// Of the contrastive loss.
    pub contrastive: f32,
    /// Of the caption loss.
    pub caption: f32,
}

impl Default for CocaWeights {
    fn default() -> Self {
        Self {
            contrastive: 1.0,
            caption: 2.0,
        }
    }
}

/// CoCa's loss of two `towers` and of caption `logits` `[positions, tokens]` with their `targets`.
///
/// # Errors
/// As [`clip_loss`] and [`caption_loss`].
pub fn coca_loss(
    towers: Towers,
    logits: Tensor<2>,
    targets: &[usize],
    options: CaptionOptions,
    weights: CocaWeights,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("coca_loss");
    inputs.not_negative("the contrastive weight", weights.contrastive)?;
    inputs.not_negative("the caption weight", weights.caption)?;
    let contrastive = clip_loss(towers.images, towers.texts, towers.logit_scale)?;
    let caption = caption_loss(logits, targets, options)?;
    Ok(contrastive.mul_scalar(weights.contrastive) + caption.mul_scalar(weights.caption))
}

#[cfg(test)]
mod tests {
    use super::{CaptionOptions, caption_loss};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    const LOGITS: [[f32; 3]; 3] = [[0.5, -0.2, 1.0], [0.1, 0.3, -0.4], [2.0, 0.0, 0.5]];

    fn smoothed(label_smoothing: f32) -> CaptionOptions {
        CaptionOptions {
            padding: Some(0),
            label_smoothing,
        }
    }

    #[test]
    fn padding_counts_for_nothing() {
        let all = caption_loss(matrix(LOGITS), &[2, 0, 1], smoothed(0.1)).unwrap();
        let kept = matrix([LOGITS[0], LOGITS[2]]);
        let some = caption_loss(kept, &[2, 1], smoothed(0.1)).unwrap();
        assert_eq!(elements(all), elements(some));
    }

    #[test]
    fn a_padding_token_may_lie_outside_the_vocabulary() {
        let options = CaptionOptions {
            padding: Some(99),
            ..CaptionOptions::default()
        };
        let loss = caption_loss(matrix([[0.0f32; 4]; 2]), &[99, 1], options).unwrap();
        assert!((elements(loss)[0] - 4f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        for smoothing in [0.0, 0.2] {
            assert_gradient_matches_differences(LOGITS, |x| {
                caption_loss(x, &[2, 0, 1], smoothed(smoothing)).unwrap()
            });
        }
    }

    #[test]
    fn tokens_out_of_range_and_batches_of_padding_are_refused() {
        let message = |targets: &[usize], smoothing| {
            let error = caption_loss(matrix(LOGITS), targets, smoothed(smoothing));
            error.unwrap_err().to_string()
        };
        assert_eq!(
            message(&[0, 1, 3], 0.0),
            "caption_loss: label 3 at index 2 is out of range, expected less than 3"
        );
        assert_eq!(
            message(&[0, 0, 0], 0.0),
            "caption_loss: the batch has no token that is not padding; draw batches that have some"
        );
        assert_eq!(
            message(&[0, 1, 2], 1.0),
            "caption_loss: label_smoothing is 1, expected a number of at least 0 and below 1"
        );
    }
}
