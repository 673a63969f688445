//! Normalised mutual information of two partitions.
//!
//! Strehl and Ghosh, JMLR 3, 2002; normalised by the mean of both entropies, as scikit-learn's
//! `normalized_mutual_info_score` does by default: 2 I(A; B) / (H(A) + H(B)). 1 where one partition tells the other,
//! about 0 where they are independent. With many clusters of few rows it is above 0 by chance.

use std::collections::BTreeMap;

/// The score of two partitions of the same things; 1 where both have one part, or none.
///
/// # Panics
/// Where the two differ in length.
pub fn normalised_mutual_information(a: &[usize], b: &[usize]) -> f64 {
    assert_eq!(a.len(), b.len(), "two partitions of the same things");
    let n = a.len() as f64;
    let pairs: Vec<(usize, usize)> = a.iter().copied().zip(b.iter().copied()).collect();
    let (of_a, of_b, of_both) = (counts(a), counts(b), counts(&pairs));
    if of_a.len() <= 1 && of_b.len() <= 1 {
        return 1.0;
    }
    let information: f64 = of_both
        .iter()
        .map(|((x, y), &both)| {
            let share = both as f64 / n;
            share * (both as f64 * n / (of_a[x] as f64 * of_b[y] as f64)).ln()
        })
        .sum();
    let mean_entropy = 0.5 * (entropy(&of_a, n) + entropy(&of_b, n));
    (information / mean_entropy).clamp(0.0, 1.0)
}

fn counts<T: Ord + Clone>(things: &[T]) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        *counts.entry(thing.clone()).or_default() += 1;
    }
    counts
}

fn entropy(counts: &BTreeMap<usize, usize>, n: f64) -> f64 {
    let shares = counts.values().map(|&count| count as f64 / n);
    -shares.map(|share| share * share.ln()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_do_not_matter_and_independence_is_0() {
        assert!((normalised_mutual_information(&[0, 0, 1, 1], &[5, 5, 2, 2]) - 1.0).abs() < 1e-12);
        assert_eq!(
            normalised_mutual_information(&[0, 0, 1, 1], &[0, 1, 0, 1]),
            0.0
        );
        assert_eq!(normalised_mutual_information(&[3, 3], &[1, 1]), 1.0);
        // Half a bit of one bit and of a bit and a half: 2 · 1 / (1 + 1.5).
        let found = normalised_mutual_information(&[0, 0, 1, 1], &[0, 0, 1, 2]);
        assert!((found - 0.8).abs() < 1e-12);
    }
}
