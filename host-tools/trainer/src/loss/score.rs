//! How alike two embeddings are: the score `s(a, b)`, larger for what belongs together. Its negative is an energy.
//!
//! ```text
//! dot         s = Σ_k a_k·b_k
//! cosine      s = Σ_k a_k·b_k / (‖a‖·‖b‖)
//! L1          s = −Σ_k |a_k − b_k|
//! L2          s = −√(Σ_k (a_k − b_k)²)
//! squared L2  s = −Σ_k (a_k − b_k)²
//! bilinear    s = Σ_kl a_k·W_kl·b_l          W learned, [dim of a, dim of b]
//! ```
//!
//! Distances are sums of differences, not `‖a‖² + ‖b‖² − 2a·b`, which cancels where rows are near. They go over
//! blocks of rows, so that a pass without gradients holds the matrix of pairs and [`BLOCK_ELEMENTS`] differences;
//! with gradients Burn keeps all differences, rows × rows × dim, until the backward pass: [`super::blockwise`] is the
//! way around that.

use burn::tensor::Tensor;

use super::error::{Inputs, LossError};
use crate::model::unit_rows;

/// Differences that a block of rows holds, in elements.
pub(crate) const BLOCK_ELEMENTS: usize = 1 << 20;

/// A score of pairs of embeddings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Score {
    /// Σ a·b.
    Dot,
    /// The dot product of unit rows.
    Cosine,
    /// The negative sum of absolute differences.
    L1,
    /// The negative Euclidean distance; its gradient between equal rows is 0.
    L2,
    /// The negative squared Euclidean distance.
    SquaredL2,
    /// `a·W·bᵀ` with `W` `[dim of a, dim of b]`.
    Bilinear(Box<Tensor<2>>),
}

impl Score {
    /// The scores `[n, m]` of all pairs of the rows of `a` `[n, dim]` and `b` `[m, dim]`.
    ///
    /// # Errors
    /// Inputs that are empty, or widths that disagree.
    pub fn pairs(&self, a: Tensor<2>, b: Tensor<2>) -> Result<Tensor<2>, LossError> {
        self.check(&a, &b)?;
        Ok(match self {
            Self::Dot => a.matmul(b.transpose()),
            Self::Cosine => unit_rows(a).matmul(unit_rows(b).transpose()),
            Self::Bilinear(weight) => a.matmul(*weight.clone()).matmul(b.transpose()),
            Self::L1 | Self::L2 | Self::SquaredL2 => self.by_blocks(a, b),
        })
    }

    /// The scores `[n, 1]` of row `i` of `a` with row `i` of `b`, both `[n, dim]`.
    ///
    /// # Errors
    /// Inputs that are empty, or shapes that disagree.
    pub fn rows(&self, a: Tensor<2>, b: Tensor<2>) -> Result<Tensor<2>, LossError> {
        let width = self.check(&a, &b)?;
        Inputs("score").shape("b", &b, [a.dims()[0], width])?;
        Ok(match self {
            Self::Dot => (a * b).sum_dim(1),
            Self::Cosine => (unit_rows(a) * unit_rows(b)).sum_dim(1),
            Self::Bilinear(weight) => (a.matmul(*weight.clone()) * b).sum_dim(1),
            Self::L1 => (a - b).abs().sum_dim(1).neg(),
            Self::L2 => square_root((a - b).square().sum_dim(1)).neg(),
            Self::SquaredL2 => (a - b).square().sum_dim(1).neg(),
        })
    }

    /// The width of `b`, after checks.
    fn check(&self, a: &Tensor<2>, b: &Tensor<2>) -> Result<usize, LossError> {
        let inputs = Inputs("score");
        let [_, mut width] = inputs.dims("a", a)?;
        if let Self::Bilinear(weight) = self {
            let [_, to] = inputs.dims("bilinear weight", weight)?;
            inputs.shape("bilinear weight", weight, [width, to])?;
            width = to;
        }
        inputs.rows("b", b, width)?;
        Ok(width)
    }

