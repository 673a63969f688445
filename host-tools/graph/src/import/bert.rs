//! BERT-style sentence encoders (MiniLM and its kin) from a Hugging Face checkpoint.
//!
//! Devlin et al. 2018 (<https://arxiv.org/abs/1810.04805>); the sentence embedding is the mean over all tokens, as in
//! Sentence-BERT. One sequence at a time and no padding, so that there is no attention mask. The row of token type 0 is
//! added to the position table here, since no other type occurs.

use serde_json::Value as Json;

use super::ImportError;
use super::checkpoint::{Checkpoint, Weights, read_file};
use super::config::epsilon;
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, ModelKind, Op, Tensor, ValueId};

/// Tokens of the longest sequence, when the caller does not say.
pub const DEFAULT_MAX_TOKENS: usize = 128;
/// Largest side file (vocabulary, configuration).
const MAX_SIDE_FILE_BYTES: u64 = 64 << 20;
/// Of MiniLM, where no configuration says more.
const HEAD_WIDTH: usize = 32;
/// Of BERT.
const EPSILON: f32 = 1e-12;

/// What shapes do not tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Heads of every attention.
    pub num_heads: usize,
    /// Of every layer normalisation.
    pub epsilon: f32,
    /// Between the two linear layers of a block.
    pub hidden_act: Unary,
    /// What was assumed, one sentence each, for the person who imports.
    pub assumed: Vec<String>,
}

/// Whether a checkpoint has the keys of this family.
pub fn recognises(checkpoint: &Checkpoint) -> bool {
    MARKERS
        .iter()
        .all(|key| checkpoint.tensors.contains_key(*key))
}

/// Keys that every checkpoint of the family has.
pub(super) const MARKERS: [&str; 3] = [
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "encoder.layer.0.attention.self.query.weight",
];

/// Reads `config.json` beside the checkpoint, or assumes MiniLM's numbers.
///
/// # Errors
/// When the file is there but cannot be read or contradicts the weights.
pub fn config_beside(checkpoint: &Checkpoint) -> Result<Config, ImportError> {
    let width = width_of(checkpoint)?;
    let path = checkpoint.path.with_file_name("config.json");
    if !path.is_file() {
        return Ok(assumed_config(width));
    }
    let bytes = read_file(&path, MAX_SIDE_FILE_BYTES)?;
    let json: Json = serde_json::from_slice(&bytes)
        .map_err(|error| ImportError::malformed(&path, format!("no JSON: {error}")))?;
    // A configuration that lies here for another model must not set the heads of this one.
    if json["hidden_size"]
        .as_u64()
        .is_some_and(|found| found != width as u64)
    {
        return Err(ImportError::malformed(
            &path,
            format!(
                "hidden_size is {}, the weights have {width}",
                json["hidden_size"]
            ),
        ));
    }
    let mut config = assumed_config(width);
    if let Some(heads) = json["num_attention_heads"].as_u64() {
        config.num_heads = heads as usize;
        config.assumed.retain(|line| !line.contains("heads"));
    }
    let said = epsilon(&json["layer_norm_eps"]);
    if let Some(epsilon) = said.map_err(|what| ImportError::malformed(&path, what))? {
        config.epsilon = epsilon;
        config.assumed.retain(|line| !line.contains("epsilon"));
    }
    if let Some(name) = json["hidden_act"].as_str() {
        config.hidden_act = match name {
            "gelu" => Unary::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Unary::GeluTanh,
            "quick_gelu" => Unary::QuickGelu,
            "relu" => Unary::Clip {
                min: 0.0,
                max: f32::INFINITY,
            },
            other => {
                let what =
                    format!("hidden_act is {other}, expected gelu, gelu_new, quick_gelu or relu");
                return Err(ImportError::malformed(&path, what));
            }
        };
        config.assumed.retain(|line| !line.contains("activation"));
    }
    Ok(config)
}

