//! Zero-shot accuracy of the model that would be written now, on pictures that are never trained on.

use std::path::Path;

use pinhole_data::DataError;
use pinhole_graph::Graph;
use pinhole_runtime::preprocess::InputGeometry;
use pinhole_text::classes::ClassList;
use rayon::prelude::*;

use super::encoder::Encoder;
use super::texts::FrozenTexts;
use crate::TrainError;
use crate::data::{LoadError, Pixels, Source, Texts};
use pinhole_ranks::Ranks;

/// Pictures in memory at once.
const CHUNK: usize = 64;

/// What is measured on.
pub(super) struct Measure {
    source: Box<dyn Source>,
    /// Samples with a label, spread evenly.
    indices: Vec<usize>,
    list: ClassList,
    texts: Texts,
    /// Unit rows `[classes, width]`, one behind the other, where the texts are frozen.
    classes: Option<Vec<f32>>,
}

impl Measure {
    /// At most `limit` pictures of `source`, whose class names go through the templates of `texts`.
    ///
    /// # Errors
    /// Class names that cannot be embedded.
    pub(super) fn new(
        source: Box<dyn Source>,
        limit: usize,
        encoder: Option<&FrozenTexts>,
        texts: &Texts,
    ) -> Result<Self, TrainError> {
        let list = ClassList::from_names("data.evaluate", source.classnames());
        let list = list.map_err(|error| TrainError::Setup(error.to_string()))?;
        let classes = encoder
            .map(|encoder| encoder.classes(&list, texts.class_templates()))
            .transpose()?;
        let samples = source.samples();
        let labelled: Vec<usize> = (0..samples.len())
            .filter(|&index| samples[index].label.is_some())
            .collect();
        let count = limit.min(labelled.len());
        let indices = (0..count)
            .map(|index| labelled[index * labelled.len() / count])
            .collect();
        Ok(Self {
            source,
            indices,
            list,
            texts: texts.clone(),
            classes,
        })
    }

    /// Pictures that are measured.
    pub(super) fn len(&self) -> usize {
        self.indices.len()
    }

    /// The share of pictures whose nearest class is theirs, of those that are not broken; each of `ranks` measures a
    /// part of them. `text` is the text encoder of now, where it trains.
    ///
    /// # Errors
    /// A graph that cannot be packed, or a disk that cannot be read.
    pub(super) fn top1(
        &self,
        graph: &Graph,
        text: Option<&Graph>,
        geometry: &InputGeometry,
        ranks: &Ranks,
    ) -> Result<f32, TrainError> {
        let own = self.count((graph, text), geometry, ranks.part(&self.indices));
        let all = ranks.gather(ranks.agree(own)?)?;
        let [right, measured] = [0, 1].map(|place| all.iter().map(|of| of[place]).sum::<usize>());
        Ok(right as f32 / measured.max(1) as f32)
    }

    /// Pictures of `indices` whose nearest class is theirs, and all that are not broken.
    fn count(
        &self,
        (graph, text): (&Graph, Option<&Graph>),
        geometry: &InputGeometry,
        indices: &[usize],
    ) -> Result<[usize; 2], TrainError> {
        let classes = match (text, &self.classes) {
            (Some(text), _) => FrozenTexts::of_graph(Path::new(&text.name), text)?
                .classes(&self.list, self.texts.class_templates())?,
            (None, Some(classes)) => classes.clone(),
            (None, None) => return Ok([0, 0]),
        };
        let encoder = Encoder::of_graph(Path::new(&graph.name), graph)?;
        let (mut right, mut measured) = (0, 0);
        for chunk in indices.chunks(CHUNK) {
            let made = chunk.par_iter().map(|&index| {
                let input = plain_unless_broken(self.source.as_ref(), index, geometry)?;
                Ok(input.map(|input| (index, input)))
            });
            let made = made.collect::<Result<Vec<_>, LoadError>>()?;
            let made: Vec<(usize, Vec<f32>)> = made.into_iter().flatten().collect();
            let inputs: Vec<&[f32]> = made.iter().map(|(_, input)| input.as_slice()).collect();
            for ((index, _), embedding) in made.iter().zip(encoder.pictures(&inputs)?) {
                let label = self.source.samples()[*index].label;
                right += usize::from(label == nearest(&classes, &embedding));
            }
            measured += made.len();
        }
        Ok([right, measured])
    }
}

fn nearest(classes: &[f32], embedding: &[f32]) -> Option<usize> {
    let score = |class: &[f32]| class.iter().zip(embedding).map(|(x, y)| x * y).sum::<f32>();
    let scores = classes.chunks_exact(embedding.len()).map(score);
    scores
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(class, _)| class)
}

/// The encoder's input of picture `index` as it is, `None` for a broken one.
pub(super) fn plain_unless_broken(
    source: &dyn Source,
    index: usize,
    geometry: &InputGeometry,
) -> Result<Option<Vec<f32>>, LoadError> {
    match source.picture(index) {
        Ok(picture) => Ok(Some(
            Pixels::fitted(&picture, geometry)?.normalised(geometry),
        )),
        Err(LoadError::Data(DataError::Picture { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}
