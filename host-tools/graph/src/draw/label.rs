//! What stands in a box.

use super::Item;
use crate::op::{Activation, Unary};
use crate::{Graph, Node, Op, QuantDType, Value};

/// Kinds of operators, by colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Port,
    Product,
    Attention,
    Norm,
    Function,
    Sum,
    Pool,
    Move,
}

impl Family {
    pub(super) const ALL: [Self; 8] = [
        Self::Port,
        Self::Product,
        Self::Attention,
        Self::Norm,
        Self::Function,
        Self::Sum,
        Self::Pool,
        Self::Move,
    ];

    /// For the legend.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Port => "input, output",
            Self::Product => "convolution, product",
            Self::Attention => "attention, softmax",
            Self::Norm => "normalisation",
            Self::Function => "function",
            Self::Sum => "of two inputs",
            Self::Pool => "pooling, reduction",
            Self::Move => "moves elements",
        }
    }

    /// Of the box and of its line.
    pub(super) fn colours(self) -> [&'static str; 2] {
        match self {
            Self::Port => ["#e7ebf0", "#3d4855"],
            Self::Product => ["#d6e6fa", "#2f6fb7"],
            Self::Attention => ["#e6dcf7", "#7047b0"],
            Self::Norm => ["#d8f0dc", "#3b8a4d"],
            Self::Function => ["#fde5cf", "#c8742a"],
            Self::Sum => ["#fdf3c4", "#b59410"],
            Self::Pool => ["#d2f0ee", "#2b8a86"],
            Self::Move => ["#f4f4f2", "#94989c"],
        }
    }

    fn of(op: &Op) -> Self {
        match op {
            Op::Conv2d { .. } | Op::Linear { .. } | Op::MatMul { .. } | Op::Embedding => {
                Self::Product
            }
            Op::Attention { .. } | Op::Softmax { .. } => Self::Attention,
            Op::LayerNorm { .. }
            | Op::BatchNorm { .. }
            | Op::L2Normalize
            | Op::NormalizeEmbedding => Self::Norm,
            Op::Unary { .. } | Op::ChannelUnary { .. } => Self::Function,
            Op::Binary { .. } => Self::Sum,
            Op::AvgPool { .. } | Op::MaxPool { .. } | Op::GlobalAvgPool | Op::Reduce { .. } => {
                Self::Pool
            }
            Op::Reshape
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Pad { .. } => Self::Move,
        }
    }
}

/// The words of a box.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) family: Family,
    pub(super) op: String,
    pub(super) name: String,
    pub(super) shape: String,
    pub(super) quant: String,
    /// Shown by a pointer over the box.
    pub(super) hint: String,
}

pub(super) fn label(graph: &Graph, item: Item) -> Label {
    let port = |op: &str, value: &Value| Label {
        family: Family::Port,
        op: op.to_owned(),
        name: value.name.clone(),
        shape: shape(value),
        quant: quant(value),
        hint: value.name.clone(),
    };
    match item {
        Item::Input(value) => port("Input", &graph.values[value]),
        Item::Output(value) => port("Output", &graph.values[value]),
        Item::Node(index) => {
            let node = &graph.nodes[index];
            let value = &graph.values[node.output];
            Label {
                family: Family::of(&node.op),
                op: words(graph, node),
                name: node.name.clone(),
                shape: shape(value),
                quant: quant(value),
                hint: hint(graph, node),
            }
        }
    }
}

/// `112×112×32`; the leading 1 of pictures is left out, a number of tokens is at most what stands there.
fn shape(value: &Value) -> String {
    let sizes = match value.shape[..] {
        [1, _, _, _] => &value.shape[1..],
        _ => &value.shape[..],
    };
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let most = if value.dynamic { "≤" } else { "" };
    format!("{most}{}", sizes.join("×"))
}

