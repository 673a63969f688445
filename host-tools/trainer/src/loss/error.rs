//! What can be wrong with the inputs of a loss, found before anything is computed.

use burn::tensor::{DType, Tensor};

/// Why a loss could not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// An input has no rows or no columns.
    #[error("{loss}: `{input}` is empty, expected at least one row and one column")]
    Empty {
        /// The function.
        loss: &'static str,
        /// The argument.
        input: &'static str,
    },
    /// An input has another shape than the inputs before it ask for.
    #[error("{loss}: `{input}` is {} by {}, expected {} by {}", found[0], found[1], expected[0], expected[1])]
    Shape {
        /// The function.
        loss: &'static str,
        /// The argument.
        input: &'static str,
        /// Rows and columns.
        found: [usize; 2],
        /// Rows and columns.
        expected: [usize; 2],
    },
    /// An input has other numbers than f32.
    #[error("{loss}: `{input}` has numbers of type {found}, expected f32; cast it")]
    Type {
        /// The function.
        loss: &'static str,
        /// The argument.
        input: &'static str,
        /// The type as Burn names it.
        found: &'static str,
    },
    /// A list has another length than there are rows.
    #[error("{loss}: `{input}` has {found} elements, expected {expected}")]
    Count {
        /// The function.
        loss: &'static str,
        /// The argument.
        input: &'static str,
        /// Elements.
        found: usize,
        /// Elements.
        expected: usize,
    },
    /// Rows that belong to others in equal numbers do not divide among them.
    #[error("{loss}: `{input}` has {found} rows, expected the same number for each of {of} rows")]
    Multiple {
        /// The function.
        loss: &'static str,
        /// The argument.
        input: &'static str,
        /// Rows.
        found: usize,
        /// Rows that they belong to.
        of: usize,
    },
    /// A label names nothing.
    #[error("{loss}: label {found} at index {index} is out of range, expected less than {limit}")]
    Label {
        /// The function.
        loss: &'static str,
        /// Where the label is.
        index: usize,
        /// The label.
        found: usize,
        /// How many there are.
        limit: usize,
    },
    /// A margin, temperature or weight outside its range.
    #[error("{loss}: {name} is {found}, expected {expected}")]
    Setting {
        /// The function.
        loss: &'static str,
        /// The parameter.
        name: &'static str,
        /// Its value.
        found: f32,
        /// Its range.
        expected: &'static str,
    },
    /// The batch has none of what the loss compares.
    #[error("{loss}: the batch has no {lacks}; draw batches that have some")]
    Nothing {
        /// The function.
        loss: &'static str,
        /// What it lacks.
        lacks: &'static str,
    },
    /// An encoder gave the same rows two embeddings.
    #[error(
        "grad_cache: tower {tower} gave rows {start} to {end} embeddings that differ by {difference} between two \
         passes; fix the seed of what is random in it for each chunk"
    )]
    NotRepeatable {
        /// Which tower, from 0.
        tower: usize,
        /// First row.
        start: usize,
        /// Row after the last.
        end: usize,
        /// Largest difference.
        difference: f32,
    },
}

/// The checks of one loss, by its name.
#[derive(Clone, Copy)]
pub(crate) struct Inputs(pub(crate) &'static str);

impl Inputs {
    /// Rows and columns of an input that has some.
    pub(crate) fn dims(self, input: &'static str, x: &Tensor<2>) -> Result<[usize; 2], LossError> {
        let dims = x.dims();
        if dims.contains(&0) {
            return Err(LossError::Empty {
                loss: self.0,
                input,
            });
        }
        self.floats(input, x)?;
        Ok(dims)
    }

    /// Refuses all numbers but f32.
    fn floats(self, input: &'static str, x: &Tensor<2>) -> Result<(), LossError> {
        if x.dtype() == DType::F32 {
            return Ok(());
        }
        Err(LossError::Type {
            loss: self.0,
            input,
            found: x.dtype().name(),
        })
    }

    /// Refuses another shape than `expected`.
    pub(crate) fn shape(
        self,
        input: &'static str,
        x: &Tensor<2>,
        expected: [usize; 2],
    ) -> Result<(), LossError> {
        let found = x.dims();
        if found == expected {
            return self.floats(input, x);
        }
        Err(LossError::Shape {
            loss: self.0,
            input,
            found,
            expected,
        })
    }

    /// Rows of an input of `columns` columns that has some.
    pub(crate) fn rows(
        self,
        input: &'static str,
        x: &Tensor<2>,
        columns: usize,
    ) -> Result<usize, LossError> {
        let [rows, _] = self.dims(input, x)?;
        self.shape(input, x, [rows, columns])?;
        Ok(rows)
    }

    /// Refuses all shapes but `[1, 1]`.
    pub(crate) fn scalar(self, input: &'static str, x: &Tensor<2>) -> Result<(), LossError> {
        self.shape(input, x, [1, 1])
    }

    /// Refuses a list of another length than `expected`.
    pub(crate) fn count(
        self,
        input: &'static str,
        found: usize,
        expected: usize,
    ) -> Result<(), LossError> {
        if found == expected {
            return Ok(());
        }
        Err(LossError::Count {
            loss: self.0,
            input,
            found,
            expected,
        })
    }

    /// Refuses labels from `limit` on.
    pub(crate) fn labels(self, labels: &[usize], limit: usize) -> Result<(), LossError> {
        match labels.iter().position(|&label| label >= limit) {
            None => Ok(()),
            Some(index) => Err(LossError::Label {
                loss: self.0,
                index,
                found: labels[index],
                limit,
            }),
        }
    }

    /// Refuses numbers that are not finite or not above zero.
    pub(crate) fn positive(self, name: &'static str, found: f32) -> Result<(), LossError> {
        let is_fine = found.is_finite() && found > 0.0;
        self.setting(name, found, "a number above 0", is_fine)
    }

    /// Refuses numbers that are not finite or below zero.
    pub(crate) fn not_negative(self, name: &'static str, found: f32) -> Result<(), LossError> {
        let is_fine = found.is_finite() && found >= 0.0;
        self.setting(name, found, "a number of at least 0", is_fine)
    }

    /// An error unless `is_fine`.
    pub(crate) fn setting(
        self,
        name: &'static str,
        found: f32,
        expected: &'static str,
        is_fine: bool,
    ) -> Result<(), LossError> {
        if is_fine {
            return Ok(());
        }
        Err(LossError::Setting {
            loss: self.0,
            name,
            found,
            expected,
        })
    }

    /// The error of a batch without `lacks`.
    pub(crate) fn nothing(self, lacks: &'static str) -> LossError {
        LossError::Nothing {
            loss: self.0,
            lacks,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, Tensor, TensorData};

    use crate::loss::check::matrix;
    use crate::loss::{Score, siglip_loss};

    #[test]
    fn numbers_of_other_types_are_refused() {
        let data = TensorData::from([[1.0f64, 2.0]]);
        let double = Tensor::<2>::from_data(data, (&Device::flex().autodiff(), DType::F64));
        let one = || matrix([[1.0f32, 2.0]]);
        let scale = || matrix([[1.0f32]]);
        let error = siglip_loss(one(), double.clone(), scale(), scale()).unwrap_err();
        let message = "siglip_loss: `texts` has numbers of type f64, expected f32; cast it";
        assert_eq!(error.to_string(), message);
        let error = Score::Dot.pairs(double, one()).unwrap_err();
        let message = "score: `a` has numbers of type f64, expected f32; cast it";
        assert_eq!(error.to_string(), message);
    }
}
