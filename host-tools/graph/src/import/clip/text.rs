//! The text tower: tokens and positions, blocks, the last token, projection.
//!
//! ```text
//! ids ─ table + positions ─ blocks ─ norm ─ last token ─ projection ─ embedding of length 1
//! ```
//!
//! CLIP's takes the token that ends a text, and tokens see those before them alone: a run of as many tokens as the text has,
//! the end among them, gives what padding to the full context would. Without that mask (SigLIP's, most of MobileCLIP's) tokens
//! see the padding, and a run needs all of it. CoCa's takes a class token behind the padding ([`super::class_token`]).

use super::blocks::{Builder, count, size};
use super::class_token;
use super::keys::{Side, TextNames};
use super::{Config, Keys, described};
use crate::import::ImportError;
use crate::import::checkpoint::Checkpoint;
use crate::{Graph, ModelKind, Op, Tensor, ValueId};

/// What open_clip calls the choice of the largest id, which is that of the token that ends a text.
const END_OF_TEXT: &str = "argmax";
/// What open_clip calls the choice of the last token of the context.
const LAST: &str = "last";

/// Builds the graph: input `ids` (tokens), at most `max_tokens` of them or the whole context, output `embedding` (1, width of
/// the shared space) of length 1.
///
/// # Errors
/// When keys are missing, left over or of another shape, there is no text tower, it gathers a text in a way that is not known,
/// or `max_tokens` is 0 or beyond its positions.
pub fn import(
    checkpoint: &Checkpoint,
    keys: Keys,
    config: &Config,
    max_tokens: Option<usize>,
) -> Result<Graph, ImportError> {
    let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
    let apart = checkpoint.tensors.contains_key("text.positional_embedding");
    let names = keys.text(apart);
    let [vocabulary, width] = [0, 1].map(|d| size(checkpoint, names.tokens, d));
    let positions = size(checkpoint, names.positions, 0);
    if width == 0 || positions == 0 {
        return Err(fault(format!(
            "no text tower: found no {} (vocabulary, width) and {} (tokens, width)",
            names.tokens, names.positions
        )));
    }
    let gathers = Gathers::of(checkpoint, keys, config).map_err(fault)?;
    let tokens = max_tokens.unwrap_or(positions);
    let whole = gathers.needs_context();
    if tokens < gathers.least_tokens() || tokens > positions || whole && tokens != positions {
        return Err(fault(format!(
            "{tokens} tokens asked for; the text tower has {positions} positions{}",
            if whole { ", all of which it needs" } else { "" }
        )));
    }
    let head_width = config.text.head_width(width).map_err(fault)?;
    let layers = count(checkpoint, names.blocks, names.block);
    let mut tower = Builder {
        weights: checkpoint.weights(format!(
            "a text transformer of {layers} layers and width {width}"
        )),
        graph: Graph::empty(format!("text-l{layers}-w{width}")),
        checkpoint,
        config: &config.text,
        width,
        head_width,
        causal: !whole,
    };
    let ids = tower.graph.add_value("ids", &[tokens]);
    tower.graph.values[ids].is_ids = true;
    tower.graph.values[ids].dynamic = !whole;
    tower.graph.inputs.push(ids);
    let table = tower.weights.take(names.tokens, &[vocabulary, width]);
    let rows = tower.weights.take(names.positions, &[positions, width]);
    let mut places = first_rows(&rows, tokens);
    let mut class = None;
    if gathers == Gathers::ClassToken {
        let token = tower.weights.take(class_token::KEY, &[width]);
        let token = class_token::placed(&token, &rows);
        places = class_token::in_place_of_padding(&places, &token, &table, positions);
        class = Some(tower.graph.add_constant(class_token::KEY, token));
    }
    let table = tower.graph.add_constant(names.tokens, table);
    let places = tower.graph.add_constant(names.positions, places);
    let x = tower.sequence("embeddings.tokens", Op::Embedding, &[ids, table], width);
    let mut x = tower.add("embeddings.add", x, places);
    for layer in 0..layers {
        let first = tower.graph.nodes.len();
        let text = tower.block(&format!("{}.{layer}", names.blocks), names.block, x);
        class = class.map(|class| class_token::through(&mut tower, first, [x, text], class));
        x = text;
    }
    let row = match class {
        Some(class) => tower.layer_norm(names.norm_after, class),
        None => gathered(&mut tower, &names, gathers, ids, x),
    };
    let embedding = projected(&mut tower, &names, row);
    let space = tower.columns(embedding);
    let embedding = tower.sequence("embedding", Op::L2Normalize, &[embedding], space);
    tower.graph.outputs.push(embedding);
    let Builder {
        weights, mut graph, ..
    } = tower;
    weights.finish(|key| keys.side(key).may_stay(Side::Text))?;
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.max_tokens = Some(tokens);
    graph.meta.padding_tokens = u8::from(gathers == Gathers::ClassToken);
    Ok(described(graph, checkpoint, config))
}

