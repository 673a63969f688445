//! Ranges and histograms of every activation over the calibration pictures.
//!
//! Two passes: the first finds the exact range of each value, the second counts into bins over it, for the observers that
//! clip. Counts and extremes do not depend on the order of pictures, so threads do not change the result.

use pinhole_graph::Graph;
use rayon::prelude::*;

use crate::scheme::vanishing;
use crate::{Input, Progress, QuantizeError, Runner};
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
    /// The range that keeps the distribution: least Kullback-Leibler divergence (Migacz, "8-bit Inference with TensorRT",
    /// GTC 2017).
    Entropy,
}

impl Observer {
    /// All of them; [`Observer::Percentile`] with the usual share.
    pub const ALL: [Self; 4] = [
        Self::MinMax,
        Self::Percentile(0.00001),
        Self::Mse,
        Self::Entropy,
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::Percentile(_) => "percentile",
            Self::Mse => "mse",
            Self::Entropy => "entropy",
        }
    }
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
            Observer::Mse => self.shrunk(0.0595, |min, max| self.error(min, max)),
            // A range of fewer bins than steps would lose nothing and mean nothing.
            Observer::Entropy => self.shrunk(0.126, |min, max| self.divergence(min, max)),
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

    /// Shrinks one end and then the other towards zero, down to `least` of it, twice, and keeps the best of 100 places of each.
    fn shrunk(&self, least: f64, error: impl Fn(f64, f64) -> f64) -> (f32, f32) {
        let factors = || (0..100).map(|step| 1.0 - f64::from(step) * (1.0 - least) / 99.0);
        let (min, max) = (f64::from(self.min.min(0.0)), f64::from(self.max.max(0.0)));
        let (mut low, mut high) = (1.0, 1.0);
        for _ in 0..2 {
            high = least_of(factors(), |factor| error(min * low, max * factor));
            low = least_of(factors(), |factor| error(min * factor, max * high));
        }
        ((min * low) as f32, (max * high) as f32)
    }

    /// Kullback-Leibler divergence of what 255 steps of a range keep from what was seen, clipped to the range.
    fn divergence(&self, min: f64, max: f64) -> f64 {
        let step = ((max - min) / 255.0).max(f64::MIN_POSITIVE);
        let mut clipped = vec![0f64; BINS];
        // Counts and occupied bins of each step; what lies outside is in the reference alone.
        let mut kept = [(0f64, 0f64); 256];
        let center = |bin: usize| f64::from(self.min) + (bin as f64 + 0.5) * self.bin_width();
        let bin_of =
            |x: f64| (((x - f64::from(self.min)) / self.bin_width()) as usize).min(BINS - 1);
        let level =
            |bin: usize| (((center(bin).clamp(min, max) - min) / step).round() as usize).min(255);
        for (bin, &count) in self
            .histogram
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            let x = center(bin);
            let place = if (min..=max).contains(&x) {
                bin
            } else {
                bin_of(x.clamp(min, max))
            };
            clipped[place] += count as f64;
            if place == bin {
                let (sum, bins) = &mut kept[level(bin)];
                *sum += count as f64;
                *bins += 1.0;
            }
        }
        let total: f64 = clipped.iter().sum();
        let held: f64 = kept.iter().map(|(sum, _)| sum).sum();
        let occupied = clipped
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0.0);
        occupied.fold(0.0, |divergence, (bin, &count)| {
            let (sum, bins) = kept[level(bin)];
            let (p, q) = (count / total, sum / (bins.max(1.0) * held.max(1.0)));
            divergence + p * (p / q.max(1e-12)).ln()
        })
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
fn least_of(factors: impl Iterator<Item = f64>, error: impl Fn(f64) -> f64) -> f64 {
    let errors = factors.map(|factor| (error(factor), factor));
    errors
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(1.0, |(_, factor)| factor)
}

/// Observes every computed value; indices are those of the graph's values. [`Observer::MinMax`] needs no histograms.
///
/// # Errors
/// No pictures, a wrong length, or a value that is not finite.
pub fn observe(
    runner: &Runner,
    graph: &Graph,
    inputs: &[Input],
    with_histograms: bool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Option<Statistics>>, QuantizeError> {
    if inputs.is_empty() {
        return Err(QuantizeError::NoInputs);
    }
    let mut statistics = ranges(runner, graph, inputs, progress)?;
    if with_histograms {
        histograms(runner, inputs, &mut statistics, progress)?;
    }
    Ok(statistics)
}

/// What was seen of each channel (last dimension) of a value; what a function forgets does not count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channels {
    /// Smallest number, at most 0.
    pub(crate) min: Vec<f32>,
    /// Largest number, at least 0.
    pub(crate) max: Vec<f32>,
    /// Mean of squares.
    pub(crate) mean_square: Vec<f32>,
}