fn assumed_config(width: usize) -> Config {
    let num_heads = (width / HEAD_WIDTH).max(1);
    Config {
        num_heads,
        epsilon: EPSILON,
        hidden_act: Unary::Gelu,
        assumed: vec![
            format!("{num_heads} heads of width {HEAD_WIDTH}"),
            format!("epsilon {EPSILON:e}"),
            "activation GELU".to_owned(),
        ],
    }
}

fn width_of(checkpoint: &Checkpoint) -> Result<usize, ImportError> {
    match checkpoint.shape("embeddings.word_embeddings.weight") {
        Some(&[_, width]) if width > 0 => Ok(width),
        other => Err(ImportError::malformed(
            &checkpoint.path,
            format!("embeddings.word_embeddings.weight is {other:?}, expected (vocabulary, width)"),
        )),
    }
}

/// Builds the graph: input `ids` (tokens) of at most `max_tokens`, output the mean over tokens (1, width).
///
/// # Errors
/// When the keys do not fit, `max_tokens` is 0 or beyond the position table, or heads do not divide the width.
pub fn import(
    checkpoint: &Checkpoint,
    config: &Config,
    max_tokens: usize,
) -> Result<Graph, ImportError> {
    let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
    let width = width_of(checkpoint)?;
    let rows = |key: &str| {
        checkpoint
            .shape(key)
            .and_then(|shape| shape.first().copied())
            .unwrap_or(0)
    };
    let vocabulary = rows("embeddings.word_embeddings.weight");
    let positions = rows("embeddings.position_embeddings.weight");
    if max_tokens == 0 || max_tokens > positions {
        return Err(fault(format!(
            "{max_tokens} tokens asked for; the position table has {positions} rows"
        )));
    }
    if config.num_heads == 0 || !width.is_multiple_of(config.num_heads) {
        return Err(fault(format!(
            "{} heads do not divide the width {width}",
            config.num_heads
        )));
    }
    let layers = (0..)
        .take_while(|layer| {
            rows(&format!(
                "encoder.layer.{layer}.attention.self.query.weight"
            )) > 0
        })
        .count();
    let intermediate = rows("encoder.layer.0.intermediate.dense.weight");
    let mut builder = Builder {
        weights: checkpoint.weights(format!(
            "a BERT encoder of {layers} layers and width {width}"
        )),
        graph: Graph::empty(format!("bert-l{layers}-h{width}")),
        config,
        tokens: max_tokens,
        width,
        intermediate,
        types: rows("embeddings.token_type_embeddings.weight").max(1),
    };
    builder.build(layers, vocabulary, positions);
    builder.weights.finish(|key| {
        key.starts_with("pooler.") || key == "embeddings.position_ids" || key.starts_with("cls.")
    })?;
    let mut graph = builder.graph;
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.max_tokens = Some(max_tokens);
    graph
        .meta
        .source
        .insert("architecture".into(), graph.name.clone());
    graph
        .meta
        .source
        .insert("checkpoint_sha256".into(), checkpoint.sha256.clone());
    if !config.assumed.is_empty() {
        graph
            .meta
            .source
            .insert("assumed".into(), config.assumed.join(", "));
    }
    Ok(graph)
}

struct Builder<'a> {
    weights: Weights<'a>,
    graph: Graph,
    config: &'a Config,
    tokens: usize,
    width: usize,
    intermediate: usize,
    types: usize,
}

