//! Similarity-preserving distillation (Tung and Mori, 2019, arXiv 1907.09682): pictures that the teacher finds alike are
//! to be alike to the student, in the shares that each picture gives the others.
//!
//! With rows `x` `[n, d]` of the student and `t` `[n, e]` of the teacher,
//!
//! ```text
//! G = x·xᵀ, each row divided by its length       H = t·tᵀ likewise        [n, n] each
//! L = 1/n² · ‖G − H‖²
//! ```
//!
//! Learned: `x`. Widths may differ: only the batches meet.

use burn::tensor::Tensor;

use crate::loss::error::{Inputs, LossError};
use crate::model::unit_rows;

/// The loss of `student` `[rows, d]` against `teacher` `[rows, e]`.
///
/// # Errors
/// Inputs that are empty or disagree in number.
pub fn relation_loss(student: Tensor<2>, teacher: Tensor<2>) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("relation_loss");
    let [rows, _] = inputs.dims("student", &student)?;
    let [_, width] = inputs.dims("teacher", &teacher)?;
    inputs.shape("teacher", &teacher, [rows, width])?;
    let shares = |x: Tensor<2>| unit_rows(x.clone().matmul(x.transpose()));
    let difference = shares(student) - shares(teacher.detach());
    Ok(difference.square().mean())
}

#[cfg(test)]
mod tests {
    use super::relation_loss;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    const STUDENT: [[f32; 2]; 3] = [[1.0, 0.0], [0.6, 0.8], [-0.5, 0.4]];

    #[test]
    fn a_turned_teacher_costs_nothing() {
        let turned = STUDENT.map(|[x, y]| [-y, x, 0.0]);
        let loss = relation_loss(matrix(STUDENT), matrix(turned)).unwrap();
        assert!(elements(loss)[0] < 1e-12);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let teacher = [[0.3f32, 0.9], [0.9, -0.2], [0.1, 0.4]];
        assert_gradient_matches_differences(STUDENT, |x| {
            relation_loss(x, matrix(teacher)).unwrap()
        });
    }

    #[test]
    fn another_number_of_rows_is_refused() {
        let error = relation_loss(matrix(STUDENT), matrix([[1.0f32, 0.0]])).unwrap_err();
        assert!(error.to_string().contains("teacher"), "{error}");
    }
}
