//! Ranges and histograms of every activation over the calibration pictures.
//!
//! Two passes: the first finds the exact range of each value, the second counts into bins over it, for the observers that
//! clip. Counts and extremes do not depend on the order of pictures, so threads do not change the result.

use pinhole_graph::Graph;
use rayon::prelude::*;

use crate::scheme::vanishing;
use crate::{Progress, QuantizeError, Runner};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bins of a histogram.
const BINS: usize = 2048;

/// How a range is chosen from what was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observer {
    /// Everything that was seen.
    MinMax,
    /// All but this share at each end, for example 0.0001.
    Percentile(f64),
    /// The range with the smallest mean squared error of clipping and rounding.
    Mse,
}

/// What was seen of one value.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Smallest.
    pub min: f32,
    /// Largest.
    pub max: f32,
    /// Elements by bin between `min` and `max`; empty for [`Observer::MinMax`].
    histogram: Vec<u64>,
}

impl Statistics {
    /// The range that `observer` chooses; always contains 0.
    pub fn range(&self, observer: Observer) -> (f32, f32) {
        let (min, max) = match observer {
            Observer::MinMax => (self.min, self.max),
            Observer::Percentile(share) => self.percentile(share),
            Observer::Mse => self.least_error(),
        };
        (min.min(0.0), max.max(0.0))
    }

    fn bin_width(&self) -> f64 {
        (f64::from(self.max) - f64::from(self.min)) / BINS as f64
    }

    fn percentile(&self, share: f64) -> (f32, f32) {
        let total: u64 = self.histogram.iter().sum();
        let cut = (total as f64 * share) as u64;
        let skipped = |bins: &mut dyn Iterator<Item = &u64>| {
            let mut seen = 0;
            bins.take_while(|&&count| {
                seen += count;
                seen <= cut
            })
            .count()
        };
        let low = skipped(&mut self.histogram.iter());
        let high = skipped(&mut self.histogram.iter().rev());
        let width = self.bin_width();
        let edge = |bins: usize| (bins as f64 * width) as f32;
        if low + high >= BINS {
            (self.min, self.max)
        } else {
            (self.min + edge(low), self.max - edge(high))
        }
    }

    /// Shrinks one end and then the other towards zero, twice, and keeps the best of 100 places of each.
    fn least_error(&self) -> (f32, f32) {
        let factors = || (0..100).map(|step| 1.0 - f64::from(step) * 0.0095);
        let (min, max) = (f64::from(self.min.min(0.0)), f64::from(self.max.max(0.0)));
        let (mut low, mut high) = (1.0, 1.0);
        for _ in 0..2 {
            high = least(factors(), |factor| self.error(min * low, max * factor));
            low = least(factors(), |factor| self.error(min * factor, max * high));
        }
        ((min * low) as f32, (max * high) as f32)
    }

    /// Sum of squared errors of clipping to a range and rounding to 255 steps of it.
    fn error(&self, min: f64, max: f64) -> f64 {
        let step = (max - min) / 255.0;
        let bins = self
            .histogram
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        bins.fold(0.0, |sum, (bin, &count)| {
            let x = f64::from(self.min) + (bin as f64 + 0.5) * self.bin_width();
            sum + count as f64 * ((x - x.clamp(min, max)).powi(2) + step * step / 12.0)
        })
    }
}

/// The factor with the smallest error, the first of equals.
fn least(factors: impl Iterator<Item = f64>, error: impl Fn(f64) -> f64) -> f64 {
    let errors = factors.map(|factor| (error(factor), factor));
    errors
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(1.0, |(_, factor)| factor)
}

/// Observes every computed value; indices are those of the graph's values.
///
/// # Errors
/// No pictures, a wrong length, or a value that is not finite.
pub fn observe(
    runner: &Runner,
    graph: &Graph,
    inputs: &[Vec<f32>],
    observer: Observer,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Option<Statistics>>, QuantizeError> {
    if inputs.is_empty() {
        return Err(QuantizeError::NoPictures);
    }
    let mut statistics = ranges(runner, graph, inputs, progress)?;
    if observer != Observer::MinMax {
        histograms(runner, inputs, &mut statistics, progress)?;
    }
    Ok(statistics)
}

/// Largest magnitude of each channel (last dimension) of every computed value; what a function forgets does not count.
///
/// # Errors
/// As [`observe`].
pub(crate) fn channel_absmax(
    runner: &Runner,
    graph: &Graph,
    inputs: &[Vec<f32>],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Vec<f32>>, QuantizeError> {
    let done = AtomicUsize::new(0);
    let lowest: Vec<f32> = (0..graph.values.len())
        .map(|value| -vanishing(graph, value, 0.0))
        .collect();
    let channels = |value: usize| {
        graph.values[value]
            .shape
            .last()
            .copied()
            .unwrap_or(1)
            .max(1)
    };
    inputs
        .par_iter()
        .enumerate()
        .map(|(index, input)| {
            let mut absmax = vec![Vec::new(); graph.values.len()];
            runner.run(index, input, &mut |value, reals| {
                let mut largest = vec![0f32; channels(value)];
                for pixel in reals.chunks_exact(largest.len()) {
                    largest
                        .iter_mut()
                        .zip(pixel)
                        .for_each(|(m, x)| *m = m.max(x.max(lowest[value]).abs()));
                }
                absmax[value] = largest;
            })?;
            progress(Progress::Channels(
                done.fetch_add(1, Ordering::Relaxed) + 1,
                inputs.len(),
            ));
            Ok(absmax)
        })
        .try_reduce_with(|a, b| Ok(a.into_iter().zip(b).map(|(a, b)| larger(a, b)).collect()))
        .unwrap_or(Err(QuantizeError::NoPictures))
}

fn larger(a: Vec<f32>, b: Vec<f32>) -> Vec<f32> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect(),
    }
}

