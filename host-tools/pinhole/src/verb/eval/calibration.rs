//! The task `calibration`: whether the probabilities of zero-shot are honest, before and after a temperature.

use pinhole_evaluate::calibration::{BINS, Binning, Reliability, reliability};
use pinhole_evaluate::interval;
use pinhole_evaluate::rows::{argmax, softmax};
use pinhole_evaluate::temperature;
use serde::Serialize;

use super::labelled::{Estimate, RESAMPLES};

/// Honesty at one temperature.
#[derive(Debug, Serialize)]
pub(super) struct Honesty {
    /// In bins of equal width.
    pub(super) ece: Estimate,
    /// In bins of equal mass.
    pub(super) ece_equal_mass: Estimate,
    /// Largest gap of a bin of equal width.
    pub(super) mce: f64,
    /// Mean negative log-likelihood, in nats.
    pub(super) nll: f64,
    /// Mean of the probabilities of what was predicted.
    pub(super) confidence: f64,
    #[serde(skip)]
    pub(super) diagram: Reliability,
}

/// The probabilities as the model gives them, and with the temperature of the training split.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    pub(super) bins: usize,
    pub(super) logit_scale: f64,
    pub(super) as_it_is: Honesty,
    /// What logits are divided by.
    pub(super) temperature: f64,
    /// Training pictures that the temperature was fitted to.
    pub(super) train: usize,
    pub(super) scaled: Honesty,
}

/// Measures cosines (pictures, classes) as logits; fits to those of the training split.
pub(super) fn calibration(
    test: (&[Vec<f64>], &[usize]),
    train: (&[Vec<f64>], &[usize]),
    logit_scale: f64,
    seed: u64,
) -> Calibration {
    let scaled = |cosines: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let of_picture = |cosines: &Vec<f64>| cosines.iter().map(|x| logit_scale * x).collect();
        cosines.iter().map(of_picture).collect()
    };
    let logits = scaled(test.0);
    let temperature = temperature::fit(&scaled(train.0), train.1);
    Calibration {
        bins: BINS,
        logit_scale,
        as_it_is: honesty(&logits, test.1, 1.0, seed),
        temperature,
        train: train.1.len(),
        scaled: honesty(&logits, test.1, temperature, seed),
    }
}

fn honesty(logits: &[Vec<f64>], labels: &[usize], temperature: f64, seed: u64) -> Honesty {
    let of_picture = |(logits, &label): (&Vec<f64>, &usize)| {
        let best = argmax(logits);
        (softmax(logits, 1.0 / temperature)[best], best == label)
    };
    let predictions: Vec<(f64, bool)> = logits.iter().zip(labels).map(of_picture).collect();
    let error = |binning: Binning| -> Estimate {
        let statistic = |sample: &[usize]| {
            let drawn: Vec<(f64, bool)> = sample.iter().map(|&i| predictions[i]).collect();
            reliability(&drawn, binning, BINS).ece
        };
        interval::bootstrap(predictions.len(), RESAMPLES, seed, statistic).into()
    };
    let diagram = reliability(&predictions, Binning::EqualWidth, BINS);
    let confidences: f64 = predictions.iter().map(|(confidence, _)| confidence).sum();
    Honesty {
        ece: error(Binning::EqualWidth),
        ece_equal_mass: error(Binning::EqualMass),
        mce: diagram.mce,
        nll: temperature::negative_log_likelihood(logits, labels, temperature),
        confidence: confidences / predictions.len().max(1) as f64,
        diagram,
    }
}
