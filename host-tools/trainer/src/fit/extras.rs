//! What trains beside the encoders: the logit scale and bias, projections towards teachers, the head that reads turns,
//! what captions pictures.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::Tensor;

use super::recipe::FitRecipe;
use crate::TrainError;
use crate::coca::{Parameter, Settings, Weights, parameters};
use crate::device::Place;
use crate::loss::TransformHead;
use crate::model::elements;
use crate::output::write_tensors;
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

/// All of them, by name, and where they are.
#[derive(Clone)]
pub(super) struct Extras(pub(super) Vec<Extra>, Place);

/// Whether a weight is one that [`parameters`] lists.
pub(super) fn is_of_captioner(name: &str) -> bool {
    name.starts_with("visual.") || name.starts_with("text_decoder.")
}

impl Weights for Extras {
    fn weight(&self, name: &str) -> Tensor<2> {
        self.find(name).expect("the captioner's weights are there")
    }
}

impl Extras {
    /// Those that the recipe's losses need, for a student of `width` at `place` and teachers of `teachers`.
    pub(super) fn new(recipe: &FitRecipe, width: usize, teachers: &[usize], place: &Place) -> Self {
        let mut extras = Self(Vec::new(), place.clone());
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
            let head =
                TransformHead::random(width, loss.transform_hidden, recipe.seed, place.device());
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

    /// Those of a captioner.
    pub(super) fn with_captioner(mut self, settings: &Settings, seed: u64) -> Self {
        for parameter in parameters(settings, seed ^ 0xc0_0000) {
            let Parameter {
                name,
                shape,
                data,
                decays,
            } = parameter;
            self.add(&name, shape, data, decays);
        }
        self
    }

    fn add(&mut self, name: &str, shape: [usize; 2], data: Vec<f32>, decays: bool) {
        self.0.push(Extra {
            name: name.to_owned(),
            shape,
            tensor: self.1.tensor(data.clone()).require_grad(),
            data,
            decays,
        });
    }

    /// Puts `data` into extra `index`.
    pub(super) fn set(&mut self, index: usize, data: Vec<f32>) {
        let extra = &mut self.0[index];
        extra.tensor = self.1.tensor(data.clone()).require_grad();
        extra.data = data;
    }

    /// The numbers of `values`, which are those of all extras, as tensors that do not train.
    pub(super) fn fixed(&self, values: &[Vec<f32>]) -> BTreeMap<String, Tensor<2>> {
        let extras = self.0.iter().zip(values);
        extras
            .map(|(extra, data)| {
                let value = self.1.tensor(data.clone()).reshape(extra.shape);
                (extra.name.clone(), value)
            })
            .collect()
    }

    /// Writes the captioner's weights with the numbers of `values`, named and shaped as open_clip has them.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn write_captioner(
        &self,
        path: &Path,
        values: &[Vec<f32>],
        metadata: HashMap<String, String>,
    ) -> Result<(), TrainError> {
        let all = self.0.iter().zip(values);
        let parts = all.filter(|(extra, _)| is_of_captioner(&extra.name));
        let tensors: Vec<_> = parts
            .map(|(extra, data)| {
                let shape = match extra.shape {
                    [1, n] if !extra.name.ends_with(".query") => vec![n],
                    shape => shape.to_vec(),
                };
                (extra.name.clone(), shape, data.clone())
            })
            .collect();
        write_tensors(path, &tensors, metadata)
    }

    fn find(&self, name: &str) -> Option<Tensor<2>> {
        let extra = self.0.iter().find(|extra| extra.name == name)?;
        Some(extra.tensor.clone().reshape(extra.shape))
    }

    /// The factor of cosines `[1, 1]`; 1 where no loss needs one.
    pub(super) fn logit_scale(&self) -> Tensor<2> {
        match self.find("log_scale") {
            Some(log_scale) => log_scale.exp().clamp_max(LARGEST_SCALE),
            None => Tensor::ones([1, 1], self.1.device()),
        }
    }

    /// SigLIP's bias `[1, 1]`; 0 where no loss needs one.
    pub(super) fn logit_bias(&self) -> Tensor<2> {
        let bias = self.find("logit_bias");
        bias.unwrap_or_else(|| Tensor::zeros([1, 1], self.1.device()))
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