type Extremes = Vec<Option<(f32, f32)>>;

fn ranges(
    runner: &Runner,
    graph: &Graph,
    inputs: &[Vec<f32>],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Option<Statistics>>, QuantizeError> {
    let done = AtomicUsize::new(0);
    let merged = inputs
        .par_iter()
        .enumerate()
        .map(|(index, input)| {
            let mut extremes: Extremes = vec![None; graph.values.len()];
            let mut wrong = None;
            runner.run(index, input, &mut |value, reals| {
                let (min, max) = reals
                    .iter()
                    .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| {
                        (low.min(x), high.max(x))
                    });
                if wrong.is_none() && reals.iter().any(|x| !x.is_finite()) {
                    wrong = Some(value);
                }
                extremes[value] = Some((min, max));
            })?;
            progress(Progress::Ranges(
                done.fetch_add(1, Ordering::Relaxed) + 1,
                inputs.len(),
            ));
            match wrong {
                Some(value) => Err(QuantizeError::NotFinite {
                    value: graph.values[value].name.clone(),
                    input: index,
                }),
                None => Ok(extremes),
            }
        })
        .try_reduce_with(|a, b| Ok(a.into_iter().zip(b).map(|(a, b)| wider(a, b)).collect()))
        .unwrap_or(Err(QuantizeError::NoPictures))?;
    Ok(merged
        .into_iter()
        .map(|extremes| {
            extremes.map(|(min, max)| Statistics {
                min,
                max,
                histogram: Vec::new(),
            })
        })
        .collect())
}

fn wider(a: Option<(f32, f32)>, b: Option<(f32, f32)>) -> Option<(f32, f32)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

fn histograms(
    runner: &Runner,
    inputs: &[Vec<f32>],
    statistics: &mut [Option<Statistics>],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), QuantizeError> {
    let done = AtomicUsize::new(0);
    let ranges: Vec<Option<(f32, f32)>> = statistics
        .iter()
        .map(|s| s.as_ref().map(|s| (s.min, s.max)))
        .collect();
    let counts = inputs
        .par_iter()
        .enumerate()
        .try_fold(
            || vec![Vec::new(); ranges.len()],
            |mut counts: Vec<Vec<u64>>, (index, input)| {
                runner.run(index, input, &mut |value, reals| {
                    if let Some((min, max)) = ranges[value].filter(|(min, max)| max > min) {
                        counts[value].resize(BINS, 0);
                        let scale = BINS as f32 / (max - min);
                        for &x in reals {
                            counts[value][(((x - min) * scale) as usize).min(BINS - 1)] += 1;
                        }
                    }
                })?;
                progress(Progress::Histograms(
                    done.fetch_add(1, Ordering::Relaxed) + 1,
                    inputs.len(),
                ));
                Ok::<_, QuantizeError>(counts)
            },
        )
        .try_reduce(
            || vec![Vec::new(); ranges.len()],
            |a, b| Ok(a.into_iter().zip(b).map(|(a, b)| sum(a, b)).collect()),
        )?;
    for (statistics, counts) in statistics.iter_mut().zip(counts) {
        if let Some(statistics) = statistics {
            statistics.histogram = if counts.is_empty() {
                vec![0; BINS]
            } else {
                counts
            };
        }
    }
    Ok(())
}

fn sum(a: Vec<u64>, b: Vec<u64>) -> Vec<u64> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => a.into_iter().zip(b).map(|(a, b)| a + b).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal_with_outlier() -> Statistics {
        // A triangle around zero and one far count.
        let mut histogram = vec![0u64; BINS];
        for (bin, count) in histogram.iter_mut().enumerate().take(513) {
            *count = 256u64.saturating_sub(256u64.abs_diff(bin as u64)) * 100;
        }
        histogram[BINS - 1] = 1;
        Statistics {
            min: -1.0,
            max: 7.0,
            histogram,
        }
    }

    #[test]
    fn percentile_and_mse_clip_a_lone_outlier_and_min_max_does_not() {
        let statistics = normal_with_outlier();
        assert_eq!(statistics.range(Observer::MinMax), (-1.0, 7.0));
        let (_, high) = statistics.range(Observer::Percentile(0.0001));
        assert!(high < 1.1, "{high}");
        let (_, high) = statistics.range(Observer::Mse);
        assert!(high < 6.0, "{high}");
    }

    #[test]
    fn a_range_always_contains_zero() {
        let statistics = Statistics {
            min: 2.0,
            max: 3.0,
            histogram: vec![1; BINS],
        };
        for observer in [Observer::MinMax, Observer::Percentile(0.01), Observer::Mse] {
            assert_eq!(statistics.range(observer).0, 0.0);
        }
    }
}
