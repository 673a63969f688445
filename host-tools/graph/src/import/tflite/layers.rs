//! Layers: convolutions, fully connected layers, pooling and means.

use super::build::{Builder, Refusal, activation_quant, dequantized, refuse, weight_quant};
use super::lower::{Call, END_BEFORE, STAY_FLOAT, axes, reordered};
use super::schema::code;
use crate::op::{Activation, Reduce, Unary};
use crate::{Op, ValueId};

/// Of the schema: as much padding as keeps the size but for the stride.
const SAME_PADDING: u8 = 0;

/// Height, width, channels.
fn picture(builder: &Builder<'_>, value: ValueId) -> Result<[usize; 3], Refusal> {
    match *builder.shape(value) {
        [_, height, width, channels] => Ok([height, width, channels]),
        ref found => Err(Refusal::Malformed(format!(
            "reads shape {found:?}, expected (1, height, width, channels)"
        ))),
    }
}

/// Elements that SAME puts before and behind a picture, the smaller half in front: top, left, bottom, right.
pub(crate) fn same_padding(
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> [usize; 4] {
    let mut padding = [0; 4];
    for side in 0..2 {
        let reach = kernel[side]
            .saturating_sub(1)
            .saturating_mul(dilation[side]);
        let steps = size[side].div_ceil(stride[side]).saturating_sub(1);
        let needed = steps
            .saturating_mul(stride[side])
            .saturating_add(reach)
            .saturating_add(1);
        let missing = needed.saturating_sub(size[side]);
        padding[side] = missing / 2;
        padding[side + 2] = missing - missing / 2;
    }
    padding
}

/// Padding of a layer.
fn padding(
    same: bool,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> [usize; 4] {
    match same {
        true => same_padding(size, kernel, stride, dilation),
        false => [0; 4],
    }
}

/// Stride of a convolution or of pooling, height first.
fn stride(call: &Call<'_>) -> Result<[usize; 2], Refusal> {
    Ok([
        call.positive(2, 0, "stride")?,
        call.positive(1, 0, "stride")?,
    ])
}

/// Weights and bias of a layer, as constants of the graph.
///
/// `channels` are along `dimension` of the tensor; `turn` brings the elements into the order of the graph.
fn parameters(
    builder: &mut Builder<'_>,
    call: &Call<'_>,
    integers: bool,
    dimension: usize,
    turn: impl Fn(&crate::Tensor) -> crate::Tensor,
) -> Result<Vec<ValueId>, Refusal> {
    let weight = call.input(1)?;
    let mut values = Vec::new();
    if !builder.is_constant(weight)? {
        // Floats that DEQUANTIZE made of a constant.
        let known = builder.values[weight].and_then(|value| {
            let value = &builder.graph.values[value];
            Some((value.name.clone(), value.constant.clone()?))
        });
        let Some((name, tensor)) = known.filter(|_| !integers) else {
            return Err(refuse("its weights are computed", END_BEFORE));
        };
        values.push(builder.add_constant(&name, turn(&tensor), None)?);
    } else {
        let info = builder.model.tensor(weight)?;
        let elements = builder.elements(&info)?;
        let channels = info.shape.get(dimension).copied().unwrap_or(0);
        let (tensor, quant) = if integers {
            if elements.as_i8().is_none() {
                return Err(refuse("its weights are not int8", STAY_FLOAT));
            }
            (elements, Some(weight_quant(&info, dimension, channels)?))
        } else {
            (dequantized(&info, &elements)?, None)
        };
        values.push(builder.add_constant(info.name, turn(&tensor), quant)?);
    }
    if let Some(bias) = call.optional_input(2) {
        values.push(bias_value(builder, bias, integers)?);
    }
    Ok(values)
}

/// A bias: int32 in units of the sum, or f32.
fn bias_value(
    builder: &mut Builder<'_>,
    tensor: usize,
    integers: bool,
) -> Result<ValueId, Refusal> {
    if !integers {
        return builder.value(tensor);
    }
    if !builder.is_constant(tensor)? {
        return Err(refuse("its bias is computed", END_BEFORE));
    }
    let info = builder.model.tensor(tensor)?;
    let elements = builder.elements(&info)?;
    if elements.as_i32().is_none() {
        return Err(refuse("its bias is not int32", STAY_FLOAT));
    }
    Ok(builder.add_constant(info.name, elements, None)?)
}

/// Shape of the weights, of four dimensions.
fn kernel_shape(builder: &Builder<'_>, call: &Call<'_>) -> Result<[usize; 4], Refusal> {
    let shape = builder.model.tensor(call.input(1)?)?.shape;
    shape.as_slice().try_into().map_err(|_| {
        Refusal::Malformed(format!(
            "has weights of shape {shape:?}, expected four dimensions"
        ))
    })
}

/// `CONV_2D`: weights (out, kh, kw, in / groups).
pub(super) fn conv(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    let [height, width, channels] = picture(builder, input)?;
    let [_, kernel_h, kernel_w, per_group] = kernel_shape(builder, call)?;
    let groups = channels.checked_div(per_group).unwrap_or(0);
    let stride = stride(call)?;
    let dilation = [
        call.positive(5, 1, "dilation")?,
        call.positive(4, 1, "dilation")?,
    ];
    let same = call.byte(0)? == SAME_PADDING;
    let op = Op::Conv2d {
        stride,
        padding: padding(
            same,
            [height, width],
            [kernel_h, kernel_w],
            stride,
            dilation,
        ),
        dilation,
        groups,
        activation: call.activation(3)?,
    };
    let integers = builder.in_integers(&[input], call)?;
    let parameters = parameters(builder, call, integers, 0, Clone::clone)?;
    let inputs = [vec![input], parameters].concat();
    builder.emit(op, &inputs, call.output()?)
}

/// `DEPTHWISE_CONV_2D`: weights (1, kh, kw, out) become (out, kh, kw, 1).
pub(super) fn depthwise_conv(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    let [height, width, channels] = picture(builder, input)?;
    let [one, kernel_h, kernel_w, out] = kernel_shape(builder, call)?;
    if one != 1 {
        let fault = format!("has weights of {one} batches, expected 1");
        return Err(Refusal::Malformed(fault));
    }
    // A picture of one channel is convolved by all kernels: no depthwise convolution at all.
    if channels != 1 && out != channels {
        return Err(refuse(
            format!("makes {out} channels of {channels}, expected as many"),
            "rewrite it as depthwise convolutions of as many channels, joined",
        ));
    }
    let stride = stride(call)?;
    let dilation = [
        call.positive(6, 1, "dilation")?,
        call.positive(5, 1, "dilation")?,
    ];
    let same = call.byte(0)? == SAME_PADDING;
    let op = Op::Conv2d {
        stride,
        padding: padding(
            same,
            [height, width],
            [kernel_h, kernel_w],
            stride,
            dilation,
        ),
        dilation,
        groups: channels,
        activation: call.activation(4)?,
    };
    let integers = builder.in_integers(&[input], call)?;
    let parameters = parameters(builder, call, integers, 3, |tensor| {
        let taps = tensor.len().checked_div(out).unwrap_or(0);
        reordered(tensor, &[out, kernel_h, kernel_w, 1], |index| {
            index % taps * out + index / taps
        })
    })?;
    let inputs = [vec![input], parameters].concat();
    builder.emit(op, &inputs, call.output()?)
}

/// `FULLY_CONNECTED`: weights (n, k) over rows of k elements, however the input is shaped.
pub(super) fn fully_connected(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let mut input = builder.value(call.input(0)?)?;
    let output = builder.model.tensor(call.output()?)?;
    let &[n, k] = &builder.model.tensor(call.input(1)?)?.shape[..] else {
        return Err(Refusal::Malformed("has weights that are no matrix".into()));
    };
    if call.byte(1)? != 0 {
        return Err(refuse(
            "its weights are shuffled",
            "convert the model again",
        ));
    }
    let integers = builder.in_integers(&[input], call)?;
    let parameters = parameters(builder, call, integers, 0, Clone::clone)?;
    let activation = call.activation(0)?;
    let op = Op::Linear { activation };
    let shape = builder.shape(input).to_vec();
    let direct = shape.split_last().zip(output.shape.split_last());
    if direct.is_some_and(|((&last, front), (_, out))| last == k && front == out) {
        let inputs = [vec![input], parameters].concat();
        return builder.emit(op, &inputs, call.output()?);
    }
    let elements: usize = shape.iter().product();
    let rows = elements.checked_div(k).unwrap_or(0);
    let quant = builder.quant(input).cloned();
    let name = format!("{}.rows", output.name);
    input = builder.emit_part(&name, Op::Reshape, &[input], &[rows, k], quant)?;
    let inputs = [vec![input], parameters].concat();
    if output.shape == [rows, n] {
        return builder.emit(op, &inputs, call.output()?);
    }
    let quant = activation_quant(&output)?;
    let name = format!("{}.product", output.name);
    let product = builder.emit_part(&name, op, &inputs, &[rows, n], quant)?;
    builder.emit(Op::Reshape, &[product], call.output()?)
}

/// `AVERAGE_POOL_2D` and `MAX_POOL_2D`, neither of which counts padding.
pub(super) fn pool(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    builder.keeps_quant(&[input], call)?;
    let [height, width, _] = picture(builder, input)?;
    let kernel = [
        call.positive(4, 0, "filter height")?,
        call.positive(3, 0, "filter width")?,
    ];
    let stride = stride(call)?;
    let same = call.byte(0)? == SAME_PADDING;
    let padding = padding(same, [height, width], kernel, stride, [1, 1]);
    let op = match call.code() {
        code::MAX_POOL_2D => Op::MaxPool {
            kernel,
            stride,
            padding,
        },
        _ => Op::AvgPool {
            kernel,
            stride,
            padding,
            count_include_pad: false,
        },
    };
    let activation = call.activation(5)?;
    if activation == Activation::None {
        return builder.emit(op, &[input], call.output()?);
    }
    let output = builder.model.tensor(call.output()?)?;
    let (name, quant) = (
        format!("{}.pooled", output.name),
        activation_quant(&output)?,
    );
    let pooled = builder.emit_part(&name, op, &[input], &output.shape, quant)?;
    let (min, max) = activation.range();
    let function = Unary::Clip { min, max };
    builder.emit(Op::Unary { function }, &[pooled], call.output()?)
}

/// `MEAN`; in integers over height and width.
pub(super) fn mean(builder: &mut Builder<'_>, call: &Call<'_>) -> Result<(), Refusal> {
    let input = builder.value(call.input(0)?)?;
    let shape = builder.shape(input).to_vec();
    let listed = builder.settings(call.input(1)?, "axes")?;
    let mut axes = axes(&listed, shape.len())?;
    axes.sort_unstable();
    axes.dedup();
    let keep_dims = call.byte(0)? != 0;
    let integers = builder.in_integers(&[input], call)?;
    let output = builder.model.tensor(call.output()?)?;
    match (&shape[..], &axes[..]) {
        (&[1, _, _, channels], [1, 2]) => {
            if keep_dims {
                return builder.emit(Op::GlobalAvgPool, &[input], call.output()?);
            }
            let quant = activation_quant(&output)?;
            let name = format!("{}.pooled", output.name);
            let pooled = [1, 1, 1, channels];
            let mean = builder.emit_part(&name, Op::GlobalAvgPool, &[input], &pooled, quant)?;
            builder.emit(Op::Reshape, &[mean], call.output()?)
        }
        _ if integers => Err(refuse(
            format!("averages dimensions {axes:?} of {shape:?}, in integers only height and width"),
            STAY_FLOAT,
        )),
        _ => {
            let op = Op::Reduce {
                function: Reduce::Mean,
                axes,
                keep_dims,
            };
            builder.emit(op, &[input], call.output()?)
        }
    }
}
