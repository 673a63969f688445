//! Multinomial logistic regression with an L2 penalty, by L-BFGS.
//!
//! Minimises `−(1/n) Σ log softmax(W xᵢ + b)[yᵢ] + l2/2 · |W|²` over W and b; the biases are not penalised. It is
//! scikit-learn's `LogisticRegression` with C = 1 / (l2 · n). Rows are summed in blocks of a fixed size, so that
//! threads change no bit.

use rayon::prelude::*;

use crate::Rows;
use crate::lbfgs::{self, Stop};
use crate::rows::{argmax, softmax};

/// Rows that are summed one after the other.
const BLOCK: usize = 256;
/// Blocks whose gradients, each as large as the weights, are held at once.
const BLOCKS_HELD: usize = 32;

/// A fitted model.
#[derive(Clone, Debug)]
pub struct Logistic {
    weights: Vec<f64>, // (classes, width + 1), the bias last
    width: usize,
    /// Whether the solver reached its tolerance.
    pub converged: bool,
    /// Steps of the solver.
    pub iterations: usize,
}

impl Logistic {
    /// Fits rows to labels below `classes`, from zero or from another fit of the same shape.
    ///
    /// # Panics
    /// Where there is not one label a row, or one is not below `classes`.
    pub fn fit(
        rows: &Rows,
        labels: &[usize],
        classes: usize,
        l2: f64,
        start: Option<&Self>,
        stop: Stop,
    ) -> Self {
        assert_eq!(rows.len(), labels.len(), "a label for each row");
        assert!(
            labels.iter().all(|&label| label < classes),
            "labels in range"
        );
        let width = rows.width();
        let features: Vec<f64> = rows.values().iter().map(|&x| f64::from(x)).collect();
        let data = Data {
            features: &features,
            labels,
            width,
            classes,
        };
        let start = start.map_or_else(
            || vec![0.0; classes * (width + 1)],
            |fit| fit.weights.clone(),
        );
        let minimum = lbfgs::minimise(start, stop, |weights, gradient| {
            data.loss(weights, gradient) + penalty(weights, gradient, width, l2)
        });
        Self {
            weights: minimum.x,
            width,
            converged: minimum.converged,
            iterations: minimum.iterations,
        }
    }

    /// The weights of a class, the bias last: (width + 1,).
    pub fn class_weights(&self, class: usize) -> &[f64] {
        &self.weights[class * (self.width + 1)..][..self.width + 1]
    }

    /// The logits of a row: (classes,).
    pub fn logits(&self, row: &[f32]) -> Vec<f64> {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        logits(&self.weights, &row)
    }

    /// The most probable class of each row.
    pub fn predict(&self, rows: &Rows) -> Vec<usize> {
        rows.values()
            .par_chunks_exact(self.width)
            .map(|row| argmax(&self.logits(row)))
            .collect()
    }
}

/// Adds the gradient of the penalty and gives its value.
fn penalty(weights: &[f64], gradient: &mut [f64], width: usize, l2: f64) -> f64 {
    let mut squares = 0.0;
    for (weights, gradient) in weights
        .chunks_exact(width + 1)
        .zip(gradient.chunks_exact_mut(width + 1))
    {
        for (weight, gradient) in weights.iter().zip(gradient).take(width) {
            squares += weight * weight;
            *gradient += l2 * weight;
        }
    }
    0.5 * l2 * squares
}

/// Eight sums side by side, as in [`crate::rows::dot`].
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f64; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

fn logits(weights: &[f64], row: &[f64]) -> Vec<f64> {
    weights
        .chunks_exact(row.len() + 1)
        .map(|weights| dot(&weights[..row.len()], row) + weights[row.len()])
        .collect()
}

/// What is fitted.
struct Data<'a> {
    features: &'a [f64], // (n, width)
    labels: &'a [usize], // (n,)
    width: usize,
    classes: usize,
}

impl Data<'_> {
    /// The mean cross-entropy; writes its gradient.
    fn loss(&self, weights: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let scale = 1.0 / self.labels.len().max(1) as f64;
        let mut sum = 0.0;
        let features = self.features.chunks(BLOCKS_HELD * BLOCK * self.width);
        for (features, labels) in features.zip(self.labels.chunks(BLOCKS_HELD * BLOCK)) {
            let blocks: Vec<(f64, Vec<f64>)> = features
                .par_chunks(BLOCK * self.width)
                .zip(labels.par_chunks(BLOCK))
                .map(|(features, labels)| self.block(weights, features, labels))
                .collect();
            for (loss, of_block) in blocks {
                sum += loss;
                for (gradient, of_block) in gradient.iter_mut().zip(of_block) {
                    *gradient += scale * of_block;
                }
            }
        }
        scale * sum
    }

    /// Sums of the losses and of the gradients of some rows.
    fn block(&self, weights: &[f64], features: &[f64], labels: &[usize]) -> (f64, Vec<f64>) {
        let mut gradient = vec![0.0; self.classes * (self.width + 1)];
        let mut loss = 0.0;
        for (row, &label) in features.chunks_exact(self.width).zip(labels) {
            let logits = logits(weights, row);
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
            loss += largest + sum.ln() - logits[label];
            let classes = gradient.chunks_exact_mut(self.width + 1);
            for (class, (gradient, probability)) in classes.zip(softmax(&logits, 1.0)).enumerate() {
                let error = probability - f64::from(u8::from(class == label));
                for (gradient, x) in gradient.iter_mut().zip(row) {
                    *gradient += error * x;
                }
                gradient[self.width] += error;
            }
        }
        (loss, gradient)
    }
}
