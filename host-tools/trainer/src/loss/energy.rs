//! All contrast as energies (LeCun et al., 2006, A Tutorial on Energy-Based Learning, section 2).
//!
//! A model gives each answer an energy, low for what fits; here the energy of a pair is its negative score. A loss
//! pulls the energy `E_y` of the right answer down and pushes others up. With `E_w` the lowest energy of a wrong
//! answer,
//!
//! ```text
//! perceptron                E_y − min_j E_j
//! hinge                     max(0, margin + E_y − E_w)
//! log                       ln(1 + exp(E_y − E_w))
//! square-square             E_y² + max(0, margin − E_w)²
//! negative log-likelihood   E_y − F_β,   F_β = −1/β · ln Σ_j exp(−β·E_j)
//! ```
//!
//! `F_β` is the free energy of all answers. The other losses of this library are cases of these:
//!
//! ```text
//! InfoNCE, CLIP   negative log-likelihood at β = 1 of E = −scale·s, whose right answer is the paired row
//! SupCon, inside  F of the positives − F of all, both at β = 1, + ln |P|
//! triplet         hinge of two answers
//! SigLIP, NCE     log of two answers, yes with energy −logit and no with energy 0
//! Hadsell's pair  square-square of the distance, one term a pair
//! ```
//!
//! Learned: `energies` `[rows, answers]`. A batch of one row is fine; hinge, log and square-square need two answers.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::error::{Inputs, LossError};
use super::stable::{log_sum_exp, mask, minus_log_sigmoid, pick};

/// A function of the energies of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EnergyForm {
    /// The right answer's above the lowest.
    Perceptron,
    /// The right answer's is to be lower by the margin than that of every wrong one.
    Hinge {
        /// At least 0.
        margin: f32,
    },
    /// The hinge, smooth.
    Log,
    /// The right answer's squared, and what the lowest wrong one lacks to the margin.
    SquareSquare {
        /// Above 0.
        margin: f32,
    },
    /// The right answer's above the free energy of all.
    NegativeLogLikelihood {
        /// The inverse temperature, above 0.
        beta: f32,
    },
}

/// The free energies `[rows, 1]` of rows of `energies` `[rows, answers]` at the inverse temperature `beta`: a soft
/// minimum.
///
/// # Errors
/// No energies, or a `beta` that is not above 0.
pub fn free_energy(energies: Tensor<2>, beta: f32) -> Result<Tensor<2>, LossError> {
    let inputs = Inputs("free_energy");
    inputs.dims("energies", &energies)?;
    inputs.positive("beta", beta)?;
    Ok(log_sum_exp(energies.mul_scalar(-beta)).div_scalar(-beta))
}

/// The loss of rows of `energies` `[rows, answers]`, of which `answers[i]` is the right one of row `i`, averaged over
/// rows.
///
/// # Errors
/// Inputs that are empty or disagree in number, answers out of range, settings out of range, or no wrong answer where
/// one is needed.
pub fn energy_loss(
    energies: Tensor<2>,
    answers: &[usize],
    form: EnergyForm,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("energy_loss");
    let [rows, count] = inputs.dims("energies", &energies)?;
    inputs.count("answers", answers.len(), rows)?;
    inputs.labels(answers, count)?;
    let right = pick(energies.clone(), answers);
    let costs = match form {
        EnergyForm::Perceptron => right - energies.min_dim(1),
        EnergyForm::NegativeLogLikelihood { beta } => right - free_energy(energies, beta)?,
        EnergyForm::Hinge { margin } => {
            inputs.not_negative("margin", margin)?;
            relu((right - wrong(inputs, energies, answers)?).add_scalar(margin))
        }
        EnergyForm::Log => minus_log_sigmoid(wrong(inputs, energies, answers)? - right),
        EnergyForm::SquareSquare { margin } => {
            inputs.positive("margin", margin)?;
            let short = relu(wrong(inputs, energies, answers)?.neg().add_scalar(margin));
            right.square() + short.square()
        }
    };
    Ok(costs.mean())
}

/// The lowest energy of a wrong answer in each row, `[rows, 1]`.
fn wrong(inputs: Inputs, energies: Tensor<2>, answers: &[usize]) -> Result<Tensor<2>, LossError> {
    let dims = energies.dims();
    if dims[1] < 2 {
        return Err(inputs.nothing("wrong answer"));
    }
    let is_right = mask(dims, &energies.device(), |row, column| {
        answers[row] == column
    });
    Ok(energies.mask_fill(is_right, f32::MAX).min_dim(1))
}

#[cfg(test)]
mod tests {
    use super::{EnergyForm, energy_loss, free_energy};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::loss::{Negatives, PositiveSum, Score};
    use crate::loss::{contrastive_loss, info_nce_loss, siglip_loss, sup_con_loss, triplet_loss};
    use crate::model::elements;
    use burn::tensor::Tensor;

    const A: [[f32; 2]; 3] = [[0.8, 0.6], [1.0, 0.1], [-0.6, 0.8]];
    const B: [[f32; 2]; 3] = [[0.7, 0.7], [0.0, 1.0], [-0.9, 0.4]];

    fn value(loss: Tensor<1>) -> f32 {
        elements(loss)[0]
    }

    /// −5 times the scores of all pairs of `A` and `B`.
    fn energies() -> Tensor<2> {
        let scores = Score::Dot.pairs(matrix(A), matrix(B)).unwrap();
        scores.mul_scalar(-5.0)
    }

