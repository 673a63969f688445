//! Convolutions whose branches of training are one at inference (Ding et al., "RepVGG", 2021,
//! <https://arxiv.org/abs/2101.03697>): a sum of convolutions of the same input, each with its batch normalisation, and of the
//! input itself, is one convolution. Arithmetic is f64, rounded once.

use super::checkpoint::Weights;
use super::layout::channels_last;
use crate::op::Activation;
use crate::{Graph, Op, Tensor, ValueId};

/// Of batch normalisation, where nothing else is said.
pub(super) const EPSILON: f64 = 1e-5;

/// A convolution of odd size over `C` channels in as many groups as C / I.
pub(super) struct Kernel {
    /// O, I, height, width.
    shape: [usize; 4],
    /// (O, I, height, width); empty where the checkpoint has a fault.
    weight: Vec<f64>,
    /// (O)
    bias: Vec<f64>,
}

/// Puts the channels of `len` numbers each so that every `multiple`-th comes first, from the first, the second, … on.
pub(super) fn reorder(numbers: &mut [f64], len: usize, multiple: usize) {
    let channels = numbers.len() / len;
    let order = (0..multiple).flat_map(|first| (first..channels).step_by(multiple));
    let moved: Vec<f64> = order
        .flat_map(|channel| &numbers[channel * len..(channel + 1) * len])
        .copied()
        .collect();
    numbers.copy_from_slice(&moved);
}

/// alpha · x + beta of each channel.
pub(super) struct ByChannel {
    pub(super) alpha: Vec<f64>,
    pub(super) beta: Vec<f64>,
}

impl Kernel {
    /// The convolution `{name}.weight`, and `{name}.bias`.
    pub(super) fn biased(weights: &mut Weights<'_>, name: &str) -> Self {
        let mut kernel = Self::plain(weights, name, &format!("{name}.bias"));
        kernel.add_bias(weights, name);
        kernel
    }

    /// The convolution `{name}.conv.weight` and the normalisation `{name}.bn` behind it.
    pub(super) fn normed(weights: &mut Weights<'_>, name: &str) -> Self {
        let mut kernel = Self::plain(weights, &format!("{name}.conv"), &format!("{name}.bn.bias"));
        let norm = ByChannel::batch_norm(weights, &format!("{name}.bn"), kernel.shape[0]);
        kernel.scale(&norm.alpha);
        kernel.bias = norm.beta;
        kernel
    }

    /// The convolution `{name}.weight` of a shape (O, I, height, width) that is known.
    pub(super) fn shaped(weights: &mut Weights<'_>, name: &str, shape: [usize; 4]) -> Self {
        Self {
            shape,
            weight: reals(&weights.take(&format!("{name}.weight"), &shape)),
            bias: vec![0.0; shape[0]],
        }
    }

    /// Adds `{name}.bias`.
    pub(super) fn add_bias(&mut self, weights: &mut Weights<'_>, name: &str) {
        let bias = reals(&weights.take(&format!("{name}.bias"), &[self.shape[0]]));
        for (sum, bias) in self.bias.iter_mut().zip(bias) {
            *sum += bias;
        }
    }

    /// What follows each output channel.
    pub(super) fn then(&mut self, function: &ByChannel) {
        self.scale(&function.alpha);
        for (bias, beta) in self.bias.iter_mut().zip(&function.beta) {
            *bias += beta;
        }
    }

    /// `{name}.weight` alone. Where it is missing, the vector `outputs` tells what the layers behind are to expect.
    fn plain(weights: &mut Weights<'_>, name: &str, outputs: &str) -> Self {
        let key = format!("{name}.weight");
        let mut shape = [0, 1, 2, 3].map(|d| weights.size(&key, d));
        if shape[0] == 0 {
            shape[0] = weights.size(outputs, 0);
        }
        let weight = reals(&weights.take(&key, &shape));
        Self {
            shape,
            weight,
            bias: vec![0.0; shape[0]],
        }
    }

    /// Channels that come out.
    pub(super) fn outputs(&self) -> usize {
        self.shape[0]
    }

