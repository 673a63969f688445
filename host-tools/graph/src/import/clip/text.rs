//! The text tower: tokens and positions, blocks, the last token, projection.
//!
//! ```text
//! ids ─ table + positions ─ blocks ─ norm ─ last token ─ projection ─ embedding of length 1
//! ```
//!
//! CLIP's takes the token that ends a text, and tokens see those before them alone: a run of as many tokens as the text has,
//! the end among them, gives what padding to the full context would. SigLIP's sees the padding, and needs all of it.

use super::blocks::{Builder, count, size};
use super::keys::Side;
use super::{Config, Keys, described};
use crate::import::ImportError;
use crate::import::checkpoint::Checkpoint;
use crate::{Graph, ModelKind, Op, Tensor};

/// Builds the graph: input `ids` (tokens), at most `max_tokens` of them or the whole context, output `embedding` (1, width of
/// the shared space) of length 1.
///
/// # Errors
/// When keys are missing, left over or of another shape, there is no text tower, or `max_tokens` is 0 or beyond its positions.
pub fn import(
    checkpoint: &Checkpoint,
    keys: Keys,
    config: &Config,
    max_tokens: Option<usize>,
) -> Result<Graph, ImportError> {
    let fault = |what: String| ImportError::malformed(&checkpoint.path, what);
    let apart = checkpoint.tensors.contains_key("text.positional_embedding");
    let names = keys.text(apart);
    if checkpoint.tensors.contains_key("text.cls_emb") {
        return Err(fault(
            "its text tower ends in a class token that masks padding (CoCa), which is not known; the image tower is: --tower image"
                .into(),
        ));
    }
    if config.no_causal_mask && !keys.is_siglip() {
        return Err(fault(
            "its text tower sees the padding behind the token that it ends in (no_causal_mask, as MobileCLIP's), which is not known"
                .into(),
        ));
    }
    let [vocabulary, width] = [0, 1].map(|d| size(checkpoint, names.tokens, d));
    let positions = size(checkpoint, names.positions, 0);
    if width == 0 || positions == 0 {
        return Err(fault(format!(
            "no text tower: found no {} (vocabulary, width) and {} (tokens, width)",
            names.tokens, names.positions
        )));
    }
    let siglip = keys.is_siglip();
    let tokens = max_tokens.unwrap_or(positions);
    if tokens == 0 || tokens > positions || siglip && tokens != positions {
        return Err(fault(format!(
            "{tokens} tokens asked for; the text tower has {positions} positions{}",
            if siglip {
                ", all of which it needs"
            } else {
                ""
            }
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
        causal: !siglip,
    };
    let ids = tower.graph.add_value("ids", &[tokens]);
    tower.graph.values[ids].is_ids = true;
    tower.graph.values[ids].dynamic = !siglip;
    tower.graph.inputs.push(ids);
    let table = tower.constant(names.tokens, &[vocabulary, width]);
    let x = tower.sequence("embeddings.tokens", Op::Embedding, &[ids, table], width);
    let table = tower.weights.take(names.positions, &[positions, width]);
    let table = tower
        .graph
        .add_constant(names.positions, first_rows(&table, tokens));
    let mut x = tower.add("embeddings.add", x, table);
    for layer in 0..layers {
        x = tower.block(&format!("{}.{layer}", names.blocks), names.block, x);
    }
    // A norm is of each row alone, so that the last row comes first.
    let row = tower.row("last_token", tokens - 1, x);
    let row = tower.layer_norm(names.norm_after, row);
    let embedding = if checkpoint.shape(names.projection).is_some() {
        tower.times("projection", names.projection, row)
    } else if checkpoint
        .shape(&format!("{}.weight", names.projection))
        .is_some()
    {
        tower.linear(names.projection, row)
    } else {
        row
    };
    let space = tower.columns(embedding);
    let embedding = tower.sequence("embedding", Op::L2Normalize, &[embedding], space);
    tower.graph.outputs.push(embedding);
    let Builder {
        weights, mut graph, ..
    } = tower;
    weights.finish(|key| keys.side(key).may_stay(Side::Text))?;
    graph.meta.kind = ModelKind::TextEncoder;
    graph.meta.max_tokens = Some(tokens);
    Ok(described(graph, checkpoint, config))
}

/// The first rows of a table; the stand-in for a fault stays one.
fn first_rows(table: &Tensor, rows: usize) -> Tensor {
    match (table.shape.as_slice(), table.as_f32()) {
        (&[_, width], Some(data)) => Tensor::f32(&[rows, width], data[..rows * width].to_vec()),
        _ => table.clone(),
    }
}
