//! Supervised contrastive learning (Khosla et al., 2020, arXiv 2004.11362, equations 2 and 3).
//!
//! With logits `l_ij = scale·s(x_i, x_j)`, `A(i)` all rows but `i` and `P(i)` those of its label, over the anchors
//! `i` with a `P(i)`,
//!
//! ```text
//! L_out = 1/anchors · Σ_i −1/|P(i)| · Σ_{p∈P(i)} ln( exp(l_ip) / Σ_{a∈A(i)} exp(l_ia) )
//! L_in  = 1/anchors · Σ_i −ln( 1/|P(i)| · Σ_{p∈P(i)} exp(l_ip) / Σ_{a∈A(i)} exp(l_ia) )
//! ```
//!
//! The sum over positives is outside the logarithm, which the paper finds better, or inside. `L_in` is at most
//! `L_out` (Jensen). With one positive a row both are InfoNCE. Learned: `embeddings` `[batch, dim]`, unit rows in the
//! paper, and the scale.

use burn::tensor::Tensor;

use super::error::{Inputs, LossError};
use super::score::Score;
use super::stable::{column, indices, mask, masked_log_sum_exp};

/// Where the sum over the positives of an anchor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PositiveSum {
    /// `L_out`: outside the logarithm.
    #[default]
    Outside,
    /// `L_in`: inside.
    Inside,
}

/// The loss of `embeddings` `[batch, dim]`, of which rows with the same label belong together, at scale `logit_scale`
/// `[1, 1]`. Anchors whose label no other row has are passed over, and are negatives of the others.
///
/// # Errors
/// Inputs that are empty or disagree in number, or a batch where no two rows share a label.
pub fn sup_con_loss(
    embeddings: Tensor<2>,
    labels: &[usize],
    score: &Score,
    logit_scale: Tensor<2>,
    sum: PositiveSum,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("sup_con_loss");
    let [batch, _] = inputs.dims("embeddings", &embeddings)?;
    inputs.count("labels", labels.len(), batch)?;
    inputs.scalar("logit_scale", &logit_scale)?;
    let positives = |i: usize| {
        (0..batch)
            .filter(|&j| j != i && labels[j] == labels[i])
            .count()
    };
    let anchors: Vec<usize> = (0..batch).filter(|&i| positives(i) > 0).collect();
    if anchors.is_empty() {
        return Err(inputs.nothing("two rows of one label"));
    }
    let device = embeddings.device();
    let chosen = embeddings.clone().select(0, indices(&anchors, &device));
    let logits = score.pairs(chosen, embeddings)? * logit_scale;
    let shape = [anchors.len(), batch];
    let is_self = mask(shape, &device, |i, j| anchors[i] == j);
    let all = masked_log_sum_exp(logits.clone(), is_self);
    let is_other = mask(shape, &device, |i, j| {
        anchors[i] == j || labels[anchors[i]] != labels[j]
    });
    let counts: Vec<f32> = anchors.iter().map(|&i| positives(i) as f32).collect();
    let counts = column(counts, &device);
    let right = match sum {
        PositiveSum::Outside => logits.mask_fill(is_other, 0.0).sum_dim(1) / counts,
        PositiveSum::Inside => masked_log_sum_exp(logits, is_other) - counts.log(),
    };
    Ok((all - right).mean())
}

#[cfg(test)]
mod tests {
    use super::{PositiveSum, sup_con_loss};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::loss::{LossError, Negatives, Score, info_nce_loss};
    use crate::model::elements;

    const ROWS: [[f32; 2]; 4] = [[0.8, 0.6], [1.0, 0.1], [-0.6, 0.8], [0.3, 0.9]];

    fn loss(labels: [usize; 4], sum: PositiveSum) -> Result<f32, LossError> {
        let scale = matrix([[4.0f32]]);
        sup_con_loss(matrix(ROWS), &labels, &Score::Dot, scale, sum).map(|loss| elements(loss)[0])
    }

    #[test]
    fn one_positive_a_row_makes_both_forms_info_nce() {
        let outside = loss([0, 0, 1, 2], PositiveSum::Outside).unwrap();
        let inside = loss([0, 0, 1, 2], PositiveSum::Inside).unwrap();
        assert!((outside - inside).abs() < 1e-6);
        let negatives = Negatives::Shared(matrix([ROWS[2], ROWS[3]]));
        let [a, b] = [matrix([ROWS[0], ROWS[1]]), matrix([ROWS[1], ROWS[0]])];
        let same = info_nce_loss(a, b, negatives, &Score::Dot, matrix([[4.0f32]])).unwrap();
        assert!((elements(same)[0] - outside).abs() < 1e-6);
    }

    #[test]
    fn inside_is_at_most_outside() {
        let outside = loss([0, 0, 0, 1], PositiveSum::Outside).unwrap();
        let inside = loss([0, 0, 0, 1], PositiveSum::Inside).unwrap();
        assert!(inside < outside, "{inside}, {outside}");
    }

    #[test]
    fn the_gradients_are_those_of_finite_differences() {
        for sum in [PositiveSum::Outside, PositiveSum::Inside] {
            assert_gradient_matches_differences(ROWS, |x| {
                let scale = matrix([[4.0f32]]);
                sup_con_loss(x, &[0, 0, 0, 1], &Score::Dot, scale, sum).unwrap()
            });
        }
    }

    #[test]
    fn a_batch_without_a_pair_is_refused() {
        let error = loss([0, 1, 2, 3], PositiveSum::Outside).unwrap_err();
        let message =
            "sup_con_loss: the batch has no two rows of one label; draw batches that have some";
        assert_eq!(error.to_string(), message);
    }
}
