//! Operators of the file as nodes: those that compute each element alone, and those that move elements.

use super::build::{Builder, Refusal, dequantized, refuse};
use super::layers;
use super::schema::{Operator, code};
use crate::op::{Activation, Binary, Unary};
use crate::{Op, QuantParams, Tensor, TensorData, ValueId};

/// Most values that a packed model joins at once.
const JOINED_AT_ONCE: usize = 4;

/// What to do about an operator that integers do not have.
pub(super) const STAY_FLOAT: &str =
    "convert the model without quantisation and let `pinhole quantize` do it";
/// What to do about an option that nothing here has.
pub(super) const END_BEFORE: &str = "end the graph before it with --output TENSOR";

/// Adds what computes the outputs of `operator`.
pub(super) fn lower(builder: &mut Builder<'_>, operator: &Operator<'_>) -> Result<(), Refusal> {
    let call = Call { operator };
    match operator.code {
        code::CONV_2D => layers::conv(builder, &call),
        code::DEPTHWISE_CONV_2D => layers::depthwise_conv(builder, &call),
        code::FULLY_CONNECTED => layers::fully_connected(builder, &call),
        code::AVERAGE_POOL_2D | code::MAX_POOL_2D => layers::pool(builder, &call),
        code::MEAN => layers::mean(builder, &call),
        code::ADD => binary(builder, &call, Binary::Add),
        code::MUL => binary(builder, &call, Binary::Mul),
        code::SUB => binary(builder, &call, Binary::Sub),
        code::DIV => binary(builder, &call, Binary::Div),
        code::RELU => unary(builder, &call, clip(f32::INFINITY)),
        code::RELU6 => unary(builder, &call, clip(6.0)),
        code::LOGISTIC => unary(builder, &call, Unary::Sigmoid),
        code::HARD_SWISH => unary(builder, &call, Unary::HardSwish),
        code::TANH => unary(builder, &call, Unary::Tanh),
        code::SOFTMAX => softmax(builder, &call),
        code::QUANTIZE => quantize(builder, &call),
        code::DEQUANTIZE => dequantize(builder, &call),
        code::RESHAPE | code::SQUEEZE => moved(builder, &call, Op::Reshape),
        code::TRANSPOSE => transpose(builder, &call),
        code::PAD | code::PADV2 => pad(builder, &call),
        code::STRIDED_SLICE => strided_slice(builder, &call),
        code::CONCATENATION => concatenation(builder, &call),
        code::CUSTOM => Err(custom(operator.custom)),
        _ => Err(refuse("the graph has no such operator", END_BEFORE)),
    }
}

/// Why an operator that is none of TFLite's is refused.
fn custom(name: &str) -> Refusal {
    match name.strip_prefix("Flex") {
        Some(tensorflow) => refuse(
            format!("it is {tensorflow} of TensorFlow, which TFLite runs by its Flex delegate"),
            "convert the model again with TFLITE_BUILTINS alone, without SELECT_TF_OPS",
        ),
        None => refuse(
            format!("it is the custom operator {name}, expected one of TFLite's own"),
            END_BEFORE,
        ),
    }
}

/// An operator with its operands at hand.
pub(super) struct Call<'a> {
    operator: &'a Operator<'a>,
}

impl Call<'_> {
    /// The tensor that is operand `position`.
    pub(super) fn input(&self, position: usize) -> Result<usize, Refusal> {
        self.optional_input(position).ok_or_else(|| {
            let found = self.operator.inputs.len();
            Refusal::Malformed(format!("has {found} inputs, input {position} is missing"))
        })
    }

    /// The same, `None` where it is left out.
    pub(super) fn optional_input(&self, position: usize) -> Option<usize> {
        usize::try_from(*self.operator.inputs.get(position)?).ok()
    }

    /// The only output.
    pub(super) fn output(&self) -> Result<usize, Refusal> {
        match self.operator.outputs[..] {
            [output] => Ok(output as usize),
            ref outputs => Err(Refusal::Malformed(format!(
                "has {} outputs, expected 1",
                outputs.len()
            ))),
        }
    }

    pub(super) fn code(&self) -> i32 {
        self.operator.code
    }

    /// An option of one byte, 0 where nothing is said.
    pub(super) fn byte(&self, field: usize) -> Result<u8, Refusal> {
        let options = self.operator.options.as_ref();
        Ok(options.map_or(Ok(0), |options| options.u8(field))?)
    }

    /// An option of four bytes.
    pub(super) fn number(&self, field: usize, default: i32) -> Result<i32, Refusal> {
        let options = self.operator.options.as_ref();
        Ok(options.map_or(Ok(default), |options| options.i32(field, default))?)
    }

    /// An option that is a float, 0 where nothing is said.
    pub(super) fn float(&self, field: usize) -> Result<f32, Refusal> {
        let options = self.operator.options.as_ref();
        Ok(options.map_or(Ok(0.0), |options| options.f32(field))?)
    }

    /// A positive option of four bytes.
    pub(super) fn positive(
        &self,
        field: usize,
        default: i32,
        what: &str,
    ) -> Result<usize, Refusal> {
        let number = self.number(field, default)?;
        usize::try_from(number)
            .ok()
            .filter(|&number| number > 0)
            .ok_or_else(|| {
                Refusal::Malformed(format!("has the {what} {number}, expected 1 or more"))
            })
    }

    /// The fused activation.
    pub(super) fn activation(&self, field: usize) -> Result<Activation, Refusal> {
        match self.byte(field)? {
            0 => Ok(Activation::None),
            1 => Ok(Activation::Relu),
            3 => Ok(Activation::Relu6),
            other => {
                let name = match other {
                    2 => "RELU_N1_TO_1",
                    4 => "TANH",
                    5 => "SIGN_BIT",
                    _ => "an unknown one",
                };
                Err(refuse(
                    format!("its fused activation is {name}, expected none, RELU or RELU6"),
                    "keep the activation apart from the layer",
                ))
            }
        }
    }
}

