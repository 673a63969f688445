//! Embeddings as the rows of one matrix.

/// Rows of one width, one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    values: Vec<f32>, // (len, width)
    width: usize,
}

impl Rows {
    /// Takes `values` of shape (len, width).
    ///
    /// # Panics
    /// Where `width` is 0 or does not divide the number of values.
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        assert!(
            width > 0 && values.len().is_multiple_of(width),
            "{} values are no rows of {width}",
            values.len()
        );
        Self { values, width }
    }

    /// Copies rows; `None` where there is none, the first is empty, or two differ in width.
    pub fn from_vecs(rows: &[Vec<f32>]) -> Option<Self> {
        let width = rows.first()?.len();
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return None;
        }
        Some(Self::new(rows.concat(), width))
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row.
    ///
    /// # Panics
    /// Where `index` is not below [`Rows::len`].
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }

    /// All rows, in order.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    /// All numbers: (len, width).
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The rows at `indices`, in their order.
    ///
    /// # Panics
    /// Where an index is not below [`Rows::len`].
    pub fn select(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|&index| self.row(index)).copied();
        Self::new(values.collect(), self.width)
    }
}

/// The inner product; for unit vectors their cosine. Eight sums side by side, so that it is one of vectors.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The index of the largest number; the first of equal ones, 0 where there is none.
pub fn argmax(scores: &[f64]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = index;
        }
    }
    best
}

/// Probabilities in proportion to `exp(scale · score)`, computed without overflow.
pub fn softmax(scores: &[f64], scale: f64) -> Vec<f64> {
    let largest = scores
        .iter()
        .map(|score| scale * score)
        .fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores
        .iter()
        .map(|score| (scale * score - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_is_the_sum_of_products_of_any_width() {
        for width in 0..=19u8 {
            let a: Vec<f32> = (0..width).map(f32::from).collect();
            let expected: f32 = a.iter().map(|x| x * x).sum();
            assert_eq!(dot(&a, &a), expected);
        }
    }

    #[test]
    fn rows_of_different_width_are_no_matrix() {
        assert_eq!(Rows::from_vecs(&[vec![1.0], vec![1.0, 2.0]]), None);
        assert_eq!(Rows::from_vecs(&[]), None);
        let rows = Rows::from_vecs(&[vec![1.0, 2.0], vec![3.0, 4.0]]).expect("a matrix");
        assert_eq!(rows.select(&[1, 0]).values(), [3.0, 4.0, 1.0, 2.0]);
    }

    #[test]
    fn softmax_of_large_scores_is_finite() {
        let probabilities = softmax(&[1000.0, 999.0], 1.0);
        let expected = 1.0 / (1.0 + (-1f64).exp());
        assert!((probabilities[0] - expected).abs() < 1e-12);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
    }
}
