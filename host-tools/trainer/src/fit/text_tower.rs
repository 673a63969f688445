//! A text encoder that trains: any text graph that the import makes.
//!
//! As in the runtime the number of tokens is a number of a run, nothing is padded and no mask exists but that of causal
//! attention: texts of one length run together, so that means, attention and the token that ends a text are exactly those
//! of the packed model. An encoder that sees all its context gets it. Of token tables only the rows of a batch's tokens
//! take part, so that their gradient is made once a batch and not once a length.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use pinhole_graph::{Graph, ModelKind, Op, ValueId};
use pinhole_text::tokenizer::Tokenizer;

use super::recipe::Trainable;
use super::tower::Tower;
use crate::TrainError;
use crate::device::Place;
use crate::loss::indices;
use crate::network::Batch;

/// The text encoder that trains.
pub(super) struct TextTower {
    pub(super) tower: Tower,
    pub(super) tokenizer: Tokenizer,
    /// Tokens of every run, for an encoder that sees all padding.
    context: Option<usize>,
    /// Tokens of padding behind each text.
    padding: usize,
    /// Constants that token ids choose rows of.
    tables: Vec<ValueId>,
}

/// Texts of one length.
pub(super) struct Group {
    /// Which of the batch they are.
    pub(super) rows: Vec<usize>,
    /// The values that were wanted, `[rows, …]`.
    pub(super) values: Vec<Batch>,
}

impl TextTower {
    /// The layers of `graph` that `trainable` says, at `place`.
    ///
    /// # Errors
    /// A graph that is no text encoder in floats with a vocabulary, or has no layer that could train.
    pub(super) fn new(
        graph: Graph,
        trainable: Trainable,
        place: &Place,
    ) -> Result<Self, TrainError> {
        Self::with(graph, |graph| Tower::new(graph, trainable, false, place))
    }

    /// The same of which nothing trains.
    ///
    /// # Errors
    /// A graph that is no text encoder in floats with a vocabulary.
    pub(super) fn frozen(graph: Graph, place: &Place) -> Result<Self, TrainError> {
        Self::with(graph, |graph| Ok(Tower::frozen(graph, place)))
    }

    fn with(
        graph: Graph,
        tower: impl FnOnce(Graph) -> Result<Tower, TrainError>,
    ) -> Result<Self, TrainError> {
        let fault = |message: &str| TrainError::Setup(format!("{}: {message}", graph.name));
        if graph.is_quantized() {
            return Err(fault(
                "is quantised, expected a text graph in f32; name it with `model` to have it frozen",
            ));
        }
        let vocabulary = graph.meta.vocabulary.as_ref();
        let input = graph.inputs.first().map(|&input| &graph.values[input]);
        let (Some(vocabulary), Some(input), ModelKind::TextEncoder) = (
            vocabulary,
            input.filter(|input| input.is_ids),
            graph.meta.kind,
        ) else {
            return Err(fault(
                "found no token ids or no vocabulary, expected a text encoder that carries its own",
            ));
        };
        let padding = usize::from(graph.meta.padding_tokens);
        let context = (!input.dynamic).then(|| input.shape[0]);
        let tokenizer = Tokenizer::load_bytes(vocabulary.as_bytes())
            .and_then(|tokenizer| tokenizer.with_max_tokens(input.shape[0] - padding))
            .map_err(|error| fault(&error.to_string()))?;
        let lookups = graph.nodes.iter().filter(|node| node.op == Op::Embedding);
        let tables: BTreeSet<ValueId> = lookups.map(|node| node.inputs[1]).collect();
        for &table in &tables {
            let (rows, words) = (graph.values[table].shape[0], tokenizer.vocab_len());
            if words > rows {
                return Err(fault(&format!(
                    "its vocabulary has {words} tokens and its table {rows} rows, expected a row for each token"
                )));
            }
        }
        Ok(Self {
            tokenizer,
            context,
            padding,
            tables: tables.into_iter().collect(),
            tower: tower(graph)?,
        })
    }

