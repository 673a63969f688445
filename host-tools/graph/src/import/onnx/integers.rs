//! Operators over quantised integers, in operators over floats.
//!
//! QLinearConv and QLinearMatMul of ONNX, and those that ONNX Runtime adds to them
//! (<https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>), name the scale and zero point of all
//! that they read and write. Each is spelled out as DequantizeLinear, the operator and QuantizeLinear, of which
//! [`super::quantised`] keeps the parameters. What only moves or compares integers is done on real numbers with the same
//! parameters. Files that choose scales while the network runs are read by [`super::dynamic`].

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

use super::constant::Constant;
use super::lower::Call;
use super::{Builder, Known, Refusal, refuse};

/// Where an operator has the integers that it reads and, behind their scale and zero point, those of what it writes.
struct Layout {
    /// The operator over floats.
    op: &'static str,
    /// Each is followed by its scale and zero point.
    operands: &'static [usize],
    /// The dimension of the second operand, counted from its end, that has a scale for each index.
    channels: Option<i64>,
    /// Integers of 32 bits in units of the first two scales.
    bias: Option<usize>,
    /// The scale of the output, before its zero point.
    output: usize,
}

const ONE: Layout = Layout {
    op: "",
    operands: &[0],
    channels: None,
    bias: None,
    output: 3,
};
const TWO: Layout = Layout {
    operands: &[0, 3],
    output: 6,
    ..ONE
};

/// The layout of an operator, `None` for those that are not spelled out.
fn layout(node: &pb::NodeProto) -> Option<Layout> {
    let foreign = node.domain == "com.microsoft";
    Some(match (node.op_type.as_str(), foreign) {
        ("QLinearConv", false) => Layout {
            op: "Conv",
            channels: Some(0),
            bias: Some(8),
            ..TWO
        },
        ("QLinearMatMul", false) => Layout {
            op: "MatMul",
            channels: Some(-1),
            ..TWO
        },
        ("QGemm", true) => Layout {
            op: "Gemm",
            channels: Some(if int(node, "transB") == 0 { 1 } else { 0 }),
            bias: Some(6),
            output: 7,
            ..TWO
        },
        ("QLinearAdd", true) => Layout { op: "Add", ..TWO },
        ("QLinearMul", true) => Layout { op: "Mul", ..TWO },
        ("QLinearWhere", true) => Layout {
            op: "Where",
            operands: &[1, 4],
            output: 7,
            ..ONE
        },
        (name, true) => Layout {
            op: ONE_OPERAND
                .iter()
                .copied()
                .find(|op| name.strip_prefix("QLinear") == Some(op))?,
            ..ONE
        },
        _ => return None,
    })
}

/// Operators of one operand: `QLinear` before their name.
const ONE_OPERAND: &[&str] = &[
    "AveragePool",
    "GlobalAveragePool",
    "LeakyRelu",
    "ReduceMean",
    "Sigmoid",
    "Softmax",
];

/// Operators of ONNX Runtime's domain that are spelled out.
pub(super) fn of_microsoft(op: &str) -> bool {
    let others = ["DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm"];
    let linear = ["Add", "Concat", "Mul", "Where"];
    let name = op.strip_prefix("QLinear");
    others.contains(&op)
        || name.is_some_and(|name| linear.contains(&name) || ONE_OPERAND.contains(&name))
}

/// Operators that give the integers themselves again, moved or the largest of them.
const ALIKE: &[&str] = &[
    "Flatten",
    "Gather",
    "MaxPool",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// An attribute that is an integer, 0 where it is absent.
fn int(node: &pb::NodeProto, name: &str) -> i64 {
    let mut attributes = node.attribute.iter();
    let found = attributes.find(|attribute| attribute.name == name);
    found.map_or(0, |attribute| attribute.i)
}

/// An attribute `axis`.
pub(super) fn along(axis: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: "axis".into(),
        r#type: AttributeType::Int as i32,
        i: axis,
        ..pb::AttributeProto::default()
    }
}