    /// How many outputs each channel of an input of `channels` has; 1 where an output takes more than one of them.
    pub(super) fn multiple(&self, channels: usize) -> usize {
        match self.shape[0].checked_div(channels) {
            Some(multiple) if self.shape[1] == 1 && multiple * channels == self.shape[0] => {
                multiple.max(1)
            }
            _ => 1,
        }
    }

    /// Pixels.
    pub(super) fn rows(&self) -> usize {
        self.shape[2]
    }

    /// Multiplies what each output channel gives.
    pub(super) fn scale(&mut self, factors: &[f64]) {
        let len = self.shape[1..].iter().product::<usize>().max(1);
        for (row, factor) in self.weight.chunks_exact_mut(len).zip(factors) {
            row.iter_mut().for_each(|weight| *weight *= factor);
        }
        for (bias, factor) in self.bias.iter_mut().zip(factors) {
            *bias *= factor;
        }
    }

    /// Adds a convolution that is no larger, centre on centre.
    pub(super) fn add(&mut self, other: &Self) {
        let ([outputs, inputs, height, width], [rows, columns]) =
            (self.shape, [other.shape[2], other.shape[3]]);
        let fits = other.shape[..2] == self.shape[..2] && rows <= height && columns <= width;
        if !fits || self.weight.is_empty() || other.weight.is_empty() {
            return;
        }
        let [top, left] = [(height - rows) / 2, (width - columns) / 2];
        for plane in 0..outputs * inputs {
            for (row, line) in (0..rows).map(|row| (row, (plane * height + top + row) * width)) {
                let from = &other.weight[(plane * rows + row) * columns..][..columns];
                let onto = &mut self.weight[line + left..][..columns];
                onto.iter_mut()
                    .zip(from)
                    .for_each(|(onto, from)| *onto += from);
            }
        }
        for (bias, other) in self.bias.iter_mut().zip(&other.bias) {
            *bias += other;
        }
    }

    /// Adds a function of each channel alone, `factor` times: as many channels come out as go in.
    pub(super) fn add_by_channel(&mut self, function: &ByChannel, factor: f64) {
        let [outputs, inputs, height, width] = self.shape;
        let centre = height / 2 * width + width / 2;
        for channel in 0..outputs {
            let plane = channel * inputs + channel % inputs.max(1);
            let alpha = function.alpha.get(channel).copied().unwrap_or(0.0);
            if let Some(weight) = self.weight.get_mut(plane * height * width + centre) {
                *weight += factor * alpha;
            }
        }
        for (bias, beta) in self.bias.iter_mut().zip(&function.beta) {
            *bias += factor * beta;
        }
    }

    /// Several convolutions of one output a channel of the input, where this one has `multiple` outputs a channel: the first makes
    /// the first output of each channel. Their outputs one behind the other are in another order than those of the whole, which
    /// [`Kernel::reorder_inputs`] and [`Kernel::reorder_outputs`] give to what comes next.
    pub(super) fn depthwise(&self, multiple: usize) -> Vec<Self> {
        let len = self.shape[2..].iter().product::<usize>().max(1);
        let part = |number: usize| {
            let rows = self.weight.chunks_exact(len).skip(number);
            let bias = self.bias.iter().skip(number).step_by(multiple);
            Self {
                shape: [self.shape[0] / multiple, 1, self.shape[2], self.shape[3]],
                weight: rows.step_by(multiple).flatten().copied().collect(),
                bias: bias.copied().collect(),
            }
        };
        (0..multiple).map(part).collect()
    }

    /// Takes inputs in the order of [`Kernel::depthwise`].
    pub(super) fn reorder_inputs(&mut self, multiple: usize) {
        let len = self.shape[2..].iter().product::<usize>().max(1);
        let inputs = self.shape[1];
        for row in self.weight.chunks_exact_mut((inputs * len).max(1)) {
            reorder(row, len, multiple);
        }
    }

    /// Gives outputs in the order of [`Kernel::depthwise`].
    pub(super) fn reorder_outputs(&mut self, multiple: usize) {
        let len = self.shape[1..].iter().product::<usize>().max(1);
        reorder(&mut self.weight, len, multiple);
        reorder(&mut self.bias, 1, multiple);
    }