    /// The ids of `text` as a run takes them.
    pub(super) fn ids(&self, text: &str) -> Vec<u32> {
        let mut ids = self.tokenizer.encode(text);
        let tokens = self.context.unwrap_or(ids.len() + self.padding);
        ids.resize(tokens, self.tokenizer.pad_id());
        ids
    }

    /// The values `wanted` of `texts`, given as [`Self::ids`] gives them, the shortest texts first.
    ///
    /// # Errors
    /// A node without a derivative.
    pub(super) fn run(
        &self,
        texts: &[Vec<u32>],
        wanted: &[ValueId],
    ) -> Result<Vec<Group>, TrainError> {
        let used: BTreeSet<u32> = texts.iter().flatten().copied().collect();
        let rows: Vec<usize> = used.iter().map(|&id| id as usize).collect();
        let place: BTreeMap<u32, i64> = used.into_iter().zip(0..).collect();
        let rows = indices(&rows, self.tower.place.device());
        let table = |&value: &ValueId| {
            let table = self.tower.constant(value)?;
            let dims = table.dims();
            let kept = table.select(dims.len() - 2, rows.clone());
            Some((value, kept))
        };
        let tables: BTreeMap<ValueId, Batch> = self.tables.iter().filter_map(table).collect();
        let mut lengths: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (row, ids) in texts.iter().enumerate() {
            lengths.entry(ids.len()).or_default().push(row);
        }
        let groups = lengths.into_iter().map(|(tokens, rows)| {
            let ids: Vec<i64> = rows
                .iter()
                .flat_map(|&row| &texts[row])
                .map(|id| place[id])
                .collect();
            let ids = TensorData::new(ids, [rows.len(), tokens]);
            let ids = Tensor::<2, Int>::from_data(ids, self.tower.place.device());
            let values = self.tower.run_ids(ids, &tables, wanted)?;
            Ok(Group { rows, values })
        });
        groups.collect()
    }

    /// Embeddings `[n, width]` of the `n` `texts`, as the graph gives them.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn embed(&self, texts: &[Vec<u32>]) -> Result<Tensor<2>, TrainError> {
        let groups = self.run(texts, &self.tower.graph.outputs[..1])?;
        Ok(self.embeddings(&groups))
    }

    /// Embeddings of the texts of `groups`, of which the graph's output is the first value, in the order of the batch.
    pub(super) fn embeddings(&self, groups: &[Group]) -> Tensor<2> {
        let rows = groups.iter().flat_map(|group| &group.rows);
        let mut back = vec![0; rows.clone().count()];
        rows.enumerate().for_each(|(at, &row)| back[row] = at);
        let parts = groups.iter().map(|group| {
            let count = group.rows.len();
            group.values[0].clone().reshape([count, self.tower.width])
        });
        let back = indices(&back, self.tower.place.device());
        Tensor::cat(parts.collect(), 0).select(0, back)
    }
}

impl TextTower {
    /// Seconds of both passes of `texts` of the greatest length.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn time(&self, texts: usize) -> Result<f64, TrainError> {
        let graph = &self.tower.graph;
        let tokens = graph.values[graph.inputs[0]].shape[0];
        let ids = vec![vec![self.tokenizer.pad_id(); tokens]; texts];
        self.tower.place.time(|| {
            drop(self.embed(&ids)?.square().sum().backward());
            Ok(())
        })
    }
}

/// Reads a text graph and gives it a new layer of `embedding` numbers where that is asked for.
///
/// # Errors
/// A file that cannot be read, or shapes that do not fit.
pub(super) fn load(path: &Path, embedding: Option<usize>, seed: u64) -> Result<Graph, TrainError> {
    let graph = Graph::load(path).map_err(|error| TrainError::Model {
        path: path.to_path_buf(),
        message: error.to_string(),
    })?;
    let Some(width) = embedding else {
        return Ok(graph);
    };
    let inputs = graph.values[graph.outputs[0]].shape.iter().product();
    super::head::with_head(&graph, width, super::head::random(inputs, width, seed))
}
