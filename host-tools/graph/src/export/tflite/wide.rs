//! Values of 16 bits: an embedding goes to 8, those between convolutions and their functions become floats, others
//! stay and are refused.

use crate::op::Activation;
use crate::{EMBEDDING_MARGIN, Graph, Node, NodeId, Op, QuantDType, QuantParams, ValueId};

/// Largest number of 16 bits, and of 8.
const LARGEST_I16: f32 = 32767.0;
const LARGEST_I8: f32 = 127.0;
/// Steps of 8 bits.
const STEPS_I8: f32 = 255.0;
/// Zero point of what is never negative.
const LEAST_I8: i32 = -128;

pub(super) fn is_wide(quant: Option<&QuantParams>) -> bool {
    quant.is_some_and(|quant| quant.dtype == QuantDType::I16)
}

/// Parameters of all values as the file has them: an embedding and the picture that it averages in 8 bits, what
/// functions and depthwise convolutions read in 16 bits without, a reshaped value as what it is made of.
pub(super) fn narrowed(graph: &Graph) -> Vec<Option<QuantParams>> {
    let mut quants: Vec<Option<QuantParams>> =
        graph.values.iter().map(|v| v.quant.clone()).collect();
    let producers = graph.producers();
    let embeddings = graph
        .nodes
        .iter()
        .filter(|n| n.op == Op::NormalizeEmbedding);
    for node in embeddings {
        let mut open = Some(node.inputs[0]);
        while let Some(id) = open {
            let Some(wide) = quants[id].clone().filter(|quant| is_wide(Some(quant))) else {
                break;
            };
            quants[id] = Some(narrow(&wide, is_positive(graph, &producers, id)));
            let producer = producers[id].map(|producer| &graph.nodes[producer]);
            open = producer
                .filter(|node| moves(&node.op) || node.op == Op::GlobalAvgPool)
                .map(|node| node.inputs[0]);
        }
    }
    let consumers = graph.consumers();
    for node in graph.nodes.iter().filter(|node| is_of_stem(graph, node)) {
        let readers = consumers[node.output].iter();
        let stays = readers.map(|&id| &graph.nodes[id]).all(ends_or_bends);
        quants[node.output].take_if(|quant| stays && is_wide(Some(quant)));
    }
    for node in graph.nodes.iter().filter(|node| node.op == Op::Reshape) {
        quants[node.output] = quants[node.inputs[0]].clone();
    }
    quants
}

/// What may write 16 bits ahead of a depthwise convolution.
fn is_of_stem(graph: &Graph, node: &Node) -> bool {
    let inside = !graph.outputs.contains(&node.output);
    let bends = matches!(node.op, Op::Unary { .. } | Op::ChannelUnary { .. });
    inside && (bends || matches!(node.op, Op::Conv2d { groups: 1, .. }))
}

/// What may read them: functions, depthwise convolutions.
fn ends_or_bends(node: &Node) -> bool {
    matches!(node.op, Op::Unary { .. } | Op::ChannelUnary { .. })
        || matches!(node.op, Op::Conv2d { groups, .. } if groups > 1)
}

/// Whether an operator makes of a value the same numbers.
fn moves(op: &Op) -> bool {
    matches!(op, Op::Reshape | Op::Transpose { .. } | Op::Slice { .. })
}

/// 8 bits for what quantisation saw.
fn narrow(wide: &QuantParams, positive: bool) -> QuantParams {
    let largest = wide.scales[0] * LARGEST_I16 / EMBEDDING_MARGIN;
    let (scale, zero_point) = match positive {
        true => (largest / STEPS_I8, LEAST_I8),
        false => (largest / LARGEST_I8, 0),
    };
    QuantParams {
        dtype: QuantDType::I8,
        scales: vec![scale],
        zero_point,
    }
}

/// Whether a value has no negative number: a ReLU or the range of what it is made of says so.
fn is_positive(graph: &Graph, producers: &[Option<NodeId>], id: ValueId) -> bool {
    let quant = graph.values[id].quant.as_ref();
    if quant.is_some_and(|q| q.dtype == QuantDType::I8) {
        return quant.is_some_and(|q| q.zero_point == LEAST_I8);
    }
    let Some(node) = producers[id].map(|producer| &graph.nodes[producer]) else {
        return false;
    };
    match &node.op {
        Op::Conv2d { activation, .. }
        | Op::Linear { activation }
        | Op::Binary { activation, .. } => *activation != Activation::None,
        op if moves(op) || *op == Op::GlobalAvgPool => {
            is_positive(graph, producers, node.inputs[0])
        }
        _ => false,
    }
}
