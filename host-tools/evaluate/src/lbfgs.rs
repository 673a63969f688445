//! L-BFGS: a quasi-Newton method that keeps the last few steps instead of a Hessian.
//!
//! Nocedal and Wright, "Numerical Optimization", 2006, algorithms 7.4 and 7.5. Steps satisfy the weak Wolfe
//! conditions, found by doubling and bisection (Lewis and Overton, "Nonsmooth optimization via quasi-Newton methods",
//! Math. Program. 141, 2013).

use std::collections::VecDeque;

/// Pairs of steps and changes of the gradient that are kept.
const MEMORY: usize = 10;
/// A step has to gain this share of what the slope promises.
const SUFFICIENT_DECREASE: f64 = 1e-4;
/// And the slope at its end has to be less steep than this share of that at its start.
const CURVATURE: f64 = 0.9;
/// Halvings and doublings of one step.
const MAX_TRIES: usize = 40;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// Largest component of the gradient at a minimum.
    pub gradient: f64,
    /// Steps at most.
    pub iterations: usize,
}

/// Where it stopped.
#[derive(Clone, Debug)]
pub struct Minimum {
    /// The point.
    pub x: Vec<f64>,
    /// The function there.
    pub value: f64,
    /// Steps that were taken.
    pub iterations: usize,
    /// Whether the gradient is as small as asked.
    pub converged: bool,
}

/// Minimises a smooth function from `start`; `evaluate` writes the gradient at its first argument into its second and
/// gives the value.
pub fn minimise(
    start: Vec<f64>,
    stop: Stop,
    mut evaluate: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let mut x = start;
    let mut gradient = vec![0.0; x.len()];
    let mut value = evaluate(&x, &mut gradient);
    let mut history = History::default();
    let mut iterations = 0;
    while largest(&gradient) > stop.gradient && iterations < stop.iterations {
        let mut direction = history.direction(&gradient);
        if product(&direction, &gradient) >= 0.0 {
            history = History::default();
            direction = history.direction(&gradient);
        }
        let from = (value, product(&direction, &gradient));
        let Some(step) = search(
            &x,
            &direction,
            from,
            history.first_step(&gradient),
            &mut evaluate,
        ) else {
            // Rounding hides any further decrease.
            break;
        };
        history.push(
            difference(&step.x, &x),
            difference(&step.gradient, &gradient),
        );
        (x, gradient, value) = (step.x, step.gradient, step.value);
        iterations += 1;
    }
    Minimum {
        converged: largest(&gradient) <= stop.gradient,
        x,
        value,
        iterations,
    }
}

/// A point with its value and gradient.
struct Point {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// A step along `direction` that meets both conditions; `from` is the value and the slope at `x`.
fn search(
    x: &[f64],
    direction: &[f64],
    from: (f64, f64),
    first: f64,
    evaluate: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<Point> {
    let (value, slope) = from;
    // Near the minimum the decrease drowns in the rounding of the value; the slope still tells.
    let rounding = 4.0 * f64::EPSILON * value.abs();
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, first);
    for _ in 0..MAX_TRIES {
        let at: Vec<f64> = x
            .iter()
            .zip(direction)
            .map(|(x, d)| x + length * d)
            .collect();
        let mut gradient = vec![0.0; at.len()];
        let found = evaluate(&at, &mut gradient);
        if found.is_nan() || found > value + SUFFICIENT_DECREASE * length * slope + rounding {
            high = length;
        } else if product(&gradient, direction) < CURVATURE * slope {
            low = length;
        } else {
            return Some(Point {
                x: at,
                value: found,
                gradient,
            });
        }
        length = if high.is_finite() {
            f64::midpoint(low, high)
        } else {
            2.0 * low
        };
    }
    None
}

/// The last steps.
#[derive(Default)]
struct History {
    pairs: VecDeque<(Vec<f64>, Vec<f64>)>, // step, change of the gradient
}

impl History {
    fn push(&mut self, step: Vec<f64>, change: Vec<f64>) {
        // The search makes this product positive; rounding may not.
        if product(&step, &change) <= 0.0 {
            return;
        }
        self.pairs.push_back((step, change));
        if self.pairs.len() > MEMORY {
            self.pairs.pop_front();
        }
    }

    /// A first step has no scale yet and is made one long.
    fn first_step(&self, gradient: &[f64]) -> f64 {
        if self.pairs.is_empty() {
            (1.0 / product(gradient, gradient).sqrt()).min(1.0)
        } else {
            1.0
        }
    }

    /// Minus the estimated inverse Hessian times the gradient: the recursion of two loops.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut d: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut weights = Vec::with_capacity(self.pairs.len());
        for (step, change) in self.pairs.iter().rev() {
            let weight = product(step, &d) / product(step, change);
            add(&mut d, -weight, change);
            weights.push(weight);
        }
        if let Some((step, change)) = self.pairs.back() {
            let scale = product(step, change) / product(change, change);
            d.iter_mut().for_each(|d| *d *= scale);
        }
        for ((step, change), weight) in self.pairs.iter().zip(weights.into_iter().rev()) {
            let other = product(change, &d) / product(step, change);
            add(&mut d, weight - other, step);
        }
        d
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut()
        .zip(what)
        .for_each(|(to, what)| *to += factor * what);
}

fn largest(gradient: &[f64]) -> f64 {
    gradient.iter().fold(0.0, |most, g| g.abs().max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley has its minimum, 0, at (1, 1).
    #[test]
    fn the_end_of_a_curved_valley_is_found() {
        let stop = Stop {
            gradient: 1e-9,
            iterations: 200,
        };
        let minimum = minimise(vec![-1.2, 1.0], stop, |x, gradient| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            gradient[0] = -2.0 * a - 400.0 * x[0] * b;
            gradient[1] = 200.0 * b;
            a * a + 100.0 * b * b
        });
        assert!(minimum.converged, "{minimum:?}");
        assert!((minimum.x[0] - 1.0).abs() < 1e-7 && (minimum.x[1] - 1.0).abs() < 1e-7);
    }

    #[test]
    fn a_start_at_the_minimum_stays_there() {
        let stop = Stop {
            gradient: 1e-9,
            iterations: 10,
        };
        let minimum = minimise(vec![0.0], stop, |x, gradient| {
            gradient[0] = 2.0 * x[0];
            x[0] * x[0]
        });
        assert_eq!((minimum.iterations, minimum.converged), (0, true));
    }
}
