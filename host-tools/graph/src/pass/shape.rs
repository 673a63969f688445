//! Shape inference: the shape of every output from those of its inputs.
//!
//! Dimension 0 of a dynamic value is the number of tokens of a run; its shape holds the largest. An operator keeps it,
//! reduces it, or is refused: nothing may move tokens to another dimension.

use super::GraphFaults;
use crate::op::Reduce;
use crate::{Graph, Node, Op, Value};

/// What inference finds about an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inferred {
    pub(super) shape: Vec<usize>,
    pub(super) dynamic: bool,
}

/// Most elements of one value.
const MAX_ELEMENTS: usize = 1 << 34;

/// Number of elements, `None` beyond what any value may hold.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
        .filter(|&count| count <= MAX_ELEMENTS)
}

/// Sets shape and dynamics of every computed value; those of `Reshape` and `Slice` are given and checked.
///
/// # Errors
/// With the name, found and expected shape of every node whose inputs do not fit. Nodes behind it are inferred from what
/// the graph said before.
pub fn infer_shapes(graph: &mut Graph) -> Result<(), GraphFaults> {
    let mut faults = GraphFaults::default();
    for id in 0..graph.nodes.len() {
        match infer_node(graph, &graph.nodes[id]) {
            Ok(inferred) => {
                let value = &mut graph.values[graph.nodes[id].output];
                value.shape = inferred.shape;
                value.dynamic = inferred.dynamic;
            }
            Err(what) => faults.push(&graph.nodes[id].name, what),
        }
    }
    faults.into_result()
}

/// The shape of one node's output. Ids must be in range and the number of inputs right.
pub(super) fn infer_node(graph: &Graph, node: &Node) -> Result<Inferred, String> {
    let inputs: Vec<&Value> = node.inputs.iter().map(|&id| &graph.values[id]).collect();
    let inferred = infer(&node.op, &inputs, &graph.values[node.output])?;
    if count(&inferred.shape).is_none_or(|count| count == 0) {
        return Err(format!(
            "{} has output shape {:?}, expected 1 to {MAX_ELEMENTS} elements",
            node.op.name(),
            inferred.shape
        ));
    }
    Ok(inferred)
}

fn infer(op: &Op, inputs: &[&Value], output: &Value) -> Result<Inferred, String> {
    let x = inputs[0];
    let keep = || Inferred {
        shape: x.shape.clone(),
        dynamic: x.dynamic,
    };
    match op {
        Op::Conv2d {
            stride,
            padding,
            dilation,
            groups,
            ..
        } => conv(inputs, *stride, *padding, *dilation, *groups),
        Op::Linear { .. } => linear(inputs),
        Op::MatMul { transpose_b } => matmul(x, inputs[1], *transpose_b),
        Op::Binary { .. } => broadcast(x, inputs[1]),
        Op::Unary { .. } | Op::L2Normalize | Op::NormalizeEmbedding => Ok(keep()),
        Op::ChannelUnary { .. } => {
            let channels: Vec<usize> = x.shape.last().copied().into_iter().collect();
            let [before, after] = [1, 2].map(|index: usize| &inputs[index].shape);
            if *before != channels || *after != channels {
                return Err(format!(
                    "factors {before:?} and {after:?}, expected {channels:?} as the channels of {:?}",
                    x.shape
                ));
            }
            Ok(keep())
        }
        Op::AvgPool {
            kernel,
            stride,
            padding,
            ..
        }
        | Op::MaxPool {
            kernel,
            stride,
            padding,
        } => {
            let [_, h, w, c] = picture(x)?;
            let [h, w] = window([h, w], *kernel, *stride, *padding, [1, 1])?;
            Ok(fixed(vec![1, h, w, c]))
        }
        Op::GlobalAvgPool => {
            let [_, _, _, c] = picture(x)?;
            Ok(fixed(vec![1, 1, 1, c]))
        }
        Op::Softmax { axis } => match axis {
            axis if *axis >= x.shape.len() => Err(format!(
                "softmax over dimension {axis} of shape {:?}",
                x.shape
            )),
            0 if x.dynamic => Err(
                "softmax over the tokens of a dynamic value, expected another dimension".to_owned(),
            ),
            _ => Ok(keep()),
        },
        Op::LayerNorm { .. } | Op::BatchNorm { .. } => {
            let c = x
                .shape
                .last()
                .copied()
                .ok_or("a scalar input, expected (…, c)")?;
            vectors(&inputs[1..], c)?;
            Ok(keep())
        }
        Op::Attention {
            num_heads,
            windows,
            causal,
            ..
        } => attention(inputs, *num_heads, *windows, *causal),
        Op::Embedding => embedding(x, inputs[1]),
        Op::Reduce {
            axes,
            keep_dims,
            function,
        } => reduce(x, axes, *keep_dims, *function),
        Op::Reshape => reshape(x, output),
        Op::Transpose { permutation } => transpose(x, permutation),
        Op::Slice { starts, steps } => slice(x, starts, steps, output),
        Op::Concat { axis } => concat(inputs, *axis),
        Op::Pad { before, after, .. } => pad(x, before, after),
    }
}

