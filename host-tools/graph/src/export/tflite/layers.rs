//! Layers: convolutions, fully connected layers, pooling and means.

use super::flatbuffer::Field;
use super::moves::Filling;
use super::tensor::{Elements, Scales};
use super::{Call, Exporter, Numbers, Refusal, WRITE_ONNX, refuse};
use crate::import::tflite::{code, same_padding};
use crate::op::Activation;
use crate::{Node, Op, QuantParams, Tensor, TensorData, ValueId};

/// Of the schema.
const SAME: u8 = 0;
const VALID: u8 = 1;
/// Numbers of options.
const CONV_OPTIONS: u8 = 1;
const DEPTHWISE_OPTIONS: u8 = 2;
const POOL_OPTIONS: u8 = 5;
const FULLY_CONNECTED_OPTIONS: u8 = 8;
const REDUCER_OPTIONS: u8 = 27;
/// Versions: int8 came with the third of convolutions and the fourth of fully connected layers, which keep dimensions
/// since the fifth and have scales for each channel since the twelfth.
const CONV_INTEGERS: i32 = 3;
const FULLY_CONNECTED_INTEGERS: i32 = 4;
const FULLY_CONNECTED_KEEPING: i32 = 5;
const FULLY_CONNECTED_PER_CHANNEL: i32 = 12;
/// Dilation of depthwise convolutions came with the second version.
const DEPTHWISE_DILATED: i32 = 2;

/// The number of a fused activation.
pub(super) fn activation(activation: Activation) -> Field {
    Field::U8(match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 3,
    })
}

/// A number of options.
pub(super) fn int(number: usize) -> Field {
    Field::I32(number as i32)
}

/// How a window slides over a picture.
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
}

/// Weights and bias as tensors.
struct Parameters {
    weight: i32,
    bias: i32,
    /// Whether each output channel has a scale.
    per_channel: bool,
}

impl<'a> Exporter<'a> {
    pub(super) fn conv(
        &mut self,
        node: &Node,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let Op::Conv2d {
            stride,
            padding,
            dilation,
            groups,
            activation: fused,
        } = node.op
        else {
            return Ok(());
        };
        let weight = self.weight(node)?;
        let &[out, kernel_h, kernel_w, per_group] = &weight.shape[..] else {
            let reason = format!("its weights have shape {:?}, expected four", weight.shape);
            return Err(refuse(reason, WRITE_ONNX));
        };
        let window = Window {
            kernel: [kernel_h, kernel_w],
            stride,
            padding,
            dilation,
        };
        let (x, same) = self.padded(node.inputs[0], numbers, &window, Filling::Zero)?;
        let depthwise = groups > 1 && per_group == 1;
        let parameters = if depthwise {
            let taps = kernel_h * kernel_w;
            let shape = [1, kernel_h, kernel_w, out];
            self.parameters(node, numbers, &shape, 3, |at| at % out * taps + at / out)?
        } else {
            self.parameters(node, numbers, &weight.shape, 0, |at| at)?
        };
        let integers = numbers == Numbers::Integers;
        let [height, width] = dilation.map(int);
        let common = [
            (0, Field::U8(same)),
            (1, int(stride[1])),
            (2, int(stride[0])),
        ];
        let (call, rest) = if depthwise {
            let dilated = if dilation == [1, 1] {
                1
            } else {
                DEPTHWISE_DILATED
            };
            let version = if integers { CONV_INTEGERS } else { dilated };
            let rest = vec![
                (3, int(out / groups)),
                (4, activation(fused)),
                (5, width),
                (6, height),
            ];
            ((code::DEPTHWISE_CONV_2D, version, DEPTHWISE_OPTIONS), rest)
        } else {
            let version = if integers { CONV_INTEGERS } else { 1 };
            let rest = vec![(3, activation(fused)), (4, width), (5, height)];
            ((code::CONV_2D, version, CONV_OPTIONS), rest)
        };
        let call = Call::with(call.0, call.1, call.2, common.into_iter().chain(rest));
        self.operator(call, &[x, parameters.weight, parameters.bias], output);
        Ok(())
    }

