//! Lowered int8 networks of well-known shapes, without weights: what a plan of the arena needs to know.

use pinhole_pack::lower::{Lowered, LoweredOp, LoweredValue, Place};
use pinhole_runtime::kernel::{attention_s8_scratch_bytes, tile_scratch_bytes};
use pinhole_runtime::model::format::DType;
use pinhole_runtime::model::op::{ConvParams, OpKind, WindowRecord};
use zerocopy::IntoBytes;

/// A network in the making. Pictures are (1, side, side, channels), tokens (rows, width).
#[derive(Default)]
struct Network(Lowered);

impl Network {
    fn value(&mut self, dtype: DType, shape: &[usize], place: Place) -> usize {
        let storage = self.0.values.len();
        self.0.values.push(LoweredValue {
            name: format!("value {storage}"),
            dtype,
            shape: shape.to_vec(),
            place,
            storage,
            dynamic: false,
            scale: 0.1,
            zero_point: 0,
        });
        storage
    }

    fn input(&mut self, shape: &[usize]) -> usize {
        let input = self.value(DType::I8, shape, Place::Arena);
        self.0.inputs.push(input);
        input
    }

    fn constant(&mut self, dtype: DType, shape: &[usize]) -> usize {
        self.value(dtype, shape, Place::Data(Vec::new()))
    }

    fn alias(&mut self, of: usize, shape: &[usize]) -> usize {
        let view = self.value(self.0.values[of].dtype, shape, Place::Arena);
        self.0.values[view].storage = self.0.values[of].storage;
        view
    }

    fn op(
        &mut self,
        kind: OpKind,
        inputs: &[usize],
        dtype: DType,
        shape: &[usize],
        scratch: Option<usize>,
    ) -> usize {
        let output = self.value(dtype, shape, Place::Arena);
        self.0.ops.push(LoweredOp {
            name: format!("{} {}", kind.name(), self.0.ops.len()),
            kind,
            inputs: inputs.to_vec(),
            output,
            data: Vec::new(),
            params: Vec::new(),
            scratch_bytes: scratch.unwrap_or(0),
            macs: 0,
        });
        output
    }

    fn shape(&self, value: usize) -> Vec<usize> {
        self.0.values[value].shape.clone()
    }

    /// A convolution, as a product where its window is one pixel; its padding keeps sides whole.
    fn conv(&mut self, x: usize, kernel: usize, stride: usize, channels: usize) -> usize {
        let [_, side, _, from] = self.shape(x)[..] else {
            panic!("a convolution takes a picture");
        };
        let k = kernel * kernel * from;
        let side_out = side.div_ceil(stride);
        let shape = [1, side_out, side_out, channels];
        let is_product = (kernel, stride) == (1, 1);
        let kind = if is_product {
            OpKind::GemmS8
        } else {
            OpKind::ConvS8
        };
        let output = self.op(kind, &[x], DType::I8, &shape, tile_scratch_bytes(k, 1));
        self.windowed(kernel, stride, [side, side_out], k * channels);
        output
    }

    fn depthwise(&mut self, x: usize, kernel: usize, stride: usize) -> usize {
        let [_, side, _, channels] = self.shape(x)[..] else {
            panic!("a convolution takes a picture");
        };
        let side_out = side.div_ceil(stride);
        let shape = [1, side_out, side_out, channels];
        let output = self.op(OpKind::DepthwiseConvS8, &[x], DType::I8, &shape, None);
        self.windowed(kernel, stride, [side, side_out], kernel * kernel * channels);
        output
    }

    /// Completes the last operator: its window and its multiply-accumulates.
    fn windowed(
        &mut self,
        kernel: usize,
        stride: usize,
        [side, side_out]: [usize; 2],
        macs: usize,
    ) {
        let padding = ((side_out - 1) * stride + kernel).saturating_sub(side) as u8;
        let (before, after) = (padding / 2, padding - padding / 2);
        let params = ConvParams {
            window: WindowRecord {
                kernel: [kernel as u8; 2],
                stride: [stride as u8; 2],
                padding: [before, before, after, after],
                dilation: [1; 2],
                reserved: [0; 2],
            },
            clamp_min: (-128).into(),
            clamp_max: 127.into(),
        };
        let op = self.0.ops.last_mut().expect("an operator");
        op.params = params.as_bytes().to_vec();
        op.macs = (side_out * side_out * macs) as u64;
    }

    fn linear(&mut self, x: usize, channels: usize, dtype: DType) -> usize {
        let mut shape = self.shape(x);
        let k = shape[shape.len() - 1];
        *shape.last_mut().expect("a dimension") = channels;
        self.op(
            OpKind::GemmS8,
            &[x],
            dtype,
            &shape,
            tile_scratch_bytes(k, 1),
        )
    }

