//! Nodes in integers, as the TFLite quantisation specification has them.

use pinhole_graph::op::{Activation, Binary, Reduce};
use pinhole_graph::{IntegerRules, Node, Op, QuantDType, QuantParams};
use pinhole_runtime::kernel::requantize::quantize_multiplier;
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::{
    AddParams, ConcatParams, MeanParams, MulParams, OpKind, PadParams, PoolParams, SliceParams,
};
use zerocopy::IntoBytes;

use crate::litert;
use crate::lower::{Lowering, Reason};
use crate::lower_float::{WindowSizes, weight_shape, window};
use crate::lower_product as product;
use crate::lower_tables as tables;
use crate::lower_transformer as transformer;

/// TFLite's ADD shifts its inputs left by this before it scales them.
const ADD_LEFT_SHIFT: i32 = 20;

/// Whether the runtime has an integer operator for `node`, whose values are all quantised.
pub(crate) fn supports(state: &Lowering<'_>, node: &Node) -> bool {
    let Some(output) = &state.graph.values[node.output].quant else {
        return false;
    };
    let computed = |input: usize| {
        node.inputs
            .get(input)
            .is_some_and(|&id| state.graph.values[id].constant.is_none())
    };
    let dtype = |input: usize| {
        node.inputs
            .get(input)
            .and_then(|&id| state.out.value_map[id])
            .map(|value| state.out.values[value].dtype)
    };
    let bytes_in = dtype(0) == Some(DType::I8) && computed(0);
    let bytes_out = output.dtype == QuantDType::I8;
    match &node.op {
        Op::Conv2d { groups, .. } if dtype(0) == Some(DType::I16) => {
            *groups > 1 && weight_shape(state, node).is_ok_and(|[.., c]| c == 1)
        }
        Op::Conv2d { groups, .. } => bytes_in && (bytes_out || *groups == 1),
        Op::Linear { .. } => bytes_in,
        Op::GlobalAvgPool => computed(0),
        Op::NormalizeEmbedding => computed(0) && bytes_out,
        Op::Unary { .. } if dtype(0) == Some(DType::I16) => computed(0),
        Op::ChannelUnary { .. } if dtype(0) == Some(DType::I16) => computed(0) && !bytes_out,
        Op::Unary { .. } | Op::ChannelUnary { .. } => bytes_in && bytes_out,
        // Queries of a pool are learned: constants.
        Op::Attention { .. } => {
            bytes_out && (0..3).all(|input| !computed(input) || dtype(input) == Some(DType::I8))
        }
        Op::Softmax { axis } => {
            let rank = state.graph.values[node.inputs[0]].shape.len();
            bytes_in && axis + 1 == rank && output.scales == [1.0 / 256.0]
        }
        Op::LayerNorm { .. } => computed(0),
        Op::Embedding => {
            let table = &state.graph.values[node.inputs[1]];
            dtype(0) == Some(DType::I32) && table.quant.is_some()
        }
        Op::Reduce {
            function: Reduce::Mean,
            axes,
            ..
        } => computed(0) && over_tokens(state, node, axes),
        Op::Binary {
            function: Binary::Add | Binary::Sub,
            ..
        } if is_wide_sum(state, node) => true,
        Op::Binary {
            function: Binary::Add | Binary::Mul,
            ..
        } => {
            let bytes = |input| dtype(input) == Some(DType::I8) && computed(input);
            let constant = |input| bytes_of(state, node, input).is_some();
            (bytes(0) || constant(0))
                && (bytes(1) || constant(1))
                && bytes_out
                && operands(state, node).is_some()
        }
        Op::AvgPool {
            padding,
            count_include_pad,
            ..
        } => {
            bytes_in
                && bytes_out
                && same_quant(state, node)
                && !(*count_include_pad && padding.iter().any(|&p| p > 0))
        }
        Op::MaxPool { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. } => {
            computed(0) && same_quant(state, node)
        }
        Op::Concat { .. } => same_quant(state, node),
        _ => false,
    }
}

