//! Operators of a [`crate::Graph`]: what each computes, its inputs and the shapes it wants.
//!
//! Pictures are (1, height, width, channels); token sequences (tokens, width); weights of convolutions (out, kh, kw, in /
//! groups), of linear layers (out, in). "const" marks inputs that must be constants by the time a graph is packed.

use serde::{Deserialize, Serialize};

/// Limits of a fused activation; infinite where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// Identity.
    None,
    /// [0, ∞)
    Relu,
    /// [0, 6]
    Relu6,
}

impl Activation {
    /// Smallest and largest output.
    pub fn range(self) -> (f32, f32) {
        match self {
            Self::None => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }
}

/// Element-wise functions of one input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "each is the function of its name, as in pinhole_runtime::model::op::UnaryKind"
)]
pub enum Unary {
    Clip {
        #[serde(with = "limit")]
        min: f32,
        #[serde(with = "limit")]
        max: f32,
    },
    HardSwish,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    Sigmoid,
    Silu,
    Tanh,
    Gelu,
    GeluTanh,
    QuickGelu,
    Erf,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Neg,
    Abs,
    LeakyRelu {
        alpha: f32,
    },
    Square,
    Affine {
        #[serde(with = "limit")]
        alpha: f32,
        #[serde(with = "limit")]
        beta: f32,
    },
}

/// Element-wise functions of two inputs, NumPy broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the function of its name")]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
}

/// Reductions over dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the function of its name")]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    L2,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "fields are named as the field names them, and explained at their operator"
)]
pub enum Op {
    /// Inputs: x (1,H,W,C), weight const (O,kh,kw,C/groups), bias const (O) or none.
    /// Depthwise when groups = C = O. Padding: top, left, bottom, right.
    Conv2d {
        stride: [usize; 2],
        padding: [usize; 4],
        dilation: [usize; 2],
        groups: usize,
        activation: Activation,
    },
    /// Inputs: x (…, k), weight const (n, k), bias const (n) or none.
    Linear { activation: Activation },
    /// Inputs: a (…, m, k), b (…, k, n), or (…, n, k) when `transpose_b`; neither const as a rule.
    MatMul { transpose_b: bool },
    /// Inputs: a, b; then the activation.
    Binary {
        function: Binary,
        activation: Activation,
    },
    /// Input: x.
    Unary { function: Unary },
    /// Inputs: x (…, C), before const (C), after const (C): function(x · before) · after. Quantisation puts the factors there,
    /// so that the channels before and behind a function have one range.
    ChannelUnary { function: Unary },
    /// Input: x (1,H,W,C). `count_include_pad` is resolved at import: packed pooling never counts padding.
    AvgPool {
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
        count_include_pad: bool,
    },
    /// Input: x (1,H,W,C).
    MaxPool {
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 4],
    },
    /// Input: x (1,H,W,C) → (1,1,1,C).
    GlobalAvgPool,
    /// Input: x; over `axis` (counted from the front).
    Softmax { axis: usize },
    /// Inputs: x (…, c), gamma const (c), beta const (c).
    LayerNorm { epsilon: f32 },
    /// Inputs: x (…, C), scale, offset, mean, variance const (C). Only between import and folding.
    BatchNorm { epsilon: f32 },
    /// Inputs: q (windows · queries, width), k, v (windows · keys, width), bias const (num_heads, queries, keys) or none:
    /// softmax(q·kᵀ·scale + bias)·v head by head, in each window alone. `causal`: query i sees the keys up to i alone, of as
    /// many keys as queries.
    Attention {
        num_heads: usize,
        scale: f32,
        #[serde(default = "one")]
        windows: usize,
        #[serde(default)]
        causal: bool,
    },
    /// Inputs: ids (tokens) i32, table const (vocabulary, width).
    Embedding,
    /// Input: x. Reduced dimensions stay as 1 when `keep_dims`.
    Reduce {
        function: Reduce,
        axes: Vec<usize>,
        keep_dims: bool,
    },
    /// Input: x; x / ‖x‖₂ over the last dimension.
    L2Normalize,
    /// Input: x; same elements, other shape (that of the output value).
    Reshape,
    /// Input: x; dimension d of the output is dimension `permutation[d]` of x.
    Transpose { permutation: Vec<usize> },
    /// Input: x; first index and step of every dimension; the output's shape says how many. Of a dynamic value all rows, the
    /// first or the last.
    Slice {
        starts: Vec<usize>,
        steps: Vec<usize>,
    },
    /// Inputs: 2..; along `axis`.
    Concat { axis: usize },
    /// Input: x; elements before and behind of every dimension, and their value.
    Pad {
        before: Vec<usize>,
        after: Vec<usize>,
        #[serde(with = "limit")]
        value: f32,
    },
    /// Input: x (…) → same shape. In a quantised model: int16 in, int8 out, largest magnitude 127. In f32: the identity
    /// up to a positive factor, computed as the identity.
    NormalizeEmbedding,
}

impl Op {
    /// Whether every element of the output is one of an input, or padding.
    pub fn only_moves(&self) -> bool {
        matches!(
            self,
            Self::Reshape
                | Self::Transpose { .. }
                | Self::Slice { .. }
                | Self::Concat { .. }
                | Self::Pad { .. }
        )
    }

    /// Its name as messages print it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "Conv2d",
            Self::Linear { .. } => "Linear",
            Self::MatMul { .. } => "MatMul",
            Self::Binary { .. } => "Binary",
            Self::Unary { .. } => "Unary",
            Self::ChannelUnary { .. } => "ChannelUnary",
            Self::AvgPool { .. } => "AvgPool",
            Self::MaxPool { .. } => "MaxPool",
            Self::GlobalAvgPool => "GlobalAvgPool",
            Self::Softmax { .. } => "Softmax",
            Self::LayerNorm { .. } => "LayerNorm",
            Self::BatchNorm { .. } => "BatchNorm",
            Self::Attention { .. } => "Attention",
            Self::Embedding => "Embedding",
            Self::Reduce { .. } => "Reduce",
            Self::L2Normalize => "L2Normalize",
            Self::Reshape => "Reshape",
            Self::Transpose { .. } => "Transpose",
            Self::Slice { .. } => "Slice",
            Self::Concat { .. } => "Concat",
            Self::Pad { .. } => "Pad",
            Self::NormalizeEmbedding => "NormalizeEmbedding",
        }
    }
}

/// Windows of an attention in files from before it had any.
fn one() -> usize {
    1
}

/// Numbers that may be infinite, which JSON cannot write: `"inf"`, `"-inf"`, and `"nan"` too.
mod limit {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        match *value {
            value if value.is_finite() => serializer.serialize_f32(value),
            f32::INFINITY => serializer.serialize_str("inf"),
            f32::NEG_INFINITY => serializer.serialize_str("-inf"),
            _ => serializer.serialize_str("nan"),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        // An untagged enum would not do: it cannot hold the numbers of serde_json's
        // `arbitrary_precision`, which any crate of the program may switch on.
        let value = Value::deserialize(deserializer)?;
        match (value.as_f64(), value.as_str()) {
            (Some(number), _) => Ok(number as f32),
            (_, Some("inf")) => Ok(f32::INFINITY),
            (_, Some("-inf")) => Ok(f32::NEG_INFINITY),
            (_, Some("nan")) => Ok(f32::NAN),
            _ => Err(D::Error::custom(format!(
                "found {value}, expected a number, inf, -inf or nan"
            ))),
        }
    }
}