    fn same_shape(&mut self, kind: OpKind, inputs: &[usize], dtype: DType) -> usize {
        let shape = self.shape(inputs[0]);
        self.op(kind, inputs, dtype, &shape, None)
    }

    fn finish(mut self, embedding: usize) -> Lowered {
        let output = self.same_shape(OpKind::NormalizeS16, &[embedding], DType::I8);
        self.0.outputs.push(output);
        self.0
    }
}

/// Inverted bottleneck of MobileNetV2: expand, depthwise, project, and the sum where shapes allow.
fn inverted_bottleneck(
    net: &mut Network,
    x: usize,
    [expand, channels, kernel, stride]: [usize; 4],
) -> usize {
    let from = net.shape(x)[3];
    let wide = if expand == 1 {
        x
    } else {
        net.conv(x, 1, 1, expand * from)
    };
    let deep = net.depthwise(wide, kernel, stride);
    let narrow = net.conv(deep, 1, 1, channels);
    if stride == 1 && from == channels {
        net.same_shape(OpKind::AddS8, &[x, narrow], DType::I8)
    } else {
        narrow
    }
}

/// Stages of (expansion, channels, repeats, first stride, kernel) between a stem and a head.
fn mobile(
    side: usize,
    stem: usize,
    stages: &[[usize; 5]],
    head: usize,
    embedding: usize,
) -> Lowered {
    let mut net = Network::default();
    let picture = net.input(&[1, side, side, 3]);
    let mut x = net.conv(picture, 3, 2, stem);
    for &[expand, channels, repeats, stride, kernel] in stages {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            x = inverted_bottleneck(&mut net, x, [expand, channels, kernel, stride]);
        }
    }
    let x = net.conv(x, 1, 1, head);
    let pooled = net.op(OpKind::MeanS8, &[x], DType::I8, &[1, 1, 1, head], None);
    let flat = net.alias(pooled, &[1, head]);
    let embedded = net.linear(flat, embedding, DType::I16);
    net.finish(embedded)
}

/// Tan & Le 2019, without squeeze and excitation.
pub(crate) fn efficientnet_lite0(side: usize) -> Lowered {
    let stages = [
        [1, 16, 1, 1, 3],
        [6, 24, 2, 2, 3],
        [6, 40, 2, 2, 5],
        [6, 80, 3, 2, 3],
        [6, 112, 3, 1, 5],
        [6, 192, 4, 2, 5],
        [6, 320, 1, 1, 3],
    ];
    mobile(side, 32, &stages, 1280, 256)
}

