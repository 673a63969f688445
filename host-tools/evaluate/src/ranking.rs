//! Ranks and the shares of them that top-k accuracy and recall@k are.
//!
//! The rank of a target is the number of candidates that score higher; of equal scores the earlier candidate is
//! first, as in a class bank. What is no number scores lower than every number. Top-k accuracy (Russakovsky et al., "ImageNet Large Scale Visual Recognition
//! Challenge", IJCV 2015) is the share of pictures whose class has a rank below k.

use std::cmp::Ordering;

/// How many candidates come before `target`.
///
/// # Panics
/// Where `target` is not below the number of scores.
pub fn rank<T: PartialOrd + Copy>(scores: &[T], target: usize) -> usize {
    let own = scores[target];
    let is_number = |score: T| score.partial_cmp(&score).is_some();
    let is_before = |index: usize, score: T| match score.partial_cmp(&own) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Equal) => index < target,
        Some(Ordering::Less) => false,
        None if is_number(score) => true,
        None => !is_number(own) && index < target,
    };
    let scores = scores.iter().enumerate();
    scores
        .filter(|(index, score)| is_before(*index, **score))
        .count()
}

/// How many ranks are below `k`.
pub fn hits(ranks: &[usize], k: usize) -> usize {
    ranks.iter().filter(|rank| **rank < k).count()
}

/// The middle rank, counted from 1; the lower of two middle ones, 0 where there is none.
pub fn median_rank(ranks: &[usize]) -> usize {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .map_or(0, |rank| rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_candidates_win_ties() {
        let scores = [0.5, 0.9, 0.5, 0.1];
        let ranks: Vec<usize> = (0..4).map(|target| rank(&scores, target)).collect();
        assert_eq!(ranks, [1, 0, 2, 3]);
        assert_eq!((hits(&ranks, 1), hits(&ranks, 3)), (1, 3));
        assert_eq!(median_rank(&ranks), 2);
        assert_eq!(median_rank(&[]), 0);
    }

    #[test]
    fn a_score_that_is_no_number_comes_last() {
        let scores = [f64::NAN, 0.1, f64::NAN, 0.9];
        let ranks: Vec<usize> = (0..4).map(|target| rank(&scores, target)).collect();
        assert_eq!(ranks, [2, 1, 3, 0]);
    }
}
