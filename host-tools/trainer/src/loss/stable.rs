//! Logarithms of sums of exponentials, as f32 can compute them: no exponential of a large number, no logarithm of
//! nearly one.

use burn::tensor::activation::softplus;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// What a masked logit becomes: its exponential is 0 beside any logit that f32 training meets, and its gradient too.
pub(crate) const MASKED: f32 = -1e30;

/// `ln Σ_j exp(x_ij)`, `[rows, 1]`, with the largest logit of the row taken out first.
pub(crate) fn log_sum_exp(x: Tensor<2>) -> Tensor<2> {
    let largest = x.clone().detach().max_dim(1);
    (x - largest.clone()).exp().sum_dim(1).log() + largest
}

/// The same over the columns where `mask` is not set; each row needs one.
pub(crate) fn masked_log_sum_exp(x: Tensor<2>, mask: Tensor<2, Bool>) -> Tensor<2> {
    log_sum_exp(x.mask_fill(mask, MASKED))
}

/// `−ln σ(x)` = `ln(1 + exp(−x))`, accurate in both tails.
pub(crate) fn minus_log_sigmoid(x: Tensor<2>) -> Tensor<2> {
    softplus(x.neg(), 1.0)
}

/// Element `columns[i]` of row `i`, `[rows, 1]`.
pub(crate) fn pick(x: Tensor<2>, columns: &[usize]) -> Tensor<2> {
    let device = x.device();
    let columns = indices(columns, &device).unsqueeze_dim::<2>(1);
    x.gather(1, columns)
}

/// Indices as a tensor.
pub(crate) fn indices(of: &[usize], device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i64> = of.iter().map(|&index| index as i64).collect();
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}

/// A constant `[rows, columns]` whose elements `of` tells from row and column.
pub(crate) fn mask(
    [rows, columns]: [usize; 2],
    device: &Device,
    of: impl Fn(usize, usize) -> bool,
) -> Tensor<2, Bool> {
    let flags: Vec<bool> = (0..rows * columns)
        .map(|at| of(at / columns, at % columns))
        .collect();
    Tensor::from_data(TensorData::new(flags, [rows, columns]), device)
}

/// A constant column `[data.len(), 1]`.
pub(crate) fn column(data: Vec<f32>, device: &Device) -> Tensor<2> {
    let rows = data.len();
    Tensor::from_data(TensorData::new(data, [rows, 1]), device)
}

#[cfg(test)]
mod tests {
    use super::{log_sum_exp, mask, masked_log_sum_exp, minus_log_sigmoid, pick};
    use crate::loss::check::matrix;
    use crate::model::elements;

    #[test]
    fn logits_of_a_thousand_neither_overflow_nor_vanish() {
        let found = elements(log_sum_exp(matrix([
            [1000.0f32, 1000.0],
            [-1000.0, -1000.0],
        ])));
        assert!((found[0] - 1000.0 - 2f32.ln()).abs() < 1e-3, "{found:?}");
        assert!((found[1] + 1000.0 - 2f32.ln()).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn both_tails_of_the_sigmoid_keep_their_digits() {
        let x = matrix([[-90.0f32, -20.0, 0.0, 12.0, 30.0]]).require_grad();
        let loss = minus_log_sigmoid(x.clone());
        let values = elements(loss.clone());
        let slopes = elements(x.grad(&loss.sum().backward()).unwrap());
        for (at, x) in [-90.0f64, -20.0, 0.0, 12.0, 30.0].into_iter().enumerate() {
            let value = (-x).exp().ln_1p();
            let slope = -1.0 / (1.0 + x.exp());
            assert!((f64::from(values[at]) / value - 1.0).abs() < 1e-6, "{x}");
            assert!((f64::from(slopes[at]) / slope - 1.0).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn masked_columns_count_for_nothing() {
        let x = matrix([[1.0f32, 50.0, 2.0]]).require_grad();
        let device = x.device();
        let sum = masked_log_sum_exp(x.clone(), mask([1, 3], &device, |_, column| column == 1));
        let expected = (1f32.exp() + 2f32.exp()).ln();
        assert!((elements(sum.clone())[0] - expected).abs() < 1e-6);
        assert_eq!(elements(x.grad(&sum.sum().backward()).unwrap())[1], 0.0);
    }

    #[test]
    fn one_element_a_row_is_picked() {
        let found = elements(pick(matrix([[1.0f32, 2.0], [3.0, 4.0]]), &[1, 0]));
        assert_eq!(found, [2.0, 3.0]);
    }
}
