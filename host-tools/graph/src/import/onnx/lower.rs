//! One node of a file after the other.

use tract_onnx::pb;

use super::constant::Constant;
use super::{Attributes, Builder, Known, Refusal, UnsupportedNodes, fold, integers, refuse};

/// A node of the file with what is known of its inputs, `None` for those left out.
#[derive(Clone)]
pub(super) struct Call<'a> {
    pub(super) op: &'a str,
    pub(super) inputs: Vec<Option<Known>>,
    pub(super) names: &'a [String],
    pub(super) attributes: Attributes<'a>,
    pub(super) output_count: usize,
    pub(super) opset: i64,
}

impl Call<'_> {
    /// An input that must be there.
    pub(super) fn input(&self, index: usize) -> Result<&Known, Refusal> {
        self.optional(index)
            .ok_or_else(|| refuse(format!("input {index} is missing"), "check the file"))
    }

    pub(super) fn optional(&self, index: usize) -> Option<&Known> {
        self.inputs.get(index)?.as_ref()
    }

    /// An input that must be known at import, `what` it is for.
    pub(super) fn constant(&self, index: usize, what: &str) -> Result<&Constant, Refusal> {
        self.input(index)?.constant().ok_or_else(|| {
            refuse(
                format!("its {what} are computed while the network runs"),
                "export the model with fixed sizes and constant weights",
            )
        })
    }

    /// An input that is known at import when it is there.
    pub(super) fn optional_constant(
        &self,
        index: usize,
        what: &str,
    ) -> Result<Option<&Constant>, Refusal> {
        match self.optional(index) {
            None => Ok(None),
            Some(_) => self.constant(index, what).map(Some),
        }
    }

    /// The name of an input in the file.
    pub(super) fn name(&self, index: usize) -> &str {
        self.names.get(index).map_or("", String::as_str)
    }
}

impl Builder<'_> {
    /// Expresses a node, or notes why not.
    pub(super) fn node(
        &mut self,
        index: usize,
        node: &pb::NodeProto,
        unsupported: &mut UnsupportedNodes,
    ) {
        self.node = match (node.name.as_str(), node.output.first()) {
            ("", Some(output)) => output.clone(),
            ("", None) => format!("node {index}"),
            (name, _) => name.to_owned(),
        };
        match self.outputs_of(node) {
            Ok(outputs) => {
                self.quantised.name_steps(node.output.first());
                for (name, known) in node.output.iter().zip(outputs) {
                    self.known.insert(name.clone(), known);
                }
            }
            Err(refusal) => {
                if let Some(refusal) = refusal {
                    unsupported.push(&self.node, &node.op_type, refusal.reason, refusal.advice);
                }
                for name in &node.output {
                    self.known.insert(name.clone(), Known::Refused);
                }
            }
        }
    }

    /// `None` for a node that fails only because one before it does.
    pub(super) fn outputs_of(
        &mut self,
        node: &pb::NodeProto,
    ) -> Result<Vec<Known>, Option<Refusal>> {
        let over_integers = node.domain == "com.microsoft" && integers::of_microsoft(&node.op_type);
        let known = match node.domain.as_str() {
            "" | "ai.onnx" => true,
            "com.microsoft" => {
                over_integers
                    || quantised_name(&node.op_type)
                    || OF_MICROSOFT.contains(&node.op_type.as_str())
            }
            _ => false,
        };
        if !known {
            return Err(Some(refuse(
                format!("an operator of domain {}", node.domain),
                "export the model without fused or foreign operators; local functions can be inlined with onnx.inliner",
            )));
        }
        if !over_integers && !supported(&node.op_type) {
            return Err(Some(refusal_of(&node.op_type)));
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            match self.known.get(name) {
                _ if name.is_empty() => inputs.push(None),
                Some(Known::Refused) => return Err(None),
                Some(known) => inputs.push(Some(known.clone())),
                None => {
                    return Err(Some(refuse(
                        format!("reads {name}, which nothing computes before it"),
                        "check the file with onnx.checker",
                    )));
                }
            }
        }
        let call = Call {
            op: &node.op_type,
            inputs,
            names: &node.input,
            attributes: Attributes(&node.attribute),
            output_count: node.output.len(),
            opset: self.opset,
        };
        if let Some(outputs) = self.integers(node, &call)? {
            return Ok(outputs);
        }
        if let Some(folded) = fold::fold(self.path, &call)? {
            return Ok(folded.into_iter().map(Known::Constant).collect());
        }
        Ok(self.lower(&call)?)
    }

    pub(super) fn lower(&mut self, call: &Call<'_>) -> Result<Vec<Known>, Refusal> {
        let one = |view| vec![Known::Computed(view)];
        Ok(match call.op {
            "Identity" => vec![call.input(0)?.clone()],
            "Dropout" => dropout(call)?,
            "Cast" | "CastLike" => vec![self.cast(call)?],
            "Shape" => vec![Known::Constant(fold::shape_of(call)?)],
            "Size" => {
                let len = call.input(0)?.shape().iter().product::<usize>();
                vec![Known::Constant(Constant::int(&[], vec![len as i64]))]
            }
            "Conv" => one(self.conv(call)?),
            "BatchNormalization" => one(self.batch_norm(call)?),
            "MaxPool" | "AveragePool" => one(self.pool(call)?),
            "GlobalAveragePool" | "GlobalMaxPool" => one(self.global_pool(call)?),
            "Gemm" => one(self.gemm(call)?),
            "MatMul" => one(self.matmul(call)?),
            "LayerNormalization" => self.layer_norm(call)?,
            "Softmax" => one(self.softmax(call)?),
            "Gather" => vec![self.gather(call)?],
            "QuantizeLinear" => vec![self.quantize(call)?],
            "DequantizeLinear" => vec![self.dequantize(call)?],
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => vec![self.reshaping(call)?],
            "Transpose" => one(self.transpose(call)?),
            "Slice" => one(self.slice(call)?),
            "Split" => self.split(call)?,
            "Concat" => one(self.concat(call)?),
            "Pad" => one(self.pad(call)?),
            "Expand" => one(self.expand(call)?),
            "Where" => vec![self.select(call)?],
            "Resize" => vec![same_size(call)?],
            "IsNaN" => {
                // A network that computes NaN is broken anyway; exporters guard softmax with this.
                let shape = call.input(0)?.shape().to_vec();
                let len = super::constant::checked_len(&shape)?;
                vec![Known::Constant(Constant::int(&shape, vec![0; len]))]
            }
            name if name.starts_with("Reduce") => one(self.reduce(call)?),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Sum" => {
                one(self.binary(call)?)
            }
            _ => one(self.unary(call)?),
        })
    }
}