impl Builder<'_> {
    /// Scale and zero point of a value.
    pub(super) fn quant(&self, value: ValueId) -> Option<&QuantParams> {
        self.graph.values[value].quant.as_ref()
    }

    pub(super) fn shape(&self, value: ValueId) -> &[usize] {
        &self.graph.values[value].shape
    }

    /// Whether `inputs` and the output are quantised; mixtures are refused.
    pub(super) fn in_integers(&self, inputs: &[ValueId], call: &Call<'_>) -> Result<bool, Refusal> {
        let output = self.model.tensor(call.output()?)?;
        let integers = super::activation_quant(&output)?.is_some();
        if inputs
            .iter()
            .any(|&input| self.quant(input).is_some() != integers)
        {
            return Err(refuse(
                "joins quantised and float values",
                "convert the model with full integer quantisation, or without any",
            ));
        }
        Ok(integers)
    }

    /// Refuses an operator that moves elements and changes what they mean.
    pub(super) fn keeps_quant(&self, inputs: &[ValueId], call: &Call<'_>) -> Result<(), Refusal> {
        let output = self.model.tensor(call.output()?)?;
        let quant = super::activation_quant(&output)?;
        if inputs
            .iter()
            .any(|&input| self.quant(input) != quant.as_ref())
        {
            return Err(refuse(
                "scale or zero point of its output differ from those of an input",
                STAY_FLOAT,
            ));
        }
        Ok(())
    }
}

/// A clip from 0 to `max`.
fn clip(max: f32) -> Unary {
    Unary::Clip { min: 0.0, max }
}

fn unary(builder: &mut Builder<'_>, call: &Call<'_>, function: Unary) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    if builder.in_integers(&[input], call)? && matches!(function, Unary::Tanh) {
        return Err(refuse("it has no integer form here", STAY_FLOAT));
    }
    builder.emit(Op::Unary { function }, &[input], call.output()?)
}

fn binary(builder: &mut Builder<'_>, call: &Call<'_>, function: Binary) -> Result<(), Refusal> {
    let mut inputs = [
        builder.value(call.input(0)?)?,
        builder.value(call.input(1)?)?,
    ];
    let output = call.output()?;
    if builder.in_integers(&inputs, call)? {
        if !matches!(function, Binary::Add | Binary::Mul) {
            return Err(refuse("it has no integer form here", STAY_FLOAT));
        }
        let shape = builder.model.tensor(output)?.shape;
        for input in &mut inputs {
            *input = repeated(builder, *input, &shape)?;
        }
    }
    let activation = call.activation(0)?;
    let op = Op::Binary {
        function,
        activation,
    };
    builder.emit(op, &inputs, output)
}