    #[test]
    fn info_nce_is_the_free_energy_of_a_batch() {
        let nll = EnergyForm::NegativeLogLikelihood { beta: 1.0 };
        let found = value(energy_loss(energies(), &[0, 1, 2], nll).unwrap());
        let (score, scale) = (Score::Dot, matrix([[5.0f32]]));
        let same = info_nce_loss(matrix(A), matrix(B), Negatives::InBatch, &score, scale);
        assert!((found - value(same.unwrap())).abs() < 1e-6);
    }

    #[test]
    fn a_cold_free_energy_is_the_minimum_and_a_hot_one_counts_answers() {
        let cold = elements(free_energy(matrix([[3.0f32, 1.0, 2.0]]), 100.0).unwrap())[0];
        assert!((cold - 1.0).abs() < 1e-6, "{cold}");
        let hot = elements(free_energy(matrix([[3.0f32, 1.0, 2.0]]), 1e-3).unwrap())[0];
        assert!((hot + 1e3 * 3f32.ln() - 2.0).abs() < 1e-2, "{hot}");
    }

    #[test]
    fn a_triplet_is_a_hinge_of_two_answers() {
        let distance = |to| Score::L2.rows(matrix(A), matrix(to)).unwrap().neg();
        let both = Tensor::cat(vec![distance(B), distance([A[1], A[2], A[0]])], 1);
        let hinge = EnergyForm::Hinge { margin: 0.8 };
        let found = value(energy_loss(both, &[0, 0, 0], hinge).unwrap());
        let negatives = matrix([A[1], A[2], A[0]]);
        let same = triplet_loss(matrix(A), matrix(B), negatives, 0.8, &Score::L2);
        assert!((found - value(same.unwrap())).abs() < 1e-6);
    }

    #[test]
    fn siglip_is_the_log_loss_of_yes_and_no() {
        let (scale, bias) = (5.0f32, -2.0f32);
        let yes = energies().sub_scalar(bias).reshape([9, 1]);
        let both = Tensor::cat(vec![yes.zeros_like(), yes], 1);
        let answers: Vec<usize> = (0..9).map(|pair| usize::from(pair % 4 == 0)).collect();
        let mean = value(energy_loss(both, &answers, EnergyForm::Log).unwrap());
        let same = siglip_loss(matrix(A), matrix(B), matrix([[scale]]), matrix([[bias]]));
        assert!((3.0 * mean - value(same.unwrap())).abs() < 1e-6);
    }

    #[test]
    fn a_pair_is_half_a_square_square() {
        let energy = Score::L2.rows(matrix(A), matrix(B)).unwrap().neg();
        // The wrong answer of a pair that belongs together is far away, and the right one of a pair that does not
        // costs 0.
        let far = energy.zeros_like().add_scalar(9.0);
        let form = EnergyForm::SquareSquare { margin: 1.5 };
        let together = Tensor::cat(vec![energy.clone(), far], 1);
        let apart = Tensor::cat(vec![energy.zeros_like(), energy], 1);
        for (energies, same) in [(together, true), (apart, false)] {
            let found = value(energy_loss(energies, &[0, 0, 0], form).unwrap());
            let pairs = contrastive_loss(matrix(A), matrix(B), &[same; 3], 1.5).unwrap();
            assert!((found / 2.0 - value(pairs)).abs() < 1e-6);
        }
    }

    #[test]
    fn sup_con_inside_is_a_difference_of_free_energies() {
        let rows = [A[0], A[1], B[0], B[2]];
        let free = |of: Tensor<2>| elements(free_energy(of, 1.0).unwrap())[0];
        // Of each anchor of label 0: itself, its two positives, the negative.
        let costs = [[0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 1, 3]].map(|[a, p, q, n]: [usize; 4]| {
            let others = matrix([rows[p], rows[q], rows[n]]);
            let scores = Score::Dot.pairs(matrix([rows[a]]), others).unwrap();
            let energies = scores.mul_scalar(-5.0);
            free(energies.clone().narrow(1, 0, 2)) - free(energies) + 2f32.ln()
        });
        let expected = costs.iter().sum::<f32>() / 3.0;
        let (score, scale) = (Score::Dot, matrix([[5.0f32]]));
        let inside = PositiveSum::Inside;
        let found = sup_con_loss(matrix(rows), &[0, 0, 0, 1], &score, scale, inside).unwrap();
        assert!((value(found) - expected).abs() < 1e-5);
    }

    #[test]
    fn the_gradients_are_those_of_finite_differences() {
        for form in [
            EnergyForm::Perceptron,
            EnergyForm::Hinge { margin: 1.0 },
            EnergyForm::Log,
            EnergyForm::SquareSquare { margin: 1.0 },
            EnergyForm::NegativeLogLikelihood { beta: 2.0 },
        ] {
            assert_gradient_matches_differences([[0.5, 0.1, 0.9], [-0.3, 0.4, 0.2]], |e| {
                energy_loss(e, &[0, 2], form).unwrap()
            });
        }
    }

    #[test]
    fn a_right_answer_alone_has_no_wrong_one() {
        let error = energy_loss(matrix([[1.0f32]]), &[0], EnergyForm::Log).unwrap_err();
        let message = "energy_loss: the batch has no wrong answer; draw batches that have some";
        assert_eq!(error.to_string(), message);
        let error = energy_loss(matrix([[1.0f32]]), &[1], EnergyForm::Perceptron).unwrap_err();
        let message = "energy_loss: label 1 at index 0 is out of range, expected less than 1";
        assert_eq!(error.to_string(), message);
    }
}
