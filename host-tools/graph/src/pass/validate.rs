//! The validator: what every later stage may take for granted.

use std::collections::HashSet;

use super::GraphFaults;
use super::shape::infer_node;
use crate::op::Unary;
use crate::{Graph, Op, TensorData};

/// Checks structure (see the list at [`structure`]), constants where they are required, and shapes against inference.
///
/// # Errors
/// With every fault.
pub fn validate(graph: &Graph) -> Result<(), GraphFaults> {
    structure(graph)?;
    let mut faults = GraphFaults::default();
    for node in &graph.nodes {
        for &position in constant_inputs(&node.op) {
            let Some(&input) = node.inputs.get(position) else {
                continue;
            };
            if graph.values[input].constant.is_none() {
                let found = &graph.values[input].name;
                faults.push(
                    &node.name,
                    format!(
                        "{} input {position} is {found}, which is computed; expected a constant",
                        node.op.name()
                    ),
                );
            }
        }
        match infer_node(graph, node) {
            Err(what) => faults.push(&node.name, what),
            Ok(inferred) if inferred.shape != graph.values[node.output].shape => faults.push(
                &node.name,
                format!(
                    "output has shape {:?}, expected {:?}",
                    graph.values[node.output].shape, inferred.shape
                ),
            ),
            Ok(_) => {}
        }
    }
    faults.into_result()
}

/// Checks that ids are in range, names unique, every value has at most one producer, inputs and constants none, nodes come
/// in an order in which they can run (so that there is no cycle), the numbers of inputs fit, constants have the shape
/// and type of their value, and numbers beside the nodes are finite, as their file needs them.
///
/// # Errors
/// With every fault.
pub(crate) fn structure(graph: &Graph) -> Result<(), GraphFaults> {
    let mut faults = GraphFaults::default();
    ids(graph, &mut faults);
    // Nothing below may index with an id out of range.
    faults.into_result()?;
    let mut faults = GraphFaults::default();
    names(graph, &mut faults);
    values(graph, &mut faults);
    numbers(graph, &mut faults);
    order(graph, &mut faults);
    faults.into_result()
}

fn ids(graph: &Graph, faults: &mut GraphFaults) {
    let count = graph.values.len();
    for node in &graph.nodes {
        for &id in node.inputs.iter().chain([&node.output]) {
            if id >= count {
                faults.push(
                    &node.name,
                    format!("refers to value {id}, expected less than {count}"),
                );
            }
        }
        let (least, most) = arity(&node.op);
        let found = node.inputs.len();
        if !(least..=most).contains(&found) {
            faults.push(
                &node.name,
                format!(
                    "{} has {found} inputs, expected {least} to {most}",
                    node.op.name()
                ),
            );
        }
    }
    for (what, ids) in [("input", &graph.inputs), ("output", &graph.outputs)] {
        for &id in ids.iter().filter(|&&id| id >= count) {
            faults.push(
                &graph.name,
                format!("{what} refers to value {id}, expected less than {count}"),
            );
        }
    }
    if graph.outputs.is_empty() {
        faults.push(&graph.name, "no output, expected at least one");
    }
}

fn names(graph: &Graph, faults: &mut GraphFaults) {
    let mut seen = HashSet::new();
    for value in &graph.values {
        if value.name.is_empty() || !seen.insert(value.name.as_str()) {
            faults.push(&value.name, "two values have this name, expected one");
        }
    }
    seen.clear();
    for node in &graph.nodes {
        if node.name.is_empty() || !seen.insert(node.name.as_str()) {
            faults.push(&node.name, "two nodes have this name, expected one");
        }
    }
}

fn values(graph: &Graph, faults: &mut GraphFaults) {
    for value in &graph.values {
        if value.dynamic && value.constant.is_some() {
            faults.push(&value.name, "a constant is dynamic, expected a fixed shape");
        }
        if value.dynamic && value.shape.is_empty() {
            faults.push(
                &value.name,
                "a scalar is dynamic, expected a dimension of tokens",
            );
        }
        let Some(constant) = &value.constant else {
            continue;
        };
        if constant.shape != value.shape {
            faults.push(
                &value.name,
                format!(
                    "constant of shape {:?}, expected {:?}",
                    constant.shape, value.shape
                ),
            );
        }
        let held = match &constant.data {
            TensorData::F32(data) => data.len(),
            TensorData::I32(data) => data.len(),
            TensorData::I8(data) => data.len(),
        };
        if super::shape::count(&constant.shape) != Some(held) {
            faults.push(
                &value.name,
                format!(
                    "constant of shape {:?} holds {held} elements",
                    constant.shape
                ),
            );
        }
    }
}