/// What the embedding of a text is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gathers {
    /// The last token of the text.
    End,
    /// The token of the largest id of the table, wherever in the context it is.
    EndInContext,
    /// The last token of the context.
    LastInContext,
    /// A class token behind the context.
    ClassToken,
}

impl Gathers {
    fn of(checkpoint: &Checkpoint, keys: Keys, config: &Config) -> Result<Self, String> {
        let context = config.no_causal_mask || keys.is_siglip();
        let pool = config.text_pool.as_deref();
        if checkpoint.tensors.contains_key(class_token::KEY) {
            return if context {
                Err(
                    "its text tower has a class token and no causal mask, which is not known; \
                     the image tower is: --tower image"
                        .into(),
                )
            } else if config.correct_cls_mask {
                Err("the class token of its text tower sees itself and no padding (correct_cls_mask), \
                     which is not known; the image tower is: --tower image"
                    .into())
            } else {
                Ok(Self::ClassToken)
            };
        }
        match (context, keys.is_siglip(), pool) {
            (true, true, None | Some(LAST)) | (true, false, Some(LAST)) => Ok(Self::LastInContext),
            (true, false, None | Some(END_OF_TEXT)) => Ok(Self::EndInContext),
            (false, _, None | Some(END_OF_TEXT)) => Ok(Self::End),
            (_, _, Some(pool)) => Err(format!(
                "its text tower gathers a text by {pool} (pool_type), expected {END_OF_TEXT}, or {LAST} where it has no causal mask"
            )),
        }
    }

    /// Whether a run has as many tokens as there are positions.
    fn needs_context(self) -> bool {
        matches!(self, Self::EndInContext | Self::LastInContext)
    }

    /// Of a run.
    fn least_tokens(self) -> usize {
        match self {
            Self::ClassToken => 2,
            _ => 1,
        }
    }
}

/// The token that stands for the text, normed: (1, width). A norm is of each row alone, so that a row that is known comes
/// first.
fn gathered(
    tower: &mut Builder<'_>,
    names: &TextNames,
    gathers: Gathers,
    ids: ValueId,
    x: ValueId,
) -> ValueId {
    let tokens = tower.graph.values[x].shape[0];
    if gathers != Gathers::EndInContext {
        let row = tower.row("last_token", tokens - 1, x);
        return tower.layer_norm(names.norm_after, row);
    }
    let x = tower.layer_norm(names.norm_after, x);
    let vocabulary = tower.size(names.tokens, 0);
    let mut is_end = vec![0.0; vocabulary];
    if let Some(end) = is_end.last_mut() {
        *end = 1.0;
    }
    let table = Tensor::f32(&[vocabulary, 1], is_end);
    let table = tower.graph.add_constant("end_of_text", table);
    let column = tower.sequence("end_of_text.is", Op::Embedding, &[ids, table], 1);
    let op = Op::Transpose {
        permutation: vec![1, 0],
    };
    let row = tower
        .graph
        .add_node("end_of_text.row", op, &[column], &[1, tokens]);
    let op = Op::MatMul { transpose_b: false };
    let width = tower.width;
    tower
        .graph
        .add_node("end_of_text.token", op, &[row, x], &[1, width])
}

/// In the shared space, where the tower has a projection.
fn projected(tower: &mut Builder<'_>, names: &TextNames, row: ValueId) -> ValueId {
    let linear = format!("{}.weight", names.projection);
    if tower.weights.has(names.projection) {
        tower.times("projection", names.projection, row)
    } else if tower.weights.has(&linear) {
        tower.linear(names.projection, row)
    } else {
        row
    }
}

/// The first rows of a table; the stand-in for a fault stays one.
fn first_rows(table: &Tensor, rows: usize) -> Tensor {
    match (table.shape.as_slice(), table.as_f32()) {
        (&[_, width], Some(data)) => Tensor::f32(&[rows, width], data[..rows * width].to_vec()),
        _ => table.clone(),
    }
}
