//! Attention in floats with windows or a bias, spelled out in products and a softmax.
//!
//! It is there to calibrate and to compare, not to be fast: the scores of all windows and heads exist at once. The operator
//! `attention_f32` computes the plain case tile by tile; int8 has one operator for all (`lower_transformer`).

use pinhole_graph::Node;
use pinhole_runtime::model::op::{BinaryKind, BinaryParams, MatmulParams, OpKind, TransposeParams};
use zerocopy::IntoBytes;

use crate::lower::{Lowering, Place, Reason};

/// Rows of heads side by side to one matrix a head: (W, T, H, d) to (W, H, T, d), and back.
const TURN: [u8; 4] = [0, 2, 1, 3];

/// Queries (W·Q, width), keys and values (W·K, width) to (W·Q, width).
pub(crate) fn attention(
    state: &mut Lowering<'_>,
    node: &Node,
    num_heads: usize,
    scale: f32,
    windows: usize,
) -> Result<(), Reason> {
    let shape = |input: usize| &state.graph.values[node.inputs[input]].shape;
    let (&[rows, width], &[key_rows, _]) = (&shape(0)[..], &shape(1)[..]) else {
        return Err(format!(
            "its inputs have shapes {:?} and {:?}, expected (tokens, width)",
            shape(0),
            shape(1)
        ));
    };
    let (queries, keys, d) = (rows / windows, key_rows / windows, width / num_heads);
    let mut parts = [0; 3];
    for (part, (input, tokens)) in parts
        .iter_mut()
        .zip([queries, keys, keys].iter().enumerate())
    {
        let source = state.float(node.inputs[input])?;
        let view = view(state, source, &[windows, *tokens, num_heads, d])?;
        *part = turned(state, node, view, [windows, num_heads, *tokens, d])?;
    }
    let [q, k, v] = parts;
    let macs = (rows * keys * width) as u64;
    let scores = [windows, num_heads, queries, keys];
    let product = matmul(state, node, [q, k], true, scale, scores, macs)?;
    let biased = match node.inputs.get(3) {
        Some(_) => biased(state, node, product, scores)?,
        None => product,
    };
    let weights = part(state, node, "weights", &scores)?;
    let softmax = state.float_kind(OpKind::SoftmaxF32);
    state.push(node.name.clone(), softmax, vec![biased], weights);
    let mixed = [windows, num_heads, queries, d];
    let mixed = matmul(state, node, [weights, v], false, 1.0, mixed, macs)?;
    let merged = turned(state, node, mixed, [windows, queries, num_heads, d])?;
    let output = view(state, merged, &[rows, width])?;
    state.out.values[output].name = state.graph.values[node.output].name.clone();
    state.out.value_map[node.output] = Some(output);
    Ok(())
}

/// A value between the node's inputs and its output.
fn part(
    state: &mut Lowering<'_>,
    node: &Node,
    name: &str,
    shape: &[usize],
) -> Result<usize, Reason> {
    let name = format!("{}.{name}", node.name);
    let dtype = state.float_type();
    state.add_value(name, dtype, shape, Place::Arena)
}

/// The same bytes in another shape.
fn view(state: &mut Lowering<'_>, source: usize, shape: &[usize]) -> Result<usize, Reason> {
    let from = state.out.values[source].clone();
    let index = state.add_value(format!("{}.view", from.name), from.dtype, shape, from.place)?;
    state.out.values[index].storage = from.storage;
    Ok(index)
}

fn turned(
    state: &mut Lowering<'_>,
    node: &Node,
    source: usize,
    shape: [usize; 4],
) -> Result<usize, Reason> {
    let output = part(state, node, "turned", &shape)?;
    let op = state.push(node.name.clone(), OpKind::Transpose, vec![source], output);
    op.params = TransposeParams { permutation: TURN }.as_bytes().to_vec();
    Ok(output)
}

fn matmul(
    state: &mut Lowering<'_>,
    node: &Node,
    inputs: [usize; 2],
    transpose_rhs: bool,
    scale: f32,
    shape: [usize; 4],
    macs: u64,
) -> Result<usize, Reason> {
    let output = part(state, node, "product", &shape)?;
    let kind = state.float_kind(OpKind::MatmulF32);
    let op = state.push(node.name.clone(), kind, inputs.to_vec(), output);
    op.params = MatmulParams {
        transpose_rhs: transpose_rhs.into(),
        reserved: [0; 3],
        scale: scale.into(),
    }
    .as_bytes()
    .to_vec();
    op.macs = macs;
    Ok(output)
}

fn biased(
    state: &mut Lowering<'_>,
    node: &Node,
    scores: usize,
    shape: [usize; 4],
) -> Result<usize, Reason> {
    let bias = state.float_bytes(state.constant_f32(node, 3, "bias")?);
    let name = format!("{}.bias", node.name);
    let one_window = [&[1], &shape[1..]].concat();
    let dtype = state.float_type();
    let bias = state.add_value(name, dtype, &one_window, Place::Data(bias))?;
    let output = part(state, node, "biased", &shape)?;
    let kind = state.float_kind(OpKind::BinaryF32);
    let op = state.push(node.name.clone(), kind, vec![scores, bias], output);
    op.params = BinaryParams {
        function: BinaryKind::Add as u8,
        reserved: [0; 3],
        clamp_min: f32::NEG_INFINITY.into(),
        clamp_max: f32::INFINITY.into(),
    }
    .as_bytes()
    .to_vec();
    Ok(output)
}
