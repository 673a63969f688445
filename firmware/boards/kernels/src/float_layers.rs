//! The layers and operations of `layers` and `operations` over f32 and over halves.

use alloc::vec::Vec;

use half::f16;
use pinhole_runtime::kernel;
use pinhole_runtime::kernel::{
    AttentionFloat, ConvFloat, DepthwiseConvFloat, Float, GemmFloat, Kernels, PoolFloat,
    WeightsF32, attention_scratch_bytes, tile_scratch_bytes,
};
use pinhole_runtime::model::op::{BinaryKind, UnaryKind};

use crate::count::ticks;
use crate::layers::{LAYERS, Layer};
use crate::support::{Random, same_window};

/// Rows, columns and heads of a sequence.
const TOKENS: usize = 50;
const WIDTH: usize = 256;
const HEADS: usize = 4;
/// Pixels and channels of a picture.
const SIDE: usize = 14;
const CHANNELS: usize = 64;

/// An operation without weights.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    /// TOKENS rows of as many columns.
    Softmax,
    /// A sequence.
    LayerNorm,
    /// A sequence.
    Attention,
    /// Two sequences.
    Add,
    /// Windows of 3 × 3 over a picture.
    AvgPool,
    /// A sequence.
    Gelu,
}

/// In the order of the table that the host prints, behind the layers.
pub(crate) const OPERATIONS: [Operation; 6] = [
    Operation::Softmax,
    Operation::LayerNorm,
    Operation::Attention,
    Operation::Add,
    Operation::AvgPool,
    Operation::Gelu,
];

/// An element of the measurements.
pub(crate) trait Measured: Float {
    /// In the lines that are printed.
    const NAME: &'static str;
    /// Multiplications from which on the scalar set is not counted; it converts halves in software.
    const SCALAR_MACS: usize;
    /// As weights of a product.
    fn packed(elements: &[Self]) -> Self::Weights<'_>;
}

impl Measured for f32 {
    const NAME: &'static str = "f32";
    const SCALAR_MACS: usize = 3_000_000;

    fn packed(elements: &[Self]) -> WeightsF32<'_> {
        WeightsF32::F32(elements)
    }
}

impl Measured for f16 {
    const NAME: &'static str = "f16";
    const SCALAR_MACS: usize = 600_000;

    fn packed(elements: &[Self]) -> &[Self] {
        elements
    }
}

/// What a layer or an operation reads and writes.
pub(crate) struct Operands<T> {
    src: Vec<T>,
    weights: Vec<T>,
    bias: Vec<f32>,
    dst: Vec<T>,
    scratch: Vec<f32>,
}

impl<T: Measured> Operands<T> {
    fn random([src, weights, bias, dst]: [usize; 4], scratch_bytes: usize) -> Self {
        let mut random = Random::new(3);
        let mut number = || random.within(-1000..=1000) as f32 / 1000.0;
        Self {
            src: (0..src).map(|_| T::narrow(number())).collect(),
            weights: (0..weights).map(|_| T::narrow(number())).collect(),
            bias: (0..bias).map(|_| number()).collect(),
            dst: vec![T::default(); dst],
            scratch: vec![0.0; scratch_bytes / 4],
        }
    }

    /// Of a layer.
    pub(crate) fn of_layer(layer: &Layer) -> Self {
        let [rows, k, n] = layer.product();
        let scratch = tile_scratch_bytes(k, 4).expect("a layer is small");
        Self::random([layer.src_len(), k * n, n, rows * n], scratch)
    }

    /// Of all operations.
    pub(crate) fn of_operations() -> Self {
        let len = TOKENS * WIDTH;
        let scratch = attention_scratch_bytes(TOKENS).expect("a small shape");
        Self::random([len, len, WIDTH, len], scratch)
    }

    /// Computes the layer once, with a ReLU.
    pub(crate) fn run_layer(&mut self, layer: &Layer, set: &dyn Kernels) {
        let [rows, k, n] = layer.product();
        let clamp = [0.0, f32::INFINITY];
        let (src, bias, dst) = (&self.src[..], &self.bias[..], &mut self.dst[..]);
        match (layer, layer.window()) {
            (Layer::Conv { channels, .. }, Some(window)) => T::conv(
                set,
                ConvFloat {
                    window,
                    in_channels: channels[0],
                    out_channels: n,
                    src,
                    weights: T::packed(&self.weights),
                    bias,
                    clamp,
                    dst,
                    scratch: &mut self.scratch,
                },
            ),
            (Layer::Depthwise { .. }, Some(window)) => T::depthwise_conv(
                set,
                DepthwiseConvFloat {
                    window,
                    channels: n,
                    src,
                    weights: &self.weights,
                    bias,
                    clamp,
                    dst,
                },
            ),
            _ => T::gemm(
                set,
                GemmFloat {
                    rows,
                    k,
                    n,
                    lhs: src,
                    weights: T::packed(&self.weights),
                    bias,
                    clamp,
                    dst,
                    scratch: &mut self.scratch,
                },
            ),
        }
    }

    /// Computes the operation once.
    pub(crate) fn run_operation(&mut self, operation: Operation, set: &dyn Kernels) {
        let (src, other, dst) = (&self.src[..], &self.weights[..], &mut self.dst[..]);
        match operation {
            Operation::Softmax => {
                let len = TOKENS * TOKENS;
                T::softmax(set, TOKENS, &src[..len], &mut dst[..len]);
            }
            Operation::LayerNorm => T::layer_norm(set, 1e-5, &self.bias, &self.bias, src, dst),
            Operation::Attention => T::attention(
                set,
                AttentionFloat {
                    queries: TOKENS,
                    keys: TOKENS,
                    width: WIDTH,
                    num_heads: HEADS,
                    scale: 0.125,
                    causal: false,
                    q: src,
                    k: src,
                    v: other,
                    dst,
                    scratch: &mut self.scratch,
                },
            ),
            Operation::Add => T::binary(set, BinaryKind::Add, src, other, dst),
            Operation::AvgPool => {
                let len = SIDE * SIDE * CHANNELS;
                T::avg_pool(
                    set,
                    PoolFloat {
                        window: same_window(SIDE, 3, 1),
                        channels: CHANNELS,
                        src: &src[..len],
                        dst: &mut dst[..len],
                    },
                );
            }
            Operation::Gelu => T::unary(set, UnaryKind::Gelu, [0.0; 2], src, dst),
        }
    }
}

/// Prints `NAME SET INDEX TICKS` for every layer and operation and every set that is fast enough for it.
pub(crate) fn count<T: Measured>() {
    for (index, layer) in LAYERS.iter().enumerate() {
        let mut operands = Operands::<T>::of_layer(layer);
        for set in kernel::available() {
            if set.name() == "scalar" && layer.macs() > T::SCALAR_MACS {
                continue;
            }
            let ticks = ticks(|| operands.run_layer(layer, set));
            println!("{} {} {index} {ticks}", T::NAME, set.name());
        }
    }
    let mut operands = Operands::<T>::of_operations();
    for (index, operation) in (LAYERS.len()..).zip(OPERATIONS) {
        for set in kernel::available() {
            let ticks = ticks(|| operands.run_operation(operation, set));
            println!("{} {} {index} {ticks}", T::NAME, set.name());
        }
    }
}
