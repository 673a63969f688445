//! 95 % intervals: Wilson's for shares, the bootstrap's for everything else.
//!
//! E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927: the shares p
//! whose normal approximation, with the variance p (1 − p) / n of p itself, does not reject what was seen. Unlike p̂
//! ± 1.96 σ it stays in 0..=1 and is not empty at 0 and 1. B. Efron, "Bootstrap Methods: Another Look at the
//! Jackknife", Ann. Statist. 7, 1979: the 2.5th and 97.5th percentile of the statistic over samples drawn with
//! replacement.

use rayon::prelude::*;

use crate::Random;

/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A number between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// What was measured.
    pub value: f64,
    /// Lower bound of the 95 % interval.
    pub low: f64,
    /// Upper bound of the 95 % interval.
    pub high: f64,
}

/// The share `hits` of `count` with Wilson's interval; 0 in 0..=1 where `count` is 0.
pub fn wilson(hits: usize, count: usize) -> Interval {
    if count == 0 {
        return Interval {
            value: 0.0,
            low: 0.0,
            high: 1.0,
        };
    }
    let n = count as f64;
    let share = hits as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Interval {
        value: share,
        low: if hits == 0 { 0.0 } else { centre - half },
        high: if hits == count { 1.0 } else { centre + half },
    }
}

/// `statistic` of the indices 0..count, with the percentile interval of `resamples` samples of them.
pub fn bootstrap(
    count: usize,
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> f64 + Sync,
) -> Interval {
    let all: Vec<usize> = (0..count).collect();
    let value = statistic(&all);
    if count == 0 || resamples == 0 {
        return Interval {
            value,
            low: value,
            high: value,
        };
    }
    let mut seeds = Random::new(seed);
    let seeds: Vec<u64> = (0..resamples).map(|_| seeds.bits()).collect();
    let mut drawn: Vec<f64> = seeds
        .into_par_iter()
        .map(|seed| {
            let mut random = Random::new(seed);
            let sample: Vec<usize> = (0..count).map(|_| random.below(count)).collect();
            statistic(&sample)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    Interval {
        value,
        low: percentile(&drawn, 0.025),
        high: percentile(&drawn, 0.975),
    }
}

/// Between the two nearest of sorted numbers, of which there is at least one.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_of_a_mean_is_about_as_wide_as_the_normal_interval() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let mean =
            |sample: &[usize]| sample.iter().map(|&i| values[i]).sum::<f64>() / sample.len() as f64;
        let interval = bootstrap(400, 2000, 7, mean);
        assert_eq!(interval.value, 0.5);
        let expected = 2.0 * Z * (0.25f64 / 400.0).sqrt();
        assert!((interval.high - interval.low - expected).abs() < 0.15 * expected);
        assert_eq!(interval, bootstrap(400, 2000, 7, mean));
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(percentile(&[5.0], 0.025), 5.0);
    }

    #[test]
    fn a_share_of_nothing_could_be_any() {
        let interval = wilson(0, 0);
        assert_eq!((interval.low, interval.high), (0.0, 1.0));
    }
}
