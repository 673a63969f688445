//! Tables of static embeddings from a checkpoint of model2vec (potion and its kin): the embedding of a text is the mean
//! of the rows of its tokens.
//!
//! <https://github.com/MinishLab/model2vec>, 0.10. Weights of tokens are multiplied into their rows, and rows that
//! several tokens share are copied, so that what remains is a lookup, a mean and, where the configuration says so, the
//! length 1. Which tokens a text has is the tokenizer's business; the row of its unknown token becomes zeros
//! ([`forget`]).

use serde_json::Value as Json;

use super::ImportError;
use super::checkpoint::{Checkpoint, read_file};
use crate::op::Reduce;
use crate::{Graph, ModelKind, Op, Tensor};

/// The rows, (rows, width).
const TABLE: &str = "embeddings";
/// A factor for each token, optional.
const WEIGHTS: &str = "weights";
/// The row of each token, optional: otherwise each has its own.
const MAPPING: &str = "mapping";
/// Of the graph, by which it is known again.
const ARCHITECTURE: &str = "static-embeddings";
/// Tokens of a text that model2vec reads where no configuration says otherwise.
const MAX_TOKENS: usize = 512;
/// Largest configuration.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Largest table after rows are copied, in numbers: that of a million tokens of width 1024.
const MAX_NUMBERS: usize = 1 << 30;

/// What tensors do not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The embedding has length 1.
    pub normalize: bool,
    /// Tokens of the longest text; what is behind them is not read.
    pub max_tokens: usize,
    /// What was assumed, one sentence each, for the person who imports.
    pub assumed: Vec<String>,
}

/// Whether a checkpoint is such a table.
pub fn recognises(checkpoint: &Checkpoint) -> bool {
    checkpoint.tensors.contains_key(TABLE)
}

/// Whether a graph came from [`import`].
pub fn is(graph: &Graph) -> bool {
    let architecture = graph.meta.source.get("architecture");
    architecture.is_some_and(|name| name == ARCHITECTURE)
}

/// Reads `config.json` beside the checkpoint.
///
/// # Errors
/// When the file is there but cannot be read, or what it says is of another type.
pub fn config_beside(checkpoint: &Checkpoint) -> Result<Config, ImportError> {
    let path = checkpoint.path.with_file_name("config.json");
    if !path.is_file() {
        return Ok(Config {
            normalize: false,
            max_tokens: MAX_TOKENS,
            assumed: vec![format!(
                "embeddings with the length of the mean, texts of at most {MAX_TOKENS} tokens; there is no config.json"
            )],
        });
    }
    let bytes = read_file(&path, MAX_CONFIG_BYTES)?;
    let json: Json = serde_json::from_slice(&bytes)
        .map_err(|error| ImportError::malformed(&path, format!("no JSON: {error}")))?;
    configured(&json).map_err(|what| ImportError::malformed(&path, what))
}

fn configured(json: &Json) -> Result<Config, String> {
    let normalize = match &json["normalize"] {
        Json::Null => false,
        Json::Bool(normalize) => *normalize,
        found => return Err(format!("normalize is {found}, expected true or false")),
    };
    let mut assumed = Vec::new();
    let max_tokens = match json.get("max_length") {
        None => MAX_TOKENS,
        Some(Json::Null) => {
            assumed.push(format!(
                "texts of at most {MAX_TOKENS} tokens, where config.json sets no limit; --max-tokens N sets another"
            ));
            MAX_TOKENS
        }
        Some(found) => found
            .as_u64()
            .and_then(|tokens| usize::try_from(tokens).ok())
            .filter(|&tokens| tokens > 0)
            .ok_or_else(|| format!("max_length is {found}, expected a number of tokens or null"))?,
    };
    Ok(Config {
        normalize,
        max_tokens,
        assumed,
    })
}

/// Builds the graph: input `ids` (tokens) of at most `max_tokens`, output the mean of their rows (1, width), of length
/// 1 when [`Config::normalize`] says so.
///
/// # Errors
/// When a tensor has another shape or type, a row is asked for that the table has not, keys are left over, or
/// `max_tokens` is 0.
pub fn import(
    checkpoint: &Checkpoint,
    config: &Config,
    max_tokens: usize,
) -> Result<Graph, ImportError> {
    if max_tokens == 0 {
        let what = "0 tokens asked for, expected 1 or more: --max-tokens N";
        return Err(ImportError::malformed(&checkpoint.path, what));
    }
    let weights = checkpoint.weights("a table of static embeddings");
    weights.finish(|key| [TABLE, WEIGHTS, MAPPING].contains(&key))?;
    let table = table(checkpoint).map_err(|what| ImportError::malformed(&checkpoint.path, what))?;
    let mut graph = network(table, max_tokens, config.normalize);
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.max_tokens = Some(max_tokens);
    let mut note = |key: &str, text: String| drop(graph.meta.source.insert(key.to_owned(), text));
    note("architecture", ARCHITECTURE.to_owned());
    note("checkpoint_sha256", checkpoint.sha256.clone());
    if !config.assumed.is_empty() {
        note("assumed", config.assumed.join(", "));
    }
    Ok(graph)
}

