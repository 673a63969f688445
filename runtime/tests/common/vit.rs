//! A small vision transformer whose every operator is an integer one.

use super::samples::{channels, conv_params, packed, window};
use super::{Builder, Parts, Random};
use pinhole_runtime::kernel::{attention_s8_scratch_bytes, tile_scratch_bytes};
use pinhole_runtime::model::format::{DType, GeometryRecord, ModelKind};
use pinhole_runtime::model::op::*;

const TOKENS: usize = 5;
const WIDTH: usize = 8;

fn gemm_params(wide: bool) -> GemmParams {
    let limit = if wide { 32767 } else { 127 };
    GemmParams {
        clamp_min: (-limit - 1).into(),
        clamp_max: limit.into(),
    }
}

fn linear(b: &mut Builder, random: &mut Random, input: usize, k: usize, output: usize, n: usize) {
    let wide = b.values[output].dtype == DType::I16 as u8;
    let weights = packed(random, n, k);
    let parts = channels(Parts::params(gemm_params(wide)), random, &weights, n);
    let parts = parts.scratch(tile_scratch_bytes(k, 1));
    b.op(OpKind::GemmS8, &[input], output, parts);
}

fn add_params(multiplier: [i32; 2]) -> AddS16Params {
    AddS16Params {
        multiplier: multiplier.map(Into::into),
        shift: 14.into(),
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
    }
}

fn layer_norm(b: &mut Builder, random: &mut Random, input: usize, output: usize) {
    let params = LayerNormS16Params {
        epsilon: 1000.into(),
        shift: 19.into(),
    };
    let gamma: Vec<i16> = (0..WIDTH).map(|_| random.next() as i16 | 1).collect();
    let beta: Vec<i32> = (0..WIDTH)
        .map(|_| (1 << 18) + random.below(1 << 20) as i32)
        .collect();
    let parts = Parts::params(params).data(&gamma).data(&beta);
    b.op(OpKind::LayerNormS16, &[input], output, parts);
}

/// Parameters of two heads over inputs that start at `offset`.
pub fn attention_params(
    windows: u32,
    offset: [u32; 3],
    bias_window: [u16; 2],
) -> AttentionS8Params {
    AttentionS8Params {
        num_heads: 2.into(),
        windows: windows.into(),
        offset: offset.map(Into::into),
        bias_window: bias_window.map(Into::into),
        bias_shift: if bias_window == [0, 0] { 0 } else { 3 }.into(),
        causal: 0.into(),
    }
}

/// Score and output scales of two heads.
pub const HEADS: [i32; 8] = [40_000, 1, 1 << 30, 1, 65_535, -3, i32::MAX, 0];