/// A constant in bytes spread out over `shape`; other values as they are.
fn repeated(
    builder: &mut Builder<'_>,
    value: ValueId,
    shape: &[usize],
) -> Result<ValueId, Refusal> {
    let operand = &builder.graph.values[value];
    let Some(data) = operand.constant.as_ref().and_then(Tensor::as_i8) else {
        return Ok(value);
    };
    let (name, quant, from) = (
        operand.name.clone(),
        operand.quant.clone(),
        operand.shape.clone(),
    );
    let data = data.to_vec();
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size));
    let missing = shape.len().checked_sub(from.len());
    let (Some(count), Some(missing)) = (count, missing) else {
        let fault = format!("broadcasts {from:?} to {shape:?}");
        return Err(Refusal::Malformed(fault));
    };
    builder.spend(count)?;
    let fits = from
        .iter()
        .zip(&shape[missing..])
        .all(|(&from, &to)| from == to || from == 1);
    if from == shape || !fits {
        return Ok(value);
    }
    let spread = (0..count)
        .map(|mut index| {
            let (mut at, mut step) = (0, 1);
            for (d, &size) in shape.iter().enumerate().rev() {
                let from = d.checked_sub(missing).map_or(1, |d| from[d]);
                at += index % size % from * step;
                step *= from;
                index /= size;
            }
            data[at]
        })
        .collect();
    Ok(builder.add_constant(&name, Tensor::i8(shape, spread), quant)?)
}

fn softmax(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    builder.in_integers(&[input], call)?;
    let beta = call.float(0)?;
    if beta != 1.0 {
        return Err(refuse(
            format!("its beta is {beta}, expected 1"),
            "scale the logits before it",
        ));
    }
    let axis = builder.shape(input).len().saturating_sub(1);
    builder.emit(Op::Softmax { axis }, &[input], call.output()?)
}

/// The function that changes the type alone.
const SAME: Op = Op::Unary {
    function: Unary::Affine {
        alpha: 1.0,
        beta: 0.0,
    },
};

fn quantize(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    let output = call.output()?;
    let info = builder.model.tensor(output)?;
    let quant = super::activation_quant(&info)?;
    if builder.quant(input) == quant.as_ref() && builder.shape(input) == info.shape {
        return builder.define(output, input);
    }
    builder.emit(SAME, &[input], output)
}

fn dequantize(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let (input, output) = (call.input(0)?, call.output()?);
    if !builder.is_constant(input)? {
        let input = builder.value(input)?;
        return builder.emit(SAME, &[input], output);
    }
    let info = builder.model.tensor(input)?;
    let elements = builder.elements(&info)?;
    builder.spend(elements.len() * size_of::<f32>())?;
    let real = dequantized(&info, &elements)?;
    let name = builder.model.tensor(output)?.name;
    let value = builder.add_constant(name, real, None)?;
    builder.define(output, value)
}

/// An operator of one input that only moves elements.
fn moved(builder: &mut Builder<'_>, call: &Call<'_>, op: Op) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    builder.keeps_quant(&[input], call)?;
    builder.emit(op, &[input], call.output()?)
}

fn transpose(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let permutation = builder.settings(call.input(1)?, "permutation")?;
    let permutation = axes(&permutation, permutation.len())?;
    moved(builder, call, Op::Transpose { permutation })
}

/// Axes of a value, counted from the front.
pub(super) fn axes(axes: &[i32], rank: usize) -> Result<Vec<usize>, Refusal> {
    axes.iter()
        .map(|&axis| {
            let turned = i64::from(axis) + if axis < 0 { rank as i64 } else { 0 };
            usize::try_from(turned)
                .ok()
                .filter(|&axis| axis < rank)
                .ok_or_else(|| {
                    Refusal::Malformed(format!("names dimension {axis} of {rank} dimensions"))
                })
        })
        .collect()
}

fn pad(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let sizes = builder.settings(call.input(1)?, "padding")?;
    let side = |side: usize| -> Result<Vec<usize>, Refusal> {
        let sizes = sizes.iter().skip(side).step_by(2);
        sizes
            .map(|&size| {
                usize::try_from(size)
                    .map_err(|_| Refusal::Malformed(format!("has the padding {size}")))
            })
            .collect()
    };
    let (before, after) = (side(0)?, side(1)?);
    let value = match call.optional_input(2) {
        Some(tensor) if call.code() == code::PADV2 => padding_value(builder, tensor)?,
        _ => 0.0,
    };
    let op = Op::Pad {
        before,
        after,
        value,
    };
    moved(builder, call, op)
}

fn padding_value(builder: &mut Builder<'_>, tensor: usize) -> Result<f32, Refusal> {
    if !builder.is_constant(tensor)? {
        return Err(refuse("its padding is computed", END_BEFORE));
    }
    let info = builder.model.tensor(tensor)?;
    let elements = builder.elements(&info)?;
    match dequantized(&info, &elements)?.as_f32() {
        Some(&[value]) => Ok(value),
        _ => Err(Refusal::Malformed(
            "pads with a value that is no number".into(),
        )),
    }
}

