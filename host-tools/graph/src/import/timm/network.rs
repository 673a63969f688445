//! What the networks of timm are made of: convolutions with the batch normalisation behind them folded in, squeeze and
//! excitation, products.

use crate::import::checkpoint::Weights;
use crate::import::efficientnet_lite::same_padding;
use crate::import::fold::{ByChannel, Kernel, fitting, reals};
use crate::op::{Activation, Binary, Unary};
use crate::{Graph, Op, ValueId};

/// ReLU.
pub(super) const RELU: Unary = Unary::Clip {
    min: 0.0,
    max: f32::INFINITY,
};
/// ReLU6.
pub(super) const RELU6: Unary = Unary::Clip { min: 0.0, max: 6.0 };
/// Of every layer normalisation.
const LAYER_NORM_EPSILON: f32 = 1e-5;

/// A network on its way.
pub(super) struct Network<'a> {
    pub(super) weights: Weights<'a>,
    pub(super) graph: Graph,
    pub(super) padding: Padding,
    /// Of batch normalisation.
    pub(super) epsilon: f64,
}

/// Where the zeros around a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// As many on each side.
    Symmetric,
    /// TensorFlow's SAME: the odd row and column behind.
    Same,
}

/// Which pixels and channels a convolution takes; sides are odd.
#[derive(Clone, Copy)]
pub(super) enum Size {
    /// All channels of one pixel.
    Pixel,
    /// All channels of a square.
    Square(usize),
    /// All channels of a square, whose side the tensor tells.
    AnySquare,
    /// One channel of a square, whose side the tensor tells.
    Depthwise,
}

