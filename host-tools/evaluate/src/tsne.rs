//! t-SNE, exact: a map of points on which near ones stay near.
//!
//! Van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008. Neighbourhoods are Gaussian with a width
//! of their own, so that each has the asked perplexity; on the map they are Student-t, and the Kullback-Leibler
//! divergence between both is lowered by gradient descent with momentum and gains. The schedule is scikit-learn's:
//! the forces of attraction are 12 times as strong for 250 steps, the rate is n / 48 and at least 50 (Belkina et al.,
//! Nature Communications 10, 2019), the start is the PCA (Kobak and Linderman, Nature Biotechnology 39, 2021). Every
//! step looks at all pairs: meant for a few thousand points. Distances on the map between groups, and sizes of
//! groups, mean little.

use rayon::prelude::*;

/// Steps with stronger attraction.
const EARLY_STEPS: usize = 250;
/// How much stronger.
const EXAGGERATION: f64 = 12.0;
/// Bisections of a neighbourhood's width.
const BISECTIONS: usize = 64;
/// Standard deviation of the first coordinate at the start.
const START_DEVIATION: f64 = 1e-4;

/// A map of points.
#[derive(Clone, Debug)]
pub struct Map {
    /// Coordinates of each point.
    pub points: Vec<[f64; 2]>,
    /// The divergence that is left, in nats.
    pub divergence: f64,
}

/// Maps points (n, any width) in `steps` steps; `start` are coordinates of which the first two are taken, as of a
/// PCA. `done` is called after each step. The perplexity is lowered to a third of the other points where there are
/// few.
///
/// # Panics
/// Where `start` has not two coordinates for each point.
pub fn map(
    points: &[Vec<f64>],
    start: &[Vec<f64>],
    perplexity: f64,
    steps: usize,
    done: &dyn Fn(),
) -> Map {
    assert_eq!(points.len(), start.len(), "a start for each point");
    let n = points.len();
    let mut state = State::new(start);
    if n < 4 {
        return Map {
            points: state.points(),
            divergence: 0.0,
        };
    }
    let perplexity = perplexity.min((n - 1) as f64 / 3.0);
    let affinities = affinities(points, perplexity);
    let rate = (n as f64 / EXAGGERATION / 4.0).max(50.0);
    for step in 0..steps {
        let early = step < EARLY_STEPS;
        let (exaggeration, momentum) = if early {
            (EXAGGERATION, 0.5)
        } else {
            (1.0, 0.8)
        };
        let gradient = gradient(&affinities, &state.x, &state.y, exaggeration);
        state.step(&gradient, rate, momentum);
        done();
    }
    Map {
        divergence: divergence(&affinities, &state.x, &state.y),
        points: state.points(),
    }
}

/// Joint probabilities of pairs, p_ij = (p_j|i + p_i|j) / 2n: (n, n), the diagonal 0.
pub fn affinities(points: &[Vec<f64>], perplexity: f64) -> Vec<f64> {
    let n = points.len();
    let conditional: Vec<Vec<f64>> = (0..n)
        .into_par_iter()
        .map(|index| neighbourhood(points, index, perplexity.ln()))
        .collect();
    (0..n)
        .into_par_iter()
        .flat_map_iter(|i| {
            let conditional = &conditional;
            (0..n).map(move |j| (conditional[i][j] + conditional[j][i]) / (2.0 * n as f64))
        })
        .collect()
}