/// Sandler et al. 2018, with channels in multiples of eight.
pub(crate) fn mobilenet_v2(width: f64, side: usize) -> Lowered {
    let scaled = |channels: usize| {
        let wanted = channels as f64 * width;
        let rounded = ((wanted + 4.0) as usize / 8 * 8).max(8);
        if (rounded as f64) < 0.9 * wanted {
            rounded + 8
        } else {
            rounded
        }
    };
    let stages = [
        [1, 16, 1, 1],
        [6, 24, 2, 2],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    .map(|[expand, channels, repeats, stride]| [expand, scaled(channels), repeats, stride, 3]);
    mobile(side, scaled(32), &stages, 1280, 256)
}

/// Layer normalisation, fused q, k, v, attention in windows, projection; gives the branch in 16 bits.
fn attention(net: &mut Network, x: usize, heads: usize, windows: usize) -> usize {
    let [rows, width] = net.shape(x)[..] else {
        panic!("attention takes tokens");
    };
    let normed = net.same_shape(OpKind::LayerNormS16, &[x], DType::I8);
    let qkv = net.linear(normed, 3 * width, DType::I8);
    let scratch = attention_s8_scratch_bytes(rows / windows, width / heads);
    let mixed = net.op(
        OpKind::AttentionS8,
        &[qkv; 3],
        DType::I8,
        &[rows, width],
        scratch,
    );
    net.linear(mixed, width, DType::I16)
}

/// Layer normalisation and two products with a table between; gives the branch in 16 bits.
fn mlp(net: &mut Network, x: usize) -> usize {
    let width = net.shape(x)[1];
    let normed = net.same_shape(OpKind::LayerNormS16, &[x], DType::I8);
    let hidden = net.linear(normed, 4 * width, DType::I8);
    let active = net.same_shape(OpKind::LutS8, &[hidden], DType::I8);
    net.linear(active, width, DType::I16)
}

/// Dosovitskiy et al. 2021: the embedding is the class token.
pub(crate) fn vit(width: usize, depth: usize, heads: usize, patch: usize, side: usize) -> Lowered {
    let mut net = Network::default();
    let picture = net.input(&[1, side, side, 3]);
    let patches = net.conv(picture, patch, patch, width);
    let tokens = (side / patch).pow(2);
    let rows = net.alias(patches, &[tokens, width]);
    let wide = net.same_shape(OpKind::RescaleS16, &[rows], DType::I16);
    let class = net.constant(DType::I16, &[1, width]);
    let joined = net.op(
        OpKind::Concat,
        &[class, wide],
        DType::I16,
        &[tokens + 1, width],
        None,
    );
    let positions = net.constant(DType::I16, &[tokens + 1, width]);
    let mut x = net.same_shape(OpKind::AddS16, &[joined, positions], DType::I16);
    for _ in 0..depth {
        let branch = attention(&mut net, x, heads, 1);
        x = net.same_shape(OpKind::AddS16, &[x, branch], DType::I16);
        let branch = mlp(&mut net, x);
        x = net.same_shape(OpKind::AddS16, &[x, branch], DType::I16);
    }
    let normed = net.same_shape(OpKind::LayerNormS16, &[x], DType::I16);
    let class = net.op(OpKind::Slice, &[normed], DType::I16, &[1, width], None);
    net.finish(class)
}

/// Wu et al. 2022: convolutions, then attention in windows with a depthwise convolution between attention and MLP.
pub(crate) fn tinyvit_5m() -> Lowered {
    let mut net = Network::default();
    let active = |net: &mut Network, x: usize| net.same_shape(OpKind::LutS8, &[x], DType::I8);
    let picture = net.input(&[1, 224, 224, 3]);
    let x = net.conv(picture, 3, 2, 32);
    let x = active(&mut net, x);
    let mut x = net.conv(x, 3, 2, 64);
    for _ in 0..2 {
        let wide = net.conv(x, 1, 1, 256);
        let wide = active(&mut net, wide);
        let deep = net.depthwise(wide, 3, 1);
        let deep = active(&mut net, deep);
        let narrow = net.conv(deep, 1, 1, 64);
        let sum = net.same_shape(OpKind::AddS8, &[x, narrow], DType::I8);
        x = active(&mut net, sum);
    }
    for [width, depth, heads, window] in [[128, 2, 4, 7], [160, 6, 5, 14], [320, 2, 10, 7]] {
        let merged = net.conv(x, 1, 1, width);
        let merged = active(&mut net, merged);
        let smaller = net.depthwise(merged, 3, 2);
        let smaller = active(&mut net, smaller);
        x = net.conv(smaller, 1, 1, width);
        for _ in 0..depth {
            x = window_block(&mut net, x, heads, window);
        }
    }
    let side = net.shape(x)[1];
    let rows = net.alias(x, &[side * side, 320]);
    let wide = net.same_shape(OpKind::RescaleS16, &[rows], DType::I16);
    let pooled = net.op(OpKind::MeanS16, &[wide], DType::I8, &[1, 320], None);
    let embedded = net.linear(pooled, 256, DType::I16);
    net.finish(embedded)
}

/// One block of TinyViT over a picture; windows are cut and joined by permutations.
fn window_block(net: &mut Network, x: usize, heads: usize, window: usize) -> usize {
    let [_, side, _, width] = net.shape(x)[..] else {
        panic!("a block takes a picture");
    };
    let (count, tokens) = (side / window, side * side);
    let stripes = [count, window, count, window * width];
    let turned = [count, count, window, window * width];
    let cut = |net: &mut Network, x: usize, from: [usize; 4], to: [usize; 4]| {
        let view = net.alias(x, &from);
        let dtype = net.0.values[view].dtype;
        net.op(OpKind::Transpose, &[view], dtype, &to, None)
    };
    let windows = if count == 1 {
        x
    } else {
        cut(net, x, stripes, turned)
    };
    let rows = net.alias(windows, &[tokens, width]);
    let branch = attention(net, rows, heads, count * count);
    let branch = if count == 1 {
        branch
    } else {
        cut(net, branch, turned, stripes)
    };
    let rows = net.alias(x, &[tokens, width]);
    let branch = net.alias(branch, &[tokens, width]);
    let sum = net.same_shape(OpKind::AddS16, &[rows, branch], DType::I8);
    let picture = net.alias(sum, &[1, side, side, width]);
    let local = net.depthwise(picture, 3, 1);
    let rows = net.alias(local, &[tokens, width]);
    let branch = mlp(net, rows);
    let sum = net.same_shape(OpKind::AddS16, &[rows, branch], DType::I8);
    net.alias(sum, &[1, side, side, width])
}
