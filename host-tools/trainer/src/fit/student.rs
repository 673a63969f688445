//! The image encoder that trains: a tower over pictures.

use burn::tensor::Tensor;
use pinhole_graph::{Graph, ValueId};
use pinhole_runtime::preprocess::InputGeometry;

use super::caption::of_pictures;
use super::recipe::Trainable;
use super::spatial::{cut, tokens};
use super::tower::Tower;
use crate::TrainError;
use crate::device::Place;

/// The encoder that trains.
pub(super) struct Student {
    /// Of the whole graph, or of the part behind the tokens that [`Self::whole`] has in front.
    pub(super) tower: Tower,
    pub(super) geometry: InputGeometry,
    /// The whole graph, where only its end is run.
    whole: Option<Graph>,
}

impl Student {
    /// The layers of `graph` that `trainable` says, at `place`; one that is quantised trains with its rounding, and its
    /// ranges where `ranges`.
    ///
    /// # Errors
    /// A graph that takes no pictures, or has no layer that could train.
    pub(super) fn new(
        graph: Graph,
        trainable: Trainable,
        ranges: bool,
        place: &Place,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            geometry: geometry(&graph)?,
            tower: Tower::new(graph, trainable, ranges, place)?,
            whole: None,
        })
    }

    /// The same for the part of `graph` behind its tokens, which are its input then; and the part that gives them.
    ///
    /// # Errors
    /// As [`Self::new`]; a graph that is not cut in two at its tokens.
    pub(super) fn behind_tokens(
        graph: Graph,
        trainable: Trainable,
        place: &Place,
    ) -> Result<(Self, Graph), TrainError> {
        let found = tokens(&graph).map(|value| cut(&graph, value));
        let Some((front, Some(back))) = found else {
            let message = "found no tokens that the embedding is taken of alone; leave `cached` under [image] out";
            return Err(TrainError::Setup(format!("{}: {message}", graph.name)));
        };
        let student = Self {
            geometry: geometry(&graph)?,
            tower: Tower::new(back, trainable, false, place)?,
            whole: Some(graph),
        };
        Ok((student, front))
    }

    /// A copy of the whole graph with `data` in the leaves.
    pub(super) fn write(&self, data: &[Vec<f32>]) -> Graph {
        let written = self.tower.write(data);
        let Some(whole) = &self.whole else {
            return written;
        };
        let mut whole = whole.clone();
        for (value, written) in whole.values.iter_mut().zip(written.values) {
            value.constant = written.constant;
        }
        whole
    }

    /// Parameters of the whole graph.
    pub(super) fn parameter_count(&self) -> usize {
        self.whole
            .as_ref()
            .unwrap_or(&self.tower.graph)
            .parameter_count()
    }

    /// Numbers of an embedding.
    pub(super) fn width(&self) -> usize {
        self.tower.width
    }

    /// Numbers of a picture.
    pub(super) fn picture_len(&self) -> usize {
        let graph = &self.tower.graph;
        graph.values[graph.inputs[0]].shape.iter().product()
    }

    /// Embeddings `[n, width]` of the `n` pictures in `inputs`, normalised and one behind the other.
    ///
    /// # Errors
    /// A node without a derivative.
    pub(super) fn embed(&self, inputs: &[f32]) -> Result<Tensor<2>, TrainError> {
        Ok(self.see(inputs, None)?.0)
    }

    /// The same, and the value `tokens` of the pictures where it is asked for, `[n, positions, context]`.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub(super) fn see(
        &self,
        inputs: &[f32],
        tokens: Option<ValueId>,
    ) -> Result<(Tensor<2>, Option<Tensor<3>>), TrainError> {
        let count = inputs.len() / self.picture_len();
        let wanted: Vec<ValueId> = [self.tower.graph.outputs[0]]
            .into_iter()
            .chain(tokens)
            .collect();
        let mut found = self.tower.run_pictures(inputs, &wanted)?.into_iter();
        let embeddings = found.next().expect("the output was wanted");
        let seen = tokens.zip(found.next());
        Ok((
            embeddings.reshape([count, self.tower.width]),
            seen.map(|(value, found)| of_pictures(&self.tower, value, found)),
        ))
    }
}

fn geometry(graph: &Graph) -> Result<InputGeometry, TrainError> {
    let small = |side: usize| u16::try_from(side).ok();
    let of_picture = || {
        let geometry = graph.meta.geometry?;
        let &[1, height, width, 3] = &graph.values[*graph.inputs.first()?].shape[..] else {
            return None;
        };
        (height == geometry.height && width == geometry.width).then_some(())?;
        Some(InputGeometry {
            width: small(width)?,
            height: small(height)?,
            resize_shorter: small(geometry.resize_shorter)?,
            mean: geometry.mean,
            std: geometry.std,
        })
    };
    of_picture().ok_or_else(|| {
        let message = "found no geometry of pictures, expected an image encoder with an input (1, height, width, 3)";
        TrainError::Setup(format!("{}: {message}", graph.name))
    })
}