impl Channels {
    /// Number of channels; 0 for what was not seen.
    pub(crate) fn len(&self) -> usize {
        self.max.len()
    }

    /// Largest magnitude of a channel.
    pub(crate) fn absmax(&self, channel: usize) -> f32 {
        self.max[channel].max(-self.min[channel])
    }

    /// From the smallest number to the largest when channels are multiplied by `factors`.
    pub(crate) fn span(&self, factors: &[f32]) -> f32 {
        let products = |side: &[f32]| -> f32 {
            let products = side
                .iter()
                .zip(factors)
                .map(|(x, factor)| (x * factor).abs());
            products.fold(0.0, f32::max)
        };
        products(&self.min) + products(&self.max)
    }
}

/// Pictures whose sums are held at once: they are added in the order of the pictures, so that threads do not change a bit.
const PICTURES_AT_ONCE: usize = 16;

/// [`Channels`] of every computed value.
///
/// # Errors
/// As [`observe`].
pub(crate) fn channels(
    runner: &Runner,
    graph: &Graph,
    inputs: &[Input],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Channels>, QuantizeError> {
    if inputs.is_empty() {
        return Err(QuantizeError::NoInputs);
    }
    let done = AtomicUsize::new(0);
    let lowest: Vec<f32> = (0..graph.values.len())
        .map(|value| -vanishing(graph, value, 0.0))
        .collect();
    let mut seen = vec![ChannelSums::default(); graph.values.len()];
    let numbered: Vec<(usize, &Input)> = inputs.iter().enumerate().collect();
    for few in numbered.chunks(PICTURES_AT_ONCE) {
        let sums = few.par_iter().map(|&(index, input)| {
            let mut sums = vec![ChannelSums::default(); graph.values.len()];
            runner.run(index, input, &mut |value, reals| {
                let channels = graph.values[value].shape.last().copied().unwrap_or(1);
                sums[value].add(reals, channels.max(1), lowest[value]);
            })?;
            progress(Progress::Channels(
                done.fetch_add(1, Ordering::Relaxed) + 1,
                inputs.len(),
            ));
            Ok(sums)
        });
        for sums in sums.collect::<Result<Vec<_>, QuantizeError>>()? {
            seen.iter_mut()
                .zip(sums)
                .for_each(|(seen, sums)| seen.merge(sums));
        }
    }
    Ok(seen.into_iter().map(ChannelSums::finish).collect())
}

#[derive(Clone, Debug, Default)]
struct ChannelSums {
    min: Vec<f32>,
    max: Vec<f32>,
    squares: Vec<f64>,
    rows: usize,
}

impl ChannelSums {
    fn add(&mut self, reals: &[f32], channels: usize, lowest: f32) {
        self.min.resize(channels, 0.0);
        self.max.resize(channels, 0.0);
        self.squares.resize(channels, 0.0);
        for row in reals.chunks_exact(channels) {
            let ranges = self.min.iter_mut().zip(&mut self.max);
            for (((min, max), squares), x) in ranges.zip(&mut self.squares).zip(row) {
                let x = x.max(lowest);
                *min = min.min(x);
                *max = max.max(x);
                *squares += f64::from(x * x);
            }
            self.rows += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        if self.max.is_empty() {
            *self = other;
            return;
        }
        let smallest = self.min.iter_mut().zip(other.min);
        smallest.for_each(|(a, b)| *a = a.min(b));
        let largest = self.max.iter_mut().zip(other.max);
        largest.for_each(|(a, b)| *a = a.max(b));
        let squares = self.squares.iter_mut().zip(other.squares);
        squares.for_each(|(a, b)| *a += b);
        self.rows += other.rows;
    }

    fn finish(self) -> Channels {
        let rows = self.rows.max(1) as f64;
        Channels {
            min: self.min,
            max: self.max,
            mean_square: self.squares.iter().map(|sum| (sum / rows) as f32).collect(),
        }
    }
}

type Extremes = Vec<Option<(f32, f32)>>;

fn ranges(
    runner: &Runner,
    graph: &Graph,
    inputs: &[Input],
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
        .unwrap_or(Err(QuantizeError::NoInputs))?;
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
    inputs: &[Input],
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
        let (_, high) = statistics.range(Observer::Entropy);
        assert!((0.9..4.0).contains(&high), "{high}");
    }

    #[test]
    fn a_range_always_contains_zero() {
        let statistics = Statistics {
            min: 2.0,
            max: 3.0,
            histogram: vec![1; BINS],
        };
        for observer in Observer::ALL {
            assert_eq!(statistics.range(observer).0, 0.0);
        }
    }
}
