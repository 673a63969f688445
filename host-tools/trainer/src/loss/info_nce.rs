//! InfoNCE with soft targets (van den Oord et al., 2018, arXiv 1807.03748, equation 4).
//!
//! With logits `l` of shape `[rows, columns]` and target distributions `t` of the same shape, whose rows sum to one,
//!
//! ```text
//! L = −1/rows · Σ_i w_i Σ_j t_ij · log( exp(l_ij) / Σ_k exp(l_ik) )
//! ```
//!
//! The paper's loss is the case where every row of `t` has a single one and every `w_i` is 1. A soft row says of a picture
//! without a label how much of each class text a classifier sees in it.

use burn::tensor::{Tensor, activation::log_softmax};

/// The loss of `logits` `[rows, columns]` against `targets` `[rows, columns]`, averaged over rows: shape `[1]`.
pub fn info_nce(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let rows = logits.dims()[0] as f32;
    (log_softmax(logits, 1) * targets)
        .sum()
        .neg()
        .div_scalar(rows)
}

#[cfg(test)]
mod tests {
    use super::info_nce;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};

    #[test]
    fn equal_logits_cost_the_logarithm_of_the_number_of_columns() {
        let loss = info_nce(
            matrix([[0.5f32; 4]; 2]),
            matrix([[1.0, 0.0, 0.0, 0.0], [0.25; 4]]),
        );
        assert!((loss.into_scalar::<f32>() - 4f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_value_is_that_of_the_formula() {
        let logits = [[1.0f32, 2.0, 0.5], [0.0, -1.0, 3.0]];
        let targets = [[0.2f32, 0.7, 0.1], [0.0, 0.0, 1.0]];
        let mut expected = 0.0f64;
        for (row, target) in logits.iter().zip(&targets) {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            for (&x, &t) in row.iter().zip(target) {
                expected -= f64::from(t) * (f64::from(x) - sum.ln()) / 2.0;
            }
        }
        let loss = info_nce(matrix(logits), matrix(targets)).into_scalar::<f32>();
        assert!(
            (f64::from(loss) - expected).abs() < 1e-6,
            "{loss} is not {expected}"
        );
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let targets = [[0.2f32, 0.7, 0.1], [0.0, 0.0, 1.0]];
        assert_gradient_matches_differences([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], |x| {
            info_nce(x, matrix(targets))
        });
    }
}
