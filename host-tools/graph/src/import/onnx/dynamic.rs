//! Files whose activations get their scales while the network runs: DynamicQuantizeLinear before MatMulInteger or
//! ConvInteger (<https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>), a cast and a product with both scales
//! behind them, and the operators of ONNX Runtime that are these in one.
//!
//! A scale that is chosen at run time has no place in a graph. So activations stay floats here, which quantisation
//! calibrates, and weights become what their integers stand for. Tables of integers that are looked up before they are
//! real numbers are read here too, since both wait for a node behind them.

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

use super::constant::Constant;
use super::integers::{along, named};
use super::lower::Call;
use super::{Builder, Known, Refusal, refuse, rounding};

/// What the person who imports is told of such a file.
const NOTE: &str = "floats for activations that the file rounds by scales of the moment (quantise the graph to calibrate them)";

/// What nodes of the file make before it can be expressed; `of` is the name of the value that is rounded.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    /// Integers of DynamicQuantizeLinear.
    Integers { of: String },
    /// Their scale, times `factor`.
    Scale { of: String, factor: Constant },
    /// Their zero point.
    ZeroPoint { of: String },
    /// Sums of MatMulInteger or ConvInteger, which is `node`.
    Sums {
        of: String,
        node: Box<pb::NodeProto>,
    },
    /// Rows of a table of integers, which is the first input of `node`.
    Lookup { node: Box<pb::NodeProto> },
}

impl Pending {
    /// What it is called in a message.
    pub(super) fn described(&self) -> &'static str {
        match self {
            Self::Integers { .. } => {
                "integers of DynamicQuantizeLinear, which only MatMulInteger and ConvInteger read here"
            }
            Self::Scale { .. } => {
                "a scale of DynamicQuantizeLinear, which is not known before the network runs"
            }
            Self::ZeroPoint { .. } => {
                "a zero point of DynamicQuantizeLinear, which is not known before the network runs"
            }
            Self::Sums { .. } => {
                "integer sums, which only a cast and a product with both scales read here"
            }
            Self::Lookup { .. } => "rows of integers, which only DequantizeLinear reads here",
        }
    }
}

