//! What the tests of the losses share: small matrices, and gradients checked by finite differences.

use burn::tensor::{Device, Tensor, TensorData};

/// A matrix on the CPU, outside the gradient graph.
pub(crate) fn matrix<const R: usize, const C: usize>(rows: [[f32; C]; R]) -> Tensor<2> {
    Tensor::from_data(TensorData::from(rows), &Device::flex().autodiff())
}

/// Panics unless the gradient of `loss` at `at` agrees with central differences to 1 part in 100.
pub(crate) fn assert_gradient_matches_differences<const R: usize, const C: usize>(
    at: [[f32; C]; R],
    loss: impl Fn(Tensor<2>) -> Tensor<1>,
) {
    let x = matrix(at).require_grad();
    let gradients = loss(x.clone()).backward();
    let gradient = x
        .grad(&gradients)
        .expect("the loss depends on its input")
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    let step = 1e-2f32;
    for r in 0..R {
        for c in 0..C {
            let moved = |by: f32| {
                let mut there = at;
                there[r][c] += by;
                loss(matrix(there)).into_scalar::<f32>()
            };
            let difference = (moved(step) - moved(-step)) / (2.0 * step);
            let found = gradient[r * C + c];
            assert!(
                (found - difference).abs() <= 1e-2 * difference.abs().max(0.05),
                "element ({r}, {c}): gradient {found}, difference {difference}"
            );
        }
    }
}
