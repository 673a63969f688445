//! Recognition of multi-head attention (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>) from its parts, and of a
//! mean from a sum.
//!
//! Queries, keys and values are (tokens, heads, d), turned to (heads, tokens, d), or the same behind a dimension of windows;
//! softmax(q·kᵀ·scale + bias)·v is turned back. The scale may stand at the queries, the keys or the product; the bias is a
//! constant that is the same in each window. A mask has been folded away before, or there is no match.

use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Node, NodeId, Op, Tensor, ValueId};

/// Replaces every match, then joins reshapes of reshapes.
pub fn fuse_attention(graph: &mut Graph) {
    let producers = graph.producers();
    let matches: Vec<Match> = (0..graph.nodes.len())
        .filter_map(|id| {
            Parts {
                graph,
                producers: &producers,
            }
            .attention(id)
        })
        .collect();
    // From the back, so that the places of earlier nodes stay.
    for found in matches.into_iter().rev() {
        replace(graph, found);
    }
    join_reshapes(graph);
    super::remove_dead(graph);
}

/// `Sum` over n elements times 1 / n is `Mean`.
pub fn fuse_mean(graph: &mut Graph) {
    let producers = graph.producers();
    let parts = Parts {
        graph,
        producers: &producers,
    };
    let matches: Vec<(NodeId, Op, ValueId)> = (0..graph.nodes.len())
        .filter_map(|id| parts.mean(id))
        .collect();
    for (id, op, x) in matches {
        graph.nodes[id].op = op;
        graph.nodes[id].inputs = vec![x];
    }
    super::remove_dead(graph);
}

/// The node that turns the result back, and what the operator needs.
struct Match {
    node: NodeId,
    /// Each (tokens, heads, d) or (windows, tokens, heads, d).
    qkv: [ValueId; 3],
    scale: f32,
    /// (heads, queries, keys)
    bias: Option<Vec<f32>>,
}

struct Parts<'a> {
    graph: &'a Graph,
    producers: &'a [Option<NodeId>],
}

impl Parts<'_> {
    fn node(&self, value: ValueId) -> Option<&Node> {
        Some(&self.graph.nodes[self.producers[value]?])
    }

    /// Looks through products with a number, which go into `scale`.
    fn unscaled(&self, mut value: ValueId, scale: &mut f32) -> ValueId {
        while let Some(Node {
            op:
                Op::Unary {
                    function: Unary::Affine { alpha, beta: 0.0 },
                },
            inputs,
            ..
        }) = self.node(value)
        {
            *scale *= alpha;
            value = inputs[0];
        }
        value
    }

    /// As [`Parts::unscaled`], through reshapes too: what is found has the same elements, but another shape maybe.
    fn unscaled_behind_views(&self, value: ValueId, scale: &mut f32) -> ValueId {
        let mut ahead = value;
        while let Some(node) = self.node(ahead).filter(|node| node.op == Op::Reshape) {
            ahead = node.inputs[0];
        }
        match self.unscaled(ahead, scale) {
            found if found == ahead => value,
            found => found,
        }
    }

    /// The input (…, tokens, heads, d) of a turn to (…, heads, tokens, d).
    fn turned(&self, value: ValueId) -> Option<ValueId> {
        let node = self.node(value)?;
        match &node.op {
            Op::Transpose { permutation } => {
                let turns = matches!(permutation[..], [1, 0, 2] | [0, 2, 1, 3]);
                turns.then_some(node.inputs[0])
            }
            _ => None,
        }
    }

    /// The computed term of a sum with a constant, and that constant.
    fn unbiased(&self, value: ValueId) -> Option<(ValueId, &Tensor)> {
        let node = self.node(value)?;
        let Op::Binary {
            function: Binary::Add,
            activation: Activation::None,
        } = node.op
        else {
            return None;
        };
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let constant = |id: ValueId| self.graph.values[id].constant.as_ref();
        match (constant(a), constant(b)) {
            (None, Some(bias)) => Some((a, bias)),
            (Some(bias), None) => Some((b, bias)),
            _ => None,
        }
    }

    fn attention(&self, id: NodeId) -> Option<Match> {
        let last = &self.graph.nodes[id];
        let product = self.node(self.turned(last.output)?)?;
        let Op::MatMul { transpose_b: false } = product.op else {
            return None;
        };
        let softmax = self.node(product.inputs[0])?;
        let shape = |value: ValueId| &self.graph.values[value].shape;
        let rank = shape(softmax.output).len();
        if softmax.op != (Op::Softmax { axis: rank - 1 }) {
            return None;
        }
        let mut scale = 1.0;
        let (scaled, bias) = match self.unbiased(softmax.inputs[0]) {
            Some((scaled, bias)) => (
                scaled,
                Some(one_window(bias, &shape(softmax.output)[rank - 3..])?),
            ),
            None => (softmax.inputs[0], None),
        };
        let scores = self.node(self.unscaled(scaled, &mut scale))?;
        let Op::MatMul { transpose_b: true } = scores.op else {
            return None;
        };
        let mut part = |value: ValueId| {
            let turned = self.turned(self.unscaled(value, &mut scale))?;
            Some(self.unscaled(turned, &mut scale))
        };
        let (q, k) = (part(scores.inputs[0])?, part(scores.inputs[1])?);
        let v = self.turned(product.inputs[1])?;
        let tokens = rank - 3;
        let fits = shape(k) == shape(v)
            && shape(q)[..tokens] == shape(k)[..tokens]
            && shape(q)[tokens + 1..] == shape(k)[tokens + 1..]
            && shape(q) == shape(last.output);
        let [q, k] = [q, k].map(|value| self.unscaled_behind_views(value, &mut scale));
        (fits && scale.is_finite()).then_some(Match {
            node: id,
            qkv: [q, k, v],
            scale,
            bias,
        })
    }

    fn mean(&self, id: NodeId) -> Option<(NodeId, Op, ValueId)> {
        let node = &self.graph.nodes[id];
        let Op::Unary {
            function: Unary::Affine { alpha, beta: 0.0 },
        } = node.op
        else {
            return None;
        };
        let sum = self.node(node.inputs[0])?;
        let Op::Reduce {
            function: Reduce::Sum,
            axes,
            keep_dims,
        } = &sum.op
        else {
            return None;
        };
        let shape = &self.graph.values[sum.inputs[0]].shape;
        let count: usize = axes.iter().map(|&d| shape[d]).product();
        let exact = (f64::from(alpha) * count as f64 - 1.0).abs() < 1e-6;
        exact.then(|| {
            let op = Op::Reduce {
                function: Reduce::Mean,
                axes: axes.clone(),
                keep_dims: *keep_dims,
            };
            (id, op, sum.inputs[0])
        })
    }
}

