//! How far the channels of a tensor are brought to one range before it is quantised.
//!
//! One range for all channels makes the most of the 8 bits of the tensor, but what multiplies a channel divides the column of
//! weights that reads it, and a row of weights has one scale: the range moves from one side to the other. Nagel et al. 2019
//! (arXiv 1906.04721) balance the two by a rule, Xiao et al. 2022 (SmoothQuant, arXiv 2211.10438) by an exponent; here the
//! error of both sides is estimated from calibration, and the exponents are searched for each tensor.

use crate::observe::Channels;

/// Factors stay within this and its reciprocal: what is beyond would lift channels that are noise.
const LARGEST_FACTOR: f32 = 64.0;
/// Exponents of the range of a channel; 1 gives all channels one range.
const RANGE_EXPONENTS: [f32; 9] = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0];
/// Exponents of the largest weight that reads a channel.
const WEIGHT_EXPONENTS: [f32; 4] = [0.0, 0.25, 0.5, 0.75];

/// Somebody who reads a quantised tensor, channel by channel.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    /// What calibration saw of the tensor.
    input: &'a Channels,
    /// The weights of a dense layer; none for what treats every channel alone.
    dense: Option<Dense>,
}

/// The weights of a dense layer, summed over the taps of its window.
#[derive(Debug)]
struct Dense {
    /// Largest magnitude of (row, channel).
    largest: Vec<f32>,
    /// Sum of squares of each channel over rows and taps.
    energy: Vec<f64>,
    taps: usize,
    /// Mean square of the output, summed over rows.
    signal: f64,
}

impl<'a> Reader<'a> {
    /// What has a weight or a table for each channel.
    pub(crate) fn by_channel(input: &'a Channels) -> Self {
        Self { input, dense: None }
    }

    /// A layer with weights of (rows, taps, channels), whose output has this mean square in each row.
    pub(crate) fn dense(
        input: &'a Channels,
        weights: &[f32],
        rows: usize,
        output: &Channels,
    ) -> Self {
        let channels = input.len().max(1);
        let row = weights.len() / rows.max(1);
        let mut dense = Dense {
            largest: vec![0.0; rows * channels],
            energy: vec![0.0; channels],
            taps: row / channels,
            signal: output.mean_square.iter().map(|&x| f64::from(x)).sum(),
        };
        for (index, &weight) in weights.iter().enumerate() {
            let channel = index % channels;
            let largest = &mut dense.largest[index / row.max(1) * channels + channel];
            *largest = largest.max(weight.abs());
            dense.energy[channel] += f64::from(weight).powi(2);
        }
        Self {
            input,
            dense: Some(dense),
        }
    }

    /// Energy of the rounding errors at the output, as a share of its own, when channels are multiplied by `factors`.
    fn error(&self, factors: &[f32]) -> f64 {
        let mean_square = &self.input.mean_square;
        let step = self.input.span(factors) / 255.0;
        let noise = |factor: f32| f64::from(step / factor).powi(2) / 12.0;
        let Some(dense) = &self.dense else {
            let shares = mean_square.iter().zip(factors).map(|(&signal, &factor)| {
                noise(factor) / (noise(factor) + f64::from(signal)).max(f64::MIN_POSITIVE)
            });
            return shares.sum::<f64>() / factors.len().max(1) as f64;
        };
        let of_input: f64 = dense
            .energy
            .iter()
            .zip(factors)
            .map(|(energy, &factor)| noise(factor) * energy)
            .sum();
        let signal: f64 = mean_square
            .iter()
            .zip(factors)
            .map(|(&x, &factor)| f64::from(x * factor * factor))
            .sum();
        let rows = dense.largest.chunks_exact(factors.len().max(1));
        let steps = rows.map(|row| {
            let largest = row
                .iter()
                .zip(factors)
                .map(|(weight, factor)| weight / factor);
            f64::from(largest.fold(0f32, f32::max) / 127.0).powi(2)
        });
        let of_weights = steps.sum::<f64>() / 12.0 * signal * dense.taps as f64;
        (of_input + of_weights) / dense.signal.max(f64::MIN_POSITIVE)
    }
}

