//! Where the error of an int8 model comes from: each part of its quantisation alone, all else in floats.
//!
//! Rounding is simulated: a graph in floats, weights moved to their grid, and behind each value that takes part an operator
//! that rounds it to the steps of its 8 bits. 16 bits count as exact here; a layer whose weights are rounded has the bias that
//! quantisation gave it, else that of floats. So a part can be switched on alone, which no mixture of integer and float
//! operators could do, and the table says what is worth more bits or another scale. Its first line is the packed model: what
//! it costs beyond all parts together is in its arithmetic, not in its rounding.

use pinhole_graph::op::{Binary, Unary};
use pinhole_graph::{Graph, Node, Op, QuantDType, Tensor, ValueId};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::report::{mean_cosine, outputs};
use crate::{Input, QuantizeError, Quantized};

/// What one part of the quantisation costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// What is rounded: `weights`, `activations`, a kind of value, or the name of one.
    pub part: String,
    /// Values that are.
    pub values: usize,
    /// 1 − mean cosine of the model's output to f32 when only this part is rounded.
    pub alone: f64,
    /// 1 − mean cosine when everything but this part is; none for the whole.
    pub without: Option<f64>,
}

/// Measures weights, activations, and each kind of activation, the costliest kind first; with `each`, every value and every
/// layer's weights too.
///
/// # Errors
/// A graph that does not run, or an input of another length.
pub fn sources(
    Quantized {
        prepared,
        quantized,
        ..
    }: &Quantized,
    inputs: &[Input],
    each: bool,
) -> Result<Vec<Source>, QuantizeError> {
    let inputs: Vec<&Input> = inputs.iter().collect();
    let expected = outputs(prepared, &inputs)?;
    let lost = |rounds: &dyn Fn(ValueId) -> bool| {
        let found = outputs(&simulated(prepared, quantized, rounds), &inputs)?;
        Ok::<_, QuantizeError>(1.0 - mean_cosine(&expected, &found))
    };
    let weights: Vec<ValueId> = (0..quantized.values.len())
        .filter(|&value| is_weight(quantized, value))
        .collect();
    let activations = rounded(quantized);
    let mut kinds: BTreeMap<String, Vec<ValueId>> = BTreeMap::new();
    for &value in &activations {
        let kind = kind(quantized, value).to_owned();
        kinds.entry(kind).or_default().push(value);
    }
    if each {
        for &value in activations.iter().chain(&weights) {
            let name = quantized.values[value].name.clone();
            kinds.entry(name).or_default().push(value);
        }
    }
    let part = |(part, values): (String, Vec<ValueId>)| {
        Ok::<_, QuantizeError>(Source {
            alone: lost(&|value| values.contains(&value))?,
            without: Some(lost(&|value| !values.contains(&value))?),
            values: values.len(),
            part,
        })
    };
    let packed = outputs(quantized, &inputs)?;
    let mut found = vec![
        Source {
            part: "the packed model".into(),
            values: weights.len() + activations.len(),
            alone: 1.0 - mean_cosine(&expected, &packed),
            without: None,
        },
        Source {
            part: "all of these".into(),
            values: weights.len() + activations.len(),
            alone: lost(&|_| true)?,
            without: None,
        },
        part(("weights".into(), weights))?,
        part(("activations".into(), activations))?,
    ];
    let mut parts = kinds.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
    parts.sort_by(|a, b| b.alone.total_cmp(&a.alone));
    found.extend(parts);
    Ok(found)
}

/// The sources as lines of text.
pub fn table(sources: &[Source]) -> String {
    let mut lines = vec![format!(
        "{:>10} {:>10} {:>6}  part (1 - cosine, rounded alone; all but this rounded)",
        "alone", "without", "values"
    )];
    lines.extend(sources.iter().map(|source| {
        let Source {
            part,
            values,
            alone,
            without,
        } = source;
        let without = without.map_or_else(String::new, |without| format!("{without:.6}"));
        format!("{alone:>10.6} {without:>10} {values:>6}  {part}")
    }));
    lines.join("\n")
}

/// Activations with 8 bits of their own: not those that are other views or selections of a value that is rounded already.
fn rounded(graph: &Graph) -> Vec<ValueId> {
    let narrow = |value: &ValueId| {
        let quant = graph.values[*value].quant.as_ref();
        quant.is_some_and(|quant| quant.dtype == QuantDType::I8)
    };
    let moves = |op: &Op| op.only_moves() || *op == Op::NormalizeEmbedding;
    let computed = graph.nodes.iter().filter(|node| !moves(&node.op));
    let values = graph.inputs.iter().copied();
    values
        .chain(computed.map(|node| node.output))
        .filter(narrow)
        .collect()
}

