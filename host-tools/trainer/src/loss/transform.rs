//! Which transform lies between two pictures, read from their embeddings (Zhang et al., 2019, AET, arXiv 1901.04596),
//! for the rotations by quarters and the flip that E-SSL predicts from one view (Dangovski et al., 2022, arXiv
//! 2111.00899).
//!
//! An encoder that contrast makes blind to a transform cannot tell it; one that has to tell it stays equivariant. A
//! head reads the rows `x_i` of pictures and `y_i` of the same pictures transformed, with `[·;·]` one row behind the
//! other,
//!
//! ```text
//! h_i = relu([x_i; y_i]·W_1 + b_1)          [pairs, hidden]
//! l_i = h_i·W_2 + b_2                       [pairs, 6]: four rotations, then not flipped and flipped
//! L   = 1/pairs · Σ_i −ln softmax(l_i[0..4])[quarters_i] − ln softmax(l_i[4..6])[flipped_i]
//! ```
//!
//! Learned: both embeddings and the head. A head that knows nothing costs `ln 4 + ln 2`.

use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};

use super::error::{Inputs, LossError};
use super::stable::pick;
use crate::model::elements;
use crate::rng::Rng;

/// Rotations by a quarter of a turn.
const QUARTERS: usize = 4;
/// Not flipped, flipped.
const FLIPS: usize = 2;

/// A flip, then a rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transform {
    /// Quarters of a turn counter-clockwise, less than 4.
    pub quarters: usize,
    /// Whether left and right are exchanged first.
    pub flipped: bool,
}

impl Transform {
    /// The transformed pixels of a square picture `[side, side, channels]`.
    ///
    /// # Errors
    /// Another number of pixels, or a rotation of 4 quarters or more.
    pub fn apply(self, pixels: &[f32], side: usize) -> Result<Vec<f32>, LossError> {
        let inputs = Inputs("transform");
        inputs.labels(&[self.quarters], QUARTERS)?;
        if side == 0 || pixels.is_empty() || !pixels.len().is_multiple_of(side * side) {
            return Err(LossError::Multiple {
                loss: inputs.0,
                input: "pixels",
                found: pixels.len(),
                of: side * side,
            });
        }
        let channels = pixels.len() / (side * side);
        let mut out = Vec::with_capacity(pixels.len());
        for row in 0..side {
            for column in 0..side {
                let (far_row, far_column) = (side - 1 - row, side - 1 - column);
                let (y, x) = match self.quarters {
                    0 => (row, column),
                    1 => (column, far_row),
                    2 => (far_row, far_column),
                    _ => (far_column, row),
                };
                let x = if self.flipped { side - 1 - x } else { x };
                let start = (y * side + x) * channels;
                out.extend_from_slice(&pixels[start..start + channels]);
            }
        }
        Ok(out)
    }
}

/// The layers that read a transform from two embeddings.
#[derive(Clone, Debug)]
pub struct TransformHead {
    /// `[2·dim, hidden]`.
    pub first: Tensor<2>,
    /// `[1, hidden]`.
    pub first_bias: Tensor<2>,
    /// `[hidden, 6]`.
    pub second: Tensor<2>,
    /// `[1, 6]`.
    pub second_bias: Tensor<2>,
}

impl TransformHead {
    /// A head for embeddings of width `dim` on `device`, its weights uniform in ±1/√(inputs), its biases 0.
    pub fn random(dim: usize, hidden: usize, seed: u64, device: &Device) -> Self {
        let mut rng = Rng::new(seed);
        let mut weight = |rows: usize, columns: usize| {
            let bound = (rows as f32).sqrt().recip();
            let numbers = (0..rows * columns).map(|_| (2.0 * rng.unit() - 1.0) * bound);
            let data = TensorData::new(numbers.collect::<Vec<f32>>(), [rows, columns]);
            Tensor::from_data(data, device)
        };
        Self {
            first: weight(2 * dim, hidden),
            first_bias: Tensor::zeros([1, hidden], device),
            second: weight(hidden, QUARTERS + FLIPS),
            second_bias: Tensor::zeros([1, QUARTERS + FLIPS], device),
        }
    }

    /// The logits `[pairs, 6]` of pairs of rows of `originals` and `transformed`, both `[pairs, dim]`.
    ///
    /// # Errors
    /// Inputs that are empty or disagree in shape.
    pub fn logits(
        &self,
        originals: Tensor<2>,
        transformed: Tensor<2>,
    ) -> Result<Tensor<2>, LossError> {
        let inputs = Inputs("transform_loss");
        let dims = inputs.dims("originals", &originals)?;
        inputs.shape("transformed", &transformed, dims)?;
        let [_, hidden] = inputs.dims("first", &self.first)?;
        let outputs = QUARTERS + FLIPS;
        inputs.shape("first", &self.first, [2 * dims[1], hidden])?;
        inputs.shape("first_bias", &self.first_bias, [1, hidden])?;
        inputs.shape("second", &self.second, [hidden, outputs])?;
        inputs.shape("second_bias", &self.second_bias, [1, outputs])?;
        let both = Tensor::cat(vec![originals, transformed], 1);
        let hidden = relu(both.matmul(self.first.clone()) + self.first_bias.clone());
        Ok(hidden.matmul(self.second.clone()) + self.second_bias.clone())
    }