    fn by_blocks(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
        let ([rows, _], [columns, width]) = (a.dims(), b.dims());
        let block = (BLOCK_ELEMENTS / (columns * width)).max(1);
        let b = b.unsqueeze_dim::<3>(0);
        let of_block = |start: usize| {
            let count = block.min(rows - start);
            let differences = a.clone().narrow(0, start, count).unsqueeze_dim::<3>(1) - b.clone();
            let sums = match self {
                Self::L1 => differences.abs().sum_dim(2),
                _ => differences.square().sum_dim(2),
            };
            sums.squeeze_dim::<2>(2)
        };
        let blocks: Vec<_> = (0..rows).step_by(block).map(of_block).collect();
        let sums = Tensor::cat(blocks, 0);
        match self {
            Self::L2 => square_root(sums).neg(),
            _ => sums.neg(),
        }
    }
}

/// `√x` of numbers of at least 0, whose gradient at 0 is 0 and not infinite.
pub(crate) fn square_root(x: Tensor<2>) -> Tensor<2> {
    let zero = x.clone().detach().equal_scalar(0.0f32);
    x.mask_fill(zero.clone(), 1.0).sqrt().mask_fill(zero, 0.0)
}

#[cfg(test)]
mod tests {
    use super::Score;
    use crate::loss::LossError;
    use crate::loss::check::matrix;
    use crate::model::elements;
    use burn::tensor::{Device, Tensor, TensorData};

    fn scores() -> [Score; 6] {
        let weight = matrix([[1.0f32, 0.5], [-0.5, 2.0]]);
        let bilinear = Score::Bilinear(Box::new(weight));
        let [dot, cosine] = [Score::Dot, Score::Cosine];
        [
            dot,
            cosine,
            Score::L1,
            Score::L2,
            Score::SquaredL2,
            bilinear,
        ]
    }

    #[test]
    fn the_values_are_those_of_the_formulas() {
        let expected = [2.0, 2.0 / 13f32.sqrt(), -4.0, -10f32.sqrt(), -10.0, 3.5];
        for (score, expected) in scores().iter().zip(expected) {
            let pair = score.pairs(matrix([[1.0f32, 0.0]]), matrix([[2.0f32, 3.0]]));
            let found = elements(pair.unwrap())[0];
            let message = format!("{score:?}: {found}, expected {expected}");
            assert!((found - expected).abs() < 1e-6, "{message}");
        }
    }

    #[test]
    fn rows_are_the_diagonal_of_pairs() {
        let a = matrix([[1.0f32, -0.5], [0.25, 2.0], [3.0, 1.0]]);
        let b = matrix([[0.5f32, 0.5], [1.0, -1.0], [2.0, 0.1]]);
        for score in scores() {
            let pairs = elements(score.pairs(a.clone(), b.clone()).unwrap());
            let rows = elements(score.rows(a.clone(), b.clone()).unwrap());
            for i in 0..3 {
                assert!((pairs[4 * i] - rows[i]).abs() < 1e-6, "{score:?}");
            }
        }
    }

    #[test]
    fn many_blocks_give_what_one_would() {
        let (rows, columns, width) = (7, 1500, 300);
        let data = |rows: usize, shift: usize| {
            let numbers = (0..rows * width).map(|at| ((at * 37 + shift) % 101) as f32 / 101.0);
            TensorData::new(numbers.collect::<Vec<f32>>(), [rows, width])
        };
        let device = Device::flex();
        let a = Tensor::<2>::from_data(data(rows, 0), &device);
        let b = Tensor::<2>::from_data(data(columns, 5), &device);
        let all = elements(Score::L1.pairs(a.clone(), b.clone()).unwrap());
        for row in 0..rows {
            let one = elements(
                Score::L1
                    .pairs(a.clone().narrow(0, row, 1), b.clone())
                    .unwrap(),
            );
            assert_eq!(one, all[row * columns..(row + 1) * columns]);
        }
    }

    #[test]
    fn the_gradient_of_a_distance_of_zero_is_zero() {
        let a = matrix([[1.0f32, 2.0]]).require_grad();
        let score = Score::L2.pairs(a.clone(), matrix([[1.0f32, 2.0]])).unwrap();
        let gradient = elements(a.grad(&score.sum().backward()).unwrap());
        assert_eq!(gradient, [0.0, 0.0]);
    }

    #[test]
    fn widths_that_disagree_are_refused() {
        let error = Score::Dot.pairs(matrix([[1.0f32, 2.0]]), matrix([[1.0f32]]));
        let expected = LossError::Shape {
            loss: "score",
            input: "b",
            found: [1, 1],
            expected: [1, 2],
        };
        assert_eq!(error.unwrap_err(), expected);
        assert_eq!(
            expected.to_string(),
            "score: `b` is 1 by 1, expected 1 by 2"
        );
    }
}