fn order(graph: &Graph, faults: &mut GraphFaults) {
    let mut known: Vec<bool> = graph
        .values
        .iter()
        .map(|value| value.constant.is_some())
        .collect();
    for &input in &graph.inputs {
        if known[input] {
            faults.push(
                &graph.values[input].name,
                "is an input twice or a constant too, expected one of these",
            );
        }
        known[input] = true;
    }
    for node in &graph.nodes {
        for &input in &node.inputs {
            if !known[input] {
                let name = &graph.values[input].name;
                faults.push(&node.name, format!("reads {name} before it is computed, expected topological order without a cycle"));
            }
        }
        if known[node.output] {
            let name = &graph.values[node.output].name;
            faults.push(
                &node.name,
                format!("writes {name}, which has a value already; expected one producer"),
            );
        }
        known[node.output] = true;
    }
    for &output in &graph.outputs {
        if !known[output] {
            faults.push(
                &graph.values[output].name,
                "is an output that nothing computes",
            );
        }
    }
}

fn numbers(graph: &Graph, faults: &mut GraphFaults) {
    let finite = |number: &f32| number.is_finite();
    for node in &graph.nodes {
        if let Some(found) = parameters(&node.op).iter().find(|number| !finite(number)) {
            let op = node.op.name();
            faults.push(
                &node.name,
                format!("a number of {op} is {found}, expected a finite one"),
            );
        }
    }
    let positive = |number: &f32| finite(number) && *number > 0.0;
    for value in &graph.values {
        let Some(quant) = &value.quant else {
            continue;
        };
        if quant.scales.is_empty() || !quant.scales.iter().all(positive) {
            let what = "a quantisation scale is missing or not positive";
            faults.push(&value.name, what);
        }
    }
    let meta = &graph.meta;
    let logits = [
        ("logit scale", meta.logit_scale),
        ("logit bias", meta.logit_bias),
    ];
    for (what, number) in logits {
        if let Some(found) = number.filter(|number| !finite(number)) {
            let what = format!("the {what} is {found}, expected a finite number");
            faults.push(&graph.name, what);
        }
    }
    let Some(pictures) = &meta.geometry else {
        return;
    };
    if !pictures.mean.iter().all(finite) || !pictures.std.iter().all(positive) {
        faults.push(
            &graph.name,
            format!(
                "pixels have mean {:?} and deviation {:?}, expected finite numbers, and deviations above 0",
                pictures.mean, pictures.std
            ),
        );
    }
}

/// Numbers of an operator that have to be finite.
fn parameters(op: &Op) -> Vec<f32> {
    match *op {
        Op::LayerNorm { epsilon } | Op::BatchNorm { epsilon } => vec![epsilon],
        Op::Attention { scale, .. } => vec![scale],
        Op::Unary { function } | Op::ChannelUnary { function } => match function {
            Unary::HardSigmoid { alpha, beta } => vec![alpha, beta],
            Unary::LeakyRelu { alpha } => vec![alpha],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Least and most number of inputs.
fn arity(op: &Op) -> (usize, usize) {
    match op {
        Op::Conv2d { .. } | Op::Linear { .. } => (2, 3),
        Op::MatMul { .. } | Op::Binary { .. } | Op::Embedding => (2, 2),
        Op::LayerNorm { .. } => (3, 3),
        Op::Attention { .. } => (3, 4),
        Op::ChannelUnary { .. } => (3, 3),
        Op::BatchNorm { .. } => (5, 5),
        Op::Concat { .. } => (1, usize::MAX),
        _ => (1, 1),
    }
}

/// Positions of inputs that must be constants.
fn constant_inputs(op: &Op) -> &'static [usize] {
    match op {
        Op::Conv2d { .. } | Op::Linear { .. } | Op::LayerNorm { .. } => &[1, 2],
        Op::BatchNorm { .. } => &[1, 2, 3, 4],
        Op::Embedding => &[1],
        Op::Attention { .. } => &[3],
        Op::ChannelUnary { .. } => &[1, 2],
        _ => &[],
    }
}