/// The elements of a constant input that holds bytes.
fn bytes_of<'a>(state: &Lowering<'a>, node: &Node, input: usize) -> Option<&'a [i8]> {
    let graph = state.graph;
    let &id = node.inputs.get(input)?;
    graph.values[id].constant.as_ref()?.as_i8()
}

/// Whether a mean runs over all dimensions but the last.
fn over_tokens(state: &Lowering<'_>, node: &Node, axes: &[usize]) -> bool {
    let rank = state.graph.values[node.inputs[0]].shape.len();
    (0..rank - 1).all(|d| axes.contains(&d) || state.graph.values[node.inputs[0]].shape[d] == 1)
        && !axes.contains(&(rank - 1))
}

/// Whether a sum has an operand in 16 bits, its output too, or a constant beside a computed value.
fn is_wide_sum(state: &Lowering<'_>, node: &Node) -> bool {
    if (0..node.inputs.len()).any(|input| bytes_of(state, node, input).is_some()) {
        return false;
    }
    let value = |id: usize| &state.graph.values[id];
    let constants = node
        .inputs
        .iter()
        .filter(|&&id| value(id).constant.is_some())
        .count();
    let same_shape = node
        .inputs
        .iter()
        .all(|&id| value(id).constant.is_some() || value(id).shape == value(node.output).shape);
    let wide_output = value(node.output)
        .quant
        .as_ref()
        .is_some_and(|quant| quant.dtype == QuantDType::I16);
    let wide_input = node.inputs.iter().any(|&id| {
        state.out.value_map[id].is_some_and(|value| state.out.values[value].dtype == DType::I16)
    });
    same_shape && constants < 2 && (constants == 1 || wide_output || wide_input)
}

/// Whether every computed input has the output's scale and zero point.
fn same_quant(state: &Lowering<'_>, node: &Node) -> bool {
    let Some(output) = &state.graph.values[node.output].quant else {
        return false;
    };
    let dtype = match output.dtype {
        QuantDType::I8 => DType::I8,
        QuantDType::I16 => DType::I16,
    };
    let joins = matches!(node.op, Op::Concat { .. });
    node.inputs.iter().all(|&id| {
        joins && state.graph.values[id].constant.is_some()
            || state.out.value_map[id]
                .map(|value| &state.out.values[value])
                .is_some_and(|value| {
                    value.dtype == dtype
                        && [value.scale] == output.scales[..]
                        && value.zero_point == output.zero_point
                })
    })
}

/// The operands of a sum or product in the order that the operator takes them: the one that repeats last.
fn operands(state: &Lowering<'_>, node: &Node) -> Option<[usize; 2]> {
    let [a, b] = node.inputs[..].try_into().ok()?;
    let shape = |id: usize| &state.graph.values[id].shape[..];
    if shape(a) == shape(b) {
        return Some([a, b]);
    }
    let repeats = |long: usize, short: usize| {
        let (long, short) = (shape(long), shape(short));
        long.last() == short.last() && short[..short.len() - 1].iter().all(|&d| d == 1)
    };
    match &node.op {
        Op::Binary {
            function: Binary::Mul,
            ..
        } if repeats(a, b) => Some([a, b]),
        Op::Binary {
            function: Binary::Mul,
            ..
        } if repeats(b, a) => Some([b, a]),
        _ => None,
    }
}

