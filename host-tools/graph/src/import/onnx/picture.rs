//! Convolution, pooling and batch normalisation: (1, C, H, W) of the file, (1, H, W, C) of the graph.

use super::attributes::Attributes;
use super::constant::Constant;
use super::lower::Call;
use super::view::{View, arrange_constant, picture_pattern};
use super::{Builder, Known, Refusal, refuse};
use crate::Op;
use crate::op::{Activation, Reduce};

/// A window over height and width.
struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
}

impl Window {
    fn of(
        attributes: Attributes<'_>,
        kernel: [usize; 2],
        picture: [usize; 2],
    ) -> Result<Self, Refusal> {
        let pair = |name: &str| -> Result<[usize; 2], Refusal> {
            let sizes = attributes.sizes(name, 2, 1)?;
            Ok([sizes[0], sizes[1]])
        };
        let (stride, dilation) = (pair("strides")?, pair("dilations")?);
        if stride.contains(&0) || dilation.contains(&0) || kernel.contains(&0) {
            return Err(refuse("a window of size or step 0", "check the file"));
        }
        let pads = attributes.sizes("pads", 4, 0)?;
        let mut padding = [pads[0], pads[1], pads[2], pads[3]];
        match attributes.text("auto_pad", "NOTSET") {
            "NOTSET" => {}
            "VALID" => padding = [0; 4],
            same @ ("SAME_UPPER" | "SAME_LOWER") => {
                for side in 0..2 {
                    let reach = (kernel[side] - 1).saturating_mul(dilation[side]) + 1;
                    let count = picture[side].div_ceil(stride[side]);
                    let wanted = ((count - 1) * stride[side]).saturating_add(reach);
                    let total = wanted.saturating_sub(picture[side]);
                    let (small, large) = (total / 2, total - total / 2);
                    (padding[side], padding[side + 2]) = if same == "SAME_UPPER" {
                        (small, large)
                    } else {
                        (large, small)
                    };
                }
            }
            other => {
                return Err(refuse(
                    format!("auto_pad {other}"),
                    "use NOTSET, VALID, SAME_UPPER or SAME_LOWER",
                ));
            }
        }
        Ok(Self {
            kernel,
            stride,
            padding,
            dilation,
        })
    }

    /// `ceil_mode` of pooling as padding behind: one more step where the division leaves a rest.
    fn round_up(&mut self, picture: [usize; 2]) {
        for (side, &size) in picture.iter().enumerate() {
            let padded = size + self.padding[side] + self.padding[side + 2];
            let Some(room) = padded.checked_sub(self.kernel[side]) else {
                continue;
            };
            let rest = room % self.stride[side];
            // A window must not begin behind the picture.
            let start = (room / self.stride[side] + 1) * self.stride[side];
            if rest > 0 && start < size + self.padding[side] {
                self.padding[side + 2] += self.stride[side] - rest;
            }
        }
    }
}