impl Builder<'_> {
    /// The outputs of an operator over integers, `None` for an operator over something else.
    pub(super) fn integers(
        &mut self,
        node: &pb::NodeProto,
        call: &Call<'_>,
    ) -> Result<Option<Vec<Known>>, Refusal> {
        if let Some(outputs) = self.dynamic(node, call)? {
            return Ok(Some(outputs));
        }
        if node.op_type == "QLinearConcat" {
            return self.joined_integers(node).map(Some);
        }
        if let Some(layout) = layout(node) {
            return self.spelled_out(node, &layout).map(Some);
        }
        let rounded = matches!(call.inputs.first(), Some(Some(Known::Rounded { .. })));
        match rounded && ALIKE.contains(&call.op) {
            true => self.moved_integers(node, call).map(Some),
            false => Ok(None),
        }
    }

    /// DequantizeLinear before an operator and QuantizeLinear behind it.
    fn spelled_out(
        &mut self,
        node: &pb::NodeProto,
        layout: &Layout,
    ) -> Result<Vec<Known>, Refusal> {
        if int(node, "channels_last") != 0 {
            return Err(refuse(
                "channels behind height and width",
                "quantise the model as it is exported, before an engine rearranges it",
            ));
        }
        let mut inputs = node.input.clone();
        for (place, &first) in layout.operands.iter().enumerate() {
            let channels = layout.channels.filter(|_| place == 1);
            inputs[place + layout.operands[0]] = self.real(node, first, channels)?;
        }
        let count = layout.operands[0] + layout.operands.len();
        inputs.truncate(count);
        if let Some(bias) = layout.bias.filter(|&bias| named(node, bias).is_some()) {
            inputs.push(self.real_bias(node, bias)?);
        }
        let known = self.part(layout.op, &inputs, &node.attribute)?;
        if named(node, layout.output).is_none() {
            return Ok(vec![known]);
        }
        self.rounded(node, layout.output, known)
            .map(|known| vec![known])
    }

    /// `QLinearConcat`: scale and zero point of the output come first.
    fn joined_integers(&mut self, node: &pb::NodeProto) -> Result<Vec<Known>, Refusal> {
        let parts = (2..node.input.len()).step_by(3);
        let parts: Vec<String> = parts
            .map(|first| self.real(node, first, None))
            .collect::<Result<_, _>>()?;
        let known = self.part("Concat", &parts, &node.attribute)?;
        self.rounded(node, 0, known).map(|known| vec![known])
    }

    /// An operator whose outputs are integers of its input.
    fn moved_integers(
        &mut self,
        node: &pb::NodeProto,
        call: &Call<'_>,
    ) -> Result<Vec<Known>, Refusal> {
        let Known::Rounded { view, quant } = call.input(0)?.clone() else {
            return Ok(Vec::new());
        };
        let mut inputs = call.inputs.clone();
        inputs[0] = Some(Known::Computed(view));
        if node.op_type == "Pad" {
            // The border is an integer of the file, whose zero point was moved where its bytes have no sign.
            let value = call.constant(2, "value")?.scalar().unwrap_or(0.0);
            let unsigned = self.quantised.type_of(call.name(2)) == Some(DataType::Uint8);
            let zero_point = quant.zero_point as f32 + if unsigned { 128.0 } else { 0.0 };
            let real = (value - zero_point) * quant.scales[0];
            inputs[2] = Some(Known::Constant(Constant::float(&[], vec![real])));
        }
        let call = Call {
            inputs,
            ..call.clone()
        };
        let outputs = self.lower(&call)?;
        Ok(outputs
            .into_iter()
            .map(|known| self.same_steps(known, &quant))
            .collect())
    }

    /// The name of the real numbers that an operand stands for, with a scale for each index of a dimension or with one.
    pub(super) fn real(
        &mut self,
        node: &pb::NodeProto,
        first: usize,
        channels: Option<i64>,
    ) -> Result<String, Refusal> {
        let names: Vec<String> = (first..first + 3)
            .map(|index| node.input.get(index).cloned().unwrap_or_default())
            .collect();
        let axis: Vec<_> = channels.map(along).into_iter().collect();
        let known = self.part("DequantizeLinear", &names, &axis)?;
        Ok(self.hold(&names[0], known))
    }

    /// The name of the real numbers of a bias, in units of the scales of input and weights.
    fn real_bias(&mut self, node: &pb::NodeProto, bias: usize) -> Result<String, Refusal> {
        let scale = |builder: &Self, index: usize| -> Result<Constant, Refusal> {
            let known = named(node, index).and_then(|name| builder.known.get(name));
            let constant = known.and_then(Known::constant).cloned();
            constant.ok_or_else(|| {
                refuse(
                    "its scales are computed while the network runs",
                    "quantise the model statically",
                )
            })
        };
        let (input, weights) = (scale(self, 1)?.scalar(), scale(self, 4)?);
        let input = input.ok_or_else(|| {
            refuse(
                "several scales of its input",
                "quantise activations with one scale for each tensor",
            )
        })?;
        let alpha = node
            .attribute
            .iter()
            .find(|attribute| attribute.name == "alpha");
        let alpha = alpha.map_or(1.0, |alpha| alpha.f);
        let units = weights
            .to_floats()
            .iter()
            .map(|&scale| alpha * (input * scale))
            .collect();
        let units = Constant::float(&[weights.len()], units);
        let units = self.hold(&node.input[bias], Known::Constant(units));
        let names = [node.input[bias].clone(), units];
        let known = self.part("DequantizeLinear", &names, &[along(-1)])?;
        Ok(self.hold(&names[0], known))
    }

    /// What QuantizeLinear makes of a value, with the scale at `scale` and the zero point behind it.
    fn rounded(
        &mut self,
        node: &pb::NodeProto,
        scale: usize,
        known: Known,
    ) -> Result<Known, Refusal> {
        let name = self.hold(&node.output[0], known);
        self.quantised.read_once(&name);
        let zero_point = node.input.get(scale + 1).cloned().unwrap_or_default();
        let names = [name, node.input[scale].clone(), zero_point];
        self.part("QuantizeLinear", &names, &[])
    }

    /// What an operator of the file's language makes of values with names. The node that is being expressed names it.
    pub(super) fn part(
        &mut self,
        op: &str,
        inputs: &[String],
        attributes: &[pb::AttributeProto],
    ) -> Result<Known, Refusal> {
        let node = pb::NodeProto {
            op_type: op.to_owned(),
            input: inputs.to_vec(),
            output: vec![String::new()],
            attribute: attributes.to_vec(),
            ..pb::NodeProto::default()
        };
        let outputs = self.outputs_of(&node).map_err(|refusal| {
            refusal.unwrap_or_else(|| refuse("an input of it is refused", "see the node before it"))
        })?;
        let first = outputs.into_iter().next();
        first.ok_or_else(|| refuse("it makes nothing", "check the file"))
    }

    /// Gives what [`Self::part`] made a name of its own, after that of the file.
    pub(super) fn hold(&mut self, like: &str, known: Known) -> String {
        let mut name = format!("{like}.real");
        while self.known.contains_key(&name) {
            name.push('_');
        }
        self.quantised.name_steps(Some(&name));
        self.known.insert(name.clone(), known);
        name
    }
}

/// The name of an input that is there.
pub(super) fn named(node: &pb::NodeProto, index: usize) -> Option<&str> {
    let name = node.input.get(index).map(String::as_str);
    name.filter(|name| !name.is_empty())
}