/// Operators of ONNX Runtime's own domain that mean what those of ONNX do.
const OF_MICROSOFT: &[&str] = &["Gelu", "QuantizeLinear", "DequantizeLinear"];

/// Operators that are expressed.
const COMPUTED: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsNaN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "Pad",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Reciprocal",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Operators that are expressed, or computed at import alone; sorted.
pub(super) fn operators() -> Vec<&'static str> {
    let mut names = [COMPUTED, fold::ONLY_FOLDED].concat();
    names.sort_unstable();
    names
}

fn supported(op: &str) -> bool {
    COMPUTED.contains(&op) || fold::only_folded(op)
}

/// Whether an operator has the name of one over integers.
fn quantised_name(op: &str) -> bool {
    op.contains("Quantize") || op.starts_with("QLinear") || op.ends_with("Integer")
}

/// The reason and the advice for an operator that is not expressed.
fn refusal_of(op: &str) -> Refusal {
    match op {
        _ if quantised_name(op) => refuse(
            "an operator over integers of an int8 graph that is not known here",
            "give the float model that this one was quantised from, or export it as QDQ",
        ),
        "If" | "Loop" | "Scan" => refuse(
            "control flow, and a graph runs the same operators every time",
            "export the model with the branch fixed, for one size of input",
        ),
        "LSTM" | "GRU" | "RNN" => refuse(
            "a recurrent network, and there is no state between operators",
            "use a convolutional network or a transformer",
        ),
        "Upsample" => resampling(),
        "NonMaxSuppression" | "TopK" | "NonZero" | "RoiAlign" => refuse(
            "a step behind the network, whose result has no fixed size",
            "cut the graph before it with onnx.utils.extract_model",
        ),
        _ => refuse(
            "no such operator here",
            "rewrite the model without it, or cut the graph before it with onnx.utils.extract_model",
        ),
    }
}

fn resampling() -> Refusal {
    refuse(
        "resampling inside the network",
        "export the model for the size of input that it is used with, so that nothing is resampled",
    )
}

/// The input itself, and a mask that keeps everything.
fn dropout(call: &Call<'_>) -> Result<Vec<Known>, Refusal> {
    let number = |index: usize, default: f32| -> Result<f32, Refusal> {
        let given = call.optional_constant(index, "parameters")?;
        Ok(given.and_then(Constant::scalar).unwrap_or(default))
    };
    if number(2, 0.0)? != 0.0 && number(1, 0.5)? != 0.0 {
        return Err(refuse(
            "dropout as it runs in training",
            "export the model after model.eval()",
        ));
    }
    let x = call.input(0)?;
    let len = super::constant::checked_len(x.shape())?;
    let mask = Constant::int(x.shape(), vec![1; len]);
    Ok(vec![x.clone(), Known::Constant(mask)])
}

/// `Resize` to the size that its input has: exporters leave it where positions fit the picture already.
fn same_size(call: &Call<'_>) -> Result<Known, Refusal> {
    let known = call.input(0)?;
    let scales = call.optional_constant(if call.opset < 11 { 1 } else { 2 }, "scales")?;
    let sizes = call.optional_constant(3, "sizes")?;
    let by_scale = scales.filter(|scales| scales.len() == known.shape().len());
    let same = match (by_scale, sizes) {
        (Some(scales), _) => scales.to_floats().iter().all(|&scale| scale == 1.0),
        (None, Some(sizes)) => fold::sizes(sizes)? == known.shape(),
        (None, None) => false,
    };
    if same {
        Ok(known.clone())
    } else {
        Err(resampling())
    }
}
