//! Rounding by coordinate descent: from a first rounding, single weights, and pairs of them, go a step up or down as long
//! as the layer's output comes nearer (Behdin et al. 2023, QuantEase, arXiv 2309.01885, has the single weights).
//!
//! It pays where a row has few weights that read much the same, as those of depthwise convolutions do: what is left of one
//! weight then has hardly another that could take it over, and a sum of nine weights that should be zero is not.

/// Rows as short as this are searched by pairs, and over several steps (`STRETCHES`).
pub(crate) const SHORT: usize = 32;
/// Rows up to here are searched at all; longer ones have weights enough to take over errors one after the other.
const LONGEST: usize = 512;
/// A change has to be better by this share of the error.
const LEAST_GAIN: f64 = 1e-9;
/// Steps of a short row that are tried, in units of its own: other steps, other grid, other errors.
const STRETCHES: std::ops::RangeInclusive<i32> = -10..=20;

/// The error of a row's output, ‖X·(w − v) + (b − c)‖² with the best bias c, as a form in w − v.
#[derive(Debug)]
pub(crate) struct OutputError {
    k: usize,
    /// Second moments about the mean where there is a bias, (k, k).
    moments: Vec<f64>,
    /// What the best bias takes over of each weight's change; empty without a bias.
    to_bias: Vec<f64>,
}

impl OutputError {
    /// Of second moments (n, n), of k inputs and of the constant 1 where n = k + 1.
    pub(crate) fn new(squares: &[f64], k: usize, n: usize) -> Self {
        let samples = squares[n * n - 1];
        let to_bias: Vec<f64> = match n > k {
            true => (0..k).map(|i| squares[i * n + k] / samples).collect(),
            false => Vec::new(),
        };
        let about_mean = |i: usize, j: usize| match to_bias.is_empty() {
            true => squares[i * n + j],
            false => squares[i * n + j] - to_bias[i] * to_bias[j] * samples,
        };
        let moments = (0..k * k).map(|at| about_mean(at / k, at % k)).collect();
        Self {
            k,
            moments,
            to_bias,
        }
    }

    /// What has to be added to the bias when weights have changed by `change`.
    pub(crate) fn bias(&self, change: &[f64]) -> f64 {
        let taken = self.to_bias.iter().zip(change);
        -taken.map(|(to_bias, change)| to_bias * change).sum::<f64>()
    }

    fn of(&self, change: &[f64]) -> f64 {
        let rows = self.moments.chunks_exact(self.k).zip(change);
        rows.map(|(row, x)| x * dot(row, change)).sum()
    }

    /// Moves `steps` (k), whole multiples of `scale` near `weights`, until no move helps; the error at the end.
    pub(crate) fn descend(&self, weights: &[f32], scale: f64, steps: &mut [f64]) -> f64 {
        let change = |steps: &[f64]| -> Vec<f64> {
            let pairs = steps.iter().zip(weights);
            pairs.map(|(s, &w)| s * scale - f64::from(w)).collect()
        };
        let start = change(steps);
        let mut error = self.of(&start);
        if self.k > LONGEST {
            return error;
        }
        let rows = self.moments.chunks_exact(self.k);
        let mut slope: Vec<f64> = rows.map(|row| dot(row, &start)).collect();
        for _ in 0..16 * self.k {
            let (gain, moves) = self.best_move(scale, steps, &slope);
            if gain <= LEAST_GAIN * error || gain <= 0.0 {
                break;
            }
            for (index, by) in moves {
                steps[index] += by;
                let row = &self.moments[index * self.k..][..self.k];
                slope
                    .iter_mut()
                    .zip(row)
                    .for_each(|(s, m)| *s += by * scale * m);
            }
            error -= gain;
        }
        self.of(&change(steps))
    }

    /// What takes most off the error: weights and how many steps they move.
    fn best_move(&self, scale: f64, steps: &[f64], slope: &[f64]) -> (f64, Vec<(usize, f64)>) {
        let moment = |i: usize, j: usize| self.moments[i * self.k + j] * scale * scale;
        let alone = |i: usize, by: f64| -2.0 * by * slope[i] * scale - moment(i, i);
        let allowed = |i: usize, by: f64| (steps[i] + by).abs() <= 127.0;
        let ways = |i: usize| {
            [1.0, -1.0]
                .into_iter()
                .filter(move |&by| allowed(i, by))
                .map(move |by| (i, by))
        };
        let mut best = (0.0, Vec::new());
        for (i, by) in (0..self.k).flat_map(ways) {
            let gain = alone(i, by);
            if gain > best.0 {
                best = (gain, vec![(i, by)]);
            }
            if self.k > SHORT {
                continue;
            }
            for (j, other) in (i + 1..self.k).flat_map(ways) {
                let gain = gain + alone(j, other) - 2.0 * by * other * moment(i, j);
                if gain > best.0 {
                    best = (gain, vec![(i, by), (j, other)]);
                }
            }
        }
        best
    }
}

/// The steps that a row of `k` weights is tried with, its own first.
pub(crate) fn scales(k: usize, scale: f32) -> Vec<f32> {
    if k > SHORT {
        return vec![scale];
    }
    let stretched = STRETCHES.filter(|&stretch| stretch != 0);
    let stretched = stretched.map(|stretch| scale * (1.0 + stretch as f32 * 0.01));
    std::iter::once(scale).chain(stretched).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs that are nearly alike: a common part of mean square 4, and 0.01 each for itself.
    fn alike(k: usize) -> Vec<f64> {
        let moment = |at: usize| 4.0 + if at / k == at % k { 0.01 } else { 0.0 };
        (0..k * k).map(moment).collect()
    }

    #[test]
    fn a_sum_of_weights_that_should_be_zero_is() {
        let weights = [0.44, -0.26, -0.18f32];
        let error = OutputError::new(&alike(3), 3, 3);
        let mut steps = [4.0, -3.0, -2.0];
        let before = error.of(&[-0.04, -0.04, -0.02]);
        let after = error.descend(&weights, 0.1, &mut steps);
        assert_eq!(steps.iter().sum::<f64>(), 0.0);
        assert!(after < 0.01 * before, "{before} {after}");
    }

    #[test]
    fn nothing_of_few_weights_is_nearer() {
        let weights = [0.31f32, -0.87, 0.55, 0.12];
        let squares: Vec<f64> = (0..16)
            .map(|at| [3.0, 2.1, 1.2, 0.7][(at / 4usize).abs_diff(at % 4)])
            .collect();
        let error = OutputError::new(&squares, 4, 4);
        let mut steps = weights.map(|w| f64::from(w / 0.25).round());
        let found = error.descend(&weights, 0.25, &mut steps);
        let mut least = f64::INFINITY;
        for index in 0..7i32.pow(4) {
            let steps = [0, 1, 2, 3].map(|d| (index / 7i32.pow(d)) % 7 - 3);
            let change = [0, 1, 2, 3].map(|i| f64::from(steps[i]) * 0.25 - f64::from(weights[i]));
            least = least.min(error.of(&change));
        }
        assert!(found < 1.0001 * least, "{found} {least}");
    }

    #[test]
    fn a_bias_takes_over_the_mean() {
        // One input that is always 2, of 10 samples.
        let error = OutputError::new(&[40.0, 20.0, 20.0, 10.0], 1, 2);
        assert_eq!(error.of(&[0.3]), 0.0);
        assert_eq!(error.bias(&[0.3]), -0.6);
    }
}