impl Network<'_> {
    /// A convolution, its batch normalisation and an activation. `keys`: names of the first two.
    pub(super) fn conv(
        &mut self,
        keys: [&str; 2],
        size: Size,
        stride: usize,
        activation: Option<Unary>,
        x: ValueId,
    ) -> ValueId {
        let kernel = self.kernel(keys, size, x);
        self.convolved(&kernel, keys[0], stride, activation, x)
    }

    /// [`Network::conv`] of keys behind a prefix.
    pub(super) fn conv_in(
        &mut self,
        prefix: &str,
        keys: [&str; 2],
        size: Size,
        stride: usize,
        activation: Option<Unary>,
        x: ValueId,
    ) -> ValueId {
        let [conv, norm] = keys.map(|key| format!("{prefix}.{key}"));
        self.conv([&conv, &norm], size, stride, activation, x)
    }

    /// A convolution of `x` with its batch normalisation folded in.
    pub(super) fn kernel(&mut self, [conv, norm]: [&str; 2], size: Size, x: ValueId) -> Kernel {
        let outputs = format!("{norm}.bias");
        let mut kernel = self.shaped(conv, &outputs, size, x);
        let norm =
            ByChannel::batch_norm_of(&mut self.weights, norm, kernel.outputs(), self.epsilon);
        kernel.then(&norm);
        kernel
    }

    /// A convolution of `x` with a bias.
    pub(super) fn biased(&mut self, name: &str, size: Size, x: ValueId) -> Kernel {
        let mut kernel = self.shaped(name, &format!("{name}.bias"), size, x);
        kernel.add_bias(&mut self.weights, name);
        kernel
    }

    /// The convolution `{name}.weight` of `x`; the vector `outputs` tells its output channels.
    fn shaped(&mut self, name: &str, outputs: &str, size: Size, x: ValueId) -> Kernel {
        let key = format!("{name}.weight");
        let channels = self.channels(x);
        let outputs = match self.weights.size(outputs, 0) {
            0 => self.weights.size(&key, 0),
            outputs => outputs,
        };
        let odd = self.weights.size(&key, 2) | 1;
        let shape = match size {
            Size::Pixel => [outputs, channels, 1, 1],
            Size::Square(side) => [outputs, channels, side, side],
            Size::AnySquare => [outputs, channels, odd, odd],
            Size::Depthwise => [channels, 1, odd, odd],
        };
        Kernel::shaped(&mut self.weights, name, shape)
    }

    /// A convolution, padded as the network pads, and an activation.
    pub(super) fn convolved(
        &mut self,
        kernel: &Kernel,
        name: &str,
        stride: usize,
        activation: Option<Unary>,
        x: ValueId,
    ) -> ValueId {
        let shape = self.graph.values[x].shape.clone();
        let around = |side: usize| match self.padding {
            Padding::Symmetric => (kernel.rows() / 2, kernel.rows() / 2),
            Padding::Same => same_padding(side, kernel.rows(), stride),
        };
        let ((top, bottom), (left, right)) = (around(shape[1]), around(shape[2]));
        let padding = [top, left, bottom, right];
        let y = kernel.convolve(&mut self.graph, name, stride, padding, Activation::None, x);
        match activation {
            Some(function) => self.activated(&format!("{name}.act"), function, y),
            None => y,
        }
    }

    pub(super) fn activated(&mut self, name: &str, function: Unary, x: ValueId) -> ValueId {
        let shape = self.graph.values[x].shape.clone();
        self.graph
            .add_node(name, Op::Unary { function }, &[x], &shape)
    }

    /// Squeeze and excitation (Hu et al. 2017, <https://arxiv.org/abs/1709.01507>): each channel by a factor that the
    /// means of all channels make. `names`: of its two convolutions.
    pub(super) fn squeezed(&mut self, names: [&str; 2], gate: Unary, x: ValueId) -> ValueId {
        let [reduce, expand] = names;
        let mean = self.pooled(&format!("{reduce}.mean"), x);
        let kernel = self.biased(reduce, Size::Pixel, mean);
        let y = self.convolved(&kernel, reduce, 1, Some(RELU), mean);
        let kernel = self.biased(expand, Size::Pixel, y);
        let factors = self.convolved(&kernel, expand, 1, Some(gate), y);
        self.binary(&format!("{expand}.mul"), Binary::Mul, x, factors)
    }

    /// The mean over pixels: (1, 1, 1, channels).
    pub(super) fn pooled(&mut self, name: &str, x: ValueId) -> ValueId {
        let shape = [1, 1, 1, self.channels(x)];
        self.graph.add_node(name, Op::GlobalAvgPool, &[x], &shape)
    }

    pub(super) fn add(&mut self, name: &str, x: ValueId, y: ValueId) -> ValueId {
        self.binary(name, Binary::Add, x, y)
    }

    fn binary(&mut self, name: &str, function: Binary, x: ValueId, y: ValueId) -> ValueId {
        let op = Op::Binary {
            function,
            activation: Activation::None,
        };
        let shape = self.graph.values[x].shape.clone();
        self.graph.add_node(name, op, &[x, y], &shape)
    }

    /// The same elements in another shape.
    pub(super) fn reshaped(&mut self, name: &str, shape: &[usize], x: ValueId) -> ValueId {
        self.graph.add_node(name, Op::Reshape, &[x], shape)
    }

    /// A product by `{name}.weight` (n, k), with `{name}.bias` (n); `n` where it is known.
    pub(super) fn linear(&mut self, name: &str, n: Option<usize>, x: ValueId) -> ValueId {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let n = n.unwrap_or_else(|| self.weights.size(&bias, 0));
        let k = self.channels(x);
        let weight = reals(&self.weights.take(&weight, &[n, k]));
        let bias = reals(&self.weights.take(&bias, &[n]));
        self.product(name, [weight, bias], n, x)
    }

    /// A product by a matrix (n, k), with a bias (n).
    pub(super) fn product(
        &mut self,
        name: &str,
        [weight, bias]: [Vec<f64>; 2],
        n: usize,
        x: ValueId,
    ) -> ValueId {
        let rounded = |reals: Vec<f64>| reals.iter().map(|&real| real as f32).collect();
        let mut shape = self.graph.values[x].shape.clone();
        let weight = fitting(&[n, self.channels(x)], rounded(weight));
        let bias = fitting(&[n], rounded(bias));
        let inputs = [
            x,
            self.graph.add_constant(format!("{name}.weight"), weight),
            self.graph.add_constant(format!("{name}.bias"), bias),
        ];
        if let Some(last) = shape.last_mut() {
            *last = n;
        }
        let op = Op::Linear {
            activation: Activation::None,
        };
        self.graph.add_node(name, op, &inputs, &shape)
    }

    pub(super) fn layer_norm(&mut self, name: &str, x: ValueId) -> ValueId {
        let width = self.channels(x);
        let mut inputs = vec![x];
        for part in ["weight", "bias"] {
            let key = format!("{name}.{part}");
            let tensor = self.weights.take(&key, &[width]);
            inputs.push(self.graph.add_constant(key, tensor));
        }
        let op = Op::LayerNorm {
            epsilon: LAYER_NORM_EPSILON,
        };
        let shape = self.graph.values[x].shape.clone();
        self.graph.add_node(name, op, &inputs, &shape)
    }

    /// The last dimension.
    pub(super) fn channels(&self, x: ValueId) -> usize {
        self.graph.values[x].shape.last().copied().unwrap_or(0)
    }
}
