//! k nearest neighbours with votes weighted by temperature, as DINO measures features.
//!
//! Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, after Wu et al.,
//! "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018: each of the k training rows
//! nearest by cosine votes for its class with weight exp(cosine / T), T = 0.07; DINO takes k = 20. Nothing is
//! trained.

use rayon::prelude::*;

use crate::Rows;
use crate::rows::{argmax, dot};

/// DINO's number of neighbours.
pub const K: usize = 20;
/// DINO's temperature.
pub const TEMPERATURE: f64 = 0.07;

/// Votes of the neighbours of each query, as shares of all votes: (queries, classes). `done` is called after each
/// query.
///
/// Of equally near rows the earlier comes first; with fewer than `k` training rows all of them vote.
///
/// # Panics
/// Where there is not one label a training row, one is not below `classes`, there is no training row, or `k` is 0.
pub fn votes(
    train: &Rows,
    labels: &[usize],
    classes: usize,
    queries: &Rows,
    k: usize,
    temperature: f64,
    done: &(dyn Fn() + Sync),
) -> Vec<Vec<f64>> {
    assert_eq!(train.len(), labels.len(), "a label for each row");
    assert!(!train.is_empty() && k > 0, "a neighbour");
    queries
        .values()
        .par_chunks_exact(queries.width())
        .map(|query| {
            let neighbours = nearest(train, query, k);
            // Weights relative to the nearest: the same shares, without overflow.
            let most = f64::from(neighbours[0].0);
            let mut votes = vec![0.0; classes];
            for (cosine, index) in neighbours {
                votes[labels[index]] += ((f64::from(cosine) - most) / temperature).exp();
            }
            let sum: f64 = votes.iter().sum();
            votes.iter_mut().for_each(|vote| *vote /= sum);
            done();
            votes
        })
        .collect()
}

/// The class with the most votes, for each query.
pub fn predictions(votes: &[Vec<f64>]) -> Vec<usize> {
    votes.iter().map(|votes| argmax(votes)).collect()
}

/// The `k` largest cosines with their rows, the largest first.
fn nearest(train: &Rows, query: &[f32], k: usize) -> Vec<(f32, usize)> {
    let mut all: Vec<(f32, usize)> = train
        .iter()
        .enumerate()
        .map(|(index, row)| (dot(query, row), index))
        .collect();
    let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if k < all.len() {
        all.select_nth_unstable_by(k, order);
        all.truncate(k);
    }
    all.sort_unstable_by(order);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_near_neighbour_outvotes_two_far_ones() {
        let train = Rows::new(vec![1.0, 0.0, 0.6, 0.8, 0.6, -0.8, -1.0, 0.0], 2);
        let query = Rows::new(vec![1.0, 0.0], 2);
        let votes = votes(&train, &[0, 1, 1, 1], 2, &query, 3, 0.5, &|| ());
        let far = 2.0 * (-0.8f64).exp();
        assert!((votes[0][0] - 1.0 / (1.0 + far)).abs() < 1e-7, "{votes:?}");
        assert_eq!(predictions(&votes), [0]);
    }
}