impl Builder<'_> {
    /// The outputs of an operator of such a file, `None` for any other.
    pub(super) fn dynamic(
        &mut self,
        node: &pb::NodeProto,
        call: &Call<'_>,
    ) -> Result<Option<Vec<Known>>, Refusal> {
        let pending = |index: usize| match call.optional(index) {
            Some(Known::Pending(pending)) => Some(pending),
            _ => None,
        };
        let known = match (call.op, pending(0), pending(1)) {
            ("DynamicQuantizeLinear", ..) => return self.rounded_at_run_time(call).map(Some),
            ("MatMulInteger" | "ConvInteger", None, None) => self.sums_of_constants(node, call)?,
            ("MatMulInteger" | "ConvInteger", Some(Pending::Integers { of }), None) => {
                let zero = named(node, 2).map(|_| pending(2));
                if !matches!(zero, Some(Some(Pending::ZeroPoint { of: zero_of })) if zero_of == of)
                {
                    return Err(foreign("zero point"));
                }
                let (of, node) = (of.clone(), Box::new(node.clone()));
                Known::Pending(Pending::Sums { of, node })
            }
            ("Cast", Some(sums @ Pending::Sums { .. }), _) => Known::Pending(sums.clone()),
            (
                "Mul",
                Some(Pending::Sums { of, node }),
                Some(Pending::Scale { of: unit, factor }),
            )
            | (
                "Mul",
                Some(Pending::Scale { of: unit, factor }),
                Some(Pending::Sums { of, node }),
            ) => {
                if unit != of {
                    return Err(foreign("scale"));
                }
                self.real_sums(of, node, factor)?
            }
            ("Mul", Some(Pending::Scale { of, factor }), None) => {
                scaled(of, factor, call.constant(1, "scales")?)?
            }
            ("Mul", None, Some(Pending::Scale { of, factor })) => {
                scaled(of, factor, call.constant(0, "scales")?)?
            }
            ("MatMulIntegerToFloat", ..) => self.matmul_to_float(node, call)?,
            ("DynamicQuantizeMatMul", ..) => {
                self.calibrated_anew();
                call.input(0)?;
                let x = node.input[0].clone();
                let weight = self.real_weight(node, [1, 2, 3], -1)?;
                self.with_bias("MatMul", &[x, weight], &[], named(node, 4))?
            }
            ("Gather", None, None) if self.looks_up_integers(node, call) => {
                let node = Box::new(node.clone());
                Known::Pending(Pending::Lookup { node })
            }
            ("DequantizeLinear", Some(Pending::Lookup { node: lookup }), _) => {
                let mut names = node.input.clone();
                names[0].clone_from(&lookup.input[0]);
                let table = self.part(call.op, &names, &node.attribute)?;
                let table = self.hold(&names[0], table);
                self.part(
                    "Gather",
                    &[table, lookup.input[1].clone()],
                    &lookup.attribute,
                )?
            }
            _ => match call.inputs.iter().flatten().find_map(Known::pending) {
                Some(pending) => {
                    return Err(refuse(
                        format!("it reads {}", pending.described()),
                        "quantise the model statically, or give the float model that this one was quantised from",
                    ));
                }
                None => return Ok(None),
            },
        };
        Ok(Some(vec![known]))
    }

    /// DynamicQuantizeLinear: integers, scale and zero point.
    fn rounded_at_run_time(&mut self, call: &Call<'_>) -> Result<Vec<Known>, Refusal> {
        if let Some(constant) = call.input(0)?.constant() {
            return Ok(rounding::dynamic(constant).map(Known::Constant).into());
        }
        self.calibrated_anew();
        let of = call.name(0).to_owned();
        let factor = Constant::float(&[], vec![1.0]);
        Ok([
            Pending::Integers { of: of.clone() },
            Pending::Scale {
                of: of.clone(),
                factor,
            },
            Pending::ZeroPoint { of },
        ]
        .map(Known::Pending)
        .into())
    }

    fn calibrated_anew(&mut self) {
        let assumed = self.graph.meta.source.entry("assumed".into()).or_default();
        if !assumed.contains(NOTE) {
            let separator = if assumed.is_empty() { "" } else { ", " };
            assumed.push_str(separator);
            assumed.push_str(NOTE);
        }
    }

    /// The sums of integers that are both known at import.
    fn sums_of_constants(
        &mut self,
        node: &pb::NodeProto,
        call: &Call<'_>,
    ) -> Result<Known, Refusal> {
        for index in 0..2 {
            call.constant(index, "integers")?;
        }
        let one = Known::Constant(Constant::float(&[], vec![1.0]));
        let unit = self.hold(&node.output[0], one);
        let matmul = call.op == "MatMulInteger";
        let mut real = |index: usize, axis: i64| -> Result<String, Refusal> {
            let zero = node.input.get(index + 2).cloned().unwrap_or_default();
            let names = [node.input[index].clone(), unit.clone(), zero];
            let known = self.part("DequantizeLinear", &names, &[along(axis)])?;
            Ok(self.hold(&names[0], known))
        };
        let inputs = match matmul {
            true => [real(0, -2)?, real(1, -1)?],
            false => [real(0, 0)?, real(1, 0)?],
        };
        self.part(
            if matmul { "MatMul" } else { "Conv" },
            &inputs,
            &node.attribute,
        )
    }

    /// Sums times both scales: the operator over floats, with the real numbers of the weights.
    fn real_sums(
        &mut self,
        of: &str,
        node: &pb::NodeProto,
        factor: &Constant,
    ) -> Result<Known, Refusal> {
        let (op, axis) = match node.op_type.as_str() {
            "MatMulInteger" => ("MatMul", -1),
            _ => ("Conv", 0),
        };
        let scales = self.hold(
            &node.input[1],
            Known::Constant(factor.reshaped(&[factor.len()])),
        );
        let zero = node.input.get(3).cloned().unwrap_or_default();
        let names = [node.input[1].clone(), scales, zero];
        let weight = self.part("DequantizeLinear", &names, &[along(axis)])?;
        let weight = self.hold(&names[0], weight);
        self.part(op, &[of.to_owned(), weight], &node.attribute)
    }

    /// MatMulIntegerToFloat: a product of integers with all that makes real numbers of it.
    fn matmul_to_float(&mut self, node: &pb::NodeProto, call: &Call<'_>) -> Result<Known, Refusal> {
        let x = match (call.input(0)?, call.input(2)?) {
            (
                Known::Pending(Pending::Integers { of }),
                Known::Pending(Pending::Scale { of: unit, factor }),
            ) => {
                if unit != of || factor.scalar() != Some(1.0) {
                    return Err(foreign("scale"));
                }
                of.clone()
            }
            (Known::Pending(_), _) | (_, Known::Pending(_)) => return Err(foreign("scale")),
            _ => self.real_weight(node, [0, 2, 4], -2)?,
        };
        let weight = self.real_weight(node, [1, 3, 5], -1)?;
        self.with_bias("MatMul", &[x, weight], &[], named(node, 6))
    }

    /// The name of the real numbers of inputs that are integers, their scales and zero points.
    fn real_weight(
        &mut self,
        node: &pb::NodeProto,
        places: [usize; 3],
        axis: i64,
    ) -> Result<String, Refusal> {
        let names = places.map(|index| node.input.get(index).cloned().unwrap_or_default());
        let known = self.part("DequantizeLinear", &names, &[along(axis)])?;
        Ok(self.hold(&names[0], known))
    }

    fn with_bias(
        &mut self,
        op: &str,
        inputs: &[String],
        attributes: &[pb::AttributeProto],
        bias: Option<&str>,
    ) -> Result<Known, Refusal> {
        let product = self.part(op, inputs, attributes)?;
        let Some(bias) = bias else {
            return Ok(product);
        };
        let product = self.hold(&inputs[0], product);
        self.part("Add", &[product, bias.to_owned()], &[])
    }

    /// Whether it reads token ids and a table of bytes.
    fn looks_up_integers(&self, node: &pb::NodeProto, call: &Call<'_>) -> bool {
        let ids = matches!(call.optional(1), Some(Known::Ids { .. }));
        let table = node.input.first();
        let table = table.and_then(|table| self.quantised.type_of(table));
        ids && matches!(table, Some(DataType::Int8 | DataType::Uint8))
    }
}

/// A scale of a value that the integers are not of.
fn foreign(what: &str) -> Refusal {
    refuse(
        format!("its {what} is not the one that DynamicQuantizeLinear gave its integers"),
        "quantise the model statically, or give the float model that this one was quantised from",
    )
}

/// A scale that is not known times one that is.
fn scaled(of: &str, factor: &Constant, by: &Constant) -> Result<Known, Refusal> {
    if factor.len() != 1 && by.len() != 1 {
        return Err(refuse(
            format!("scales of shapes {:?} and {:?}", factor.shape, by.shape),
            "quantise activations with one scale for each tensor",
        ));
    }
    let (a, b) = (factor.to_floats(), by.to_floats());
    let products: Vec<f32> = a
        .iter()
        .flat_map(|a| b.iter().map(move |b| a * b))
        .collect();
    let factor = Constant::float(&[products.len()], products);
    let of = of.to_owned();
    Ok(Known::Pending(Pending::Scale { of, factor }))
}
