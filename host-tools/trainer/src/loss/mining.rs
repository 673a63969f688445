//! Triplets found in a batch (Schroff et al., 2015, FaceNet, arXiv 1503.03832, section 3.2; Hermans, Beyer and Leibe,
//! 2017, arXiv 1703.07737, section 2, for the hard ones).
//!
//! Every row is an anchor `a`, rows of its label are positives `p`, rows of other labels negatives `n`; `s` is the
//! score.
//!
//! ```text
//! All        every (a, p, n)
//! SemiHard   every (a, p), and of the n with s(a, p) − margin < s(a, n) < s(a, p) the one of the largest s(a, n)
//! Hard       every a, its p of the smallest s(a, p), its n of the largest s(a, n)
//! L = 1/triplets · Σ max(0, margin − s(a, p) + s(a, n))
//! ```
//!
//! Which triplets they are is decided without gradients. Pairs without a semi-hard negative are left out; a batch
//! where no pair has one costs 0. Learned: `embeddings` `[batch, dim]`. `All` needs memory for batch³ triplets at
//! most, the others for batch².

use burn::tensor::Tensor;

use super::error::{Inputs, LossError};
use super::score::Score;
use super::stable::indices;
use super::triplet::hinge;
use crate::model::elements;

/// Which triplets of a batch are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// Every one.
    All,
    /// For every positive pair, the best-scored negative that scores worse than the positive, by less than the margin.
    SemiHard,
    /// For every anchor, its worst-scored positive and its best-scored negative.
    Hard,
}

/// The triplet loss of `embeddings` `[batch, dim]`, of which rows with the same label belong together.
///
/// # Errors
/// Inputs that are empty or disagree in number, a margin below 0, or labels that allow no triplet.
pub fn triplet_loss_in_batch(
    embeddings: Tensor<2>,
    labels: &[usize],
    margin: f32,
    score: &Score,
    mining: Mining,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("triplet_loss_in_batch");
    let [batch, _] = inputs.dims("embeddings", &embeddings)?;
    inputs.count("labels", labels.len(), batch)?;
    inputs.not_negative("margin", margin)?;
    let has_triplets = |&a: &usize| {
        let of_label = labels.iter().filter(|&&label| label == labels[a]).count();
        of_label > 1 && of_label < batch
    };
    if !(0..batch).any(|a| has_triplets(&a)) {
        return Err(inputs.nothing("two rows of one label beside one of another"));
    }
    let pairs = score.pairs(embeddings.clone(), embeddings)?;
    let found = triplets(&elements(pairs.clone().detach()), labels, margin, mining);
    let pairs = pairs.reshape([batch * batch, 1]);
    if found.is_empty() {
        return Ok(pairs.sum().mul_scalar(0.0));
    }
    let device = pairs.device();
    let at = |of: fn(&[usize; 3]) -> usize| {
        let flat: Vec<usize> = found.iter().map(|t| t[0] * batch + of(t)).collect();
        pairs.clone().select(0, indices(&flat, &device))
    };
    Ok(hinge(at(|t| t[1]), at(|t| t[2]), margin))
}

/// Anchor, positive and negative of each triplet, by scores `[batch, batch]`.
fn triplets(scores: &[f32], labels: &[usize], margin: f32, mining: Mining) -> Vec<[usize; 3]> {
    let batch = labels.len();
    let mut found = Vec::new();
    for a in 0..batch {
        let row = &scores[a * batch..(a + 1) * batch];
        let better = |x: &usize, y: &usize| row[*x].total_cmp(&row[*y]);
        let positives = || (0..batch).filter(|&p| p != a && labels[p] == labels[a]);
        let negatives = || (0..batch).filter(|&n| labels[n] != labels[a]);
        match mining {
            Mining::All => {
                found.extend(positives().flat_map(|p| negatives().map(move |n| [a, p, n])));
            }
            Mining::SemiHard => found.extend(positives().filter_map(|p| {
                let is_semi_hard = |&n: &usize| row[n] < row[p] && row[n] > row[p] - margin;
                let hardest = negatives().filter(is_semi_hard).max_by(better)?;
                Some([a, p, hardest])
            })),
            Mining::Hard => {
                let hardest = (positives().min_by(better), negatives().max_by(better));
                if let (Some(p), Some(n)) = hardest {
                    found.push([a, p, n]);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Mining, triplet_loss_in_batch, triplets};
    use crate::loss::Score;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    const LABELS: [usize; 4] = [7, 7, 7, 9];
    // Scores of each anchor with each row.
    const SCORES: [f32; 16] = [
        0.0, -1.0, -3.0, -2.0, //
        -1.0, 0.0, -2.0, -0.5, //
        -3.0, -2.0, 0.0, -9.0, //
        -2.0, -0.5, -9.0, 0.0,
    ];

    #[test]
    fn each_way_finds_the_triplets_that_it_promises() {
        let all = triplets(&SCORES, &LABELS, 2.0, Mining::All);
        assert_eq!(all.len(), 6);
        let semi = triplets(&SCORES, &LABELS, 2.0, Mining::SemiHard);
        assert_eq!(semi, [[0, 1, 3]]);
        let hard = triplets(&SCORES, &LABELS, 2.0, Mining::Hard);
        assert_eq!(hard, [[0, 2, 3], [1, 2, 3], [2, 0, 3]]);
    }

    #[test]
    fn a_batch_without_semi_hard_negatives_costs_nothing_and_moves_nothing() {
        let x = matrix([[0.0f32], [0.1], [9.0]]).require_grad();
        let (l2, semi) = (Score::L2, Mining::SemiHard);
        let loss = triplet_loss_in_batch(x.clone(), &[0, 0, 1], 0.2, &l2, semi).unwrap();
        assert_eq!(elements(loss.clone()), [0.0]);
        assert_eq!(elements(x.grad(&loss.backward()).unwrap()), [0.0; 3]);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        for mining in [Mining::All, Mining::SemiHard, Mining::Hard] {
            assert_gradient_matches_differences([[0.1, 0.9], [0.5, 0.2], [-0.4, 0.1]], |x| {
                triplet_loss_in_batch(x, &[0, 0, 1], 1.0, &Score::L2, mining).unwrap()
            });
        }
    }

    #[test]
    fn labels_without_a_triplet_are_refused() {
        for labels in [[1, 1, 1], [1, 2, 3]] {
            let x = matrix([[0.0f32], [0.1], [9.0]]);
            let error = triplet_loss_in_batch(x, &labels, 0.2, &Score::L2, Mining::All);
            let message = error.unwrap_err().to_string();
            assert!(message.contains("no two rows of one label"), "{message}");
        }
    }
}
