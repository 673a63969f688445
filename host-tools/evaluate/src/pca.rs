//! Principal components, by subspace iteration.
//!
//! Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 53, 2011, algorithms 4.4 and 5.3: a
//! random subspace a little larger than asked is multiplied by the covariance and made orthogonal again, many times;
//! within it the eigenvectors are found by Jacobi's rotations (Golub and Van Loan, "Matrix Computations", 8.5).

use rayon::prelude::*;

use crate::{Random, Rows};

/// Dimensions more than asked, which make the last ones converge.
const OVERSAMPLING: usize = 10;
/// Multiplications by the covariance.
const ROUNDS: usize = 60;
/// Sweeps of rotations over all pairs; they converge quadratically.
const SWEEPS: usize = 30;

/// The projection of rows on their principal components.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Coordinates of each row, the largest variance first: (len, components).
    pub coordinates: Vec<Vec<f64>>,
    /// Variance along each component, with n − 1 degrees of freedom.
    pub variances: Vec<f64>,
    /// Sum of the variances of all dimensions.
    pub total_variance: f64,
}

/// Projects centred rows on at most `components` components. The sign of a component is that of its largest
/// coefficient, made positive.
pub fn project(rows: &Rows, components: usize, seed: u64) -> Projection {
    let width = rows.width();
    let centred = centred(rows);
    let covariance = covariance(&centred, width, rows.len());
    let total_variance = (0..width).map(|i| covariance[i * width + i]).sum();
    let components = components.min(width);
    let subspace = dominant_subspace(
        &covariance,
        width,
        (components + OVERSAMPLING).min(width),
        seed,
    );
    let (variances, mut axes) = ritz(&covariance, width, &subspace);
    axes.truncate(components);
    axes.iter_mut().for_each(|axis| orient(axis));
    let coordinates = centred
        .par_chunks_exact(width)
        .map(|row| axes.iter().map(|axis| dot(axis, row)).collect())
        .collect();
    Projection {
        coordinates,
        variances: variances.into_iter().take(components).collect(),
        total_variance,
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Rows less their mean: (len, width).
fn centred(rows: &Rows) -> Vec<f64> {
    let mut mean = vec![0f64; rows.width()];
    for row in rows.iter() {
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, x)| *m += f64::from(*x));
    }
    mean.iter_mut().for_each(|m| *m /= rows.len().max(1) as f64);
    rows.iter()
        .flat_map(|row| row.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m))
        .collect()
}

/// (width, width)
fn covariance(centred: &[f64], width: usize, count: usize) -> Vec<f64> {
    let scale = 1.0 / count.saturating_sub(1).max(1) as f64;
    let row_of = |i: usize| {
        let mut sums = vec![0f64; width];
        for row in centred.chunks_exact(width) {
            let factor = row[i] * scale;
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, x)| *sum += factor * x);
        }
        sums
    };
    (0..width).into_par_iter().flat_map_iter(row_of).collect()
}

/// Orthonormal vectors that span about the same as the eigenvectors of the largest eigenvalues.
fn dominant_subspace(matrix: &[f64], width: usize, count: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = Random::new(seed);
    let mut vectors: Vec<Vec<f64>> = (0..count)
        .map(|_| (0..width).map(|_| random.unit() - 0.5).collect())
        .collect();
    orthonormalise(&mut vectors);
    for _ in 0..ROUNDS {
        vectors = vectors
            .par_iter()
            .map(|vector| multiply(matrix, vector))
            .collect();
        orthonormalise(&mut vectors);
    }
    vectors
}

fn multiply(matrix: &[f64], vector: &[f64]) -> Vec<f64> {
    matrix
        .chunks_exact(vector.len())
        .map(|row| dot(row, vector))
        .collect()
}

/// Modified Gram-Schmidt, twice, which is as good as Householder's reflections here. What has no direction left
/// becomes zero.
fn orthonormalise(vectors: &mut [Vec<f64>]) {
    for index in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(index);
        let vector = &mut rest[0];
        let length_before = dot(vector, vector).sqrt();
        for other in before.iter().chain(before.iter()) {
            let along = dot(vector, other);
            vector
                .iter_mut()
                .zip(other)
                .for_each(|(v, o)| *v -= along * o);
        }
        let length = dot(vector, vector).sqrt();
        let is_rounding = length <= 1e-10 * length_before;
        let scale = if is_rounding { 0.0 } else { 1.0 / length };
        vector.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Eigenvalues and eigenvectors of the matrix as the subspace sees it, the largest first.
fn ritz(matrix: &[f64], width: usize, subspace: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let count = subspace.len();
    let images: Vec<Vec<f64>> = subspace
        .iter()
        .map(|vector| multiply(matrix, vector))
        .collect();
    let mut small: Vec<Vec<f64>> = subspace
        .iter()
        .map(|vector| images.iter().map(|image| dot(vector, image)).collect())
        .collect();
    let rotations = jacobi(&mut small);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| small[b][b].total_cmp(&small[a][a]));
    let vector_of = |&index: &usize| {
        let mut vector = vec![0.0; width];
        for (basis, rotation) in subspace.iter().zip(&rotations) {
            vector
                .iter_mut()
                .zip(basis)
                .for_each(|(v, b)| *v += rotation[index] * b);
        }
        vector
    };
    let values = order
        .iter()
        .map(|&index| small[index][index].max(0.0))
        .collect();
    (values, order.iter().map(vector_of).collect())
}

/// Makes a symmetric matrix diagonal; gives the rotations, one eigenvector a column.
fn jacobi(matrix: &mut [Vec<f64>]) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for p in 0..n {
            for q in p + 1..n {
                rotated |= rotate(matrix, &mut vectors, p, q);
            }
        }
        if !rotated {
            break;
        }
    }
    vectors
}

/// Takes the element (p, q) to zero, where it is not already.
fn rotate(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) -> bool {
    let off = matrix[p][q];
    if off.abs() <= 1e-15 * (matrix[p][p] * matrix[q][q]).abs().sqrt() || off.abs() < 1e-300 {
        return false;
    }
    let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * off);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    for row in matrix.iter_mut().chain(vectors.iter_mut()) {
        let (a, b) = (row[p], row[q]);
        row[p] = cosine * a - sine * b;
        row[q] = sine * a + cosine * b;
    }
    let (above, below) = matrix.split_at_mut(q);
    for (a, b) in above[p].iter_mut().zip(&mut below[0]) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
    true
}

fn orient(axis: &mut [f64]) {
    let largest = axis.iter().fold(
        0.0f64,
        |most, x| if x.abs() > most.abs() { *x } else { most },
    );
    if largest < 0.0 {
        axis.iter_mut().for_each(|x| *x = -*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_have_one_component() {
        let values = (0..5u8).flat_map(|i| [f32::from(i), 2.0 * f32::from(i), 7.0]);
        let projection = project(&Rows::new(values.collect(), 3), 2, 1);
        // Along the line points are √5 apart: variance 5 · 2.5.
        assert!(
            (projection.variances[0] - 12.5).abs() < 1e-9,
            "{projection:?}"
        );
        assert!(projection.variances[1].abs() < 1e-9);
        assert!((projection.total_variance - 12.5).abs() < 1e-9);
        assert!((projection.coordinates[4][0] - 2.0 * 5f64.sqrt()).abs() < 1e-9);
    }
}
