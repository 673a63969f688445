//! The contrastive loss of pairs (Hadsell, Chopra and LeCun, 2006, Dimensionality Reduction by Learning an Invariant
//! Mapping, equation 4).
//!
//! With `D_i = ‖a_i − b_i‖` and `y_i` one where pair `i` belongs together (the paper's `Y` is zero there),
//!
//! ```text
//! L = 1/pairs · Σ_i  y_i · ½·D_i²                      what belongs together is pulled together
//!                 + (1 − y_i) · ½·max(0, margin − D_i)²  what does not is pushed apart, up to the margin
//! ```
//!
//! Learned: `a` and `b` `[pairs, dim]`. A different pair whose rows are equal has no direction to part in: its
//! gradient is 0.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::error::{Inputs, LossError};
use super::score::{Score, square_root};
use super::stable::column;

/// The loss of pairs of rows of `a` and `b`, both `[pairs, dim]`; `same[i]` says that pair `i` belongs together.
///
/// # Errors
/// Inputs that are empty or disagree in shape, or a margin that is not above 0.
pub fn contrastive_loss(
    a: Tensor<2>,
    b: Tensor<2>,
    same: &[bool],
    margin: f32,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("contrastive_loss");
    let dims = inputs.dims("a", &a)?;
    inputs.shape("b", &b, dims)?;
    inputs.count("same", same.len(), dims[0])?;
    inputs.positive("margin", margin)?;
    let weight = |of: bool| same.iter().map(|&is| f32::from(is == of)).collect();
    let device = a.device();
    let (together, apart) = (
        column(weight(true), &device),
        column(weight(false), &device),
    );
    let squares = Score::SquaredL2.rows(a, b)?.neg();
    let short = relu(square_root(squares.clone()).neg().add_scalar(margin));
    let costs = together * squares + apart * short.square();
    Ok(costs.mean().div_scalar(2.0))
}

#[cfg(test)]
mod tests {
    use super::contrastive_loss;
    use crate::loss::LossError;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    #[test]
    fn a_pair_apart_by_more_than_the_margin_costs_nothing() {
        let (a, b) = (matrix([[0.0f32, 3.0]]), matrix([[0.0f32, 0.0]]));
        let loss = contrastive_loss(a.clone(), b.clone(), &[false], 2.0).unwrap();
        assert_eq!(elements(loss), [0.0]);
        let loss = contrastive_loss(a, b, &[true], 2.0).unwrap();
        assert_eq!(elements(loss), [4.5]);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let b = [[0.2f32, 0.1], [0.4, -0.3]];
        assert_gradient_matches_differences([[0.8, 0.6], [-0.1, 0.4]], |a| {
            contrastive_loss(a, matrix(b), &[true, false], 1.5).unwrap()
        });
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        let error = contrastive_loss(matrix([[1.0f32]]), matrix([[1.0f32]]), &[], 1.0);
        let message = "contrastive_loss: `same` has 0 elements, expected 1";
        assert_eq!(error.unwrap_err().to_string(), message);
        let error = contrastive_loss(matrix([[1.0f32]]), matrix([[1.0f32]]), &[true], 0.0);
        assert!(matches!(
            error,
            Err(LossError::Setting { name: "margin", .. })
        ));
    }
}