fn quant(value: &Value) -> String {
    match (&value.quant, value.is_ids) {
        (_, true) => "i32".into(),
        (None, _) => "f32".into(),
        (Some(quant), _) => {
            let dtype = match quant.dtype {
                QuantDType::I8 => "i8",
                QuantDType::I16 => "i16",
            };
            let zero = match quant.zero_point {
                0 => String::new(),
                zero => format!(", zero {zero}"),
            };
            match quant.scales[..] {
                [scale] => format!("{dtype}, scale {}{zero}", short(scale)),
                _ => format!("{dtype}, {} scales", quant.scales.len()),
            }
        }
    }
}

/// Three digits.
fn short(scale: f32) -> String {
    match scale.abs() {
        size if (1e-3..1e3).contains(&size) => {
            let digits = (2 - size.log10().floor() as i32).max(0) as usize;
            format!("{scale:.digits$}")
        }
        _ => format!("{scale:.2e}"),
    }
}

/// The whole of it, a fact a line.
fn hint(graph: &Graph, node: &Node) -> String {
    let describe = |&id: &usize| {
        let value = &graph.values[id];
        let constant = if value.constant.is_some() {
            "constant "
        } else {
            ""
        };
        format!("{constant}{} {:?}", value.name, value.shape)
    };
    let inputs: Vec<String> = node.inputs.iter().map(describe).collect();
    format!(
        "{}\n{:?}\n{}\n→ {}\n{} multiply-accumulates",
        node.name,
        node.op,
        inputs.join("\n"),
        describe(&node.output),
        graph.node_macs(node)
    )
}

/// What a node computes, in a few words.
fn words(graph: &Graph, node: &Node) -> String {
    let shape_of = |input: usize| {
        node.inputs
            .get(input)
            .map_or(&[][..], |&id| &graph.values[id].shape)
    };
    let window = |[height, width]: [usize; 2], [down, right]: [usize; 2]| {
        let stride = match (down, right) {
            (1, 1) => String::new(),
            (down, right) if down == right => format!(" /{down}"),
            (down, right) => format!(" /{down}×{right}"),
        };
        format!("{height}×{width}{stride}")
    };
    match &node.op {
        Op::Conv2d {
            stride,
            groups,
            activation,
            ..
        } => {
            let kernel = match *shape_of(1) {
                [_, height, width, _] => window([height, width], *stride),
                _ => String::new(),
            };
            let is_depthwise = *groups > 1 && shape_of(1).last() == Some(&1);
            let name = match (is_depthwise, *groups) {
                (true, _) => "Depthwise".to_owned(),
                (_, 1) => "Conv".to_owned(),
                (_, groups) => format!("Conv in {groups} groups"),
            };
            format!("{name} {kernel}{}", activated(*activation))
        }
        Op::Linear { activation } => match *shape_of(1) {
            [outputs, inputs] => format!("Linear {inputs} → {outputs}{}", activated(*activation)),
            _ => format!("Linear{}", activated(*activation)),
        },
        Op::Binary {
            function,
            activation,
        } => format!("{function:?}{}", activated(*activation)),
        Op::Unary { function } => function_name(function),
        Op::ChannelUnary { function } => format!("{} by channel", function_name(function)),
        Op::AvgPool { kernel, stride, .. } => format!("AvgPool {}", window(*kernel, *stride)),
        Op::MaxPool { kernel, stride, .. } => format!("MaxPool {}", window(*kernel, *stride)),
        Op::Attention {
            num_heads,
            windows,
            causal,
            ..
        } => {
            let windows = if *windows > 1 {
                format!(", {windows} windows")
            } else {
                String::new()
            };
            let causal = if *causal { ", causal" } else { "" };
            format!("Attention, {num_heads} heads{windows}{causal}")
        }
        Op::Reduce { function, axes, .. } => format!("{function:?} over {axes:?}"),
        Op::Concat { axis } | Op::Softmax { axis } => format!("{} along {axis}", node.op.name()),
        Op::Transpose { permutation } => format!("Transpose {permutation:?}"),
        op => op.name().to_owned(),
    }
}

fn activated(activation: Activation) -> &'static str {
    match activation {
        Activation::None => "",
        Activation::Relu => ", ReLU",
        Activation::Relu6 => ", ReLU6",
    }
}

/// Its name without its parameters.
fn function_name(function: &Unary) -> String {
    let text = format!("{function:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}