    pub(super) fn linear(
        &mut self,
        node: &Node,
        fused: Activation,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let shape = self.weight(node)?.shape.clone();
        let x = self.operand(node.inputs[0], numbers)?;
        let parameters = self.parameters(node, numbers, &shape, 0, |at| at)?;
        let keeps = self.graph.values[node.output].shape.len() != 2;
        let version = match (numbers, parameters.per_channel, keeps) {
            (Numbers::Integers, true, _) => FULLY_CONNECTED_PER_CHANNEL,
            (_, _, true) => FULLY_CONNECTED_KEEPING,
            (Numbers::Integers, ..) => FULLY_CONNECTED_INTEGERS,
            (Numbers::Floats, ..) => 1,
        };
        let fields = [(0, activation(fused)), (2, Field::U8(keeps.into()))];
        let call = Call::with(
            code::FULLY_CONNECTED,
            version,
            FULLY_CONNECTED_OPTIONS,
            fields,
        );
        self.operator(call, &[x, parameters.weight, parameters.bias], output);
        Ok(())
    }

    pub(super) fn weight(&self, node: &Node) -> Result<&'a Tensor, Refusal> {
        let weight = self.graph.values[node.inputs[1]].constant.as_ref();
        weight.ok_or_else(|| refuse("its weights are computed", WRITE_ONNX))
    }

    /// The picture that a window slides over, and the kind of padding; what neither of TFLite's kinds gives is padded
    /// apart.
    fn padded(
        &mut self,
        id: ValueId,
        numbers: Numbers,
        window: &Window,
        filling: Filling,
    ) -> Result<(i32, u8), Refusal> {
        let shape = &self.graph.values[id].shape;
        let &[_, height, width, _] = &shape[..] else {
            let reason = format!("it reads shape {shape:?}, expected (1, height, width, channels)");
            return Err(refuse(reason, WRITE_ONNX));
        };
        let x = self.operand(id, numbers)?;
        if window.padding == [0; 4] {
            return Ok((x, VALID));
        }
        let same = same_padding(
            [height, width],
            window.kernel,
            window.stride,
            window.dilation,
        );
        if window.padding == same && filling != Filling::Counted {
            return Ok((x, SAME));
        }
        let [top, left, bottom, right] = window.padding;
        let sides = [[0, top, left, 0], [0, bottom, right, 0]];
        let padded = self.padded_apart(id, x, numbers, sides, filling)?;
        Ok((padded, VALID))
    }

    /// Weights whose element `at(index)` is number `index` of `shape`, with scales along `dimension`, and the bias.
    fn parameters(
        &mut self,
        node: &Node,
        numbers: Numbers,
        shape: &[usize],
        dimension: usize,
        at: impl Fn(usize) -> usize,
    ) -> Result<Parameters, Refusal> {
        let id = node.inputs[1];
        let name = &self.graph.values[id].name;
        let constant = self.weight(node)?;
        let quant = self.graph.values[id].quant.as_ref();
        let channels = shape[dimension];
        if numbers == Numbers::Floats {
            let data = real_weights(constant, quant, channels)?;
            let data = (0..data.len()).map(|index| data[at(index)]).collect();
            let weight = self.constant(name, shape, Elements::F32(data), None);
            let bias = match node.inputs.get(2) {
                Some(&bias) => self.operand(bias, numbers)?,
                None => -1,
            };
            return Ok(Parameters {
                weight,
                bias,
                per_channel: false,
            });
        }
        let quant = quant.ok_or_else(|| refuse("its weights have no scales", WRITE_ONNX))?;
        let data = integer_weights(constant, quant, channels)?;
        let data = (0..data.len()).map(|index| data[at(index)]).collect();
        let scales = Scales {
            dimension,
            ..Scales::from(quant)
        };
        let weight = self.constant(name, shape, Elements::I8(data), Some(scales));
        Ok(Parameters {
            weight,
            bias: self.integer_bias(node, quant, channels)?,
            per_channel: quant.scales.len() > 1,
        })
    }

    /// A bias in units of the sums, zeros where there is none.
    fn integer_bias(
        &mut self,
        node: &Node,
        weight: &QuantParams,
        channels: usize,
    ) -> Result<i32, Refusal> {
        let input = self.quants[node.inputs[0]].as_ref().map(|q| q.scales[0]);
        let input = input.ok_or_else(|| refuse("its input has no scale", WRITE_ONNX))?;
        let unit = |channel: usize| {
            let scale = weight.scales[channel.min(weight.scales.len() - 1)];
            f64::from(input) * f64::from(scale)
        };
        let bias = node.inputs.get(2).map(|&bias| &self.graph.values[bias]);
        let data = match bias.map(|bias| bias.constant.as_ref().map(|c| &c.data)) {
            None => vec![0; channels],
            Some(Some(TensorData::I32(data))) => data.to_vec(),
            Some(Some(TensorData::F32(data))) => data
                .iter()
                .enumerate()
                .map(|(channel, &bias)| (f64::from(bias) / unit(channel)).round() as i32)
                .collect(),
            Some(_) => return Err(refuse("its bias is computed", WRITE_ONNX)),
        };
        let name = bias.map_or_else(|| format!("{}.bias", node.name), |bias| bias.name.clone());
        let scales = Scales {
            scales: (0..weight.scales.len())
                .map(|channel| unit(channel) as f32)
                .collect(),
            zero_point: 0,
            dimension: 0,
        };
        Ok(self.constant(&name, &[channels], Elements::I32(data), Some(scales)))
    }

    pub(super) fn pool(
        &mut self,
        node: &Node,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let (code, filling, window) = match node.op {
            Op::AvgPool {
                kernel,
                stride,
                padding,
                count_include_pad,
            } => {
                let filling = match count_include_pad {
                    true => Filling::Counted,
                    false => Filling::None,
                };
                let window = Window {
                    kernel,
                    stride,
                    padding,
                    dilation: [1, 1],
                };
                (code::AVERAGE_POOL_2D, filling, window)
            }
            Op::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let window = Window {
                    kernel,
                    stride,
                    padding,
                    dilation: [1, 1],
                };
                (code::MAX_POOL_2D, Filling::Least, window)
            }
            _ => return Ok(()),
        };
        let (x, same) = self.padded(node.inputs[0], numbers, &window, filling)?;
        let fields = [
            (0, Field::U8(same)),
            (1, int(window.stride[1])),
            (2, int(window.stride[0])),
            (3, int(window.kernel[1])),
            (4, int(window.kernel[0])),
        ];
        let call = Call::with(code, numbers.version(), POOL_OPTIONS, fields);
        self.operator(call, &[x], output);
        Ok(())
    }

    pub(super) fn mean(
        &mut self,
        input: ValueId,
        axes: &[usize],
        keep_dims: bool,
        numbers: Numbers,
        output: i32,
    ) -> Result<(), Refusal> {
        let x = self.operand(input, numbers)?;
        let axes = self.list(axes);
        let fields = [(0, Field::U8(keep_dims.into()))];
        let call = Call::with(code::MEAN, numbers.version(), REDUCER_OPTIONS, fields);
        self.operator(call, &[x, axes], output);
        Ok(())
    }
}

