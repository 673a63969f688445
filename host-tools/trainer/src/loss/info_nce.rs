//! InfoNCE (van den Oord et al., 2018, arXiv 1807.03748, equation 4): which of several keys belongs to a query.
//!
//! With logits `l` of shape `[rows, columns]` and target distributions `t` of the same shape, whose rows sum to one,
//!
//! ```text
//! L = −1/rows · Σ_i w_i Σ_j t_ij · log( exp(l_ij) / Σ_k exp(l_ik) )
//! ```
//!
//! The paper's loss is the case where every row of `t` has a single one and every `w_i` is 1. A soft row says of a
//! picture without a label how much of each class text a classifier sees in it.
//!
//! [`info_nce_loss`] makes the logits: `l_ij = scale·s(q_i, k_j)`, the first key the positive, the others the
//! negatives: those that are given, or the positives of the other queries of the batch.

use burn::tensor::{Tensor, activation::log_softmax};

use super::error::{Inputs, LossError};
use super::score::Score;
use super::stable::{log_sum_exp, pick};

/// Where negatives come from.
#[derive(Clone, Debug)]
pub enum Negatives {
    /// The positives of the other queries.
    InBatch,
    /// `[m, dim]`, the same for every query, such as a queue of earlier keys.
    Shared(Tensor<2>),
    /// `[queries·k, dim]`, of which rows `i·k` to `i·k + k` are those of query `i`.
    Own(Tensor<2>),
}

/// The loss of `logits` `[rows, columns]` against `targets` `[rows, columns]`, averaged over rows: shape `[1]`.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn info_nce(logits: Tensor<2>, targets: Tensor<2>) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("info_nce");
    let dims = inputs.dims("logits", &logits)?;
    inputs.shape("targets", &targets, dims)?;
    Ok((log_softmax(logits, 1) * targets)
        .sum()
        .neg()
        .div_scalar(dims[0] as f32))
}

/// The loss of `queries` and their `positives`, both `[queries, dim]`, at scale `logit_scale` `[1, 1]`, the inverse
/// of a temperature; with a bilinear score `positives` and negatives have the width that it asks for.
///
/// # Errors
/// Inputs that are empty or disagree in shape, or negatives that do not divide among queries.
pub fn info_nce_loss(
    queries: Tensor<2>,
    positives: Tensor<2>,
    negatives: Negatives,
    score: &Score,
    logit_scale: Tensor<2>,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("info_nce_loss");
    let [rows, width] = inputs.dims("queries", &queries)?;
    let [_, keys] = inputs.dims("positives", &positives)?;
    let keys = match score {
        Score::Bilinear(_) => keys,
        _ => width,
    };
    inputs.shape("positives", &positives, [rows, keys])?;
    inputs.scalar("logit_scale", &logit_scale)?;
    let others = match negatives {
        Negatives::InBatch => {
            let logits = score.pairs(queries, positives)? * logit_scale;
            let diagonal: Vec<usize> = (0..rows).collect();
            return Ok((log_sum_exp(logits.clone()) - pick(logits, &diagonal)).mean());
        }
        Negatives::Shared(negatives) => {
            inputs.rows("negatives", &negatives, keys)?;
            score.pairs(queries.clone(), negatives)?
        }
        Negatives::Own(negatives) => {
            let each = own(inputs, &negatives, [rows, keys])?;
            let repeated = queries.clone().unsqueeze_dim::<3>(1).repeat_dim(1, each);
            let repeated = repeated.reshape([rows * each, width]);
            score.rows(repeated, negatives)?.reshape([rows, each])
        }
    };
    let right = score.rows(queries, positives)? * logit_scale.clone();
    let logits = Tensor::cat(vec![right.clone(), others * logit_scale], 1);
    Ok((log_sum_exp(logits) - right).mean())
}

/// How many of `negatives` each of `rows` has.
pub(crate) fn own(
    inputs: Inputs,
    negatives: &Tensor<2>,
    [rows, width]: [usize; 2],
) -> Result<usize, LossError> {
    let found = inputs.rows("negatives", negatives, width)?;
    if !found.is_multiple_of(rows) {
        return Err(LossError::Multiple {
            loss: inputs.0,
            input: "negatives",
            found,
            of: rows,
        });
    }
    Ok(found / rows)
}

#[cfg(test)]
mod tests {
    use super::{Negatives, info_nce, info_nce_loss};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::loss::{LossError, Score};
    use crate::model::elements;

    #[test]
    fn equal_logits_cost_the_logarithm_of_the_number_of_columns() {
        let loss = info_nce(
            matrix([[0.5f32; 4]; 2]),
            matrix([[1.0, 0.0, 0.0, 0.0], [0.25; 4]]),
        );
        assert!((loss.unwrap().into_scalar::<f32>() - 4f32.ln()).abs() < 1e-6);
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
        let loss = info_nce(matrix(logits), matrix(targets)).unwrap();
        let loss = loss.into_scalar::<f32>();
        assert!(
            (f64::from(loss) - expected).abs() < 1e-6,
            "{loss} is not {expected}"
        );
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let targets = [[0.2f32, 0.7, 0.1], [0.0, 0.0, 1.0]];
        assert_gradient_matches_differences([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], |x| {
            info_nce(x, matrix(targets)).unwrap()
        });
    }

    const KEYS: [[f32; 2]; 2] = [[0.8, 0.6], [0.0, 1.0]];

    fn loss(queries: [[f32; 2]; 2], negatives: Negatives) -> Result<f32, LossError> {
        let scale = matrix([[3.0f32]]);
        let loss = info_nce_loss(matrix(queries), matrix(KEYS), negatives, &Score::Dot, scale)?;
        Ok(elements(loss)[0])
    }

    #[test]
    fn the_negatives_of_the_batch_may_be_given_as_own_ones() {
        let queries = [[1.0, 0.2], [-0.3, 0.5]];
        let in_batch = loss(queries, Negatives::InBatch).unwrap();
        let own = loss(queries, Negatives::Own(matrix([KEYS[1], KEYS[0]]))).unwrap();
        assert!((in_batch - own).abs() < 1e-6, "{in_batch}, {own}");
    }

    #[test]
    fn a_single_query_costs_nothing_in_its_batch_and_something_beside_negatives() {
        let one = || matrix([[1.0f32, 0.0]]);
        let scale = matrix([[3.0f32]]);
        let cost = |negatives| {
            let loss = info_nce_loss(one(), one(), negatives, &Score::Dot, scale.clone());
            elements(loss.unwrap())[0]
        };
        assert_eq!(cost(Negatives::InBatch), 0.0);
        assert!((cost(Negatives::Shared(one())) - 2f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn negatives_that_do_not_divide_among_queries_are_refused() {
        let error = loss(KEYS, Negatives::Own(matrix([[1.0, 0.0]; 3]))).unwrap_err();
        let message =
            "info_nce_loss: `negatives` has 3 rows, expected the same number for each of 2 rows";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn targets_of_another_shape_are_refused() {
        let error = info_nce(matrix([[1.0f32, 2.0]]), matrix([[1.0f32]])).unwrap_err();
        let message = "info_nce: `targets` is 1 by 1, expected 1 by 2";
        assert_eq!(error.to_string(), message);
    }
}