    /// The likeliest transform of each pair.
    ///
    /// # Errors
    /// As [`Self::logits`].
    pub fn predict(
        &self,
        originals: Tensor<2>,
        transformed: Tensor<2>,
    ) -> Result<Vec<Transform>, LossError> {
        let logits = elements(self.logits(originals, transformed)?);
        let rows = logits.chunks_exact(QUARTERS + FLIPS);
        let of_row = |row: &[f32]| {
            let (rotations, flips) = row.split_at(QUARTERS);
            let better = |a: &usize, b: &usize| rotations[*a].total_cmp(&rotations[*b]);
            Transform {
                quarters: (0..QUARTERS).max_by(better).unwrap_or_default(),
                flipped: flips[1] > flips[0],
            }
        };
        Ok(rows.map(of_row).collect())
    }
}

/// The loss of what `head` reads from rows of `originals` and `transformed`, both `[pairs, dim]`, where
/// `transforms[i]` made the second picture of pair `i` of the first.
///
/// # Errors
/// Inputs that are empty or disagree in shape or number, or a rotation of 4 quarters or more.
pub fn transform_loss(
    originals: Tensor<2>,
    transformed: Tensor<2>,
    head: &TransformHead,
    transforms: &[Transform],
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("transform_loss");
    let logits = head.logits(originals, transformed)?;
    inputs.count("transforms", transforms.len(), logits.dims()[0])?;
    let quarters: Vec<usize> = transforms.iter().map(|of| of.quarters).collect();
    inputs.labels(&quarters, QUARTERS)?;
    let flips: Vec<usize> = transforms
        .iter()
        .map(|of| usize::from(of.flipped))
        .collect();
    let rotations = log_softmax(logits.clone().narrow(1, 0, QUARTERS), 1);
    let mirrored = log_softmax(logits.narrow(1, QUARTERS, FLIPS), 1);
    Ok((pick(rotations, &quarters) + pick(mirrored, &flips))
        .mean()
        .neg())
}

#[cfg(test)]
mod tests {
    use super::{Transform, TransformHead, transform_loss};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;
    use burn::tensor::Device;

    const X: [[f32; 2]; 2] = [[0.8, 0.6], [-0.3, 0.5]];
    const Y: [[f32; 2]; 2] = [[0.1, 0.9], [0.7, -0.2]];

    fn all() -> impl Iterator<Item = Transform> {
        (0..8).map(|of| Transform {
            quarters: of % 4,
            flipped: of >= 4,
        })
    }

    fn head() -> TransformHead {
        TransformHead::random(2, 5, 3, &Device::flex().autodiff())
    }

    #[test]
    fn a_quarter_turns_the_right_column_into_the_top_row() {
        let pixels = [1.0, 2.0, 3.0, 4.0];
        let turned = |quarters, flipped| Transform { quarters, flipped }.apply(&pixels, 2).unwrap();
        assert_eq!(turned(1, false), [2.0, 4.0, 1.0, 3.0]);
        assert_eq!(turned(0, true), [2.0, 1.0, 4.0, 3.0]);
        assert_eq!(turned(1, true), [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    fn the_eight_transforms_are_a_group() {
        let pixels: Vec<f32> = (0..27).map(|x| x as f32).collect();
        let images: Vec<_> = all().map(|of| of.apply(&pixels, 3).unwrap()).collect();
        for (i, image) in images.iter().enumerate() {
            assert!(!images[..i].contains(image));
            for of in all() {
                assert!(images.contains(&of.apply(image, 3).unwrap()));
            }
        }
    }

    #[test]
    fn the_gradients_of_embeddings_and_head_are_those_of_finite_differences() {
        let transforms: Vec<_> = all().skip(3).step_by(2).take(2).collect();
        assert_gradient_matches_differences(X, |x| {
            transform_loss(x, matrix(Y), &head(), &transforms).unwrap()
        });
        assert_gradient_matches_differences([[0.1, -0.2, 0.3, 0.0, 0.4, 0.2]], |bias| {
            let head = TransformHead {
                second_bias: bias,
                ..head()
            };
            transform_loss(matrix(X), matrix(Y), &head, &transforms).unwrap()
        });
    }

    #[test]
    fn a_head_that_descends_the_gradient_tells_what_it_was_told() {
        let transforms = [all().nth(2), all().nth(5)].map(Option::unwrap);
        let mut head = head();
        for _ in 0..200 {
            let leaves = [&head.first, &head.second].map(|x| x.clone().detach().require_grad());
            let [first, second] = leaves.clone();
            head = TransformHead {
                first,
                second,
                ..head
            };
            let loss = transform_loss(matrix(X), matrix(Y), &head, &transforms).unwrap();
            let gradients = loss.backward();
            let [first, second] = leaves.map(|x| {
                let gradient = x.grad(&gradients).unwrap();
                x.detach() - gradient.mul_scalar(0.5)
            });
            (head.first, head.second) = (first, second);
        }
        let found = head.predict(matrix(X), matrix(Y)).unwrap();
        assert_eq!(found, transforms);
        let loss = transform_loss(matrix(X), matrix(Y), &head, &transforms).unwrap();
        assert!(elements(loss)[0] < 0.1);
    }

    #[test]
    fn rotations_out_of_range_and_pictures_that_are_not_square_are_refused() {
        let wrong = Transform {
            quarters: 4,
            flipped: false,
        };
        let error = transform_loss(matrix(X), matrix(Y), &head(), &[wrong, wrong]).unwrap_err();
        let message = "transform_loss: label 4 at index 0 is out of range, expected less than 4";
        assert_eq!(error.to_string(), message);
        assert!(wrong.apply(&[0.0; 4], 2).is_err());
        let error = Transform::default().apply(&[0.0; 5], 2).unwrap_err();
        let message = "transform: `pixels` has 5 rows, expected the same number for each of 4 rows";
        assert_eq!(error.to_string(), message);
    }
}
