//! Spherical k-means: clusters of unit vectors by cosine.
//!
//! Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data using Clustering", Machine Learning 42,
//! 2001: a row belongs to the centre with the largest cosine, a centre is the normalised sum of its rows. Started as
//! k-means++ is (Arthur and Vassilvitskii, SODA 2007): centres are rows, drawn in proportion to 1 − cosine, half the
//! squared distance of unit vectors, to the nearest centre before. The best of several starts is kept.

use rayon::prelude::*;

use crate::rows::dot;
use crate::{Random, Rows};

/// Rounds of one start.
const MAX_ROUNDS: usize = 100;

/// Clusters of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The cluster of each row, below k.
    pub assignments: Vec<usize>,
    /// Mean cosine of rows to their centres: what is maximised.
    pub cohesion: f64,
}

/// The best of `starts` runs with `k` clusters; `done` is called after each.
///
/// # Panics
/// Where there is no row, or `k` or `starts` is 0.
pub fn spherical(rows: &Rows, k: usize, starts: usize, seed: u64, done: &dyn Fn()) -> Clusters {
    assert!(
        !rows.is_empty() && k > 0 && starts > 0,
        "something to cluster"
    );
    let mut random = Random::new(seed);
    let mut best: Option<Clusters> = None;
    for _ in 0..starts {
        let found = run(rows, k.min(rows.len()), &mut random);
        if best
            .as_ref()
            .is_none_or(|best| found.cohesion > best.cohesion)
        {
            best = Some(found);
        }
        done();
    }
    best.unwrap_or_else(|| unreachable!("there is a start"))
}

fn run(rows: &Rows, k: usize, random: &mut Random) -> Clusters {
    let mut centres = plus_plus(rows, k, random);
    let mut nearest = assign(rows, &centres);
    for _ in 0..MAX_ROUNDS {
        centres = means(rows, &nearest, k);
        let next = assign(rows, &centres);
        let settled = next.iter().zip(&nearest).all(|(a, b)| a.0 == b.0);
        nearest = next;
        if settled {
            break;
        }
    }
    let cosines: f64 = nearest.iter().map(|(_, cosine)| f64::from(*cosine)).sum();
    Clusters {
        assignments: nearest.into_iter().map(|(centre, _)| centre).collect(),
        cohesion: cosines / rows.len() as f64,
    }
}

/// Rows to begin with.
fn plus_plus(rows: &Rows, k: usize, random: &mut Random) -> Rows {
    let mut chosen = vec![random.below(rows.len())];
    let mut distances = vec![f64::INFINITY; rows.len()];
    while chosen.len() < k {
        let last = rows.row(chosen[chosen.len() - 1]);
        distances
            .par_iter_mut()
            .enumerate()
            .for_each(|(index, distance)| {
                let to_last = f64::from(1.0 - dot(rows.row(index), last)).max(0.0);
                *distance = distance.min(to_last);
            });
        chosen.push(drawn(&distances, random));
    }
    rows.select(&chosen)
}

/// An index, drawn in proportion to a weight; any where all weights are 0.
fn drawn(weights: &[f64], random: &mut Random) -> usize {
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return random.below(weights.len());
    }
    let mut left = random.unit() * sum;
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.len() - 1
}

/// The nearest centre of each row and its cosine; of equally near ones the first.
fn assign(rows: &Rows, centres: &Rows) -> Vec<(usize, f32)> {
    let of_row = |row: &[f32]| {
        let cosines = centres.iter().map(|centre| dot(row, centre)).enumerate();
        cosines.fold((0, f32::NEG_INFINITY), |best, (index, cosine)| {
            if cosine > best.1 {
                (index, cosine)
            } else {
                best
            }
        })
    };
    rows.values()
        .par_chunks_exact(rows.width())
        .map(of_row)
        .collect()
}

/// Normalised sums; a cluster without rows gets the row that is farthest from its centre.
fn means(rows: &Rows, nearest: &[(usize, f32)], k: usize) -> Rows {
    let width = rows.width();
    let mut sums = vec![0f64; k * width];
    let mut counts = vec![0usize; k];
    for (row, (centre, _)) in rows.iter().zip(nearest) {
        counts[*centre] += 1;
        for (sum, x) in sums[centre * width..][..width].iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    let mut by_distance: Vec<usize> = Vec::new();
    if counts.contains(&0) {
        by_distance = (0..rows.len()).collect();
        by_distance.sort_by(|&a, &b| nearest[b].1.total_cmp(&nearest[a].1));
    }
    let mut centres = Vec::with_capacity(k * width);
    for (sum, count) in sums.chunks_exact(width).zip(counts) {
        match by_distance.pop() {
            Some(farthest) if count == 0 => centres.extend_from_slice(rows.row(farthest)),
            _ => {
                let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
                centres.extend(sum.iter().map(|x| (x / length) as f32));
            }
        }
    }
    Rows::new(centres, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three bundles of directions, 120° apart.
    #[test]
    fn bundles_of_directions_are_found() {
        let mut random = Random::new(1);
        let (mut values, mut bundles) = (Vec::new(), Vec::new());
        for index in 0..90 {
            let angle = (120 * (index % 3)) as f64 + 20.0 * (random.unit() - 0.5);
            values.extend([
                angle.to_radians().cos() as f32,
                angle.to_radians().sin() as f32,
            ]);
            bundles.push(index % 3);
        }
        let clusters = spherical(&Rows::new(values, 2), 3, 4, 9, &|| ());
        for (cluster, bundle) in clusters.assignments.iter().zip(&bundles) {
            assert_eq!(*cluster, clusters.assignments[*bundle]);
        }
        assert!(clusters.cohesion > 0.98);
    }

    #[test]
    fn more_clusters_than_different_rows_end() {
        let rows = Rows::new(vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0], 2);
        let clusters = spherical(&rows, 3, 1, 1, &|| ());
        assert!((clusters.cohesion - 1.0).abs() < 1e-6);
    }
}
