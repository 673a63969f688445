//! AdamW (Loshchilov and Hutter, 2019, arXiv 1711.05101, algorithm 2) with linear warm-up and cosine decay; gradients
//! clipped by their global norm, learning rates that fall with depth, and moving averages of parameters.
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

/// The learning rate of `step`, counted from 0.
pub(crate) fn learning_rate(recipe: &Optimiser, step: usize) -> f32 {
    warm_cosine(recipe.learning_rate, recipe.warmup, recipe.steps, step)
}

/// The learning rate of `step`, counted from 0: rises linearly to `top` over `warmup` steps, then falls to 0 along a half
/// cosine until `steps`.
pub(crate) fn warm_cosine(top: f32, warmup: usize, steps: usize, step: usize) -> f32 {
    if step < warmup {
        return top * (step + 1) as f32 / warmup as f32;
    }
    let left = steps.saturating_sub(warmup).max(1);
    let done = (step - warmup) as f32 / left as f32;
    top * 0.5 * (1.0 + (std::f32::consts::PI * done.min(1.0)).cos())
}

/// Scales `gradients` so that the norm of all of them together is at most `limit` (Pascanu, Mikolov and Bengio, 2013,
/// arXiv 1211.5063, algorithm 1), and gives the norm that they had. Gradients that are not finite stay so, for the
/// caller to see.
pub fn clip_by_global_norm(gradients: &mut [&mut [f32]], limit: f32) -> f32 {
    let squares = gradients.iter().flat_map(|gradient| gradient.iter());
    let norm = squares.map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt() as f32;
    if norm.is_finite() && norm > limit {
        let factor = limit / norm;
        let all = gradients
            .iter_mut()
            .flat_map(|gradient| gradient.iter_mut());
        all.for_each(|g| *g *= factor);
    }
    norm
}

/// The share of the learning rate of each of `layers`, from the input on: `decay` to the power of the layers behind
/// it, so that the last one has all of it (Clark et al., 2020, ELECTRA, arXiv 2003.10555; Bao et al., 2022, BEiT,
/// arXiv 2106.08254).
pub fn layer_rates(layers: usize, decay: f32) -> Vec<f32> {
    let share = |layer: usize| f64::from(decay).powi((layers - 1 - layer) as i32) as f32;
    (0..layers).map(share).collect()
}

/// Exponential moving averages of parameters (Tarvainen and Valpola, 2017, arXiv 1703.01780): `average ←
/// decay·average + (1 − decay)·value` after each step, from the first values on.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    decay: f32,
    /// Of each parameter, row-major.
    values: Vec<Vec<f32>>,
}

impl Average {
    /// Averages that are the `values` of each parameter, with a `decay` of at least 0 and below 1.
    pub fn new(values: Vec<Vec<f32>>, decay: f32) -> Self {
        Self { decay, values }
    }

    /// Takes in the `value` of parameter `index` after a step.
    ///
    /// # Panics
    /// When there is no such parameter, or it has another number of elements.
    pub fn update(&mut self, index: usize, value: &[f32]) {
        let average = &mut self.values[index];
        assert_eq!(
            average.len(),
            value.len(),
            "parameter {index} keeps its size"
        );
        for (mean, &x) in average.iter_mut().zip(value) {
            *mean += (1.0 - self.decay) * (x - *mean);
        }
    }

    /// The decay that it was made with.
    pub fn decay(&self) -> f32 {
        self.decay
    }

    /// The averages of each parameter.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::{Average, Moments, clip_by_global_norm, layer_rates, learning_rate};
    use crate::recipe::Optimiser;
    use safetensors::SafeTensors;

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_gradient() {
        let mut value = [1.0f32, -2.0];
        Moments::zero(2).update(&mut value, &[0.3, -5.0], 1, 0.1, 0.0);
        assert!(
            (value[0] - 0.9).abs() < 1e-6 && (value[1] + 1.9).abs() < 1e-6,
            "{value:?}"
        );
    }

