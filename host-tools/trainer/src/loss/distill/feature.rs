//! Feature matching (Romero et al., 2015, FitNets, arXiv 1412.6550): the student's embedding is to be the teacher's.
//!
//! With the student's rows `x` `[rows, d]`, the teacher's `t` `[rows, e]`, and a projection `W` `[d, e]` where widths
//! differ,
//!
//! ```text
//! mean squared   L = 1/(rows·e) · Σ_i ‖x_i·W − t_i‖²
//! cosine         L = 1/rows · Σ_i ( 1 − cos(x_i·W, t_i) )
//! ```
//!
//! Learned: `x` and `W`.

use burn::tensor::Tensor;

use crate::loss::error::{Inputs, LossError};
use crate::loss::score::Score;

/// How far an embedding is from the one that it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeatureDistance {
    /// The mean over all elements of squared differences.
    #[default]
    MeanSquared,
    /// One less the cosine: lengths do not matter.
    Cosine,
}

/// The loss of `student` `[rows, d]` against `teacher` `[rows, e]` behind a `projection` `[d, e]`; without one `d` is
/// `e`.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn feature_loss(
    student: Tensor<2>,
    teacher: Tensor<2>,
    projection: Option<Tensor<2>>,
    distance: FeatureDistance,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("feature_loss");
    let [rows, from] = inputs.dims("student", &student)?;
    let [_, to] = inputs.dims("teacher", &teacher)?;
    let student = match projection {
        None => student,
        Some(projection) => {
            inputs.shape("projection", &projection, [from, to])?;
            student.matmul(projection)
        }
    };
    inputs.shape("teacher", &teacher, [rows, student.dims()[1]])?;
    let teacher = teacher.detach();
    Ok(match distance {
        FeatureDistance::MeanSquared => (student - teacher).square().mean(),
        FeatureDistance::Cosine => {
            let cosines = Score::Cosine.rows(student, teacher)?;
            cosines.mean().neg().add_scalar(1.0)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{FeatureDistance, feature_loss};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    const STUDENT: [[f32; 2]; 2] = [[0.8, 0.6], [-0.3, 0.5]];
    const TEACHER: [[f32; 3]; 2] = [[0.1, 0.9, -0.4], [0.7, 0.2, 0.3]];
    const PROJECTION: [[f32; 3]; 2] = [[0.5, -0.2, 0.1], [0.3, 0.8, -0.6]];

    #[test]
    fn lengths_do_not_matter_to_the_cosine() {
        let twice = matrix(STUDENT).mul_scalar(2.0);
        let cosine = FeatureDistance::Cosine;
        let loss = feature_loss(twice.clone(), matrix(STUDENT), None, cosine).unwrap();
        assert!(elements(loss)[0].abs() < 1e-6);
        let squared = FeatureDistance::MeanSquared;
        let loss = feature_loss(twice, matrix(STUDENT), None, squared).unwrap();
        assert!((elements(loss)[0] - 1.34 / 4.0).abs() < 1e-6);
    }

    #[test]
    fn the_gradients_of_student_and_projection_are_those_of_finite_differences() {
        for distance in [FeatureDistance::MeanSquared, FeatureDistance::Cosine] {
            assert_gradient_matches_differences(STUDENT, |x| {
                let projection = Some(matrix(PROJECTION));
                feature_loss(x, matrix(TEACHER), projection, distance).unwrap()
            });
            assert_gradient_matches_differences(PROJECTION, |w| {
                feature_loss(matrix(STUDENT), matrix(TEACHER), Some(w), distance).unwrap()
            });
        }
    }

    #[test]
    fn widths_that_differ_ask_for_a_projection() {
        let squared = FeatureDistance::MeanSquared;
        let error = feature_loss(matrix(STUDENT), matrix(TEACHER), None, squared).unwrap_err();
        let message = "feature_loss: `teacher` is 2 by 3, expected 2 by 2";
        assert_eq!(error.to_string(), message);
    }
}
