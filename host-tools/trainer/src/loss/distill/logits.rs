//! Distillation of logits (Hinton, Vinyals and Dean, 2015, arXiv 1503.02531, section 2) from one teacher or from
//! several.
//!
//! With the student's logits `z` and those `v^k` of `K` teachers, all `[rows, classes]`, at a temperature `T`,
//!
//! ```text
//! p = 1/K · Σ_k softmax(v^k / T)              the ensemble: the mean of probabilities, not of logits
//! q = softmax(z / T)
//! L = T²/rows · Σ_i Σ_c p_ic · ( ln p_ic − ln q_ic )
//! ```
//!
//! `T²` keeps the size of gradients as `T` changes. Learned: `z`.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};

use crate::loss::error::{Inputs, LossError};

/// The loss of `student` `[rows, classes]` against the mean opinion of `teachers`, each of that shape, at
/// `temperature`.
///
/// # Errors
/// No teacher, inputs that are empty or disagree in shape, or a temperature that is not above 0.
pub fn logit_distill_loss(
    student: Tensor<2>,
    teachers: &[Tensor<2>],
    temperature: f32,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("logit_distill_loss");
    let dims = inputs.dims("student", &student)?;
    inputs.positive("temperature", temperature)?;
    if teachers.is_empty() {
        return Err(LossError::Empty {
            loss: inputs.0,
            input: "teachers",
        });
    }
    let mut wanted = student.zeros_like().detach();
    for teacher in teachers {
        inputs.shape("teacher", teacher, dims)?;
        let teacher = teacher.clone().detach();
        wanted = wanted + softmax(teacher.div_scalar(temperature), 1);
    }
    let wanted = wanted.div_scalar(teachers.len() as f32);
    // A probability of 0 costs nothing: its logarithm must only be a number.
    let log_wanted = wanted.clone().clamp_min(f32::MIN_POSITIVE).log();
    let log_found = log_softmax(student.div_scalar(temperature), 1);
    let divergence = (wanted * (log_wanted - log_found)).sum_dim(1).mean();
    Ok(divergence.mul_scalar(temperature * temperature))
}

#[cfg(test)]
mod tests {
    use super::logit_distill_loss;
    use crate::loss::LossError;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    const STUDENT: [[f32; 3]; 2] = [[0.8, 0.6, -1.0], [-0.3, 0.5, 0.2]];

    #[test]
    fn a_student_that_is_the_only_teacher_costs_nothing() {
        let loss = logit_distill_loss(matrix(STUDENT), &[matrix(STUDENT)], 4.0).unwrap();
        assert!(elements(loss)[0].abs() < 1e-6);
    }

    #[test]
    fn two_sure_teachers_who_disagree_are_unsure_together() {
        let teachers = [matrix([[500.0f32, 0.0]]), matrix([[0.0f32, 500.0]])];
        let loss = logit_distill_loss(matrix([[0.0f32, 0.0]]), &teachers, 1.0).unwrap();
        assert!(elements(loss)[0].abs() < 1e-6);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let teachers = [[[1.0f32, -0.5, 0.2], [0.0, 0.3, 0.9]], [[0.1f32; 3]; 2]].map(matrix);
        assert_gradient_matches_differences(STUDENT, |x| {
            logit_distill_loss(x, &teachers, 3.0).unwrap()
        });
    }

    #[test]
    fn no_teacher_and_a_temperature_of_zero_are_refused() {
        let error = logit_distill_loss(matrix(STUDENT), &[], 1.0).unwrap_err();
        assert!(matches!(
            error,
            LossError::Empty {
                input: "teachers",
                ..
            }
        ));
        let error = logit_distill_loss(matrix(STUDENT), &[matrix(STUDENT)], 0.0).unwrap_err();
        let message = "logit_distill_loss: temperature is 0, expected a number above 0";
        assert_eq!(error.to_string(), message);
    }
}