impl Builder<'_> {
    /// A value as a picture: arranged (1, H, W, C).
    fn picture(&mut self, name: &str, known: &Known) -> Result<View, Refusal> {
        let view = self.view(name, known)?;
        if view.rank() != 4 || view.shape[0] != 1 {
            return Err(refuse(
                format!(
                    "input of shape {:?}, expected (1, channels, height, width)",
                    view.shape
                ),
                "one-dimensional and three-dimensional windows are not supported",
            ));
        }
        self.arranged(&view, picture_pattern())
    }

    pub(super) fn conv(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let x = self.picture(call.name(0), call.input(0)?)?;
        let weight = call.constant(1, "weights")?;
        let &[out, per_group, kh, kw] = weight.shape.as_slice() else {
            return Err(refuse(
                format!(
                    "weights of shape {:?}, expected (out, in / groups, height, width)",
                    weight.shape
                ),
                "only two-dimensional convolutions are supported",
            ));
        };
        let groups = usize::try_from(call.attributes.int("group", 1)).unwrap_or(0);
        let channels = x.shape[1];
        if groups != 1 && !(groups == channels && per_group == 1 && out == channels) {
            return Err(refuse(
                format!(
                    "{channels} channels in {groups} groups to {out}, expected one group or one for each channel"
                ),
                "grouped convolutions other than depthwise ones are not supported; use a dense one",
            ));
        }
        let window = Window::of(call.attributes, [kh, kw], [x.shape[2], x.shape[3]])?;
        // OIHW → OHWI
        let pattern = picture_pattern();
        let mut inputs = vec![x.id, self.constant_as(call.name(1), weight, &pattern, 4)];
        self.keep_weights(call.name(1), inputs[1], 0, |steps| {
            arrange_constant(steps, &pattern, 4)
        })?;
        if let Some(bias) = call.optional_constant(2, "biases")? {
            inputs.push(self.vector(call.name(2), bias, out)?);
            self.keep_biases(call.name(2), inputs[2]);
        }
        let op = Op::Conv2d {
            stride: window.stride,
            padding: window.padding,
            dilation: window.dilation,
            groups,
            activation: Activation::None,
        };
        self.emit_picture(op, &inputs)
    }

    fn emit_picture(&mut self, op: Op, inputs: &[crate::ValueId]) -> Result<View, Refusal> {
        let id = self.emit(op, inputs, &[])?;
        let &[n, h, w, c] = self.graph.values[id].shape.as_slice() else {
            return Err(refuse("it makes no picture", "check the file"));
        };
        Ok(View {
            id,
            pattern: picture_pattern(),
            shape: vec![n, c, h, w],
        })
    }

    /// A constant of one number a channel.
    pub(super) fn vector(
        &mut self,
        name: &str,
        constant: &Constant,
        channels: usize,
    ) -> Result<crate::ValueId, Refusal> {
        let ones = constant.shape.iter().filter(|&&size| size != 1).count();
        if constant.len() != channels || ones > 1 {
            return Err(refuse(
                format!(
                    "{name} has shape {:?}, expected [{channels}]",
                    constant.shape
                ),
                "check the file",
            ));
        }
        Ok(self.constant_as(name, &constant.reshaped(&[channels]), &[Some(0)], 1))
    }

    pub(super) fn batch_norm(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        if call.attributes.int("training_mode", 0) != 0 {
            return Err(refuse(
                "batch normalisation as it runs in training",
                "export the model after model.eval()",
            ));
        }
        let view = self.view(call.name(0), call.input(0)?)?;
        if view.rank() < 2 {
            return Err(refuse("an input without channels", "check the file"));
        }
        let channels = view.shape[1];
        let x = self.with_last(&view, 1)?;
        let mut inputs = vec![x.id];
        for index in 1..5 {
            let parameter = call.constant(index, "parameters")?;
            inputs.push(self.vector(call.name(index), parameter, channels)?);
        }
        let epsilon = call.attributes.float("epsilon", 1e-5);
        let id = self.emit(Op::BatchNorm { epsilon }, &inputs, &[])?;
        Ok(View { id, ..x })
    }

    pub(super) fn pool(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let x = self.picture(call.name(0), call.input(0)?)?;
        let attributes = call.attributes;
        if call.output_count > 1 {
            return Err(refuse(
                "indices of the maxima",
                "export the model without them",
            ));
        }
        let kernel = attributes.sizes("kernel_shape", 2, 0)?;
        let picture = [x.shape[2], x.shape[3]];
        let mut window = Window::of(attributes, [kernel[0], kernel[1]], picture)?;
        if window.dilation != [1, 1] {
            return Err(refuse(
                format!("pooling with gaps {:?}", window.dilation),
                "use pooling without dilation",
            ));
        }
        let average = call.op == "AveragePool";
        let padded = window.padding != [0; 4];
        let counted = attributes.int("count_include_pad", 0) != 0 && padded;
        if attributes.int("ceil_mode", 0) != 0 {
            if counted {
                return Err(refuse(
                    "padding that counts together with ceil_mode",
                    "use one of the two",
                ));
            }
            window.round_up(picture);
        }
        if average && window.kernel == picture && window.padding == [0; 4] {
            return self.emit_picture(Op::GlobalAvgPool, &[x.id]);
        }
        let mut id = x.id;
        if average && counted {
            // Zeros around the picture count, so they become part of it.
            let [top, left, bottom, right] = window.padding;
            let op = Op::Pad {
                before: vec![0, top, left, 0],
                after: vec![0, bottom, right, 0],
                value: 0.0,
            };
            id = self.emit_part("pad", op, &[id], &[])?;
            window.padding = [0; 4];
        }
        let Window {
            kernel,
            stride,
            padding,
            ..
        } = window;
        let op = if average {
            Op::AvgPool {
                kernel,
                stride,
                padding,
                count_include_pad: false,
            }
        } else {
            Op::MaxPool {
                kernel,
                stride,
                padding,
            }
        };
        self.emit_picture(op, &[id])
    }

    pub(super) fn global_pool(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let x = self.picture(call.name(0), call.input(0)?)?;
        let function = if call.op == "GlobalMaxPool" {
            Reduce::Max
        } else {
            Reduce::Mean
        };
        self.reduced(&x, function, &[2, 3])
    }
}
