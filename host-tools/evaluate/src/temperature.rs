//! Temperature scaling: one number that makes confidences honest and changes no prediction.
//!
//! Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: logits are divided by the T with the least mean
//! negative log-likelihood. It is convex in 1/T, and the zero of its slope, `Σ (E[z] − z[y])`, is found by bisection.

use rayon::prelude::*;

use crate::rows::softmax;

/// Temperatures are looked for between 1/LIMIT and LIMIT.
const LIMIT: f64 = 1e4;
/// Bisections: enough for every bit.
const STEPS: usize = 100;

/// The temperature of logits (n, classes) with labels; an end of the range where the slope has no zero in it, as when
/// every prediction is right.
///
/// # Panics
/// Where there is not one label for each row of logits, or one is out of range.
pub fn fit(logits: &[Vec<f64>], labels: &[usize]) -> f64 {
    assert_eq!(logits.len(), labels.len(), "a label for each row");
    let slope = |inverse: f64| -> f64 {
        let terms: Vec<f64> = logits
            .par_iter()
            .zip(labels)
            .map(|(logits, &label)| {
                let probabilities = softmax(logits, inverse);
                let mean: f64 = probabilities.iter().zip(logits).map(|(p, z)| p * z).sum();
                mean - logits[label]
            })
            .collect();
        terms.iter().sum()
    };
    let (mut low, mut high) = (-LIMIT.ln(), LIMIT.ln());
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if slope(middle.exp()) < 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    (-f64::midpoint(low, high)).exp()
}

/// Mean negative log-likelihood at a temperature, in nats.
pub fn negative_log_likelihood(logits: &[Vec<f64>], labels: &[usize], temperature: f64) -> f64 {
    let of_row = |(logits, &label): (&Vec<f64>, &usize)| {
        -softmax(logits, 1.0 / temperature)[label]
            .max(f64::MIN_POSITIVE)
            .ln()
    };
    logits.iter().zip(labels).map(of_row).sum::<f64>() / logits.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With logits ±a and a share s of right answers, the best T has 1 / (1 + exp(−2a/T)) = s.
    #[test]
    fn confidence_becomes_the_share_of_right_answers() {
        let logits = vec![vec![3.0, -3.0]; 10];
        let labels = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        let expected = 6.0 / (0.8f64 / 0.2).ln();
        let found = fit(&logits, &labels);
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        assert!(
            negative_log_likelihood(&logits, &labels, found)
                < negative_log_likelihood(&logits, &labels, 1.0)
        );
    }
}
