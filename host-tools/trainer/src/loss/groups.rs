//! Contrast with several right answers (Khosla et al., 2020, arXiv 2004.11362, equation 2), for texts that name groups.
//!
//! A text such as `dog` is right for every picture of 118 classes, and `animal` is right for those too. With the
//! probability `p_ic` that picture `i` shows class `c`, and `m_jc` one where group `j` contains class `c`,
//!
//! ```text
//! a_ij = Σ_c p_ic·m_jc          how much picture i is of group j
//! t_ij = a_ij / Σ_k a_ik        the target: right answers share a row
//! w_i  = min(1, Σ_k a_ik)       a picture of no drawn group teaches nothing
//! L    = −1/rows · Σ_i w_i Σ_j t_ij · log softmax_j(s·x_i·y_j)
//! ```

use burn::tensor::Tensor;

use super::error::{Inputs, LossError};
use super::info_nce;

/// The targets `w_i·t_ij`, row-major `[pictures, groups]`, of `affinities` `a` of that shape.
pub fn group_targets(affinities: &[f32], groups: usize) -> Vec<f32> {
    let mut targets = affinities.to_vec();
    for row in targets.chunks_mut(groups) {
        let total: f32 = row.iter().sum();
        let weight = if total > 1e-6 {
            total.min(1.0) / total
        } else {
            0.0
        };
        row.iter_mut().for_each(|a| *a *= weight);
    }
    targets
}

/// The loss of unit rows `images` `[pictures, embedding]` and `texts` `[groups, embedding]` against [`group_targets`]
/// `[pictures, groups]`, at scale `logit_scale` `[1, 1]`.
///
/// # Errors
/// Inputs that are empty or disagree in shape.
pub fn group_loss(
    images: Tensor<2>,
    texts: Tensor<2>,
    logit_scale: Tensor<2>,
    targets: Tensor<2>,
) -> Result<Tensor<1>, LossError> {
    let inputs = Inputs("group_loss");
    let [pictures, width] = inputs.dims("images", &images)?;
    let groups = inputs.rows("texts", &texts, width)?;
    inputs.scalar("logit_scale", &logit_scale)?;
    inputs.shape("targets", &targets, [pictures, groups])?;
    info_nce(images.matmul(texts.transpose()) * logit_scale, targets)
}

#[cfg(test)]
mod tests {
    use super::{group_loss, group_targets};
    use crate::loss::check::{assert_gradient_matches_differences, matrix};

    #[test]
    fn right_answers_share_a_row_and_a_picture_of_no_group_weighs_nothing() {
        let targets = group_targets(&[1.0, 1.0, 0.0, 0.25, 0.0, 0.25, 0.0, 0.0, 0.0], 3);
        assert_eq!(targets, [0.5, 0.5, 0.0, 0.25, 0.0, 0.25, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let targets = [[0.5f32, 0.5, 0.0], [0.0, 0.1, 0.3]];
        let texts = [[1.0f32, 0.0], [0.0, 1.0], [0.6, -0.8]];
        assert_gradient_matches_differences([[0.8, 0.6], [-0.6, 0.8]], |x| {
            group_loss(x, matrix(texts), matrix([[2.0f32]]), matrix(targets)).unwrap()
        });
    }
}