/// Adds the operator that computes `node` in integers; [`supports`] holds.
pub(crate) fn lower(state: &mut Lowering<'_>, node: &Node) -> Result<(), Reason> {
    match &node.op {
        Op::Conv2d {
            stride,
            padding,
            dilation,
            groups,
            activation,
        } => product::conv(
            state,
            node,
            window([0, 0], *stride, *padding, *dilation),
            *groups,
            *activation,
        ),
        Op::Linear { activation } => product::linear(state, node, *activation),
        Op::Binary {
            function: Binary::Add,
            activation,
        } if is_wide_sum(state, node) => transformer::add(state, node, [1, 1], *activation),
        Op::Binary {
            function: Binary::Sub,
            activation,
        } => transformer::add(state, node, [1, -1], *activation),
        Op::Binary {
            function: Binary::Add,
            activation,
        } => add(state, node, *activation),
        Op::Embedding => transformer::embedding(state, node),
        Op::LayerNorm { epsilon } => transformer::layer_norm(state, node, *epsilon),
        Op::Attention {
            num_heads,
            scale,
            windows,
            causal,
        } => transformer::attention(state, node, [*num_heads, *windows], *scale, *causal),
        Op::Softmax { .. } => transformer::softmax(state, node),
        Op::Reduce { .. } => transformer::mean(state, node),
        Op::Binary { activation, .. } => mul(state, node, *activation),
        Op::Unary { function } => tables::one(state, node, *function),
        Op::ChannelUnary { function } => tables::by_channel(state, node, *function),
        Op::AvgPool {
            kernel,
            stride,
            padding,
            ..
        } => pool(
            state,
            node,
            OpKind::AvgPoolS8,
            window(*kernel, *stride, *padding, [1, 1]),
        ),
        Op::MaxPool {
            kernel,
            stride,
            padding,
        } => pool(
            state,
            node,
            OpKind::MaxPoolS8,
            window(*kernel, *stride, *padding, [1, 1]),
        ),
        Op::GlobalAvgPool
            if layer_input(state, node)?.dtype == DType::I16
                || activation_quant(state, node.output)?.dtype == DType::I16 =>
        {
            transformer::mean(state, node)
        }
        Op::GlobalAvgPool => mean(state, node),
        Op::NormalizeEmbedding => {
            let source = transformer::wide(state, node.inputs[0])?;
            push_lowered(state, node, vec![source], OpKind::NormalizeS16, &[]).map(drop)
        }
        Op::Transpose { permutation } => {
            let dtype = activation_quant(state, node.output)?.dtype;
            let source = state.computed(node.inputs[0])?;
            state.transposed(node, permutation, source, dtype)
        }
        Op::Slice { starts, steps } => {
            four_at_most(state, node)?;
            let params = SliceParams {
                starts: four(starts, |v| (v as u32).into(), |_| 0.into()),
                steps: four(steps, |v| (v as u32).into(), |_| 1.into()),
            };
            push(
                state,
                node,
                &node.inputs[..1],
                OpKind::Slice,
                params.as_bytes(),
            )
            .map(drop)
        }
        Op::Concat { axis } => {
            if node.inputs.len() > 4 {
                return Err(format!(
                    "joins {} values, at most 4 at once",
                    node.inputs.len()
                ));
            }
            four_at_most(state, node)?;
            let quant = activation_quant(state, node.output)?;
            let mut parts = Vec::new();
            for &id in &node.inputs {
                let value = &state.graph.values[id];
                parts.push(match value.constant.as_ref().and_then(|c| c.as_f32()) {
                    Some(data) => transformer::constant(state, id, data, &value.shape, quant)?,
                    None => state.computed(id)?,
                });
            }
            push_lowered(
                state,
                node,
                parts,
                OpKind::Concat,
                ConcatParams {
                    axis: *axis as u8,
                    reserved: [0; 3],
                }
                .as_bytes(),
            )
            .map(drop)
        }
        Op::Pad {
            before,
            after,
            value,
        } => {
            let quant = activation_quant(state, node.output)?;
            four_at_most(state, node)?;
            let (lowest, highest) = clamp(Activation::None, &quant);
            let fill = quantized(*value, &quant).clamp(lowest, highest);
            let side = |side: &[usize]| four(side, |v| (v as u32).into(), |_| 0.into());
            let params = PadParams {
                before: side(before),
                after: side(after),
                fill: (fill as u32).into(),
            };
            push(
                state,
                node,
                &node.inputs[..1],
                OpKind::Pad,
                params.as_bytes(),
            )
            .map(drop)
        }
        _ => Err("has no integer operator".into()),
    }
}