fn fixed(shape: Vec<usize>) -> Inferred {
    Inferred {
        shape,
        dynamic: false,
    }
}

fn picture(x: &Value) -> Result<[usize; 4], String> {
    match x.shape.as_slice() {
        &[1, h, w, c] if h > 0 && w > 0 && c > 0 && !x.dynamic => Ok([1, h, w, c]),
        found => Err(format!(
            "input has shape {found:?}, expected a picture (1, height, width, channels)"
        )),
    }
}

/// Height and width behind a sliding window.
fn window(
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
) -> Result<[usize; 2], String> {
    let mut out = [0; 2];
    for side in 0..2 {
        let describe = || {
            format!(
                "window {} with stride {}, padding {padding:?} and dilation {} over size {}",
                kernel[side], stride[side], dilation[side], size[side]
            )
        };
        if kernel[side] == 0 || stride[side] == 0 || dilation[side] == 0 {
            return Err(format!("{}, expected positive numbers", describe()));
        }
        let reach = (kernel[side] - 1)
            .checked_mul(dilation[side])
            .ok_or_else(describe)?;
        let padded = size[side]
            .checked_add(padding[side])
            .and_then(|sum| sum.checked_add(padding[side + 2]))
            .ok_or_else(describe)?;
        let room = padded
            .checked_sub(1)
            .and_then(|room| room.checked_sub(reach));
        out[side] = room.ok_or_else(|| format!("{}, expected a window that fits", describe()))?
            / stride[side]
            + 1;
    }
    Ok(out)
}

fn conv(
    inputs: &[&Value],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
) -> Result<Inferred, String> {
    let [_, h, w, c] = picture(inputs[0])?;
    let &[o, kh, kw, per_group] = inputs[1].shape.as_slice() else {
        return Err(format!(
            "weight has shape {:?}, expected (out, kh, kw, in / groups)",
            inputs[1].shape
        ));
    };
    if groups == 0
        || !c.is_multiple_of(groups)
        || !o.is_multiple_of(groups)
        || per_group != c / groups
    {
        return Err(format!(
            "weight has shape {:?} for {c} channels in {groups} groups, expected (out, kh, kw, in / groups)",
            inputs[1].shape
        ));
    }
    vectors(&inputs[2..], o)?;
    let [h, w] = window([h, w], [kh, kw], stride, padding, dilation)?;
    Ok(fixed(vec![1, h, w, o]))
}

/// Per-channel constants.
fn vectors(inputs: &[&Value], channels: usize) -> Result<(), String> {
    match inputs.iter().find(|input| input.shape != [channels]) {
        Some(input) => Err(format!(
            "{} has shape {:?}, expected [{channels}]",
            input.name, input.shape
        )),
        None => Ok(()),
    }
}

fn linear(inputs: &[&Value]) -> Result<Inferred, String> {
    let x = inputs[0];
    match (x.shape.last(), inputs[1].shape.as_slice()) {
        (Some(&k), &[n, found]) if k == found => {
            if x.dynamic && x.shape.len() < 2 {
                return Err(
                    "the tokens of a dynamic value are multiplied, expected (tokens, k)".to_owned(),
                );
            }
            vectors(&inputs[2..], n)?;
            let mut shape = x.shape.clone();
            *shape.last_mut().expect("has a last dimension") = n;
            Ok(Inferred {
                shape,
                dynamic: x.dynamic,
            })
        }
        (_, weight) => Err(format!(
            "input {:?} and weight {weight:?}, expected (…, k) and (n, k)",
            x.shape
        )),
    }
}

