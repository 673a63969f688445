//! Second moments of samples, and the factor of their inverse that rounding one unknown after the other needs (Frantar et al. 2022, GPTQ, arXiv 2210.17323, section 3.3).

use rayon::prelude::*;

/// Rows of a product that are computed together, so that they stay in the cache.
const ROWS_AT_ONCE: usize = 8;

/// aᵀ·b over samples: `a` (samples, rows), `b` (samples, columns) → (rows, columns).
pub(crate) fn moments(a: &[f32], rows: usize, b: &[f32], columns: usize) -> Vec<f64> {
    let mut sums = vec![0f64; rows * columns];
    let blocks = sums.par_chunks_mut((ROWS_AT_ONCE * columns).max(1));
    blocks.enumerate().for_each(|(block, sums)| {
        let first = block * ROWS_AT_ONCE;
        for (a, b) in a.chunks_exact(rows).zip(b.chunks_exact(columns)) {
            for (sums, &a) in sums.chunks_exact_mut(columns).zip(&a[first..]) {
                add_scaled(sums, f64::from(a), b.iter().map(|&b| f64::from(b)));
            }
        }
    });
    sums
}

/// `sums += factor · row`.
pub(crate) fn add_scaled(sums: &mut [f64], factor: f64, row: impl Iterator<Item = f64>) {
    if factor != 0.0 {
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += factor * x);
    }
}

/// The upper triangular U (n, n) with H⁻¹ = Uᵀ·U.
#[derive(Debug)]
pub(crate) struct InverseFactor {
    n: usize,
    upper: Vec<f64>,
}

impl InverseFactor {
    /// Of H (n, n), symmetric; none when it is not positive.
    pub(crate) fn new(moments: &[f64], n: usize) -> Option<Self> {
        Some(Self {
            n,
            upper: inverse(&upper_cholesky(moments, n)?, n),
        })
    }

    /// Row `index` of U from the diagonal on.
    pub(crate) fn row(&self, index: usize) -> &[f64] {
        &self.upper[index * self.n..][index..self.n]
    }
}

/// The upper triangular R with H = R·Rᵀ, from its last row to the first.
fn upper_cholesky(moments: &[f64], n: usize) -> Option<Vec<f64>> {
    let mut upper = vec![0f64; n * n];
    for i in (0..n).rev() {
        let (above, rest) = upper.split_at_mut((i + 1) * n);
        let row = &mut above[i * n..];
        for j in (i + 1..n).rev() {
            let other = &rest[(j - i - 1) * n..][..n];
            let known: f64 = row[j + 1..]
                .iter()
                .zip(&other[j + 1..])
                .map(|(a, b)| a * b)
                .sum();
            row[j] = (moments[i * n + j] - known) / other[j];
        }
        let square = moments[i * n + i] - row[i + 1..].iter().map(|x| x * x).sum::<f64>();
        if square.is_nan() || square <= 0.0 {
            return None;
        }
        row[i] = square.sqrt();
    }
    Some(upper)
}

/// Of an upper triangular matrix, row by row from the last.
fn inverse(upper: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0f64; n * n];
    for i in (0..n).rev() {
        let (above, below) = inverse.split_at_mut((i + 1) * n);
        let row = &mut above[i * n..];
        let diagonal = upper[i * n + i];
        for j in i + 1..n {
            let factor = -upper[i * n + j] / diagonal;
            let known = below[(j - i - 1) * n..][j..n].iter().copied();
            add_scaled(&mut row[j..], factor, known);
        }
        row[i] = 1.0 / diagonal;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: [f64; 9] = [4.0, 1.0, 0.5, 1.0, 3.0, -0.7, 0.5, -0.7, 2.0];

    #[test]
    fn the_factor_times_itself_is_the_inverse() {
        let factor = InverseFactor::new(&MATRIX, 3).unwrap();
        let upper = |i: usize, j: usize| if j < i { 0.0 } else { factor.row(i)[j - i] };
        for (i, row) in MATRIX.chunks(3).enumerate() {
            for j in 0..3 {
                let inverse = |l: usize| (0..3).map(|m| upper(m, l) * upper(m, j)).sum::<f64>();
                let product: f64 = (0..3).map(|l| row[l] * inverse(l)).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((product - expected).abs() < 1e-12, "{product} {expected}");
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_has_no_factor() {
        assert!(InverseFactor::new(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(InverseFactor::new(&[f64::NAN], 1).is_none());
    }

    #[test]
    fn moments_sum_products_over_samples() {
        let found = moments(&[1.0, 2.0, 3.0, 4.0], 2, &[1.0, 0.5], 1);
        assert_eq!(found, [2.5, 4.0]);
    }
}
