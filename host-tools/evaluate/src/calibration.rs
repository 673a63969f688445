//! Expected calibration error and the reliability diagram behind it.
//!
//! Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: predictions are put into bins by their
//! confidence, and the error is Σ (bin's share) · |accuracy − mean confidence|. Bins are of equal width, (m/M,
//! (m+1)/M], or of equal mass (Nixon et al., "Measuring Calibration in Deep Learning", 2019): as many predictions in
//! each, by confidence.

/// Bins of the literature.
pub const BINS: usize = 15;

/// How bins are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binning {
    /// All as wide.
    EqualWidth,
    /// All as full, up to one.
    EqualMass,
}

/// Predictions of similar confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Lower bound of the confidences, exclusive for bins of equal width.
    pub low: f64,
    /// Upper bound of the confidences.
    pub high: f64,
    /// How many predictions.
    pub count: usize,
    /// Their mean confidence; 0 where there is none.
    pub confidence: f64,
    /// The share of them that is right; 0 where there is none.
    pub accuracy: f64,
}

/// The error and its bins.
#[derive(Clone, Debug, PartialEq)]
pub struct Reliability {
    /// Expected calibration error.
    pub ece: f64,
    /// Largest gap of a bin that has predictions.
    pub mce: f64,
    /// All bins, by confidence.
    pub bins: Vec<Bin>,
}

/// Measures predictions: (confidence, whether it is right).
pub fn reliability(predictions: &[(f64, bool)], binning: Binning, bins: usize) -> Reliability {
    let bins = match binning {
        Binning::EqualWidth => equal_width(predictions, bins),
        Binning::EqualMass => equal_mass(predictions, bins),
    };
    let gap = |bin: &Bin| (bin.accuracy - bin.confidence).abs();
    let total = predictions.len().max(1) as f64;
    Reliability {
        ece: bins
            .iter()
            .map(|bin| bin.count as f64 / total * gap(bin))
            .sum(),
        mce: bins.iter().map(gap).fold(0.0, f64::max),
        bins,
    }
}

fn equal_width(predictions: &[(f64, bool)], bins: usize) -> Vec<Bin> {
    let mut members = vec![Vec::new(); bins];
    for prediction in predictions {
        let index = (prediction.0 * bins as f64).ceil() as usize;
        members[index.clamp(1, bins) - 1].push(*prediction);
    }
    let edge = |index: usize| index as f64 / bins as f64;
    let members = members.iter().enumerate();
    members
        .map(|(index, members)| bin(members, edge(index), edge(index + 1)))
        .collect()
}

fn equal_mass(predictions: &[(f64, bool)], bins: usize) -> Vec<Bin> {
    let mut sorted = predictions.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bins = bins.min(sorted.len());
    (0..bins)
        .map(|index| {
            let edge = |index: usize| index * sorted.len() / bins;
            let members = &sorted[edge(index)..edge(index + 1)];
            bin(members, members[0].0, members[members.len() - 1].0)
        })
        .collect()
}

fn bin(members: &[(f64, bool)], low: f64, high: f64) -> Bin {
    let count = members.len();
    let mean = |sum: f64| sum / count.max(1) as f64;
    Bin {
        low,
        high,
        count,
        confidence: mean(members.iter().map(|(confidence, _)| confidence).sum()),
        accuracy: mean(members.iter().filter(|(_, right)| *right).count() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_two_bins_by_hand() {
        // Bin (0, 0.5]: 0.4 right, 0.5 wrong: |0.5 − 0.45| of 2/5. Bin (0.5, 1]: 0.9 r, 0.9 r, 0.6 w: |2/3 − 0.8| of
        // 3/5.
        let predictions = [
            (0.4, true),
            (0.5, false),
            (0.9, true),
            (0.9, true),
            (0.6, false),
        ];
        let found = reliability(&predictions, Binning::EqualWidth, 2);
        let expected = 0.4 * 0.05 + 0.6 * (0.8 - 2.0 / 3.0);
        assert!((found.ece - expected).abs() < 1e-12, "{found:?}");
        assert!((found.mce - (0.8 - 2.0 / 3.0)).abs() < 1e-12);
        let mass = reliability(&predictions, Binning::EqualMass, 2);
        assert_eq!(
            mass.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(),
            [2, 3]
        );
    }

    #[test]
    fn nothing_and_less_than_a_bin_each_have_an_error() {
        assert_eq!(reliability(&[], Binning::EqualMass, 15).ece, 0.0);
        assert_eq!(reliability(&[], Binning::EqualWidth, 15).bins.len(), 15);
        assert_eq!(
            reliability(&[(1.0, true)], Binning::EqualMass, 15)
                .bins
                .len(),
            1
        );
        assert_eq!(
            reliability(&[(0.0, false)], Binning::EqualWidth, 15).bins[0].count,
            1
        );
    }
}
