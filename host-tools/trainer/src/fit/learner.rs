//! All that trains, as one list of parameters: the image encoder's leaves, those of a text tower that trains, and what
//! trains beside them. Optimiser, checkpoint and moving average walk this list.

use burn::tensor::Tensor;
use pinhole_graph::Graph;

use super::caption::Captioner;
use super::extras::{Extras, is_of_captioner};
use super::recipe::FitRecipe;
use super::student::Student;
use super::text_tower::TextTower;
use super::tower::Tower;
use crate::optim::layer_rates;

/// The networks of a run and what trains beside them.
pub(super) struct Learner {
    pub(super) image: Student,
    /// Where the texts are not frozen.
    pub(super) text: Option<TextTower>,
    pub(super) extras: Extras,
    /// Where pictures are captioned.
    pub(super) captioner: Option<Captioner>,
}

/// Where a parameter of the list is.
enum Place {
    Image(usize),
    Text(usize),
    Extra(usize),
}

impl Learner {
    /// Parameters, those that do not train among them.
    pub(super) fn len(&self) -> usize {
        self.ends()[1] + self.extras.0.len()
    }

    /// Where the image's and the text's leaves end.
    fn ends(&self) -> [usize; 2] {
        let image = self.image.tower.leaves.len();
        let text = self.text.as_ref();
        [
            image,
            image + text.map_or(0, |text| text.tower.leaves.len()),
        ]
    }

    fn place(&self, index: usize) -> Place {
        let [image, text] = self.ends();
        match index {
            index if index < image => Place::Image(index),
            index if index < text => Place::Text(index - image),
            index => Place::Extra(index - text),
        }
    }

    fn text(&self) -> &Tower {
        &self.text.as_ref().expect("it has leaves").tower
    }

    /// The numbers of parameter `index`.
    pub(super) fn data(&self, index: usize) -> &[f32] {
        match self.place(index) {
            Place::Image(index) => self.image.tower.data(index),
            Place::Text(index) => self.text().data(index),
            Place::Extra(index) => &self.extras.0[index].data,
        }
    }

    /// Whether parameter `index` trains.
    pub(super) fn trains(&self, index: usize) -> bool {
        match self.place(index) {
            Place::Image(index) => self.image.tower.leaves[index].trains,
            Place::Text(index) => self.text().leaves[index].trains,
            Place::Extra(_) => true,
        }
    }

    /// Whether parameter `index` is one that the losses of embeddings train beside the towers.
    pub(super) fn is_of_loss(&self, index: usize) -> bool {
        match self.place(index) {
            Place::Extra(index) => !is_of_captioner(&self.extras.0[index].name),
            _ => false,
        }
    }

    /// Parameter `index` as Burn has it, `None` where it does not train.
    pub(super) fn tensor(&self, index: usize) -> Option<&Tensor<1>> {
        let tensor = match self.place(index) {
            Place::Image(index) => self.image.tower.tensor(index),
            Place::Text(index) => self.text().tensor(index),
            Place::Extra(index) => &self.extras.0[index].tensor,
        };
        self.trains(index).then_some(tensor)
    }

    /// Puts `data` into parameter `index`, which trains.
    pub(super) fn set(&mut self, index: usize, data: Vec<f32>) {
        match (self.place(index), &mut self.text) {
            (Place::Image(index), _) => self.image.tower.set(index, data),
            (Place::Text(index), Some(text)) => text.tower.set(index, data),
            (Place::Text(_), None) => {}
            (Place::Extra(index), _) => self.extras.set(index, data),
        }
    }

    /// The numbers of all parameters.
    pub(super) fn values(&self) -> Vec<Vec<f32>> {
        (0..self.len())
            .map(|index| self.data(index).to_vec())
            .collect()
    }

    /// Factor of the learning rate of each parameter, and whether it decays. Each tower counts its own layers.
    pub(super) fn rates(&self, recipe: &FitRecipe) -> Vec<(f32, bool)> {
        let range_rate = recipe
            .quantise
            .as_ref()
            .map_or(1.0, |quantise| quantise.range_rate);
        let of_tower = |tower: &Tower| -> Vec<(f32, bool)> {
            let of_layer = layer_rates(tower.layers, recipe.optimiser.layer_decay);
            let leaves = tower.leaves.iter();
            leaves
                .map(|leaf| {
                    let rate = of_layer[leaf.layer];
                    let rate = if leaf.is_range {
                        rate * range_rate
                    } else {
                        rate
                    };
                    (rate, leaf.decays)
                })
                .collect()
        };
        let mut rates = of_tower(&self.image.tower);
        if let Some(text) = &self.text {
            rates.extend(of_tower(&text.tower));
        }
        rates.extend(self.extras.0.iter().map(|extra| (1.0, extra.decays)));
        rates
    }

    /// The image encoder with the numbers of `values`, which are those of all parameters.
    pub(super) fn image_graph(&self, values: &[Vec<f32>]) -> Graph {
        self.image.write(&values[..self.ends()[0]])
    }

    /// The text encoder likewise, where it trains.
    pub(super) fn text_graph(&self, values: &[Vec<f32>]) -> Option<Graph> {
        let [start, end] = self.ends();
        let text = self.text.as_ref()?;
        Some(text.tower.write(&values[start..end]))
    }

    /// Of `values` those of the extras.
    pub(super) fn of_extras<'a>(&self, values: &'a [Vec<f32>]) -> &'a [Vec<f32>] {
        &values[self.ends()[1]..]
    }

    /// Parameters of the networks that train, and all.
    pub(super) fn counts(&self) -> [usize; 2] {
        let towers = self.ends()[1];
        let trains = (0..towers).filter(|&index| self.trains(index));
        let all = self.image.parameter_count()
            + self
                .text
                .as_ref()
                .map_or(0, |text| text.tower.graph.parameter_count());
        [trains.map(|index| self.data(index).len()).sum(), all]
    }
}