/// Values of more dimensions are merged in front, which these operators would have to know.
fn four_at_most(state: &Lowering<'_>, node: &Node) -> Result<(), Reason> {
    let rank = state.graph.values[node.output].shape.len();
    if rank > 4 {
        return Err(format!("has {rank} dimensions, at most 4 fit"));
    }
    Ok(())
}

fn four<T: Copy>(
    values: &[usize],
    convert: impl Fn(usize) -> T,
    beyond: impl Fn(usize) -> T,
) -> [T; 4] {
    std::array::from_fn(|d| {
        values
            .get(d)
            .map_or_else(|| beyond(d), |&value| convert(value))
    })
}

/// Scale and zero point of a computed value, for its type.
#[derive(Clone, Copy)]
pub(crate) struct ActivationQuant {
    pub(crate) dtype: DType,
    pub(crate) scale: f32,
    pub(crate) zero_point: i32,
}

pub(crate) fn activation_quant(state: &Lowering<'_>, id: usize) -> Result<ActivationQuant, Reason> {
    let value = &state.graph.values[id];
    match &value.quant {
        Some(QuantParams {
            dtype,
            scales,
            zero_point,
        }) if scales.len() == 1 => Ok(ActivationQuant {
            dtype: if *dtype == QuantDType::I8 {
                DType::I8
            } else {
                DType::I16
            },
            scale: scales[0],
            zero_point: *zero_point,
        }),
        _ => Err(format!("value {} has no single scale", value.name)),
    }
}

/// The quantised number of a real one, not clamped.
fn quantized(real: f32, quant: &ActivationQuant) -> i32 {
    let scaled = (real / quant.scale).round();
    (scaled.clamp(-2e9, 2e9) as i32).saturating_add(quant.zero_point)
}

/// Limits of the output: the type's and the activation's.
pub(crate) fn clamp(activation: Activation, quant: &ActivationQuant) -> (i32, i32) {
    let (lowest, highest) = if quant.dtype == DType::I8 {
        (-128, 127)
    } else {
        (-32768, 32767)
    };
    let (min, max) = activation.range();
    let min = if min.is_finite() {
        quantized(min, quant).clamp(lowest, highest)
    } else {
        lowest
    };
    let max = if max.is_finite() {
        quantized(max, quant).clamp(lowest, highest)
    } else {
        highest
    };
    (min, max)
}

/// The input of a layer, of 8 or 16 bits.
pub(crate) fn layer_input(state: &Lowering<'_>, node: &Node) -> Result<ActivationQuant, Reason> {
    let index = state.out.value_map[node.inputs[0]].ok_or("its input is not computed")?;
    let value = &state.out.values[index];
    Ok(ActivationQuant {
        dtype: value.dtype,
        scale: value.scale,
        zero_point: value.zero_point,
    })
}

fn add(state: &mut Lowering<'_>, node: &Node, activation: Activation) -> Result<(), Reason> {
    let operands = operands(state, node).ok_or("its operands differ in shape")?;
    let scales = operand_scales(state, operands)?.map(f64::from);
    let output = activation_quant(state, node.output)?;
    let twice_largest = 2.0 * scales[0].max(scales[1]);
    let inputs = scales.map(|scale| quantize_multiplier(scale / twice_largest));
    let (output_multiplier, output_shift) = quantize_multiplier(
        twice_largest / (f64::from(1 << ADD_LEFT_SHIFT) * f64::from(output.scale)),
    );
    let (clamp_min, clamp_max) = clamp(activation, &output);
    let params = AddParams {
        left_shift: ADD_LEFT_SHIFT.into(),
        input_multiplier: inputs.map(|(multiplier, _)| multiplier.into()),
        input_shift: inputs.map(|(_, shift)| i32::from(shift).into()),
        output_multiplier: output_multiplier.into(),
        output_shift: i32::from(output_shift).into(),
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
    };
    push(state, node, &operands, OpKind::AddS8, params.as_bytes()).map(drop)
}

