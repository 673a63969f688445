//! The two projections into the shared space, and the logit scale between them.
//!
//! Image side: affine, so that it folds into the image encoder as its last layer. Text side: affine, or one hidden layer
//! with GELU. Both outputs are made unit rows before they are compared, as in CLIP. Parameters are named tensors in a fixed
//! order: the optimiser, the checkpoint and the output all walk the same list.

use crate::device::Place;
use crate::features::Matrix;
use crate::recipe::Model;
use crate::rng::Rng;
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor, TensorData};

/// A named parameter.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// Its name in checkpoints and outputs.
    pub(crate) name: &'static str,
    /// Its value, `[rows, columns]`; biases and the scale have one row.
    pub(crate) value: Tensor<2>,
    /// Whether weight decay applies.
    pub(crate) decays: bool,
}

/// The parameters of both sides; the last one is the logarithm of the logit scale.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    /// `image.weight` `[embedding, D]`, `image.bias` `[1, embedding]`, the text side's, `log_scale` `[1, 1]`.
    pub(crate) parameters: Vec<Parameter>,
    device: Device,
}

const IMAGE_WEIGHT: usize = 0;
const IMAGE_BIAS: usize = 1;
const FIRST_TEXT: usize = 2;

impl Projection {
    /// Random projections of `image_features` and `text_features` dimensions at `place`, uniform in ±1/√(inputs) as is usual.
    pub(crate) fn random(
        recipe: &Model,
        image_features: usize,
        text_features: usize,
        rng: &mut Rng,
        place: &Place,
    ) -> Self {
        let device = place.device().clone();
        let mut parameters = Vec::new();
        let mut layer = |weight, bias, outputs: usize, inputs: usize, rng: &mut Rng| {
            let bound = (inputs as f32).sqrt().recip();
            let data = (0..outputs * inputs)
                .map(|_| (2.0 * rng.unit() - 1.0) * bound)
                .collect();
            parameters.push(leaf(weight, data, outputs, inputs, true, &device));
            parameters.push(leaf(bias, vec![0.0; outputs], 1, outputs, false, &device));
        };
        layer(
            "image.weight",
            "image.bias",
            recipe.embedding,
            image_features,
            rng,
        );
        if recipe.text_hidden == 0 {
            layer(
                "text.weight",
                "text.bias",
                recipe.embedding,
                text_features,
                rng,
            );
        } else {
            layer(
                "text.0.weight",
                "text.0.bias",
                recipe.text_hidden,
                text_features,
                rng,
            );
            layer(
                "text.1.weight",
                "text.1.bias",
                recipe.embedding,
                recipe.text_hidden,
                rng,
            );
        }
        parameters.push(leaf(
            "log_scale",
            vec![recipe.logit_scale.ln()],
            1,
            1,
            false,
            &device,
        ));
        Self { parameters, device }
    }

    /// Replaces the value of parameter `index` by `data` of the same shape.
    ///
    /// # Panics
    /// When `data` has another number of elements.
    pub(crate) fn set(&mut self, index: usize, data: Vec<f32>) {
        let [rows, columns] = self.parameters[index].value.dims();
        let old = &self.parameters[index];
        self.parameters[index] = leaf(old.name, data, rows, columns, old.decays, &self.device);
    }

    /// The elements of parameter `index`, row-major.
    pub(crate) fn data(&self, index: usize) -> Vec<f32> {
        elements(self.parameters[index].value.clone())
    }

    /// Unit rows `[rows, embedding]` of standardised picture features `[rows, D]`.
    pub(crate) fn image(&self, features: Tensor<2>) -> Tensor<2> {
        unit_rows(self.affine(IMAGE_WEIGHT, features))
    }

