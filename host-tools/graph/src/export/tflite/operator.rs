//! Each operator of the graph in those of TFLite.

use super::flatbuffer::Field;
use super::layers::activation;
use super::tensor::{Elements, Scales};
use super::{Call, Exporter, Numbers, Refusal, WRITE_ONNX, refuse};
use crate::import::tflite::code;
use crate::op::{Activation, Binary, Reduce, Unary};
use crate::{Graph, Node, Op, QuantDType, QuantParams};

/// Numbers of options.
const SOFTMAX_OPTIONS: u8 = 9;
const ADD_OPTIONS: u8 = 11;
const L2_NORM_OPTIONS: u8 = 12;
const MUL_OPTIONS: u8 = 21;
const SUB_OPTIONS: u8 = 28;
const DIV_OPTIONS: u8 = 29;
const EXP_OPTIONS: u8 = 33;
const MAXIMUM_MINIMUM_OPTIONS: u8 = 39;
const NEG_OPTIONS: u8 = 42;
const POW_OPTIONS: u8 = 56;
const SQUARE_OPTIONS: u8 = 66;
const LEAKY_RELU_OPTIONS: u8 = 75;
const ABS_OPTIONS: u8 = 78;
const HARD_SWISH_OPTIONS: u8 = 91;
const GELU_OPTIONS: u8 = 116;

/// Slope of the hard sigmoid that RELU6 makes.
const HARD_SIGMOID_SLOPE: f32 = 1.0 / 6.0;
/// Largest number of int8.
const LARGEST: f32 = 127.0;

/// Parameters that TFLite fixes: of probabilities, of ±1.
const UNIT: (f32, i32) = (1.0 / 256.0, -128);
const SYMMETRIC: (f32, i32) = (1.0 / 128.0, 0);
/// Of 0 to 6.
const RELU6: (f32, i32) = (6.0 / 255.0, -128);

fn quant((scale, zero_point): (f32, i32)) -> QuantParams {
    QuantParams {
        dtype: QuantDType::I8,
        scales: vec![scale],
        zero_point,
    }
}

/// Whether TFLite has the operator of a node over int8.
pub(super) fn has_integer_form(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Conv2d { .. } | Op::Linear { .. } => graph.values[node.inputs[1]].quant.is_some(),
        Op::Binary { function, .. } => matches!(function, Binary::Add | Binary::Mul),
        Op::Unary { function } => match *function {
            Unary::HardSigmoid { alpha, .. } => is_sixth(alpha),
            Unary::Affine { alpha, .. } => alpha > 0.0,
            Unary::Clip { .. }
            | Unary::HardSwish
            | Unary::Sigmoid
            | Unary::Silu
            | Unary::Tanh
            | Unary::Gelu
            | Unary::GeluTanh
            | Unary::LeakyRelu { .. } => true,
            _ => false,
        },
        Op::Reduce { function, .. } => *function == Reduce::Mean,
        Op::AvgPool { .. }
        | Op::MaxPool { .. }
        | Op::GlobalAvgPool
        | Op::Softmax { .. }
        | Op::L2Normalize
        | Op::Reshape
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Concat { .. }
        | Op::Pad { .. } => true,
        _ => false,
    }
}

/// Up to the last bits, which importers differ in.
fn is_sixth(alpha: f32) -> bool {
    (alpha - HARD_SIGMOID_SLOPE).abs() < 1e-4
}