fn matmul(a: &Value, b: &Value, transpose_b: bool) -> Result<Inferred, String> {
    let wrong = || {
        let expected = if transpose_b {
            "(…, m, k) and (…, n, k)"
        } else {
            "(…, m, k) and (…, k, n)"
        };
        format!(
            "inputs {:?} and {:?}, expected {expected}",
            a.shape, b.shape
        )
    };
    let (&[ref lead_a @ .., m, k], &[ref lead_b @ .., p, q]) =
        (a.shape.as_slice(), b.shape.as_slice())
    else {
        return Err(wrong());
    };
    let (n, found) = if transpose_b { (p, q) } else { (q, p) };
    if found != k || b.dynamic {
        return Err(wrong());
    }
    let mut shape = broadcast_shapes(lead_a, lead_b).ok_or_else(wrong)?;
    shape.extend([m, n]);
    Ok(Inferred {
        shape,
        dynamic: a.dynamic,
    })
}

fn broadcast_shapes(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at =
        |shape: &[usize], d: usize| (d + shape.len()).checked_sub(rank).map_or(1, |d| shape[d]);
    (0..rank)
        .map(|d| match (at(a, d), at(b, d)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

fn broadcast(a: &Value, b: &Value) -> Result<Inferred, String> {
    let shape = broadcast_shapes(&a.shape, &b.shape).ok_or_else(|| {
        format!(
            "inputs {:?} and {:?}, expected shapes that broadcast",
            a.shape, b.shape
        )
    })?;
    for value in [a, b] {
        if value.dynamic && value.shape.len() != shape.len() {
            return Err(format!(
                "dynamic {} of shape {:?} broadcasts to {shape:?}, expected tokens first",
                value.name, value.shape
            ));
        }
    }
    Ok(Inferred {
        shape,
        dynamic: a.dynamic || b.dynamic,
    })
}

fn attention(
    inputs: &[&Value],
    num_heads: usize,
    windows: usize,
    causal: bool,
) -> Result<Inferred, String> {
    let [q, k, v] = [0, 1, 2].map(|index: usize| inputs[index]);
    match (q.shape.as_slice(), k.shape.as_slice(), v.shape.as_slice()) {
        (&[queries, width], &[keys, k_width], &[values, v_width])
            if width == k_width
                && width == v_width
                && keys == values
                && num_heads > 0
                && width.is_multiple_of(num_heads)
                && windows > 0
                && queries.is_multiple_of(windows)
                && keys.is_multiple_of(windows)
                && (!causal || queries == keys) =>
        {
            let wanted = [num_heads, queries / windows, keys / windows];
            if let Some(bias) = inputs.get(3).filter(|bias| bias.shape != wanted) {
                return Err(format!("bias {:?}, expected {wanted:?}", bias.shape));
            }
            Ok(Inferred {
                shape: q.shape.clone(),
                dynamic: q.dynamic,
            })
        }
        (q, k, v) => Err(format!(
            "q {q:?}, k {k:?}, v {v:?} with {num_heads} heads and {windows} windows, expected (tokens, width) that they divide, of equal tokens where attention is causal"
        )),
    }
}

fn embedding(ids: &Value, table: &Value) -> Result<Inferred, String> {
    match (ids.shape.as_slice(), table.shape.as_slice()) {
        (&[tokens], &[_, width]) if ids.is_ids => Ok(Inferred {
            shape: vec![tokens, width],
            dynamic: ids.dynamic,
        }),
        (found, table) => Err(format!(
            "ids {found:?} and table {table:?}, expected token ids (tokens) and (vocabulary, width)"
        )),
    }
}

fn reduce(
    x: &Value,
    axes: &[usize],
    keep_dims: bool,
    function: Reduce,
) -> Result<Inferred, String> {
    let rank = x.shape.len();
    let ascending = axes.windows(2).all(|pair| pair[0] < pair[1]);
    if axes.is_empty() || !ascending || axes.iter().any(|&axis| axis >= rank) {
        return Err(format!(
            "{function:?} over dimensions {axes:?} of shape {:?}, expected ascending dimensions of it",
            x.shape
        ));
    }
    let shape = (0..rank)
        .filter_map(|d| match (axes.contains(&d), keep_dims) {
            (false, _) => Some(x.shape[d]),
            (true, true) => Some(1),
            (true, false) => None,
        })
        .collect();
    Ok(Inferred {
        shape,
        dynamic: x.dynamic && axes[0] != 0,
    })
}

fn reshape(x: &Value, output: &Value) -> Result<Inferred, String> {
    let same = count(&output.shape).is_some() && count(&output.shape) == count(&x.shape);
    if !same {
        return Err(format!(
            "reshape of {:?} to {:?}, expected as many elements",
            x.shape, output.shape
        ));
    }
    if x.dynamic && output.shape.first() != x.shape.first() {
        return Err(format!(
            "reshape of dynamic {:?} to {:?}, expected tokens to stay first",
            x.shape, output.shape
        ));
    }
    Ok(Inferred {
        shape: output.shape.clone(),
        dynamic: x.dynamic,
    })
}

fn transpose(x: &Value, permutation: &[usize]) -> Result<Inferred, String> {
    let mut sorted = permutation.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.shape.len()) {
        return Err(format!(
            "permutation {permutation:?} of shape {:?}, expected each dimension once",
            x.shape
        ));
    }
    if x.dynamic && permutation[0] != 0 {
        return Err(format!(
            "permutation {permutation:?} of a dynamic value, expected tokens to stay first"
        ));
    }
    Ok(Inferred {
        shape: permutation.iter().map(|&d| x.shape[d]).collect(),
        dynamic: x.dynamic,
    })
}

fn slice(x: &Value, starts: &[usize], steps: &[usize], output: &Value) -> Result<Inferred, String> {
    let rank = x.shape.len();
    let wrong = |expected: &str| {
        format!(
            "slice of {:?} from {starts:?} by {steps:?} to {:?}, expected {expected}",
            x.shape, output.shape
        )
    };
    if starts.len() != rank || steps.len() != rank || output.shape.len() != rank {
        return Err(wrong("a start, a step and a size for each dimension"));
    }
    for d in 0..rank {
        let last = output.shape[d]
            .checked_sub(1)
            .and_then(|count| count.checked_mul(steps[d])?.checked_add(starts[d]));
        if steps[d] == 0 || last.is_none_or(|last| last >= x.shape[d]) {
            return Err(wrong("positive steps within the input"));
        }
    }
    let whole = rank > 0 && output.shape[0] == x.shape[0];
    let end = rank > 0 && output.shape[0] == 1 && (starts[0] == 0 || starts[0] + 1 == x.shape[0]);
    if x.dynamic && !whole && !end {
        return Err(wrong(
            "all tokens, the first or the last one of a dynamic value",
        ));
    }
    Ok(Inferred {
        shape: output.shape.clone(),
        dynamic: x.dynamic && whole,
    })
}

fn concat(inputs: &[&Value], axis: usize) -> Result<Inferred, String> {
    let first = inputs[0];
    let shapes = || inputs.iter().map(|value| &value.shape).collect::<Vec<_>>();
    let mut shape = first.shape.clone();
    if axis >= shape.len() {
        return Err(format!("concat of {:?} along dimension {axis}", shapes()));
    }
    for value in &inputs[1..] {
        let fits = value.shape.len() == shape.len()
            && value.dynamic == first.dynamic
            && (0..shape.len()).all(|d| d == axis || value.shape[d] == shape[d]);
        if !fits {
            return Err(format!(
                "concat of {:?} along dimension {axis}, expected equal shapes beside it",
                shapes()
            ));
        }
        shape[axis] = shape[axis].saturating_add(value.shape[axis]);
    }
    if axis == 0 && inputs.iter().any(|value| value.dynamic) {
        return Err(
            "concat along the tokens of a dynamic value, expected another dimension".to_owned(),
        );
    }
    Ok(Inferred {
        shape,
        dynamic: first.dynamic,
    })
}

fn pad(x: &Value, before: &[usize], after: &[usize]) -> Result<Inferred, String> {
    let rank = x.shape.len();
    if before.len() != rank || after.len() != rank {
        return Err(format!(
            "padding {before:?} and {after:?} of shape {:?}, expected a number for each dimension",
            x.shape
        ));
    }
    if x.dynamic && (before[0] != 0 || after[0] != 0) {
        return Err(
            "padding of the tokens of a dynamic value, expected another dimension".to_owned(),
        );
    }
    let shape = (0..rank)
        .map(|d| {
            x.shape[d]
                .saturating_add(before[d])
                .saturating_add(after[d])
        })
        .collect();
    Ok(Inferred {
        shape,
        dynamic: x.dynamic,
    })
}