/// A picture in, an int8 embedding out, with a 16-bit stream and all three kinds of score biases.
pub fn vit_s8() -> Builder {
    let mut random = Random(4);
    let mut b = Builder::new(ModelKind::ImageEncoder);
    b.geometry = GeometryRecord {
        width: 4.into(),
        height: 4.into(),
        resize_shorter: 4.into(),
        reserved: 0.into(),
        mean: [0.5.into(); 3],
        std: [0.25.into(); 3],
    };
    let picture = b.value(DType::I8, &[1, 4, 4, 3]);
    b.input(picture);
    let patches = b.value(DType::I8, &[1, 2, 2, WIDTH]);
    b.values[patches].zero_point = 11.into();
    let weights = packed(&mut random, WIDTH, 12);
    let parts = Parts::params(conv_params(window(2, 2, 0)));
    let parts = channels(parts, &mut random, &weights, WIDTH).scratch(tile_scratch_bytes(12, 1));
    b.op(OpKind::ConvS8, &[picture], patches, parts);
    let rows = b.alias(patches, &[TOKENS - 1, WIDTH]);
    let wide = b.value(DType::I16, &[TOKENS - 1, WIDTH]);
    let params = RescaleS16Params {
        multiplier: 20_000.into(),
        shift: 14.into(),
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
    };
    b.op(OpKind::RescaleS16, &[rows], wide, Parts::params(params));
    let numbers = |random: &mut Random, count: usize| -> Vec<i16> {
        (0..count).map(|_| random.next() as i16).collect()
    };
    let class = numbers(&mut random, WIDTH);
    let class = b.constant(DType::I16, &[1, WIDTH], &class);
    let joined = b.value(DType::I16, &[TOKENS, WIDTH]);
    let params = ConcatParams {
        axis: 0,
        reserved: [0; 3],
    };
    b.op(
        OpKind::Concat,
        &[class, wide],
        joined,
        Parts::params(params),
    );
    let positions = numbers(&mut random, TOKENS * WIDTH);
    let positions = b.constant(DType::I16, &[TOKENS, WIDTH], &positions);
    let stream = b.value(DType::I16, &[TOKENS, WIDTH]);
    let parts = Parts::params(add_params([8192, 12_000]));
    b.op(OpKind::AddS16, &[joined, positions], stream, parts);

    let normed = b.value(DType::I8, &[TOKENS, WIDTH]);
    layer_norm(&mut b, &mut random, stream, normed);
    let qkv = b.value(DType::I8, &[TOKENS, 3 * WIDTH]);
    linear(&mut b, &mut random, normed, WIDTH, qkv, 3 * WIDTH);
    let mixed = b.value(DType::I8, &[TOKENS, WIDTH]);
    let width = WIDTH as u32;
    let parts = Parts::params(attention_params(1, [0, width, 2 * width], [0, 0]));
    let parts = parts
        .data(&HEADS)
        .scratch(attention_s8_scratch_bytes(TOKENS, WIDTH / 2));
    b.op(OpKind::AttentionS8, &[qkv, qkv, qkv], mixed, parts);
    let projected = b.value(DType::I16, &[TOKENS, WIDTH]);
    linear(&mut b, &mut random, mixed, WIDTH, projected, WIDTH);
    let after = b.value(DType::I16, &[TOKENS, WIDTH]);
    let parts = Parts::params(add_params([16_384, 16_384]));
    b.op(OpKind::AddS16, &[stream, projected], after, parts);

    let normed = b.value(DType::I8, &[TOKENS, WIDTH]);
    layer_norm(&mut b, &mut random, after, normed);
    let patches = b.value(DType::I8, &[TOKENS - 1, WIDTH]);
    let params = SliceParams {
        starts: [1, 0, 0, 0].map(Into::into),
        steps: [1; 4].map(Into::into),
    };
    b.op(OpKind::Slice, &[normed], patches, Parts::params(params));
    let biased = b.value(DType::I8, &[TOKENS - 1, WIDTH]);
    let parts = Parts::params(attention_params(1, [0; 3], [2, 2])).data(&HEADS);
    let table = numbers(&mut random, 2 * 3 * 3);
    let parts = parts
        .data(&table)
        .scratch(attention_s8_scratch_bytes(4, WIDTH / 2));
    b.op(
        OpKind::AttentionS8,
        &[patches, patches, patches],
        biased,
        parts,
    );
    let windowed = b.value(DType::I8, &[TOKENS - 1, WIDTH]);
    let parts = Parts::params(attention_params(2, [0; 3], [0, 0])).data(&HEADS);
    let table = numbers(&mut random, 2 * 2 * 2);
    let parts = parts
        .data(&table)
        .scratch(attention_s8_scratch_bytes(2, WIDTH / 2));
    b.op(
        OpKind::AttentionS8,
        &[biased, patches, patches],
        windowed,
        parts,
    );
    let weights = b.value(DType::I8, &[TOKENS - 1, WIDTH]);
    b.values[weights].scale = (1.0 / 256.0).into();
    b.values[weights].zero_point = (-128).into();
    let params = SoftmaxS8Params {
        score_multiplier: 50_000.into(),
        score_shift: (-8).into(),
    };
    b.op(
        OpKind::SoftmaxS8,
        &[windowed],
        weights,
        Parts::params(params),
    );
    let mapped = b.value(DType::I8, &[TOKENS - 1, WIDTH]);
    let tables: Vec<i8> = (0..2 * 256).map(|_| random.next() as i8).collect();
    let index: [u8; WIDTH] = core::array::from_fn(|channel| (channel % 2) as u8);
    let params = LutChannelsParams { tables: 2.into() };
    let parts = Parts::params(params).data(&tables).data(&index);
    b.op(OpKind::LutChannelsS8, &[windowed], mapped, parts);
    let summed = b.value(DType::I16, &[TOKENS - 1, WIDTH]);
    let parts = Parts::params(add_params([9000, 7000]));
    b.op(OpKind::AddS16, &[weights, mapped], summed, parts);

    let picture = b.alias(summed, &[1, 2, 2, WIDTH]);
    let mixed = b.value(DType::I16, &[1, 2, 2, WIDTH]);
    let weights = random.bytes(9 * WIDTH);
    let params = ConvParams {
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
        ..conv_params(window(3, 1, 1))
    };
    let parts = channels(Parts::params(params), &mut random, &weights, WIDTH);
    b.op(OpKind::DepthwiseConvS16, &[picture], mixed, parts);
    let summed = b.alias(mixed, &[TOKENS - 1, WIDTH]);
    let pooled = b.value(DType::I16, &[1, WIDTH]);
    let params = MeanParams {
        multiplier: (1 << 30).into(),
        shift: (-1).into(),
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
    };
    b.op(OpKind::MeanS16, &[summed], pooled, Parts::params(params));
    let embedding = b.value(DType::I8, &[1, WIDTH]);
    b.op(OpKind::NormalizeS16, &[pooled], embedding, Parts::default());
    b.output(embedding);
    b
}