impl Exporter<'_> {
    /// Writes the operators of a node, the last of them into `output`.
    pub(super) fn write_node(
        &mut self,
        node: &Node,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        match &node.op {
            Op::Conv2d { .. } => self.conv(node, numbers, output),
            Op::Linear { activation } => self.linear(node, *activation, numbers, output),
            Op::AvgPool { .. } | Op::MaxPool { .. } => self.pool(node, numbers, output),
            Op::GlobalAvgPool => self.mean(node.inputs[0], &[1, 2], true, numbers, output),
            Op::Reduce {
                function: Reduce::Mean,
                axes,
                keep_dims,
            } => self.mean(node.inputs[0], axes, *keep_dims, numbers, output),
            Op::Reshape => self.reshape(node, numbers, output),
            Op::Transpose { permutation } => self.transpose(node, permutation, numbers, output),
            Op::Slice { starts, steps } => self.slice(node, starts, steps, numbers, output),
            Op::Concat { axis } => self.concat(node, *axis, numbers, output),
            Op::Pad {
                before,
                after,
                value,
            } => self.pad(node, [before, after], *value, numbers, output),
            Op::Binary {
                function,
                activation,
            } => self.binary(node, *function, *activation, numbers, output),
            Op::Unary { function } => {
                let x = self.operand(node.inputs[0], numbers)?;
                match numbers {
                    Numbers::Integers => self.integer_function(node, *function, x, output),
                    Numbers::Floats => self.float_function(node, *function, x, output),
                }
            }
            Op::ChannelUnary { function } => self.channel_function(node, *function, output),
            Op::Softmax { axis } => self.softmax(node, *axis, numbers, output),
            Op::L2Normalize => {
                let x = self.operand(node.inputs[0], numbers)?;
                let fields = [(0, activation(Activation::None))];
                let version = numbers.version();
                let call = Call::with(code::L2_NORMALIZATION, version, L2_NORM_OPTIONS, fields);
                self.fixed(node, call, x, SYMMETRIC, numbers, output);
                Ok(())
            }
            other => Err(refuse(
                format!("TFLite has no operator {}", other.name()),
                WRITE_ONNX,
            )),
        }
    }

    /// An operator whose int8 output TFLite gives fixed parameters, and what brings it to those of the node.
    fn fixed(
        &mut self,
        node: &Node,
        call: Call,
        x: i32,
        parameters: (f32, i32),
        numbers: Numbers,
        output: i32,
    ) {
        let parameters = quant(parameters);
        let wanted = self.quants[node.output].as_ref();
        if numbers == Numbers::Floats || wanted == Some(&parameters) {
            return self.operator(call, &[x], output);
        }
        let shape = &self.graph.values[node.output].shape;
        let made = self.part("fixed", shape, Some(&parameters));
        self.operator(call, &[x], made);
        self.quantize(made, output, 2);
    }

    fn softmax(
        &mut self,
        node: &Node,
        axis: usize,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let rank = self.graph.values[node.inputs[0]].shape.len();
        if axis + 1 != rank {
            let reason = format!("its softmax runs over dimension {axis} of {rank}, not the last");
            return Err(refuse(reason, WRITE_ONNX));
        }
        let x = self.operand(node.inputs[0], numbers)?;
        let fields = [(0, Field::F32(1.0))];
        let call = Call::with(code::SOFTMAX, numbers.version(), SOFTMAX_OPTIONS, fields);
        self.fixed(node, call, x, UNIT, numbers, output);
        Ok(())
    }

    fn binary(
        &mut self,
        node: &Node,
        function: Binary,
        fused: Activation,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let [a, b] = [node.inputs[0], node.inputs[1]];
        let operands = [self.operand(a, numbers)?, self.operand(b, numbers)?];
        let fields = || [(0, activation(fused))];
        let version = numbers.version();
        let call = match function {
            Binary::Add => Call::with(code::ADD, version, ADD_OPTIONS, fields()),
            Binary::Mul => Call::with(code::MUL, version, MUL_OPTIONS, fields()),
            Binary::Sub => Call::with(code::SUB, 1, SUB_OPTIONS, fields()),
            Binary::Div => Call::with(code::DIV, 1, DIV_OPTIONS, fields()),
            Binary::Pow => Call::with(code::POW, 1, POW_OPTIONS, []),
            Binary::Max => Call::with(code::MAXIMUM, 1, MAXIMUM_MINIMUM_OPTIONS, []),
            Binary::Min => Call::with(code::MINIMUM, 1, MAXIMUM_MINIMUM_OPTIONS, []),
        };
        let fuses = !matches!(function, Binary::Pow | Binary::Max | Binary::Min);
        if fuses || fused == Activation::None {
            self.operator(call, &operands, output);
            return Ok(());
        }
        let shape = &self.graph.values[node.output].shape;
        let made = self.part("unlimited", shape, None);
        self.operator(call, &operands, made);
        let (min, max) = fused.range();
        self.float_function(node, Unary::Clip { min, max }, made, output)
    }

    fn integer_function(
        &mut self,
        node: &Node,
        function: Unary,
        x: i32,
        output: i32,
    ) -> Result<(), Refusal> {
        let shape = self.graph.values[node.output].shape.clone();
        let logistic = || Call::plain(code::LOGISTIC, 2);
        match function {
            Unary::Sigmoid => self.fixed(node, logistic(), x, UNIT, Numbers::Integers, output),
            Unary::Tanh => {
                let call = Call::plain(code::TANH, 2);
                self.fixed(node, call, x, SYMMETRIC, Numbers::Integers, output);
            }
            Unary::Silu => {
                let gate = self.part("gate", &shape, Some(&quant(UNIT)));
                self.operator(logistic(), &[x], gate);
                self.product([x, gate], 2, output);
            }
            // RELU6(x + 6 · beta) / 6
            Unary::HardSigmoid { beta, .. } => {
                let offset = self.integer_number(6.0 * beta);
                let limited = self.part("limited", &shape, Some(&quant(RELU6)));
                self.sum([x, offset], Activation::Relu6, 2, limited);
                let factor = self.integer_number(HARD_SIGMOID_SLOPE);
                self.product([limited, factor], 2, output);
            }
            Unary::Affine { alpha, beta } => {
                self.integer_affine(node, [alpha, beta], x, output);
            }
            Unary::Clip { min, max } if min == 0.0 && (max == 6.0 || max == f32::INFINITY) => {
                let code = if max == 6.0 { code::RELU6 } else { code::RELU };
                self.operator(Call::plain(code, 2), &[x], output);
            }
            Unary::Clip { min, max } => {
                let Some(wanted) = self.quants[node.output].clone() else {
                    return Ok(());
                };
                let x = self.operand_in(node.inputs[0], &wanted)?;
                self.limits(x, [min, max], &shape, Some(&wanted), output);
            }
            Unary::Gelu | Unary::GeluTanh => {
                let call = gelu(function, 2);
                self.operator(call, &[x], output);
            }
            Unary::LeakyRelu { alpha } => {
                let fields = [(0, Field::F32(alpha))];
                let call = Call::with(code::LEAKY_RELU, 2, LEAKY_RELU_OPTIONS, fields);
                self.operator(call, &[x], output);
            }
            Unary::HardSwish => {
                let call = Call::with(code::HARD_SWISH, 1, HARD_SWISH_OPTIONS, []);
                self.operator(call, &[x], output);
            }
            other => return Err(no_function(other)),
        }
        Ok(())
    }

    /// A product that keeps every number of int8, and a sum.
    fn integer_affine(&mut self, node: &Node, [alpha, beta]: [f32; 2], x: i32, output: i32) {
        if beta == 0.0 && alpha == 1.0 {
            return self.quantize(x, output, 2);
        }
        let mut from = x;
        if alpha != 1.0 {
            let factor = self.integer_number(alpha);
            let shape = self.graph.values[node.output].shape.clone();
            let scaled = self.quants[node.inputs[0]].clone().map(|mut quant| {
                quant.scales[0] *= alpha;
                quant
            });
            let to = match beta == 0.0 {
                true => output,
                false => self.part("scaled", &shape, scaled.as_ref()),
            };
            self.product([x, factor], 2, to);
            from = to;
        }
        if beta != 0.0 {
            let offset = self.integer_number(beta);
            self.sum([from, offset], Activation::None, 2, output);
        }
    }

    /// MAXIMUM and MINIMUM with constants of the parameters that everything has.
    fn limits(
        &mut self,
        x: i32,
        [min, max]: [f32; 2],
        shape: &[usize],
        quant: Option<&QuantParams>,
        output: i32,
    ) {
        let version = if quant.is_some() { 2 } else { 1 };
        let (lower, upper) = (min.is_finite(), max.is_finite());
        let call = |code| Call::with(code, version, MAXIMUM_MINIMUM_OPTIONS, []);
        let mut from = x;
        if lower || !upper {
            let limit = self.limit(min, quant);
            let to = match upper {
                true => self.part("above", shape, quant),
                false => output,
            };
            self.operator(call(code::MAXIMUM), &[from, limit], to);
            from = to;
        }
        if upper {
            let limit = self.limit(max, quant);
            self.operator(call(code::MINIMUM), &[from, limit], output);
        }
    }

    fn limit(&mut self, limit: f32, quant: Option<&QuantParams>) -> i32 {
        let name = format!("{}.limit", self.current);
        let elements = match quant {
            Some(quant) => Elements::I8(super::tensor::quantised(&[limit], quant)),
            None => Elements::F32(vec![limit.max(f32::MIN)]),
        };
        self.constant(&name, &[1], elements, quant.map(Scales::from))
    }

    /// A number as a constant in int8, the largest step of its scale.
    fn integer_number(&mut self, number: f32) -> i32 {
        let name = format!("{}.number", self.current);
        let parameters = quant(((number.abs() / LARGEST).max(f32::MIN_POSITIVE), 0));
        let elements = Elements::I8(super::tensor::quantised(&[number], &parameters));
        self.constant(&name, &[1], elements, Some(Scales::from(&parameters)))
    }

    fn number(&mut self, number: f32) -> i32 {
        let name = format!("{}.number", self.current);
        self.constant(&name, &[1], Elements::F32(vec![number]), None)
    }

    fn product(&mut self, operands: [i32; 2], version: i32, output: i32) {
        let fields = [(0, activation(Activation::None))];
        let call = Call::with(code::MUL, version, MUL_OPTIONS, fields);
        self.operator(call, &operands, output);
    }

    fn sum(&mut self, operands: [i32; 2], fused: Activation, version: i32, output: i32) {
        let call = Call::with(code::ADD, version, ADD_OPTIONS, [(0, activation(fused))]);
        self.operator(call, &operands, output);
    }

    fn float_function(
        &mut self,
        node: &Node,
        function: Unary,
        x: i32,
        output: i32,
    ) -> Result<(), Refusal> {
        let call = match function {
            Unary::Clip { min, max } if min == 0.0 && max == f32::INFINITY => {
                Call::plain(code::RELU, 1)
            }
            Unary::Clip { min, max } if min == 0.0 && max == 6.0 => Call::plain(code::RELU6, 1),
            Unary::HardSwish => Call::with(code::HARD_SWISH, 1, HARD_SWISH_OPTIONS, []),
            Unary::Sigmoid => Call::plain(code::LOGISTIC, 1),
            Unary::Tanh => Call::plain(code::TANH, 1),
            Unary::Gelu | Unary::GeluTanh => gelu(function, 1),
            Unary::Exp => Call::with(code::EXP, 1, EXP_OPTIONS, []),
            Unary::Log => Call::plain(code::LOG, 1),
            Unary::Sqrt => Call::plain(code::SQRT, 1),
            Unary::Neg => Call::with(code::NEG, 1, NEG_OPTIONS, []),
            Unary::Abs => Call::with(code::ABS, 1, ABS_OPTIONS, []),
            Unary::Square => Call::with(code::SQUARE, 1, SQUARE_OPTIONS, []),
            Unary::LeakyRelu { alpha } => {
                let fields = [(0, Field::F32(alpha))];
                Call::with(code::LEAKY_RELU, 1, LEAKY_RELU_OPTIONS, fields)
            }
            other => return self.composed(node, other, x, output),
        };
        self.operator(call, &[x], output);
        Ok(())
    }

    /// Functions that take several operators.
    fn composed(
        &mut self,
        node: &Node,
        function: Unary,
        x: i32,
        output: i32,
    ) -> Result<(), Refusal> {
        let shape = self.graph.values[node.output].shape.clone();
        match function {
            Unary::Clip { min, max } => self.limits(x, [min, max], &shape, None, output),
            Unary::Silu => {
                let gate = self.part("gate", &shape, None);
                self.operator(Call::plain(code::LOGISTIC, 1), &[x], gate);
                self.product([x, gate], 1, output);
            }
            Unary::QuickGelu => {
                let factor = self.number(1.702);
                let [scaled, gate] = ["scaled", "gate"].map(|part| self.part(part, &shape, None));
                self.product([x, factor], 1, scaled);
                self.operator(Call::plain(code::LOGISTIC, 1), &[scaled], gate);
                self.product([x, gate], 1, output);
            }
            Unary::HardSigmoid { alpha, beta } => {
                let numbers = [6.0 * alpha, 6.0 * beta, HARD_SIGMOID_SLOPE];
                let [slope, offset, sixth] = numbers.map(|number| self.number(number));
                let parts = ["scaled", "limited"];
                let [scaled, limited] = parts.map(|part| self.part(part, &shape, None));
                self.product([x, slope], 1, scaled);
                self.sum([scaled, offset], Activation::Relu6, 1, limited);
                self.product([limited, sixth], 1, output);
            }
            Unary::Affine { alpha, beta } => {
                let [factor, offset] = [alpha, beta].map(|number| self.number(number));
                let scaled = self.part("scaled", &shape, None);
                self.product([x, factor], 1, scaled);
                self.sum([scaled, offset], Activation::None, 1, output);
            }
            Unary::Reciprocal => {
                let one = self.number(1.0);
                let call = Call::with(
                    code::DIV,
                    1,
                    DIV_OPTIONS,
                    [(0, activation(Activation::None))],
                );
                self.operator(call, &[one, x], output);
            }
            other => return Err(no_function(other)),
        }
        Ok(())
    }

    /// In floats: a factor for each channel before the function and behind it.
    fn channel_function(
        &mut self,
        node: &Node,
        function: Unary,
        output: i32,
    ) -> Result<(), Refusal> {
        let shape = self.graph.values[node.output].shape.clone();
        let mut operands = [0; 3];
        for (operand, &id) in operands.iter_mut().zip(&node.inputs) {
            *operand = self.operand(id, Numbers::Floats)?;
        }
        let [x, before, after] = operands;
        let [scaled, made] = ["scaled", "made"].map(|part| self.part(part, &shape, None));
        self.product([x, before], 1, scaled);
        self.float_function(node, function, scaled, made)?;
        self.product([made, after], 1, output);
        Ok(())
    }
}

fn gelu(function: Unary, version: i32) -> Call {
    let approximate = Field::U8((function == Unary::GeluTanh).into());
    Call::with(code::GELU, version, GELU_OPTIONS, [(0, approximate)])
}

fn no_function(function: Unary) -> Refusal {
    refuse(format!("TFLite has no function {function:?}"), WRITE_ONNX)
}