    /// Unit rows `[rows, embedding]` of standardised sentence features `[rows, E]`.
    pub(crate) fn text(&self, features: Tensor<2>) -> Tensor<2> {
        let first = self.affine(FIRST_TEXT, features);
        let is_affine = self.parameters[FIRST_TEXT].name == "text.weight";
        unit_rows(if is_affine {
            first
        } else {
            self.affine(FIRST_TEXT + 2, gelu(first))
        })
    }

    /// The logit scale, `[1, 1]`, at most 100 as in CLIP.
    pub(crate) fn logit_scale(&self) -> Tensor<2> {
        let log_scale = &self.parameters[self.parameters.len() - 1].value;
        log_scale.clone().exp().clamp_max(100.0)
    }

    /// A constant `[rows, columns]` on the projections' device.
    pub(crate) fn constant(&self, data: Vec<f32>, columns: usize) -> Tensor<2> {
        let rows = data.len() / columns;
        Tensor::from_data(TensorData::new(data, [rows, columns]), &self.device)
    }

    /// `features · weightᵀ + bias` with the weight at `index` and the bias after it.
    fn affine(&self, index: usize, features: Tensor<2>) -> Tensor<2> {
        let weight = self.parameters[index].value.clone();
        features.matmul(weight.transpose()) + self.parameters[index + IMAGE_BIAS].value.clone()
    }
}

/// The elements of `tensor`, row-major.
pub(crate) fn elements<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .try_to_vec::<f32>()
        .expect("tensors of this crate are f32")
}

/// The rows `indices` of `matrix`, one after another.
pub(crate) fn gather(matrix: &Matrix, indices: impl IntoIterator<Item = usize>) -> Vec<f32> {
    indices
        .into_iter()
        .flat_map(|index| matrix.row(index))
        .copied()
        .collect()
}

fn leaf(
    name: &'static str,
    data: Vec<f32>,
    rows: usize,
    columns: usize,
    decays: bool,
    device: &Device,
) -> Parameter {
    let value = Tensor::from_data(TensorData::new(data, [rows, columns]), device).require_grad();
    Parameter {
        name,
        value,
        decays,
    }
}

/// Every row divided by its length.
pub(crate) fn unit_rows(rows: Tensor<2>) -> Tensor<2> {
    let length = rows
        .clone()
        .powf_scalar(2.0)
        .sum_dim(1)
        .add_scalar(1e-12)
        .sqrt();
    rows / length
}

#[cfg(test)]
mod tests {
    use super::{Projection, elements};
    use crate::device::Place;
    use crate::recipe::Model;
    use crate::rng::Rng;

    #[test]
    fn both_sides_give_unit_rows_with_and_without_a_hidden_layer() {
        for text_hidden in [0, 5] {
            let model = Model {
                embedding: 4,
                text_hidden,
                centred: false,
                shared_centre: false,
                logit_scale: 10.0,
            };
            let projection = Projection::random(&model, 3, 6, &mut Rng::new(1), &Place::cpu());
            let image =
                projection.image(projection.constant(vec![1.0, 2.0, 3.0, -1.0, 0.5, 0.0], 3));
            let text = projection.text(projection.constant(vec![0.3; 6], 6));
            for rows in [elements(image), elements(text)] {
                for row in rows.chunks(4) {
                    let length: f32 = row.iter().map(|x| x * x).sum();
                    assert!((length - 1.0).abs() < 1e-5, "squared length {length}");
                }
            }
        }
    }

    #[test]
    fn the_scale_starts_as_asked_and_stays_at_most_a_hundred() {
        let model = Model {
            embedding: 2,
            text_hidden: 0,
            centred: false,
            shared_centre: false,
            logit_scale: 14.0,
        };
        let mut projection = Projection::random(&model, 2, 2, &mut Rng::new(1), &Place::cpu());
        assert!((elements(projection.logit_scale())[0] - 14.0).abs() < 1e-4);
        projection.set(projection.parameters.len() - 1, vec![9.0]);
        assert_eq!(elements(projection.logit_scale())[0], 100.0);
    }
}