    /// Numbers of `tests/trainer/optim.py`.
    struct Golden(SafeTensors<'static>);

    impl Golden {
        fn new() -> Self {
            let path = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/golden/optim.safetensors"
            );
            let bytes = std::fs::read(path).unwrap().leak();
            Self(SafeTensors::deserialize(bytes).unwrap())
        }

        fn words<T>(&self, name: &str, from: fn([u8; 4]) -> T) -> Vec<T> {
            let view = self.0.tensor(name).unwrap();
            let words = view.data().chunks_exact(4);
            words.map(|word| from(word.try_into().unwrap())).collect()
        }

        fn floats(&self, name: &str) -> Vec<f32> {
            self.words(name, f32::from_le_bytes)
        }
    }

    fn assert_close(found: &[f32], expected: &[f32], place: &str) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!(
                (a - b).abs() < 1e-6 * b.abs().max(1.0),
                "{place}: {a}, torch {b}"
            );
        }
    }

    #[test]
    fn steps_with_clipping_layer_rates_and_averages_are_those_of_torch() {
        let golden = Golden::new();
        let settings = golden.floats("settings");
        let &[rate, weight_decay, layer_decay, limit, ema_decay] = &settings[..] else {
            panic!("five settings");
        };
        let layers = golden.words("layers", i32::from_le_bytes);
        let rates = layer_rates(golden.floats("rates").len(), layer_decay);
        assert_close(&rates, &golden.floats("rates"), "rates");
        let starts = (0..layers.len()).map(|index| golden.floats(&format!("{index}:start")));
        let mut values: Vec<Vec<f32>> = starts.collect();
        let mut moments: Vec<_> = values.iter().map(|x| Moments::zero(x.len())).collect();
        let mut average = Average::new(values.clone(), ema_decay);
        let mut clipped = 0;
        for step in 0..6 {
            let gradient = |index| golden.floats(&format!("{step}:{index}:gradient"));
            let mut gradients: Vec<_> = (0..layers.len()).map(gradient).collect();
            let mut slices: Vec<_> = gradients.iter_mut().map(Vec::as_mut_slice).collect();
            let norm = clip_by_global_norm(&mut slices, limit);
            assert_close(&[norm], &golden.floats(&format!("{step}:norm")), "norm");
            clipped += usize::from(norm > limit);
            for (index, value) in values.iter_mut().enumerate() {
                let place = format!("{step}:{index}");
                let rate = rate * rates[layers[index] as usize];
                moments[index].update(value, &gradients[index], step + 1, rate, weight_decay);
                assert_close(value, &golden.floats(&format!("{place}:value")), &place);
                average.update(index, value);
                let expected = golden.floats(&format!("{place}:average"));
                assert_close(&average.values()[index], &expected, &place);
            }
        }
        assert_eq!(clipped, 3);
    }

    #[test]
    fn gradients_below_the_limit_and_those_that_are_no_numbers_stay() {
        let (mut a, mut b) = ([3.0f32], [4.0f32]);
        assert_eq!(clip_by_global_norm(&mut [&mut a, &mut b], 5.0), 5.0);
        assert_eq!((a, b), ([3.0], [4.0]));
        assert_eq!(clip_by_global_norm(&mut [&mut a, &mut b], 1.0), 5.0);
        assert_eq!((a, b), ([0.6], [0.8]));
        for wrong in [f32::NAN, f32::INFINITY] {
            let mut c = [wrong, 1.0];
            assert!(!clip_by_global_norm(&mut [&mut c], 1.0).is_finite());
            assert!(!c[0].is_finite() && c[1] == 1.0);
        }
    }

    #[test]
    fn no_layers_have_no_rates() {
        assert!(layer_rates(0, 0.5).is_empty());
        assert_eq!(layer_rates(3, 0.5), [0.25, 0.5, 1.0]);
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
            device: crate::DeviceName::Cpu,
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