/// The scales of two values, computed or constant.
fn operand_scales(state: &mut Lowering<'_>, operands: [usize; 2]) -> Result<[f32; 2], Reason> {
    let mut scales = [0.0; 2];
    for (scale, id) in scales.iter_mut().zip(operands) {
        let value = state.computed(id)?;
        *scale = state.out.values[value].scale;
    }
    Ok(scales)
}

fn mul(state: &mut Lowering<'_>, node: &Node, activation: Activation) -> Result<(), Reason> {
    let operands = operands(state, node).ok_or("its operands differ in shape")?;
    let scales = operand_scales(state, operands)?;
    let output = activation_quant(state, node.output)?;
    let factor = match state.integer_rules() {
        IntegerRules::Own => {
            let [a, b] = scales.map(f64::from);
            a * b / f64::from(output.scale)
        }
        IntegerRules::LiteRt => litert::mul_factor(scales, output.scale),
    };
    let (multiplier, shift) = quantize_multiplier(factor);
    let (clamp_min, clamp_max) = clamp(activation, &output);
    let params = MulParams {
        multiplier: multiplier.into(),
        shift: i32::from(shift).into(),
        clamp_min: clamp_min.into(),
        clamp_max: clamp_max.into(),
    };
    push(state, node, &operands, OpKind::MulS8, params.as_bytes()).map(drop)
}

fn mean(state: &mut Lowering<'_>, node: &Node) -> Result<(), Reason> {
    let shape = &state.graph.values[node.inputs[0]].shape;
    let &[_, height, width, _] = &shape[..] else {
        return Err(format!("input has shape {shape:?}, expected (1, H, W, C)"));
    };
    let output = activation_quant(state, node.output)?;
    let input_scale = f64::from(layer_input(state, node)?.scale);
    let pixels = height * width;
    let (multiplier, shift) = match state.integer_rules() {
        IntegerRules::Own => {
            let factor = input_scale / (f64::from(output.scale) * pixels as f64);
            let (multiplier, shift) = quantize_multiplier(factor);
            (multiplier, shift.into())
        }
        IntegerRules::LiteRt => litert::mean_factor(input_scale / f64::from(output.scale), pixels),
    };
    let params = MeanParams {
        multiplier: multiplier.into(),
        shift: shift.into(),
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    };
    push(
        state,
        node,
        &node.inputs[..1],
        OpKind::MeanS8,
        params.as_bytes(),
    )
    .map(drop)
}

fn pool(
    state: &mut Lowering<'_>,
    node: &Node,
    kind: OpKind,
    sizes: WindowSizes,
) -> Result<(), Reason> {
    let params = PoolParams {
        window: sizes.record()?,
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    };
    push(state, node, &node.inputs[..1], kind, params.as_bytes()).map(drop)
}

/// Adds an operator over `inputs` that writes the node's output in its quantised type; returns its index.
pub(crate) fn push(
    state: &mut Lowering<'_>,
    node: &Node,
    inputs: &[usize],
    kind: OpKind,
    params: &[u8],
) -> Result<usize, Reason> {
    let inputs = inputs
        .iter()
        .map(|&input| state.computed(input))
        .collect::<Result<Vec<_>, _>>()?;
    push_lowered(state, node, inputs, kind, params)
}

/// As [`push`], over lowered values.
pub(crate) fn push_lowered(
    state: &mut Lowering<'_>,
    node: &Node,
    inputs: Vec<usize>,
    kind: OpKind,
    params: &[u8],
) -> Result<usize, Reason> {
    let dtype = activation_quant(state, node.output)?.dtype;
    let output = state.add_value_like(node.output, dtype)?;
    state.push(node.name.clone(), kind, inputs, output).params = params.to_vec();
    Ok(state.out.ops.len() - 1)
}
