//! Accuracy of an image encoder on a labelled set: the share of pictures whose embedding is nearest to the mean embedding of
//! their class (the nearest class mean of Mensink et al. 2013, with cosines).
//!
//! The means are those of f32, as they would stand in a bank, whatever embeds the pictures.

use pinhole_graph::Graph;

use crate::{Input, QuantizeError, report};

/// Pictures embedded at once.
const BATCH: usize = 64;

/// Mean unit embeddings of classes.
#[derive(Clone, Debug)]
pub struct ClassMeans(Vec<Vec<f64>>);

impl ClassMeans {
    /// Of `classes`, each with inputs of its own, by the embeddings of `graph`.
    ///
    /// # Errors
    /// A graph that does not run on them.
    pub fn new(graph: &Graph, classes: &[Vec<Input>]) -> Result<Self, QuantizeError> {
        let mean = |inputs: &Vec<Input>| {
            let inputs: Vec<&Input> = inputs.iter().collect();
            let mut mean = Vec::new();
            for embedding in report::outputs(graph, &inputs)? {
                let length = embedding.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
                mean.resize(embedding.len(), 0.0);
                let unit = embedding.iter().map(|&x| f64::from(x) / length.sqrt());
                mean.iter_mut().zip(unit).for_each(|(mean, x)| *mean += x);
            }
            Ok(mean)
        };
        classes.iter().map(mean).collect::<Result<_, _>>().map(Self)
    }

    /// The class whose mean has the largest cosine.
    pub fn nearest(&self, embedding: &[f32]) -> usize {
        let cosine = |mean: &Vec<f64>| {
            let products = mean.iter().zip(embedding).map(|(m, &x)| m * f64::from(x));
            products.sum::<f64>() / mean.iter().map(|m| m * m).sum::<f64>().sqrt()
        };
        let cosines = self.0.iter().map(cosine).enumerate();
        cosines
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(0, |(class, _)| class)
    }

    /// How many of `inputs` are nearest to the class of `labels`, by the embeddings of `graph`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn right(
        &self,
        graph: &Graph,
        inputs: &[Input],
        labels: &[usize],
    ) -> Result<usize, QuantizeError> {
        let mut right = 0;
        for (inputs, labels) in inputs.chunks(BATCH).zip(labels.chunks(BATCH)) {
            let embeddings = report::outputs(graph, &inputs.iter().collect::<Vec<_>>())?;
            let names = embeddings.iter().map(|embedding| self.nearest(embedding));
            right += names
                .zip(labels)
                .filter(|(name, label)| name == *label)
                .count();
        }
        Ok(right)
    }
}

/// Pictures with labels, apart from those that calibrate and those that are evaluated on.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// Of each class: the inputs whose mean stands for it.
    pub means: Vec<Vec<Input>>,
    /// Those that are named.
    pub inputs: Vec<Input>,
    /// Their classes.
    pub labels: Vec<usize>,
}

impl Labelled {
    /// Every second input of a class makes its mean, the others are named.
    pub fn halves(classes: Vec<Vec<Input>>) -> Self {
        let mut all = Self {
            means: Vec::new(),
            inputs: Vec::new(),
            labels: Vec::new(),
        };
        for (label, inputs) in classes.into_iter().enumerate() {
            let mut mean = Vec::new();
            for (index, input) in inputs.into_iter().enumerate() {
                if index % 2 == 0 {
                    mean.push(input);
                } else {
                    all.inputs.push(input);
                    all.labels.push(label);
                }
            }
            all.means.push(mean);
        }
        all
    }
}

/// Accuracy in f32 and of what is tried.
pub(crate) struct Judge<'a> {
    means: ClassMeans,
    labelled: &'a Labelled,
    pub(crate) float: f64,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(graph: &Graph, labelled: &'a Labelled) -> Result<Self, QuantizeError> {
        let means = ClassMeans::new(graph, &labelled.means)?;
        let mut judge = Self {
            means,
            labelled,
            float: 0.0,
        };
        judge.float = judge.accuracy(graph)?;
        Ok(judge)
    }

    /// Percent of the pictures that are named right.
    pub(crate) fn accuracy(&self, graph: &Graph) -> Result<f64, QuantizeError> {
        let Labelled { inputs, labels, .. } = self.labelled;
        let right = self.means.right(graph, inputs, labels)?;
        Ok(100.0 * right as f64 / inputs.len().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_class_are_apart_and_the_nearest_mean_is_found() {
        let input = |x: f32| Input::from(vec![x]);
        let classes = vec![
            vec![input(0.0), input(1.0), input(2.0)],
            vec![input(3.0), input(4.0)],
        ];
        let labelled = Labelled::halves(classes);
        assert_eq!(
            labelled.means,
            [vec![input(0.0), input(2.0)], vec![input(3.0)]]
        );
        assert_eq!(labelled.inputs, [input(1.0), input(4.0)]);
        assert_eq!(labelled.labels, [0, 1]);
        let means = ClassMeans(vec![vec![1.0, 0.1], vec![-1.0, 2.0]]);
        assert_eq!(means.nearest(&[3.0, 1.0]), 0);
        assert_eq!(means.nearest(&[0.0, 0.5]), 1);
    }
}