/// A lookup, the mean over tokens and the length.
fn network(table: Tensor, max_tokens: usize, normalize: bool) -> Graph {
    let (rows, width) = (table.shape[0], table.shape[1]);
    let mut graph = Graph::empty(format!("static-embeddings-{rows}x{width}"));
    let ids = graph.add_value("ids", &[max_tokens]);
    graph.values[ids].is_ids = true;
    graph.values[ids].dynamic = true;
    graph.inputs.push(ids);
    let table = graph.add_constant(TABLE, table);
    let words = graph.add_node("rows", Op::Embedding, &[ids, table], &[max_tokens, width]);
    graph.values[words].dynamic = true;
    let mean = Op::Reduce {
        function: Reduce::Mean,
        axes: vec![0],
        keep_dims: true,
    };
    let mut end = graph.add_node("mean_pooling", mean, &[words], &[1, width]);
    if normalize {
        end = graph.add_node("normalize", Op::L2Normalize, &[end], &[1, width]);
    }
    graph.outputs.push(end);
    graph
}

/// A row for each token, its weight in it: (tokens, width).
fn table(checkpoint: &Checkpoint) -> Result<Tensor, String> {
    let (shape, rows) = numbers(checkpoint, TABLE)?;
    let &[count, width] = shape else {
        return Err(format!("{TABLE} is {shape:?}, expected (tokens, width)"));
    };
    if count == 0 || width == 0 {
        return Err(format!(
            "{TABLE} is {shape:?}, expected a row and a column at least"
        ));
    }
    let mapping = mapping(checkpoint, count)?;
    let tokens = mapping.as_ref().map_or(count, Vec::len);
    let weights = weights(checkpoint, tokens)?;
    if tokens
        .checked_mul(width)
        .is_none_or(|numbers| numbers > MAX_NUMBERS)
    {
        return Err(format!(
            "{MAPPING} makes {tokens} rows of {width} numbers, expected at most {MAX_NUMBERS} numbers"
        ));
    }
    let mut data = Vec::with_capacity(tokens * width);
    for token in 0..tokens {
        let row = mapping.as_ref().map_or(token, |mapping| mapping[token]);
        let weight = weights.as_ref().map_or(1.0, |weights| weights[token]);
        let row = &rows[row * width..][..width];
        data.extend(row.iter().map(|number| number * weight));
    }
    Ok(Tensor::f32(&[tokens, width], data))
}

/// The row of each token, below `rows`.
fn mapping(checkpoint: &Checkpoint, rows: usize) -> Result<Option<Vec<usize>>, String> {
    let Some(tensor) = checkpoint.tensors.get(MAPPING) else {
        return Ok(None);
    };
    let shape = &tensor.shape;
    let (&[_], Some(mapping)) = (shape.as_slice(), tensor.as_i32()) else {
        let found = if tensor.as_i32().is_some() {
            "integers"
        } else {
            "floats"
        };
        return Err(format!(
            "{MAPPING} has {found} of shape {shape:?}, expected integers (tokens)"
        ));
    };
    let row = |(token, &row): (usize, &i32)| {
        let inside = usize::try_from(row).ok().filter(|&row| row < rows);
        inside.ok_or_else(|| {
            format!("{MAPPING} gives token {token} row {row}, expected one of {rows} rows")
        })
    };
    mapping
        .iter()
        .enumerate()
        .map(row)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The factor of each of `tokens`.
fn weights(checkpoint: &Checkpoint, tokens: usize) -> Result<Option<Vec<f32>>, String> {
    if !checkpoint.tensors.contains_key(WEIGHTS) {
        return Ok(None);
    }
    match numbers(checkpoint, WEIGHTS)? {
        (&[found], weights) if found == tokens => Ok(Some(weights)),
        (shape, _) => Err(format!(
            "{WEIGHTS} is {shape:?}, expected [{tokens}], one for each token"
        )),
    }
}

/// Shape and numbers of a tensor; integers, as in a table of 8 bits, are taken for what they are.
fn numbers<'a>(checkpoint: &'a Checkpoint, key: &str) -> Result<(&'a [usize], Vec<f32>), String> {
    let tensor = checkpoint
        .tensors
        .get(key)
        .ok_or_else(|| format!("there is no {key}"))?;
    let reals = match (tensor.as_f32(), tensor.as_i32()) {
        (Some(reals), _) => reals.to_vec(),
        (_, Some(integers)) => integers.iter().map(|&integer| integer as f32).collect(),
        _ => {
            return Err(format!(
                "{key} is of another type, expected floats or integers"
            ));
        }
    };
    Ok((&tensor.shape, reals))
}

/// Makes the row of a token zeros: model2vec leaves it out, and a text of nothing else has an embedding of zeros.
pub fn forget(graph: &mut Graph, token: usize) {
    let mut lookups = graph.nodes.iter().filter(|node| node.op == Op::Embedding);
    let Some(table) = lookups.next().map(|node| node.inputs[1]) else {
        return;
    };
    let Some(rows) = &mut graph.values[table].constant else {
        return;
    };
    if let (&[count, width], Some(numbers)) = (rows.shape.as_slice(), rows.as_f32())
        && token < count
    {
        let mut numbers = numbers.to_vec();
        numbers[token * width..][..width].fill(0.0);
        *rows = Tensor::f32(&[count, width], numbers);
    }
}
