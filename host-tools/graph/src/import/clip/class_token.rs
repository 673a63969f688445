//! CoCa's class token: behind the context, at a position of its own, and no token of the text sees it.
//!
//! Yu et al., "CoCa", 2022 (<https://arxiv.org/abs/2205.01917>), with the mask that open_clip's weights were trained with: it hides
//! one key too few, so that the class token sees the text and the first token of padding behind it, but itself only where the
//! text fills the context.
//!
//! The text is a sequence of as many tokens as it has and one of padding; the class token is a sequence of one, whose queries
//! meet the keys and values of the text. Where the text fills the context, what stands for padding is the class token itself, for
//! its position is the next one and it sees what the class token sees.

use super::blocks::Builder;
use crate::{Op, Tensor, ValueId};

/// Key of the token.
pub(super) const KEY: &str = "text.cls_emb";

/// The token (width) at the last position of a table (tokens, width): (1, width). The stand-in for a fault stays one.
pub(super) fn placed(token: &Tensor, positions: &Tensor) -> Tensor {
    let (Some(token), Some(rows)) = (token.as_f32(), positions.as_f32()) else {
        return positions.clone();
    };
    match rows.len().checked_sub(token.len()) {
        Some(last) if !token.is_empty() => {
            let sums = token.iter().zip(&rows[last..]).map(|(a, b)| a + b);
            Tensor::f32(&[1, token.len()], sums.collect())
        }
        _ => positions.clone(),
    }
}

/// Positions of a run, (tokens, width), of which the last makes the class token of padding where it is the last of all
/// `positions`.
pub(super) fn in_place_of_padding(
    places: &Tensor,
    class: &Tensor,
    table: &Tensor,
    positions: usize,
) -> Tensor {
    let (&[tokens, width], Some(rows)) = (places.shape.as_slice(), places.as_f32()) else {
        return places.clone();
    };
    let (Some(class), Some(padding)) = (class.as_f32(), table.as_f32()) else {
        return places.clone();
    };
    if tokens < positions || class.len() != width || padding.len() < width {
        return places.clone();
    }
    let mut rows = rows.to_vec();
    let last = rows.len() - width;
    for (row, (class, padding)) in rows[last..].iter_mut().zip(class.iter().zip(padding)) {
        *row = class - padding;
    }
    Tensor::f32(&places.shape, rows)
}

/// The class token behind the block whose nodes begin at `first` and make `text` of `x`: the same layers, but queries meet the
/// keys and values of the text.
pub(super) fn through(
    tower: &mut Builder<'_>,
    first: usize,
    [x, text]: [ValueId; 2],
    class: ValueId,
) -> ValueId {
    let mut twins = vec![(x, class)];
    let twin = |twins: &[(ValueId, ValueId)], value: ValueId| {
        let found = twins.iter().find(|(of, _)| *of == value);
        found.map_or(value, |(_, twin)| *twin)
    };
    let nodes = tower.graph.nodes[first..].to_vec();
    for node in nodes {
        let mut op = node.op;
        let mut inputs: Vec<ValueId> = node.inputs.iter().map(|&id| twin(&twins, id)).collect();
        if let Op::Attention { causal, .. } = &mut op {
            *causal = false;
            inputs[1..].copy_from_slice(&node.inputs[1..]);
        }
        let columns = tower.columns(node.output);
        let name = format!("{}.class", node.name);
        let output = tower.graph.add_node(name, op, &inputs, &[1, columns]);
        twins.push((node.output, output));
    }
    twin(&twins, text)
}
