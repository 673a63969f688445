//! AdamW (Loshchilov and Hutter, 2019, arXiv 1711.05101, algorithm 2) with linear warm-up and cosine decay.
//!
//! Written over plain slices rather than a framework's optimiser: its whole state is two vectors a parameter, which a
//! checkpoint stores exactly, so that a resumed run ends with the same bits.

use crate::recipe::Optimiser;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// The running means of one parameter's gradient and squared gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    /// Mean of the gradient, one element each.
    pub(crate) first: Vec<f32>,
    /// Mean of the squared gradient, one element each.
    pub(crate) second: Vec<f32>,
}

impl Moments {
    /// The state before the first step, for `len` elements.
    pub(crate) fn zero(len: usize) -> Self {
        Self {
            first: vec![0.0; len],
            second: vec![0.0; len],
        }
    }

    /// Moves `value` against `gradient`. `step` counts from 1; `decay` is 0 for biases.
    pub(crate) fn update(
        &mut self,
        value: &mut [f32],
        gradient: &[f32],
        step: usize,
        learning_rate: f32,
        decay: f32,
    ) {
        let correct1 = 1.0 - BETA1.powi(step as i32);
        let correct2 = 1.0 - BETA2.powi(step as i32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((x, &g), (m, v)) in value.iter_mut().zip(gradient).zip(moments) {
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *v = BETA2 * *v + (1.0 - BETA2) * g * g;
            let direction = (*m / correct1) / ((*v / correct2).sqrt() + EPSILON);
            *x -= learning_rate * (direction + decay * *x);
        }
    }
}

/// The learning rate of `step`, counted from 0: rises linearly over the warm-up, then falls to 0 along a half cosine.
pub(crate) fn learning_rate(recipe: &Optimiser, step: usize) -> f32 {
    if step < recipe.warmup {
        return recipe.learning_rate * (step + 1) as f32 / recipe.warmup as f32;
    }
    let left = recipe.steps.saturating_sub(recipe.warmup).max(1);
    let done = (step - recipe.warmup) as f32 / left as f32;
    recipe.learning_rate * 0.5 * (1.0 + (std::f32::consts::PI * done.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::{Moments, learning_rate};
    use crate::recipe::Optimiser;

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_gradient() {
        let mut value = [1.0f32, -2.0];
        Moments::zero(2).update(&mut value, &[0.3, -5.0], 1, 0.1, 0.0);
        assert!(
            (value[0] - 0.9).abs() < 1e-6 && (value[1] + 1.9).abs() < 1e-6,
            "{value:?}"
        );
    }

    #[test]
    fn decay_shrinks_a_value_that_has_no_gradient() {
        let mut value = [2.0f32];
        Moments::zero(1).update(&mut value, &[0.0], 1, 0.1, 0.5);
        assert!((value[0] - 1.9).abs() < 1e-6, "{value:?}");
    }

    #[test]
    fn a_parabola_is_minimised() {
        let (mut value, mut moments) = ([4.0f32], Moments::zero(1));
        for step in 1..=500 {
            let gradient = [2.0 * (value[0] - 1.0)];
            moments.update(&mut value, &gradient, step, 0.05, 0.0);
        }
        assert!((value[0] - 1.0).abs() < 1e-2, "{value:?}");
    }

    #[test]
    fn the_schedule_rises_to_the_top_and_falls_to_nearly_zero() {
        let recipe = Optimiser {
            steps: 100,
            learning_rate: 2.0,
            warmup: 10,
            weight_decay: 0.0,
            anchor: 0.0,
            text_rate: 1.0,
            pictures: 1,
            classes: 2,
            groups: 2,
            photos: 0,
            blend: 1.0,
        };
        assert!((learning_rate(&recipe, 0) - 0.2).abs() < 1e-6);
        assert_eq!(learning_rate(&recipe, 10), 2.0);
        assert!((learning_rate(&recipe, 55) - 1.0).abs() < 1e-5);
        assert!(learning_rate(&recipe, 99) < 2e-3);
    }
}
