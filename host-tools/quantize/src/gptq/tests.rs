//! Rounding of single layers, on inputs whose second moments are known.

use super::*;

const ROWS: usize = 6;
const K: usize = 24;

/// Reproducible numbers in −1..1.
fn numbers(count: usize, mut state: u64) -> Vec<f32> {
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Samples whose neighbours are much alike, with a mean.
fn correlated(samples: usize) -> Vec<f32> {
    let noise = numbers(samples * K, 5);
    let shared = numbers(samples, 9);
    let rows = noise.chunks_exact(K).zip(&shared);
    rows.flat_map(|(row, shared)| row.iter().map(move |x| 0.5 + shared + 0.3 * x))
        .collect()
}

/// Sum of squared differences of the layer's outputs over `inputs`.
fn error(layer: &Layer, fitted: &Fitted, inputs: &[f32]) -> f64 {
    let mut sum = 0f64;
    for x in inputs.chunks_exact(K) {
        for row in 0..ROWS {
            let output = |weights: &[f32], bias: &[f32]| {
                let products = weights[row * K..][..K].iter().zip(x).map(|(w, x)| w * x);
                products.sum::<f32>() + bias.get(row).copied().unwrap_or(0.0)
            };
            let wanted = output(layer.weights, layer.bias.unwrap_or(&[]));
            sum += f64::from(wanted - output(&fitted.weights, &fitted.bias)).powi(2);
        }
    }
    sum
}

/// Few steps a row, so that rounding matters.
const SCALES: [f32; ROWS] = [0.1; ROWS];

#[test]
fn outputs_of_correlated_inputs_err_less_than_with_nearest_steps() {
    let (weights, bias) = (numbers(ROWS * K, 1), numbers(ROWS, 2));
    let inputs = correlated(400);
    for bias in [None, Some(&bias[..])] {
        let layer = Layer {
            k: K,
            weights: &weights,
            bias,
            scales: &SCALES,
        };
        let fitted = layer.round(&inputs);
        let [gptq, nearest] = [&fitted, &layer.nearest()].map(|f| error(&layer, f, &inputs));
        assert!(gptq < 0.3 * nearest, "{gptq} {nearest}");
    }
}

#[test]
fn weights_lie_on_the_grid() {
    let weights = numbers(ROWS * K, 1);
    let inputs = correlated(100);
    let scales = [0.1, 0.02, 0.3, 1.0, 0.004, 0.05];
    let layer = Layer {
        k: K,
        weights: &weights,
        bias: None,
        scales: &scales,
    };
    let fitted = layer.round(&inputs);
    for (given, found) in scales.iter().zip(&fitted.scales) {
        assert!((0.89..1.21).contains(&(found / given)), "{found} {given}");
    }
    for (row, scale) in fitted.weights.chunks_exact(K).zip(&fitted.scales) {
        for w in row {
            let steps = w / scale;
            assert!(
                (steps - steps.round()).abs() < 1e-4 && steps.abs() <= 127.001,
                "{steps}"
            );
        }
    }
    assert!(fitted.bias.is_empty());
}

#[test]
fn the_same_inputs_give_the_same_weights() {
    let weights = numbers(ROWS * K, 1);
    let inputs = correlated(300);
    let layer = Layer {
        k: K,
        weights: &weights,
        bias: None,
        scales: &SCALES,
    };
    let again = || layer.round(&inputs);
    assert_eq!(again(), again());
}

#[test]
fn inputs_of_zeros_leave_the_nearest_steps() {
    let weights = numbers(ROWS * K, 1);
    let zeros = vec![0.0; 10 * K];
    let layer = Layer {
        k: K,
        weights: &weights,
        bias: None,
        scales: &SCALES,
    };
    assert_eq!(layer.round(&zeros), layer.nearest());
}

#[test]
fn windows_read_zeros_outside_the_picture() {
    let windows = Windows {
        source: 0,
        input: [2, 2, 2],
        output: [2, 2],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 2,
        count: 4,
    };
    let numbers: Vec<f32> = (1..=8).map(|x| x as f32).collect();
    let found = windows.of(0, &numbers);
    assert_eq!(found.len(), 4 * 18);
    // The first window begins above and left of the picture; its centre is the first pixel.
    assert_eq!(
        &found[..12],
        [0.0; 8]
            .iter()
            .chain(&[1.0, 2.0, 3.0, 4.0])
            .copied()
            .collect::<Vec<_>>()
    );
    let second = windows.of_group(&found[..18], 1);
    assert_eq!(second, [0.0, 0.0, 0.0, 0.0, 2.0, 4.0, 0.0, 6.0, 8.0]);
}
