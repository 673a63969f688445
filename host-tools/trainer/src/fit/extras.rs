//! What trains beside the encoder: the logit scale and bias, projections towards teachers, the head that reads turns.

use burn::tensor::Tensor;

use super::recipe::FitRecipe;
use super::student::{device, tensor};
use crate::loss::TransformHead;
use crate::model::elements;
use crate::rng::Rng;

/// Largest logit scale, as CLIP's.
const LARGEST_SCALE: f32 = 100.0;

/// A matrix that trains.
#[derive(Clone)]
pub(super) struct Extra {
    pub(super) name: String,
    pub(super) shape: [usize; 2],
    pub(super) data: Vec<f32>,
    pub(super) tensor: Tensor<1>,
    /// Whether weight decay applies.
    pub(super) decays: bool,
}

/// All of them, by name.
#[derive(Clone, Default)]
pub(super) struct Extras(pub(super) Vec<Extra>);

impl Extras {
    /// Those that the recipe's losses need, for a student of `width` and teachers of `teachers`.
    pub(super) fn new(recipe: &FitRecipe, width: usize, teachers: &[usize]) -> Self {
        let mut extras = Self::default();
        let loss = &recipe.loss;
        if let Some(text) = &recipe.text {
            if loss.clip + loss.siglip + loss.affinity + loss.interactive + loss.logits > 0.0 {
                extras.add("log_scale", [1, 1], vec![text.logit_scale.ln()], false);
            }
            if loss.siglip > 0.0 {
                extras.add("logit_bias", [1, 1], vec![text.logit_bias], false);
            }
        }
        let projects = loss.feature + loss.contrastive_distill > 0.0;
        for (index, (teacher, &to)) in recipe.teacher.iter().zip(teachers).enumerate() {
            if teacher.projection && projects {
                let mut rng = Rng::new(recipe.seed ^ (0x70_0000 + index as u64));
                let bound = (width as f32).sqrt().recip();
                let data = (0..width * to).map(|_| (2.0 * rng.unit() - 1.0) * bound);
                extras.add(
                    &format!("projection.{index}"),
                    [width, to],
                    data.collect(),
                    true,
                );
            }
        }
        if loss.transform > 0.0 {
            let head = TransformHead::random(width, loss.transform_hidden, recipe.seed, &device());
            let parts = [
                ("transform.first", head.first, true),
                ("transform.first_bias", head.first_bias, false),
                ("transform.second", head.second, true),
                ("transform.second_bias", head.second_bias, false),
            ];
            for (name, value, decays) in parts {
                extras.add(name, value.dims(), elements(value), decays);
            }
        }
        extras
    }

    fn add(&mut self, name: &str, shape: [usize; 2], data: Vec<f32>, decays: bool) {
        self.0.push(Extra {
            name: name.to_owned(),
            shape,
            tensor: tensor(data.clone()).require_grad(),
            data,
            decays,
        });
    }

    /// Puts `data` into extra `index`.
    pub(super) fn set(&mut self, index: usize, data: Vec<f32>) {
        let extra = &mut self.0[index];
        extra.tensor = tensor(data.clone()).require_grad();
        extra.data = data;
    }

    fn find(&self, name: &str) -> Option<Tensor<2>> {
        let extra = self.0.iter().find(|extra| extra.name == name)?;
        Some(extra.tensor.clone().reshape(extra.shape))
    }

    /// The factor of cosines `[1, 1]`; 1 where no loss needs one.
    pub(super) fn logit_scale(&self) -> Tensor<2> {
        match self.find("log_scale") {
            Some(log_scale) => log_scale.exp().clamp_max(LARGEST_SCALE),
            None => Tensor::ones([1, 1], &device()),
        }
    }

    /// SigLIP's bias `[1, 1]`; 0 where no loss needs one.
    pub(super) fn logit_bias(&self) -> Tensor<2> {
        let bias = self.find("logit_bias");
        bias.unwrap_or_else(|| Tensor::zeros([1, 1], &device()))
    }

    /// The map towards a teacher's space, where there is one.
    pub(super) fn projection(&self, teacher: usize) -> Option<Tensor<2>> {
        self.find(&format!("projection.{teacher}"))
    }

    /// The head that reads turns, where there is one.
    pub(super) fn transform_head(&self) -> Option<TransformHead> {
        Some(TransformHead {
            first: self.find("transform.first")?,
            first_bias: self.find("transform.first_bias")?,
            second: self.find("transform.second")?,
            second_bias: self.find("transform.second_bias")?,
        })
    }
}
