//! The layers that are counted: those whose counts for CMSIS-NN are known.

use alloc::vec::Vec;

use pinhole_runtime::kernel::packing::WeightLayout;
use pinhole_runtime::kernel::packing::packed_bytes_s8;
use pinhole_runtime::kernel::{
    ConvS8, DepthwiseConvS8, DstS8, GemmS8, Kernels, Requantize, Window, tile_scratch_bytes,
};

use crate::support::{Fill, Random, same_window};

/// One layer.
pub(crate) enum Layer {
    /// Convolution of pictures of `side`² pixels and `channels` [in, out].
    Conv {
        side: usize,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
    },
    /// Depthwise convolution.
    Depthwise {
        side: usize,
        channels: usize,
        kernel: usize,
        stride: usize,
    },
    /// Fully connected: rows, inputs, outputs.
    Full([usize; 3]),
}

use Layer::{Conv, Depthwise, Full};

/// In the order of the table that the host prints.
#[rustfmt::skip]
pub(crate) const LAYERS: [Layer; 11] = [
    Conv { side: 14, channels: [80, 480], kernel: 1, stride: 1 },
    Conv { side: 14, channels: [480, 80], kernel: 1, stride: 1 },
    Conv { side: 28, channels: [40, 240], kernel: 1, stride: 1 },
    Conv { side: 16, channels: [32, 32], kernel: 3, stride: 1 },
    Conv { side: 64, channels: [3, 32], kernel: 3, stride: 2 },
    Conv { side: 112, channels: [3, 256], kernel: 16, stride: 16 },
    Depthwise { side: 14, channels: 480, kernel: 3, stride: 1 },
    Depthwise { side: 14, channels: 480, kernel: 5, stride: 1 },
    Depthwise { side: 28, channels: 144, kernel: 3, stride: 2 },
    Full([1, 1280, 400]),
    Full([50, 256, 1024]),
];

/// What a layer reads and writes.
pub(crate) struct Operands {
    src: Vec<i8>,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<i32>,
    shift: Vec<i8>,
    dst: Vec<i8>,
    scratch: Vec<u8>,
}

impl Layer {
    pub(crate) fn window(&self) -> Option<Window> {
        match *self {
            Conv {
                side,
                kernel,
                stride,
                ..
            }
            | Depthwise {
                side,
                kernel,
                stride,
                ..
            } => Some(same_window(side, kernel, stride)),
            Full(_) => None,
        }
    }

    /// Rows, inputs and outputs of the product that the layer is; a depthwise convolution sums over its taps.
    pub(crate) fn product(&self) -> [usize; 3] {
        let pixels = self
            .window()
            .map_or(0, |window| window.output[0] * window.output[1]);
        match *self {
            Conv {
                channels: [inputs, outputs],
                kernel,
                ..
            } => [pixels, kernel * kernel * inputs, outputs],
            Depthwise {
                channels, kernel, ..
            } => [pixels, kernel * kernel, channels],
            Full(product) => product,
        }
    }

    /// Multiplications, those with padding among them.
    pub(crate) fn macs(&self) -> usize {
        self.product().iter().product()
    }

    /// Elements of the input.
    pub(crate) fn src_len(&self) -> usize {
        match *self {
            Conv {
                side,
                channels: [inputs, _],
                ..
            } => side * side * inputs,
            Depthwise { side, channels, .. } => side * side * channels,
            Full([rows, inputs, _]) => rows * inputs,
        }
    }

    /// Random ones, with the scales that a quantiser makes.
    pub(crate) fn operands(&self) -> Operands {
        let mut random = Random::new(1);
        let [rows, k, n] = self.product();
        let weights_len = match self {
            Depthwise { .. } => k * n,
            _ => packed_bytes_s8(n, k).expect("a layer is small"),
        };
        let weights = random.bytes(weights_len, Fill::Random);
        Operands {
            src: random.bytes(self.src_len(), Fill::Random),
            // A quantiser makes no −128.
            weights: weights.into_iter().map(|weight| weight.max(-127)).collect(),
            bias: (0..n).map(|_| random.within(-20_000..=20_000)).collect(),
            multiplier: (0..n).map(|_| random.within(1 << 30..=i32::MAX)).collect(),
            shift: (0..n).map(|_| random.within(-9..=-6) as i8).collect(),
            dst: vec![0; rows * n],
            scratch: vec![0; tile_scratch_bytes(k, 1).expect("a layer is small")],
        }
    }
}

impl Operands {
    /// Computes the layer once, with a ReLU.
    pub(crate) fn run(&mut self, layer: &Layer, set: &dyn Kernels) {
        let requantize = Requantize {
            bias: &self.bias,
            multiplier: &self.multiplier,
            shift: &self.shift,
            zero_point: -128,
            clamp_min: -128,
            clamp_max: 127,
        };
        let [rows, k, n] = layer.product();
        match (layer, layer.window()) {
            (Conv { channels, .. }, Some(window)) => set.conv_s8(ConvS8 {
                window,
                in_channels: channels[0],
                out_channels: n,
                input_zero_point: 3,
                src: &self.src,
                weights: &self.weights,
                layout: WeightLayout::Generic,
                requantize,
                dst: DstS8::I8(&mut self.dst),
                scratch: &mut self.scratch,
            }),
            (Depthwise { .. }, Some(window)) => set.depthwise_conv_s8(DepthwiseConvS8 {
                window,
                channels: n,
                input_zero_point: 3,
                src: &self.src,
                weights: &self.weights,
                requantize,
                dst: &mut self.dst,
            }),
            _ => set.gemm_s8(GemmS8 {
                rows,
                k,
                n,
                lhs: &self.src,
                weights: &self.weights,
                layout: WeightLayout::Generic,
                requantize,
                dst: DstS8::I8(&mut self.dst),
                scratch: &mut self.scratch,
            }),
        }
    }
}