impl Builder<'_> {
    fn build(&mut self, layers: usize, vocabulary: usize, positions: usize) {
        let ids = self.graph.add_value("ids", &[self.tokens]);
        self.graph.values[ids].is_ids = true;
        self.graph.values[ids].dynamic = true;
        self.graph.inputs.push(ids);
        let table = self.weights.take(
            "embeddings.word_embeddings.weight",
            &[vocabulary, self.width],
        );
        let table = self
            .graph
            .add_constant("embeddings.word_embeddings.weight", table);
        let words = self.sequence(
            "embeddings.word_embeddings",
            Op::Embedding,
            &[ids, table],
            self.width,
        );
        let positions = self.positions(positions);
        let positions = self
            .graph
            .add_constant("embeddings.position_embeddings", positions);
        let x = self.add("embeddings.add", words, positions);
        let mut x = self.layer_norm("embeddings.LayerNorm", x);
        for layer in 0..layers {
            x = self.layer(&format!("encoder.layer.{layer}"), x);
        }
        let op = Op::Reduce {
            function: Reduce::Mean,
            axes: vec![0],
            keep_dims: true,
        };
        let mean = self
            .graph
            .add_node("mean_pooling", op, &[x], &[1, self.width]);
        self.graph.outputs.push(mean);
    }

    /// The first rows of the position table, token type 0 added: (tokens, width).
    fn positions(&mut self, rows: usize) -> Tensor {
        let table = self
            .weights
            .take("embeddings.position_embeddings.weight", &[rows, self.width]);
        let types_key = "embeddings.token_type_embeddings.weight";
        let types = self.weights.take(types_key, &[self.types, self.width]);
        let (Some(table), Some(types)) = (table.as_f32(), types.as_f32()) else {
            return table;
        };
        if table.is_empty() || types.is_empty() {
            return Tensor::f32(&[0], Vec::new());
        }
        let sum = table[..self.tokens * self.width]
            .chunks_exact(self.width)
            .flat_map(|row| row.iter().zip(types).map(|(a, b)| a + b))
            .collect();
        Tensor::f32(&[self.tokens, self.width], sum)
    }

    fn layer(&mut self, layer: &str, x: ValueId) -> ValueId {
        let name = |part: &str| format!("{layer}.{part}");
        let width = self.width;
        let q = self.linear(&name("attention.self.query"), x, width, width);
        let k = self.linear(&name("attention.self.key"), x, width, width);
        let v = self.linear(&name("attention.self.value"), x, width, width);
        let num_heads = self.config.num_heads;
        let scale = ((width / num_heads) as f32).sqrt().recip();
        let attended = self.sequence(
            &name("attention.self"),
            Op::Attention {
                num_heads,
                scale,
                windows: 1,
                causal: false,
            },
            &[q, k, v],
            width,
        );
        let projected = self.linear(&name("attention.output.dense"), attended, width, width);
        let sum = self.add(&name("attention.output.add"), projected, x);
        let x = self.layer_norm(&name("attention.output.LayerNorm"), sum);
        let wide = self.linear(&name("intermediate.dense"), x, width, self.intermediate);
        let function = self.config.hidden_act;
        let wide = self.sequence(
            &name("intermediate.act"),
            Op::Unary { function },
            &[wide],
            self.intermediate,
        );
        let narrow = self.linear(&name("output.dense"), wide, self.intermediate, width);
        let sum = self.add(&name("output.add"), narrow, x);
        self.layer_norm(&name("output.LayerNorm"), sum)
    }

    fn linear(&mut self, name: &str, x: ValueId, k: usize, n: usize) -> ValueId {
        let weight = self.constant(&format!("{name}.weight"), &[n, k]);
        let bias = self.constant(&format!("{name}.bias"), &[n]);
        let op = Op::Linear {
            activation: Activation::None,
        };
        self.sequence(name, op, &[x, weight, bias], n)
    }

    fn layer_norm(&mut self, name: &str, x: ValueId) -> ValueId {
        let gamma = self.constant(&format!("{name}.weight"), &[self.width]);
        let beta = self.constant(&format!("{name}.bias"), &[self.width]);
        let op = Op::LayerNorm {
            epsilon: self.config.epsilon,
        };
        self.sequence(name, op, &[x, gamma, beta], self.width)
    }

    fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        let op = Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        };
        self.sequence(name, op, &[a, b], self.width)
    }

    fn constant(&mut self, key: &str, shape: &[usize]) -> ValueId {
        let tensor = self.weights.take(key, shape);
        self.graph.add_constant(key, tensor)
    }

    /// A node over tokens: (tokens, width), dynamic.
    fn sequence(&mut self, name: &str, op: Op, inputs: &[ValueId], width: usize) -> ValueId {
        let output = self.graph.add_node(name, op, inputs, &[self.tokens, width]);
        self.graph.values[output].dynamic = true;
        output
    }
}