/// A bias that is finite and the same in each window, as (heads, queries, keys).
fn one_window(bias: &Tensor, wanted: &[usize]) -> Option<Vec<f32>> {
    let data = bias
        .as_f32()
        .filter(|data| data.iter().all(|x| x.is_finite()))?;
    let (lead, own) = bias.shape.split_at(bias.shape.len().saturating_sub(3));
    let missing = 3 - own.len();
    let size = |d: usize| if d < missing { 1 } else { own[d - missing] };
    if lead.iter().any(|&size| size != 1) || (0..3).any(|d| ![1, wanted[d]].contains(&size(d))) {
        return None;
    }
    let strides = [size(1) * size(2), size(2), 1];
    let place = |at: [usize; 3]| -> usize {
        let steps = (0..3).map(|d| if size(d) == 1 { 0 } else { at[d] * strides[d] });
        steps.sum()
    };
    let (rows, keys) = (wanted[1], wanted[2]);
    let full = (0..wanted.iter().product()).map(|index: usize| {
        data[place([index / (rows * keys), index / keys % rows, index % keys])]
    });
    Some(full.collect())
}

/// Reshapes to (tokens, width), the operator, and a reshape back in the place of the matched node.
fn replace(graph: &mut Graph, found: Match) {
    let node = graph.nodes[found.node].clone();
    let (windows, tokens, heads, d) = match *graph.values[node.output].shape.as_slice() {
        [tokens, heads, d] => (1, tokens, heads, d),
        [windows, tokens, heads, d] => (windows, windows * tokens, heads, d),
        _ => return,
    };
    let dynamic = graph.values[node.output].dynamic;
    let mut added = Vec::new();
    let flat = |graph: &mut Graph, part: &str, tokens: usize| -> (String, ValueId) {
        let name = graph.unique_name(&format!("{}.{part}", node.name));
        let id = graph.add_value(name.clone(), &[tokens, heads * d]);
        graph.values[id].dynamic = dynamic;
        (name, id)
    };
    let mut inputs = Vec::new();
    for (part, x) in ["query", "key", "value"].into_iter().zip(found.qkv) {
        let rows = graph.values[x].shape.iter().product::<usize>() / (heads * d);
        let (name, output) = flat(graph, part, rows);
        added.push(Node {
            name,
            op: Op::Reshape,
            inputs: vec![x],
            output,
        });
        inputs.push(output);
    }
    if let Some(bias) = found.bias {
        let keys = bias.len() * windows / (heads * tokens);
        let name = graph.unique_name(&format!("{}.bias", node.name));
        let shape = [heads, tokens / windows, keys];
        inputs.push(graph.add_constant(name, Tensor::f32(&shape, bias)));
    }
    let (name, attended) = flat(graph, "attention", tokens);
    added.push(Node {
        name,
        op: Op::Attention {
            num_heads: heads,
            scale: found.scale,
            windows,
            causal: false,
        },
        inputs,
        output: attended,
    });
    added.push(Node {
        op: Op::Reshape,
        inputs: vec![attended],
        ..node
    });
    graph.nodes.splice(found.node..=found.node, added);
}

/// A reshape of a reshape reads what the first one reads.
pub fn join_reshapes(graph: &mut Graph) {
    let producers = graph.producers();
    for id in 0..graph.nodes.len() {
        if graph.nodes[id].op != Op::Reshape {
            continue;
        }
        let mut x = graph.nodes[id].inputs[0];
        while let Some(before) =
            producers[x].filter(|&before| graph.nodes[before].op == Op::Reshape)
        {
            x = graph.nodes[before].inputs[0];
        }
        graph.nodes[id].inputs[0] = x;
    }
}