fn concatenation(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let mut inputs = Vec::new();
    while let Some(tensor) = call.optional_input(inputs.len()) {
        inputs.push(builder.value(tensor)?);
    }
    let first = call.input(0)?;
    builder.keeps_quant(&inputs, call)?;
    if call.activation(1)? != Activation::None {
        return Err(refuse(
            "it has a fused activation",
            "keep the activation apart",
        ));
    }
    let rank = builder.model.tensor(first)?.shape.len();
    let axis = axes(&[call.number(0, 0)?], rank)?[0];
    let (name, quant) = (
        builder.model.tensor(call.output()?)?.name,
        builder.quant(inputs[0]).cloned(),
    );
    while inputs.len() > JOINED_AT_ONCE {
        let rest = inputs.split_off(JOINED_AT_ONCE);
        let mut shape = builder.shape(inputs[0]).to_vec();
        let sizes = inputs
            .iter()
            .filter_map(|&input| builder.shape(input).get(axis));
        shape[axis] = sizes.fold(0, |sum: usize, &size| sum.saturating_add(size));
        let part = format!("{name}.part");
        let joined =
            builder.emit_part(&part, Op::Concat { axis }, &inputs, &shape, quant.clone())?;
        inputs = [vec![joined], rest].concat();
    }
    builder.emit(Op::Concat { axis }, &inputs, call.output()?)
}

/// Where one dimension is cut.
struct Cut {
    start: usize,
    step: usize,
    count: usize,
}

fn strided_slice(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    builder.keeps_quant(&[input], call)?;
    let begin = builder.settings(call.input(1)?, "begin")?;
    let end = builder.settings(call.input(2)?, "end")?;
    let strides = builder.settings(call.input(3)?, "strides")?;
    let mask = |field: usize| call.number(field, 0);
    if mask(2)? != 0 || mask(3)? != 0 {
        return Err(refuse("it has an ellipsis or a new axis", END_BEFORE));
    }
    let shape = builder.shape(input).to_vec();
    let whole = [&begin, &end, &strides]
        .iter()
        .all(|list| list.len() == shape.len());
    if !whole {
        let fault = format!("cuts {} dimensions of {shape:?}", begin.len());
        return Err(Refusal::Malformed(fault));
    }
    let (begin_mask, end_mask, shrink_mask) = (mask(0)?, mask(1)?, mask(4)?);
    let offset = call.byte(5)? != 0;
    let cuts = (0..shape.len())
        .map(|d| {
            let set = |mask: i32| mask >> d & 1 != 0;
            let from = if set(begin_mask) { 0 } else { begin[d] };
            let to = match end[d] {
                _ if set(shrink_mask) => None,
                to if offset => Some(i64::from(to) + i64::from(from)),
                to => Some(i64::from(to)),
            };
            cut(
                shape[d],
                from,
                to.filter(|_| !set(end_mask)),
                strides[d],
                set(shrink_mask),
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let op = Op::Slice {
        starts: cuts.iter().map(|cut| cut.start).collect(),
        steps: cuts.iter().map(|cut| cut.step).collect(),
    };
    if shrink_mask == 0 {
        return builder.emit(op, &[input], call.output()?);
    }
    let (name, quant) = (
        builder.model.tensor(call.output()?)?.name,
        builder.quant(input).cloned(),
    );
    let counts: Vec<usize> = cuts.iter().map(|cut| cut.count).collect();
    let part = builder.emit_part(&format!("{name}.cut"), op, &[input], &counts, quant)?;
    builder.emit(Op::Reshape, &[part], call.output()?)
}

/// One dimension of a strided slice, up to its end where `to` is `None`; a single element where the dimension goes.
fn cut(size: usize, from: i32, to: Option<i64>, step: i32, single: bool) -> Result<Cut, Refusal> {
    let Some(step) = usize::try_from(step).ok().filter(|&step| step > 0) else {
        return Err(refuse(
            format!("its stride is {step}, expected 1 or more"),
            END_BEFORE,
        ));
    };
    let size = size as i64;
    let inside = |at: i64| (if at < 0 { at + size } else { at }).clamp(0, size);
    let start = inside(from.into());
    let end = if single {
        (start + 1).min(size)
    } else {
        to.map_or(size, inside)
    };
    let length = (end - start).max(0) as usize;
    Ok(Cut {
        start: start as usize,
        step,
        count: length.div_ceil(step),
    })
}

/// The elements in another order: element `at(index)` of `tensor` becomes `index`.
pub(super) fn reordered(tensor: &Tensor, shape: &[usize], at: impl Fn(usize) -> usize) -> Tensor {
    match &tensor.data {
        TensorData::F32(data) => Tensor::f32(shape, (0..data.len()).map(|i| data[at(i)]).collect()),
        TensorData::I32(data) => Tensor::i32(shape, (0..data.len()).map(|i| data[at(i)]).collect()),
        TensorData::I8(data) => Tensor::i8(shape, (0..data.len()).map(|i| data[at(i)]).collect()),
    }
}