/// What the channels of a tensor and of those tied to it are multiplied with, so that its readers see the least error; none
/// when nothing is better than leaving them. `powers_of_two` rounds factors down to such.
pub(crate) fn factors(readers: &[Reader], powers_of_two: bool) -> Option<Vec<f32>> {
    let channels = readers.first()?.input.len();
    if readers.iter().any(|reader| reader.input.len() != channels) {
        return None;
    }
    let most = |of: &dyn Fn(&Reader, usize) -> f32| -> Vec<f32> {
        let largest = |channel| {
            readers
                .iter()
                .fold(0f32, |m, reader| m.max(of(reader, channel)))
        };
        (0..channels).map(largest).collect()
    };
    let ranges = most(&|reader, channel| reader.input.absmax(channel));
    let weights = most(&|reader, channel| reader.largest_weight(channel));
    let error = |factors: &[f32]| {
        readers
            .iter()
            .map(|reader| reader.error(factors))
            .sum::<f64>()
    };
    let mut best = (error(&vec![1.0; channels]), None);
    for by_range in RANGE_EXPONENTS {
        for by_weight in WEIGHT_EXPONENTS {
            let candidate = candidate(&ranges, by_range, &weights, by_weight, powers_of_two);
            let error = error(&candidate);
            // What is hardly better is not worth a change.
            if error < best.0 * 0.999 {
                best = (error, Some(candidate));
            }
        }
    }
    best.1
}

impl Reader<'_> {
    /// Of a channel; 1 for those that have one for each.
    fn largest_weight(&self, channel: usize) -> f32 {
        let Some(dense) = &self.dense else { return 0.0 };
        let channels = self.input.len();
        let column = dense.largest.iter().skip(channel).step_by(channels);
        column.copied().fold(0.0, f32::max)
    }
}

/// Factors that fall with the range of a channel and grow with its weights, none of which widens the tensor.
fn candidate(
    ranges: &[f32],
    by_range: f32,
    weights: &[f32],
    by_weight: f32,
    powers_of_two: bool,
) -> Vec<f32> {
    let largest = |all: &[f32]| all.iter().copied().fold(0.0, f32::max);
    let (range, weight) = (largest(ranges), largest(weights));
    let share = |x: f32, of: f32| if x > 0.0 && of > 0.0 { x / of } else { 1.0 };
    let raw = ranges.iter().zip(weights).map(|(&a, &w)| {
        (share(w, weight).powf(by_weight) / share(a, range).powf(by_range))
            .clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    });
    let raw: Vec<f32> = raw.collect();
    let widest = raw.iter().zip(ranges).fold(0f32, |m, (k, a)| m.max(k * a));
    let back = share(range, widest);
    raw.into_iter()
        .map(|factor| factor * back)
        .map(|factor| {
            if powers_of_two {
                factor.log2().floor().exp2()
            } else {
                factor
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(absmax: &[f32]) -> Channels {
        Channels {
            min: absmax.iter().map(|a| -a).collect(),
            max: absmax.to_vec(),
            mean_square: absmax.iter().map(|a| a * a / 9.0).collect(),
        }
    }

    #[test]
    fn a_reader_with_a_weight_for_each_channel_gets_one_range() {
        let input = channels(&[0.1, 1.0, 4.0]);
        let factors = factors(&[Reader::by_channel(&input)], false).unwrap();
        let ranges: Vec<f32> = factors.iter().zip(&input.max).map(|(k, a)| k * a).collect();
        assert!(
            ranges.iter().all(|range| (range - 4.0).abs() < 1e-5),
            "{ranges:?}"
        );
    }

    #[test]
    fn equal_channels_stay_as_they_are() {
        let (input, output) = (channels(&[2.0; 4]), channels(&[1.0; 2]));
        let reader = Reader::dense(&input, &[0.5; 8], 2, &output);
        assert_eq!(factors(&[reader], false), None);
    }

    #[test]
    fn a_dense_reader_shares_the_range_between_both_sides() {
        let (input, output) = (channels(&[0.01, 10.0, 10.0, 10.0]), channels(&[10.0]));
        let reader = Reader::dense(&input, &[1.0; 4], 1, &output);
        // One range for all would take ten of the weights' bits for a channel that hardly matters.
        let found = factors(&[reader], false).map_or(1.0, |factors| factors[0]);
        assert!(found < 32.0, "{found}");
    }

    #[test]
    fn factors_at_tables_are_powers_of_two_that_widen_nothing() {
        let input = channels(&[0.3, 1.7, 5.0, 0.0]);
        let factors = factors(&[Reader::by_channel(&input)], true).unwrap();
        assert!(factors.iter().all(|factor| factor.log2().fract() == 0.0));
        let widest = factors
            .iter()
            .zip(&input.max)
            .fold(0f32, |m, (k, a)| m.max(k * a));
        assert!(widest <= 5.0, "{factors:?}");
    }
}