/// Scale of each output channel.
fn scale(quant: &QuantParams, channel: usize) -> f32 {
    quant.scales[channel.min(quant.scales.len() - 1)]
}

/// Weights (channels, …) in steps of their scales, as packing rounds them.
fn integer_weights(
    constant: &Tensor,
    quant: &QuantParams,
    channels: usize,
) -> Result<Vec<i8>, Refusal> {
    let row = (constant.len() / channels.max(1)).max(1);
    match &constant.data {
        TensorData::I8(data) => Ok(data.to_vec()),
        TensorData::F32(data) => Ok(data
            .iter()
            .enumerate()
            .map(|(index, w)| {
                let steps = (w / scale(quant, index / row)).round();
                steps.clamp(-127.0, 127.0) as i8
            })
            .collect()),
        TensorData::I32(_) => Err(refuse("its weights hold int32", WRITE_ONNX)),
    }
}

/// Weights (channels, …) as floats.
fn real_weights(
    constant: &Tensor,
    quant: Option<&QuantParams>,
    channels: usize,
) -> Result<Vec<f32>, Refusal> {
    let row = (constant.len() / channels.max(1)).max(1);
    match (&constant.data, quant) {
        (TensorData::F32(data), _) => Ok(data.to_vec()),
        (TensorData::I8(data), Some(quant)) => Ok(data
            .iter()
            .enumerate()
            .map(|(index, &q)| scale(quant, index / row) * f32::from(q))
            .collect()),
        _ => Err(refuse("its weights have no scales", WRITE_ONNX)),
    }
}
