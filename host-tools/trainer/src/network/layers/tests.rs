//! Each operation and its gradients beside Burn's own operators.

use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Batch, UNLIMITED, Window, biased, depthwise, patches};
use crate::model::elements;
use crate::rng::Rng;

const BATCH: usize = 3;

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut rng = Rng::new(seed);
    let data = (0..shape.iter().product()).map(|_| 2.0 * rng.unit() - 1.0);
    let data: Vec<f32> = data.collect();
    Tensor::from_data(TensorData::new(data, shape), &Device::flex().autodiff()).require_grad()
}

fn assert_close(found: Vec<f32>, expected: Vec<f32>, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
    assert!(largest > 0.0, "{what}: something to compare");
    for (found, expected) in found.iter().zip(&expected) {
        let apart = (found - expected).abs();
        assert!(apart <= 2e-5 * largest, "{what}: {found} {expected}");
    }
}

/// Compares two functions of the same two leaves, and the gradients of a sum of their elements that weighs each differently.
fn compare<const A: usize, const B: usize>(
    (a, b): (Tensor<A>, Tensor<B>),
    found: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<1>,
    expected: impl Fn(Tensor<A>, Tensor<B>) -> Tensor<1>,
    what: &str,
) {
    let both = [found(a.clone(), b.clone()), expected(a.clone(), b.clone())];
    let weights = random(both[1].dims(), 7).detach();
    let [found, expected] = both.map(|output| {
        let gradients = (output.clone() * weights.clone()).sum().backward();
        let [of_a, of_b] = [
            elements(a.grad(&gradients).expect("a gradient")),
            elements(b.grad(&gradients).expect("a gradient")),
        ];
        [elements(output), of_a, of_b]
    });
    let parts = ["output", "gradient of a", "gradient of b"];
    for ((found, expected), part) in found.into_iter().zip(expected).zip(parts) {
        assert_close(found, expected, &format!("{what}, {part}"));
    }
}

fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let count = x.shape().num_elements();
    x.reshape([count])
}

/// Burn's convolution of pictures with channels last by a weight `[outputs, kh, kw, channels a group]`, channels last.
fn by_burn(x: Batch, weight: Tensor<4>, window: Window, groups: usize) -> Tensor<1> {
    let [batch, .., h, w, c] = x.dims();
    let x: Tensor<4> = x.reshape([batch, h, w, c]);
    let [top, left, bottom, right] = window.padding;
    let options = ConvOptions {
        stride: window.stride,
        padding: [(top, bottom), (left, right)],
        dilation: window.dilation,
        groups,
    };
    let [x, weight] = [x, weight].map(|x| x.permute([0, 3, 1, 2]));
    flat(conv2d(x, weight, None, options).permute([0, 2, 3, 1]))
}

/// Windows of each kind over pictures of 7 × 9.
fn windows() -> Vec<Window> {
    let window = |kernel, stride, padding, dilation| Window {
        kernel,
        stride,
        padding,
        dilation,
    };
    vec![
        window([3, 3], [1, 1], [1; 4], [1, 1]),
        window([3, 3], [2, 2], [1; 4], [1, 1]),
        window([3, 3], [2, 2], [0, 0, 1, 1], [1, 1]),
        window([5, 5], [1, 2], [2; 4], [1, 1]),
        window([2, 3], [2, 3], [0; 4], [1, 1]),
        window([3, 3], [1, 1], [2, 2, 2, 2], [2, 2]),
        window([3, 1], [3, 1], [0, 1, 0, 2], [1, 1]),
    ]
}

#[test]
fn depthwise_convolutions_and_their_gradients_are_those_of_burn() {
    for window in windows() {
        for channels in [1, 5, 16, 37] {
            let [kh, kw] = window.kernel;
            let x: Batch = random([BATCH, 1, 1, 7, 9, channels], 1);
            let weight: Tensor<4> = random([channels, kh, kw, 1], 2);
            let found = |x, weight: Tensor<4>| {
                let weight: Tensor<2> = weight.reshape([channels, kh * kw]);
                flat(depthwise(x, weight.transpose(), window))
            };
            let expected = |x, weight| by_burn(x, weight, window, channels);
            let what = format!("{window:?}, {channels} channels");
            compare((x, weight), found, expected, &what);
        }
    }
}

#[test]
fn patches_and_a_product_of_matrices_are_a_convolution() {
    for window in windows() {
        for channels in [1, 3] {
            let [kh, kw] = window.kernel;
            let x: Batch = random([BATCH, 1, 1, 7, 9, channels], 1);
            let weight: Tensor<4> = random([4, kh, kw, channels], 2);
            let found = |x, weight: Tensor<4>| {
                let weight: Tensor<2> = weight.reshape([4, kh * kw * channels]);
                flat(patches(x, window).matmul(weight.transpose()))
            };
            let expected = |x, weight| by_burn(x, weight, window, 1);
            let what = format!("{window:?}, {channels} channels");
            compare((x, weight), found, expected, &what);
        }
    }
}

#[test]
fn the_end_of_a_layer_is_a_sum_and_limits() {
    // More rows than one task has, and a remainder.
    for (rows, channels) in [(2, 3), (1000, 37), (5, 20_000)] {
        let leaves = || (random([rows, channels], 1), random([channels], 2));
        let sum = |x: Tensor<2>, bias: Tensor<1>| x + bias.unsqueeze();
        let what = format!("{rows} by {channels}");
        let none = |x, bias| flat(biased(x, bias, UNLIMITED));
        compare(leaves(), none, |x, bias| flat(sum(x, bias)), &what);
        let above = |x, bias| flat(biased(x, bias, [0.0, f32::INFINITY]));
        compare(leaves(), above, |x, bias| flat(relu(sum(x, bias))), &what);
        let between = |x, bias| flat(biased(x, bias, [-0.25, 0.5]));
        let clamped = |x, bias| flat(sum(x, bias).clamp(-0.25, 0.5));
        compare(leaves(), between, clamped, &what);
    }
}

#[test]
fn what_is_at_a_limit_has_no_gradient() {
    let x = Tensor::<2>::from_data([[-1.0, 0.0, 3.0, 6.0, 7.0]], &Device::flex().autodiff());
    let x = x.require_grad();
    let bias = Tensor::<1>::zeros([5], &x.device());
    let gradients = biased(x.clone(), bias, [0.0, 6.0]).sum().backward();
    let found = elements(x.grad(&gradients).expect("a gradient"));
    assert_eq!(found, [0.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn an_input_that_others_hold_is_not_written_to() {
    let x = Tensor::<2>::from_data([[-1.0, 2.0]], &Device::flex());
    let bias = Tensor::<1>::from_data([10.0, -10.0], &Device::flex());
    let y = biased(x.clone(), bias, [0.0, 6.0]);
    assert_eq!(elements(x), [-1.0, 2.0]);
    assert_eq!(elements(y), [6.0, 0.0]);
}