/// Probabilities of the neighbours of a point, whose entropy is `entropy` nats.
fn neighbourhood(points: &[Vec<f64>], index: usize, entropy: f64) -> Vec<f64> {
    let own = &points[index];
    let distance = |other: &Vec<f64>| own.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
    let mut distances: Vec<f64> = points.iter().map(distance).collect();
    distances[index] = f64::INFINITY;
    let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
    let (mut low, mut high, mut precision) = (0.0, f64::INFINITY, 1.0);
    let mut found = Vec::new();
    for _ in 0..BISECTIONS {
        let weights: Vec<f64> = distances
            .iter()
            .map(|d| (precision * (least - d)).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        let mean: f64 = weights
            .iter()
            .zip(&distances)
            .filter(|(weight, _)| **weight > 0.0)
            .map(|(weight, d)| weight * (d - least))
            .sum::<f64>()
            / sum;
        found = weights.into_iter().map(|weight| weight / sum).collect();
        if sum.ln() + precision * mean > entropy {
            low = precision;
        } else {
            high = precision;
        }
        precision = if high.is_finite() {
            f64::midpoint(low, high)
        } else {
            2.0 * precision
        };
    }
    found
}

/// Sums over all other points that one point needs.
#[derive(Clone, Copy, Default)]
struct Forces {
    attraction: [f64; 2],
    repulsion: [f64; 2],
    normaliser: f64,
}

/// The gradient of the divergence, x and y of each point.
pub fn gradient(affinities: &[f64], x: &[f64], y: &[f64], exaggeration: f64) -> Vec<[f64; 2]> {
    let forces: Vec<Forces> = affinities
        .par_chunks_exact(x.len())
        .enumerate()
        .map(|(i, affinities)| forces(affinities, x, y, i))
        .collect();
    // Each point is at distance 0 from itself, which adds 1 to its sum.
    let normaliser: f64 = forces.iter().map(|forces| forces.normaliser - 1.0).sum();
    let of_axis = |forces: &Forces, axis: usize| {
        4.0 * (exaggeration * forces.attraction[axis] - forces.repulsion[axis] / normaliser)
    };
    forces
        .iter()
        .map(|forces| [of_axis(forces, 0), of_axis(forces, 1)])
        .collect()
}

/// Eight sums of each kind side by side, so that they are sums of vectors.
fn forces(affinities: &[f64], x: &[f64], y: &[f64], i: usize) -> Forces {
    const LANES: usize = 8;
    let (own_x, own_y) = (x[i], y[i]);
    let mut sums = [[0f64; LANES]; 5];
    let mut add = |p: &[f64], x: &[f64], y: &[f64]| {
        for lane in 0..p.len() {
            let (dx, dy) = (own_x - x[lane], own_y - y[lane]);
            let q = 1.0 / (1.0 + dx * dx + dy * dy);
            sums[0][lane] += p[lane] * q * dx;
            sums[1][lane] += p[lane] * q * dy;
            sums[2][lane] += q * q * dx;
            sums[3][lane] += q * q * dy;
            sums[4][lane] += q;
        }
    };
    let (p_lanes, p_rest) = affinities.as_chunks::<LANES>();
    let (x_lanes, x_rest) = x.as_chunks::<LANES>();
    let (y_lanes, y_rest) = y.as_chunks::<LANES>();
    for ((p, x), y) in p_lanes.iter().zip(x_lanes).zip(y_lanes) {
        add(p, x, y);
    }
    add(p_rest, x_rest, y_rest);
    let sum = |kind: usize| sums[kind].iter().sum::<f64>();
    Forces {
        attraction: [sum(0), sum(1)],
        repulsion: [sum(2), sum(3)],
        normaliser: sum(4),
    }
}

/// Σ p log(p / q) over all pairs.
pub fn divergence(affinities: &[f64], x: &[f64], y: &[f64]) -> f64 {
    let n = x.len();
    let q = |i: usize, j: usize| 1.0 / (1.0 + (x[i] - x[j]).powi(2) + (y[i] - y[j]).powi(2));
    let pairs = || {
        (0..n)
            .flat_map(|i| (0..n).map(move |j| (i, j)))
            .filter(|(i, j)| i != j)
    };
    let normaliser: f64 = pairs().map(|(i, j)| q(i, j)).sum();
    pairs()
        .map(|(i, j)| (affinities[i * n + j], q(i, j) / normaliser))
        .filter(|(p, _)| *p > 0.0)
        .map(|(p, q)| p * (p / q).ln())
        .sum()
}

/// Points on their way.
struct State {
    x: Vec<f64>,
    y: Vec<f64>,
    velocity: Vec<[f64; 2]>,
    gains: Vec<[f64; 2]>,
}

impl State {
    fn new(start: &[Vec<f64>]) -> Self {
        let first: Vec<f64> = start.iter().map(|point| point[0]).collect();
        let mean = first.iter().sum::<f64>() / first.len().max(1) as f64;
        let variance =
            first.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / first.len().max(1) as f64;
        let scale = START_DEVIATION / variance.sqrt().max(1e-12);
        Self {
            x: first.iter().map(|x| scale * x).collect(),
            y: start.iter().map(|point| scale * point[1]).collect(),
            velocity: vec![[0.0; 2]; start.len()],
            gains: vec![[1.0; 2]; start.len()],
        }
    }

    /// One step: gains grow where the gradient keeps its direction and shrink where it turns.
    fn step(&mut self, gradient: &[[f64; 2]], rate: f64, momentum: f64) {
        for (index, slope) in gradient.iter().enumerate() {
            for (axis, &slope) in slope.iter().enumerate() {
                let (gain, velocity) = (
                    &mut self.gains[index][axis],
                    &mut self.velocity[index][axis],
                );
                *gain = if *velocity * slope < 0.0 {
                    *gain + 0.2
                } else {
                    (*gain * 0.8).max(0.01)
                };
                *velocity = momentum * *velocity - rate * *gain * slope;
                let place = if axis == 0 {
                    &mut self.x[index]
                } else {
                    &mut self.y[index]
                };
                *place += *velocity;
            }
        }
    }

    fn points(&self) -> Vec<[f64; 2]> {
        self.x.iter().zip(&self.y).map(|(x, y)| [*x, *y]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    /// Points of the same of three far groups stay nearest to each other.
    #[test]
    fn groups_stay_together() {
        let mut random = Random::new(3);
        let points: Vec<Vec<f64>> = (0..60)
            .map(|i| {
                let mut point = [0.0; 3];
                point[i % 3] = 10.0;
                point.iter().map(|x| x + random.unit()).collect()
            })
            .collect();
        let found = map(&points, &points, 10.0, 400, &|| ());
        for (i, a) in found.points.iter().enumerate() {
            let distance = |b: &[f64; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
            let others = found.points.iter().enumerate().filter(|(j, _)| *j != i);
            let nearest = others.min_by(|(_, b), (_, c)| distance(b).total_cmp(&distance(c)));
            assert_eq!(nearest.expect("another point").0 % 3, i % 3);
        }
        assert!(found.divergence < 0.6, "{}", found.divergence);
    }

    #[test]
    fn too_few_points_stay_where_they_start() {
        let points = vec![vec![0.0, 0.0], vec![1.0, 0.0], vec![1.0, 0.0]];
        assert_eq!(map(&points, &points, 30.0, 10, &|| ()).points.len(), 3);
    }
}