    /// Adds the node, padded so that stride 1 keeps the size.
    pub(super) fn node(
        &self,
        graph: &mut Graph,
        name: &str,
        stride: usize,
        activation: Activation,
        x: ValueId,
    ) -> ValueId {
        let [vertical, horizontal] = [self.shape[2] / 2, self.shape[3] / 2];
        let padding = [vertical, horizontal, vertical, horizontal];
        self.convolve(graph, name, stride, padding, activation, x)
    }

    /// Adds the node whose stride is its size, without padding.
    pub(super) fn patches(&self, graph: &mut Graph, name: &str, x: ValueId) -> ValueId {
        let stride = self.shape[2].max(1);
        self.convolve(graph, name, stride, [0; 4], Activation::None, x)
    }

    /// Adds the node. `padding`: top, left, bottom, right.
    pub(super) fn convolve(
        &self,
        graph: &mut Graph,
        name: &str,
        stride: usize,
        padding: [usize; 4],
        activation: Activation,
        x: ValueId,
    ) -> ValueId {
        let &[_, height, width, channels] = graph.values[x].shape.as_slice() else {
            return x;
        };
        let [outputs, inputs, rows, columns] = self.shape;
        let rounded = |reals: &[f64]| reals.iter().map(|&real| real as f32).collect::<Vec<_>>();
        let weight = channels_last(&fitting(&self.shape, rounded(&self.weight)));
        let bias = fitting(&[outputs], rounded(&self.bias));
        let constants = [
            graph.add_constant(format!("{name}.weight"), weight),
            graph.add_constant(format!("{name}.bias"), bias),
        ];
        let op = Op::Conv2d {
            stride: [stride; 2],
            padding,
            dilation: [1; 2],
            groups: channels.checked_div(inputs).unwrap_or(1).max(1),
            activation,
        };
        let behind = |side: usize, padding: usize, size: usize| {
            let places = (side + padding).checked_sub(size);
            places.map_or(0, |places| places / stride + 1)
        };
        let shape = [
            1,
            behind(height, padding[0] + padding[2], rows),
            behind(width, padding[1] + padding[3], columns),
            outputs,
        ];
        let inputs = [x, constants[0], constants[1]];
        graph.add_node(name, op, &inputs, &shape)
    }
}

impl ByChannel {
    /// What comes in.
    pub(super) fn identity(channels: usize) -> Self {
        Self {
            alpha: vec![1.0; channels],
            beta: vec![0.0; channels],
        }
    }

    /// Batch normalisation as it runs after training, with the ε of PyTorch.
    pub(super) fn batch_norm(weights: &mut Weights<'_>, name: &str, channels: usize) -> Self {
        Self::batch_norm_of(weights, name, channels, EPSILON)
    }

    /// See [`ByChannel::batch_norm`].
    pub(super) fn batch_norm_of(
        weights: &mut Weights<'_>,
        name: &str,
        channels: usize,
        epsilon: f64,
    ) -> Self {
        let [weight, bias, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| {
                let key = format!("{name}.{part}");
                reals(&weights.take(&key, &[channels]))
            });
        let alpha: Vec<f64> = weight
            .iter()
            .zip(&variance)
            .map(|(weight, variance)| weight / (variance + epsilon).sqrt())
            .collect();
        let beta = bias
            .iter()
            .zip(mean.iter().zip(&alpha))
            .map(|(bias, (mean, alpha))| bias - mean * alpha)
            .collect();
        Self { alpha, beta }
    }
}

/// A tensor, or the stand-in for a fault when the elements are not as many.
pub(super) fn fitting(shape: &[usize], elements: Vec<f32>) -> Tensor {
    match shape.iter().product::<usize>() == elements.len() {
        true => Tensor::f32(shape, elements),
        false => Tensor::f32(&[0], Vec::new()),
    }
}

/// The elements in f64; none where the tensor stands for a fault.
pub(super) fn reals(tensor: &Tensor) -> Vec<f64> {
    let elements = tensor.as_f32().unwrap_or_default();
    elements.iter().map(|&element| element.into()).collect()
}