/// What a value is, from who writes and who reads it.
fn kind(graph: &Graph, value: ValueId) -> &'static str {
    let Some(node) = graph.nodes.iter().find(|node| node.output == value) else {
        return "input";
    };
    let readers: Vec<&Node> = readers(graph, value);
    let read_by = |wanted: &dyn Fn(&Op) -> bool| readers.iter().any(|node| wanted(&node.op));
    let function = |op: &Op| matches!(op, Op::Unary { .. } | Op::ChannelUnary { .. });
    let depthwise = |op: &Op| matches!(op, Op::Conv2d { groups, .. } if *groups > 1);
    let sum = |op: &Op| {
        matches!(
            op,
            Op::Binary {
                function: Binary::Add,
                ..
            }
        )
    };
    match &node.op {
        op if sum(op) => "sums",
        Op::Binary { .. } => "products of gates",
        Op::LayerNorm { .. } => "normalised",
        Op::Attention { .. } => "attention outputs",
        Op::Unary {
            function: Unary::Sigmoid | Unary::HardSigmoid { .. },
        } => "gates",
        Op::Unary { .. } | Op::ChannelUnary { .. } if read_by(&depthwise) => {
            "function outputs to depthwise"
        }
        Op::Unary { .. } | Op::ChannelUnary { .. } => "function outputs",
        Op::Conv2d { .. } | Op::Linear { .. } => {
            let wide = matches!(node.op, Op::Conv2d { groups, .. } if groups > 1);
            match () {
                _ if read_by(&|op| matches!(op, Op::Attention { .. })) => "queries, keys, values",
                _ if read_by(&function) && wide => "function inputs from depthwise",
                _ if read_by(&function) => "function inputs",
                _ if read_by(&sum) => "terms of sums",
                _ if wide => "depthwise outputs",
                _ if read_by(&depthwise) => "depthwise inputs",
                _ => "convolution outputs",
            }
        }
        _ => "means and pools",
    }
}

/// Who reads a value, directly or another view of it.
fn readers(graph: &Graph, value: ValueId) -> Vec<&Node> {
    let (mut ahead, mut found) = (vec![value], Vec::new());
    while let Some(value) = ahead.pop() {
        for node in graph.nodes.iter().filter(|n| n.inputs.contains(&value)) {
            match node.op {
                Op::Reshape | Op::Transpose { .. } | Op::Slice { .. } => ahead.push(node.output),
                _ => found.push(node),
            }
        }
    }
    found
}

/// Whether a value is a constant with scales.
fn is_weight(graph: &Graph, value: ValueId) -> bool {
    let value = &graph.values[value];
    value.constant.is_some() && value.quant.is_some()
}

/// The graph in floats; rounded are those weights and activations that `rounds`.
fn simulated(prepared: &Graph, quantized: &Graph, rounds: &dyn Fn(ValueId) -> bool) -> Graph {
    let mut graph = prepared.clone();
    let values = graph.values.iter_mut().zip(&quantized.values);
    for (id, (value, quantized)) in values.enumerate() {
        if let (true, Some(quant), Some(tensor)) =
            (rounds(id), &quantized.quant, &quantized.constant)
        {
            value.constant = Some(on_grid(tensor, &quant.scales));
        }
    }
    for node in &prepared.nodes {
        if let [_, weights, bias] = node.inputs[..]
            && rounds(weights)
            && is_weight(quantized, weights)
        {
            graph.values[bias]
                .constant
                .clone_from(&quantized.values[bias].constant);
        }
    }
    let chosen: Vec<ValueId> = rounded(quantized)
        .into_iter()
        .filter(|&value| rounds(value))
        .collect();
    let nodes = std::mem::take(&mut graph.nodes);
    graph.meta.float_nodes = nodes.iter().map(|node| node.name.clone()).collect();
    let mut standing: Vec<ValueId> = (0..graph.values.len()).collect();
    for &input in &quantized.inputs {
        if chosen.contains(&input) {
            standing[input] = round(&mut graph, quantized, input);
        }
    }
    for mut node in nodes {
        let output = node.output;
        for input in &mut node.inputs {
            *input = standing[*input];
        }
        graph.nodes.push(node);
        if chosen.contains(&output) {
            standing[output] = round(&mut graph, quantized, output);
        }
    }
    for output in &mut graph.outputs {
        *output = standing[*output];
    }
    graph
}

/// Adds an operator in integers that passes a value on; what reads its output sees rounded numbers.
fn round(graph: &mut Graph, quantized: &Graph, value: ValueId) -> ValueId {
    let quant = quantized.values[value].quant.clone();
    let name = format!("{}.rounded", graph.values[value].name);
    let identity = Op::Unary {
        function: Unary::Affine {
            alpha: 1.0,
            beta: 0.0,
        },
    };
    let shape = graph.values[value].shape.clone();
    let output = graph.add_node(name, identity, &[value], &shape);
    graph.values[value].quant.clone_from(&quant);
    graph.values[output].quant = quant;
    output
}

/// Weights as whole steps of their channel's scale.
fn on_grid(tensor: &Tensor, scales: &[f32]) -> Tensor {
    let Some(data) = tensor.as_f32() else {
        return tensor.clone();
    };
    let row = (data.len() / scales.len().max(1)).max(1);
    let rows = data.chunks(row).zip(scales);
    let rounded = rows.flat_map(|(row, &scale)| {
        row.iter()
            .map(move |w| (w / scale).round().clamp(-127.0, 127.0) * scale)
    });
    Tensor::f32(&tensor.shape, rounded.collect())
}
