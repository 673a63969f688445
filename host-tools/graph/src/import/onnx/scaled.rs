//! Functions with a factor for each channel before and behind them, which quantisation writes
//! ([`Op::ChannelUnary`]) and a file spells out.

use crate::op::{Activation, Binary};
use crate::{Graph, Node, NodeId, Op, Tensor, ValueId, pass};

/// A value and the factors that it has already been multiplied by.
struct Scaled {
    value: ValueId,
    factors: Option<ValueId>,
}

/// Joins what lies between two quantised values and is `function(x · before) · after`.
pub(super) fn join(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        if let Some(node) = joined(graph, index) {
            graph.nodes[index] = node;
        }
    }
    pass::remove_dead(graph);
}

/// The node that computes what node `index` and those in front of it do.
fn joined(graph: &mut Graph, index: NodeId) -> Option<Node> {
    let last = graph.nodes[index].clone();
    graph.values[last.output].quant.as_ref()?;
    let producers = graph.producers();
    let consumers = graph.consumers();
    let behind = match last.op {
        Op::Unary { .. } => None,
        _ => Some(product(graph, &last)?),
    };
    let between = |id: ValueId| {
        let alone = consumers[id].len() == 1 && !graph.outputs.contains(&id);
        let node = producers[id].filter(|_| alone && graph.values[id].quant.is_none())?;
        Some(&graph.nodes[node])
    };
    let function_node = match &behind {
        None => &last,
        Some(product) => between(product.value)?,
    };
    let Op::Unary { function } = function_node.op else {
        return None;
    };
    let x = function_node.inputs[0];
    let before = match between(x).and_then(|node| product(graph, node)) {
        Some(product) => product,
        None => Scaled {
            value: x,
            factors: None,
        },
    };
    let (input, before) = (before.value, before.factors);
    let after = behind.and_then(|product| product.factors);
    graph.values[input].quant.as_ref()?;
    if before.is_none() && after.is_none() {
        return None;
    }
    let channels = graph.values[input].shape.last().copied()?;
    let mut factors = |factors: Option<ValueId>, part: &str| {
        factors.unwrap_or_else(|| {
            let name = graph.unique_name(&format!("{}.{part}", last.name));
            graph.add_constant(name, Tensor::f32(&[channels], vec![1.0; channels]))
        })
    };
    let inputs = vec![input, factors(before, "before"), factors(after, "after")];
    Some(Node {
        op: Op::ChannelUnary { function },
        inputs,
        ..last
    })
}

/// A product of a value and constant factors, one for each channel.
fn product(graph: &Graph, node: &Node) -> Option<Scaled> {
    let multiplies = node.op
        == Op::Binary {
            function: Binary::Mul,
            activation: Activation::None,
        };
    let &[a, b] = &node.inputs[..] else {
        return None;
    };
    let (value, factors) = match graph.values[a].constant.is_some() {
        true => (b, a),
        false => (a, b),
    };
    let channels = graph.values[value].shape.last()?;
    let constant = graph.values[factors].constant.as_ref()?;
    let fits = constant.shape == [*channels] && constant.as_f32().is_some();
    (multiplies && fits).then_some(Scaled {
        value,
        factors: Some(factors),
    })
}
