//! Contrastive representation distillation (Tian, Krishnan and Isola, 2020, arXiv 1910.10699): a student's row is to
//! be told apart from others by its teacher's row.
//!
//! With the student's unit rows `x`, the teacher's `t`, and logits `l = scale·x·t`, as InfoNCE
//! ([`contrastive_distill_loss`]), or with the paper's critic (section 3.1; [`crd_loss`]), `N` negatives `t⁻` a row
//! out of a data set of `M`,
//!
//! ```text
//! L = 1/rows · Σ_i −ln( exp(l_ii) / (exp(l_ii) + Σ_negatives exp(l_i⁻)) )
//!
//! h(l) = exp(l) / (exp(l) + N/M)
//! L = −1/rows · Σ_i ( ln h(l_ii) + Σ_negatives ln(1 − h(l_i⁻)) )
//! ```
//!
//! The second is noise-contrastive estimation with uniform noise over the data set, and is computed as that. Learned:
//! `x` `[rows, dim]` and the scale. The paper adds the same with the roles of student and teacher exchanged: call it
//! twice.

use burn::tensor::Tensor;

use crate::loss::error::{Inputs, LossError};
use crate::loss::info_nce::own;
use crate::loss::{Negatives, Score, Scored, info_nce_loss, nce_loss};

/// The loss of `student` against `teacher`, both `[rows, dim]`, among `negatives` of the teacher, at `logit_scale`
/// `[1, 1]`.
///
/// # Errors
/// Inputs that are empty or disagree in shape, or negatives that do not divide among rows.
pub fn contrastive_distill_loss(
    student: Tensor<2>,
    teacher: Tensor<2>,
    negatives: Negatives,
    logit_scale: Tensor<2>,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("contrastive_distill_loss");
    let dims = inputs.dims("student", &student)?;
    inputs.shape("teacher", &teacher, dims)?;
    let negatives = match negatives {
        Negatives::InBatch => Negatives::InBatch,
        Negatives::Shared(rows) => Negatives::Shared(rows.detach()),
        Negatives::Own(rows) => Negatives::Own(rows.detach()),
    };
    let teacher = teacher.detach();
    info_nce_loss(student, teacher, negatives, &Score::Dot, logit_scale)
}

/// The loss with the paper's critic: `negatives` `[rows·n, dim]` are rows of the teacher, `n` for each row of
/// `student` and `teacher` `[rows, dim]`, out of `population` of the data set.
///
/// # Errors
/// Inputs that are empty or disagree in shape, negatives that do not divide among rows, or a population of 0.
pub fn crd_loss(
    student: Tensor<2>,
    teacher: Tensor<2>,
    negatives: Tensor<2>,
    population: usize,
    logit_scale: Tensor<2>,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("crd_loss");
    let [rows, width] = inputs.dims("student", &student)?;
    inputs.shape("teacher", &teacher, [rows, width])?;
    inputs.scalar("logit_scale", &logit_scale)?;
    inputs.positive("population", population as f32)?;
    let each = own(inputs, &negatives, [rows, width])?;
    let repeated = student.clone().unsqueeze_dim::<3>(1).repeat_dim(1, each);
    let repeated = repeated.reshape([rows * each, width]);
    let scored = |x: Tensor<2>, t: Tensor<2>| -> Result<Scored, LossError> {
        let scores = Score::Dot.rows(x, t.detach())? * logit_scale.clone();
        let log_noise = scores.full_like(-(population as f32).ln()).detach();
        Ok(Scored { scores, log_noise })
    };
    let zero = logit_scale.zeros_like().detach();
    nce_loss(
        scored(student, teacher)?,
        scored(repeated, negatives)?,
        zero,
    )
}

#[cfg(test)]
mod tests {
    use super::{contrastive_distill_loss, crd_loss};
    use crate::loss::Negatives;
    use crate::loss::check::{assert_gradient_matches_differences, matrix};
    use crate::model::elements;

    const TEACHER: [[f32; 2]; 2] = [[0.8, 0.6], [0.0, 1.0]];
    const NEGATIVES: [[f32; 2]; 4] = [[1.0, 0.0], [0.6, -0.8], [-0.8, 0.6], [0.0, -1.0]];

    #[test]
    fn the_critic_is_that_of_the_paper() {
        let (x, t) = ([[0.6f32, 0.8]], [[0.8f32, 0.6]]);
        let negatives = matrix([[1.0f32, 0.0], [0.0, 1.0]]);
        let loss = crd_loss(matrix(x), matrix(t), negatives, 50, matrix([[4.0f32]])).unwrap();
        let h = |score: f32| (4.0 * score).exp() / ((4.0 * score).exp() + 2.0 / 50.0);
        let expected = -h(0.96).ln() - (1.0 - h(0.6)).ln() - (1.0 - h(0.8)).ln();
        assert!((elements(loss)[0] - expected).abs() < 1e-4);
    }

    #[test]
    fn the_gradients_are_those_of_finite_differences() {
        let student = [[0.5, 0.6], [-0.3, 0.7]];
        assert_gradient_matches_differences(student, |x| {
            let negatives = matrix(NEGATIVES);
            crd_loss(x, matrix(TEACHER), negatives, 9, matrix([[2.0f32]])).unwrap()
        });
        let ways = [
            Negatives::InBatch,
            Negatives::Shared(matrix(NEGATIVES)),
            Negatives::Own(matrix(NEGATIVES)),
        ];
        for way in ways {
            assert_gradient_matches_differences(student, |x| {
                let scale = matrix([[2.0f32]]);
                contrastive_distill_loss(x, matrix(TEACHER), way.clone(), scale).unwrap()
            });
        }
    }

    #[test]
    fn a_data_set_of_nothing_and_negatives_of_another_width_are_refused() {
        let student = || matrix(TEACHER);
        let scale = || matrix([[2.0f32]]);
        let error = crd_loss(student(), student(), matrix(NEGATIVES), 0, scale()).unwrap_err();
        let message = "crd_loss: population is 0, expected a number above 0";
        assert_eq!(error.to_string(), message);
        let error = crd_loss(student(), student(), matrix([[1.0f32]]), 9, scale()).unwrap_err();
        let message = "crd_loss: `negatives` is 1 by 1, expected 1 by 2";
        assert_eq!(error.to_string(), message);
    }
}
