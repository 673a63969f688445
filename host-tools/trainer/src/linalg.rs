//! The dense linear algebra of the closed-form start, in f64 over row-major slices: small, symmetric, a few hundred wide.

/// Solves `a·x = b` in place of `b` for a symmetric positive definite `a` `[n, n]` and `b` `[n, columns]`, by Cholesky's
/// factors (Golub and Van Loan, Matrix Computations, algorithm 4.2.1). `a` is overwritten by its lower factor, whose upper half is
/// left as it was. `false` when `a` is not positive definite.
pub(crate) fn solve_positive(a: &mut [f64], b: &mut [f64], n: usize, columns: usize) -> bool {
    if !factor(a, n) {
        return false;
    }
    for i in 0..n {
        let (done, rest) = b.split_at_mut(i * columns);
        let row = &mut rest[..columns];
        for (j, known) in done.chunks_exact(columns).enumerate() {
            subtract(row, known, a[i * n + j]);
        }
        row.iter_mut().for_each(|x| *x /= a[i * n + i]);
    }
    for i in (0..n).rev() {
        let (head, done) = b.split_at_mut((i + 1) * columns);
        let row = &mut head[i * columns..];
        for (j, known) in done.chunks_exact(columns).enumerate() {
            subtract(row, known, a[(i + 1 + j) * n + i]);
        }
        row.iter_mut().for_each(|x| *x /= a[i * n + i]);
    }
    true
}

/// Cholesky's lower factor of `a` in its lower half; `false` when `a` is not positive definite.
pub(crate) fn factor(a: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        for j in 0..=i {
            let (row_i, row_j) = (&a[i * n..i * n + j], &a[j * n..j * n + j]);
            let sum = a[i * n + j] - row_i.iter().zip(row_j).map(|(x, y)| x * y).sum::<f64>();
            if i == j {
                if sum.is_nan() || sum <= 0.0 {
                    return false;
                }
                a[i * n + i] = sum.sqrt();
            } else {
                a[i * n + j] = sum / a[j * n + j];
            }
        }
    }
    true
}

fn subtract(row: &mut [f64], other: &[f64], factor: f64) {
    row.iter_mut()
        .zip(other)
        .for_each(|(x, y)| *x -= factor * y);
}

/// Eigenvalues, falling, and unit eigenvectors, one a row, of a symmetric `a` `[n, n]`, by cyclic Jacobi rotations (Golub and Van
/// Loan, algorithm 8.5.3). Each vector's largest element is positive, so that the result is one and the same for one input.
pub(crate) fn eigen_symmetric(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut vectors = vec![0f64; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _sweep in 0..30 {
        let off: f64 = (0..n * n)
            .filter(|at| at / n != at % n)
            .map(|at| a[at] * a[at])
            .sum();
        if off <= 1e-22 * total {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j * n + j].total_cmp(&a[i * n + i]).then(i.cmp(&j)));
    let values = order.iter().map(|&i| a[i * n + i]).collect();
    (
        values,
        order
            .iter()
            .map(|&i| signed(vectors[i * n..(i + 1) * n].to_vec()))
            .collect(),
    )
}

/// One rotation that makes element `(p, q)` of `a` zero; the rows of `vectors` follow.
fn rotate(a: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let apq = a[p * n + q];
    if apq == 0.0 {
        return;
    }
    let tau = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let c = (1.0 + t * t).sqrt().recip();
    let s = t * c;
    mix_rows(a, n, p, q, c, s);
    for row in a.chunks_exact_mut(n) {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
    mix_rows(vectors, n, p, q, c, s);
}

fn mix_rows(matrix: &mut [f64], n: usize, p: usize, q: usize, c: f64, s: f64) {
    let (head, tail) = matrix.split_at_mut(q * n);
    let (row_p, row_q) = (&mut head[p * n..(p + 1) * n], &mut tail[..n]);
    for (x, y) in row_p.iter_mut().zip(row_q) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

fn signed(mut vector: Vec<f64>) -> Vec<f64> {
    let largest = vector
        .iter()
        .copied()
        .fold(0f64, |a, b| if b.abs() > a.abs() { b } else { a });
    if largest < 0.0 {
        vector.iter_mut().for_each(|x| *x = -*x);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::{eigen_symmetric, solve_positive};
    use crate::rng::Rng;

    /// A random symmetric positive definite matrix.
    fn positive(n: usize) -> Vec<f64> {
        let mut rng = Rng::new(n as u64);
        let b: Vec<f64> = (0..n * n).map(|_| f64::from(rng.unit()) - 0.5).collect();
        let mut a = vec![0f64; n * n];
        for i in 0..n {
            for j in 0..n {
                a[i * n + j] =
                    (0..n).map(|k| b[i * n + k] * b[j * n + k]).sum::<f64>() + f64::from(i == j);
            }
        }
        a
    }

    #[test]
    fn a_solution_put_back_gives_the_right_side() {
        let (n, a) = (7, positive(7));
        let b: Vec<f64> = (0..n * 2).map(|x| x as f64 - 3.0).collect();
        let mut x = b.clone();
        assert!(solve_positive(&mut a.clone(), &mut x, n, 2));
        for i in 0..n {
            for c in 0..2 {
                let back: f64 = (0..n).map(|k| a[i * n + k] * x[k * 2 + c]).sum();
                assert!((back - b[i * 2 + c]).abs() < 1e-9, "{back}");
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_is_refused() {
        assert!(!solve_positive(
            &mut [1.0, 2.0, 2.0, 1.0],
            &mut [1.0, 1.0],
            2,
            1
        ));
    }

    #[test]
    fn eigenvectors_are_scaled_by_their_falling_eigenvalues() {
        let (n, a) = (9, positive(9));
        let (values, vectors) = eigen_symmetric(a.clone(), n);
        assert!(values.is_sorted_by(|x, y| x >= y), "{values:?}");
        for (value, vector) in values.iter().zip(&vectors) {
            for i in 0..n {
                let image: f64 = (0..n).map(|k| a[i * n + k] * vector[k]).sum();
                assert!(
                    (image - value * vector[i]).abs() < 1e-8,
                    "{image} is not {value} times {}",
                    vector[i]
                );
            }
        }
    }
}
