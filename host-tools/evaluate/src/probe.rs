//! The linear probe: logistic regression on frozen embeddings, its penalty chosen on training pictures alone.
//!
//! As for CLIP (Radford et al., arXiv:2103.00020, appendix A.3): L-BFGS, the penalty by a sweep over powers of ten on
//! held-out training pictures, then a fit to all of them. Here the sweep goes in half powers from strong to weak,
//! each fit starting from the one before; a fifth of every class is held out. Of equal accuracies the stronger
//! penalty is taken.

use crate::Rows;
use crate::lbfgs::Stop;
use crate::logistic::Logistic;
use crate::split::stratified;

/// Share of the training pictures of a class that chooses the penalty.
const HELD_OUT: f64 = 0.2;
/// Penalties of the sweep: 10^(k/2) for these k.
const HALF_POWERS: std::ops::RangeInclusive<i32> = -14..=-2;

/// When each fit of the sweep, and the last one, ends.
const STOP: Stop = Stop {
    gradient: 1e-6,
    iterations: 300,
};

/// A penalty and what it gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Weight of the penalty.
    pub l2: f64,
    /// Share of the held-out training pictures that were named right.
    pub accuracy: f64,
}

/// A probe and how its penalty was chosen.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The fit to all training pictures.
    pub fit: Logistic,
    /// Its penalty.
    pub l2: f64,
    /// The sweep.
    pub tried: Vec<Tried>,
    /// Training pictures that were fitted to during the sweep.
    pub fitted: usize,
    /// Training pictures that chose the penalty.
    pub held_out: usize,
}

/// How many fits [`fit`] makes.
pub fn fits() -> usize {
    HALF_POWERS.count() + 1
}

/// Fits a probe; `done` is called after each of [`fits`].
///
/// # Panics
/// Where there is not one label a row, or one is not below `classes`.
pub fn fit(train: &Rows, labels: &[usize], classes: usize, seed: u64, done: &dyn Fn()) -> Probe {
    let split = stratified(labels, HELD_OUT, seed);
    let part = |indices: &[usize]| {
        let labels: Vec<usize> = indices.iter().map(|&index| labels[index]).collect();
        (train.select(indices), labels)
    };
    let (rows, fit_labels) = part(&split.fit);
    let (held_out, held_out_labels) = part(&split.held_out);
    let mut tried = Vec::new();
    let mut last: Option<Logistic> = None;
    for half_power in HALF_POWERS.rev() {
        let l2 = 10f64.powf(f64::from(half_power) / 2.0);
        let fit = Logistic::fit(&rows, &fit_labels, classes, l2, last.as_ref(), STOP);
        let accuracy = share_equal(&fit.predict(&held_out), &held_out_labels);
        tried.push(Tried { l2, accuracy });
        last = Some(fit);
        done();
    }
    // The first of equal ones has the strongest penalty.
    let best = tried.iter().fold(tried[0], |best, tried| {
        if tried.accuracy > best.accuracy {
            *tried
        } else {
            best
        }
    });
    let fit = Logistic::fit(train, labels, classes, best.l2, None, STOP);
    done();
    Probe {
        fit,
        l2: best.l2,
        tried,
        fitted: split.fit.len(),
        held_out: split.held_out.len(),
    }
}

fn share_equal(a: &[usize], b: &[usize]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    /// Two classes that a line parts, up to noise that no line explains.
    #[test]
    fn a_line_between_two_classes_is_found_on_new_rows() {
        let mut random = Random::new(5);
        let mut draw = |count: usize| {
            let (mut values, mut labels) = (Vec::new(), Vec::new());
            for index in 0..count {
                let label = index % 2;
                let side = if label == 0 { -1.0 } else { 1.0 };
                values.push((side * (0.2 + random.unit())) as f32);
                values.extend((0..3).map(|_| (random.unit() - 0.5) as f32));
                labels.push(label);
            }
            (Rows::new(values, 4), labels)
        };
        let (train, labels) = draw(200);
        let (test, test_labels) = draw(100);
        let calls = std::cell::Cell::new(0);
        let probe = fit(&train, &labels, 2, 1, &|| calls.set(calls.get() + 1));
        assert_eq!(probe.fit.predict(&test), test_labels);
        assert_eq!((probe.fitted, probe.held_out), (160, 40));
        assert_eq!((calls.get(), probe.tried.len()), (fits(), fits() - 1));
    }
}
