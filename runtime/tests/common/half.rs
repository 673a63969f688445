//! A model over IEEE halves: every kind of float operator, and conversions from and to every type.

use half::f16;

use super::samples::{binary_params, gemm_params, reduce_params, unary_params, window};
use super::{Builder, Parts, Random};
use pinhole_runtime::kernel::{attention_scratch_bytes, tile_scratch_bytes};
use pinhole_runtime::model::format::{DType, ModelKind};
use pinhole_runtime::model::op::*;

fn halves(random: &mut Random, count: usize) -> Vec<u16> {
    let numbers = random.floats(count);
    numbers
        .iter()
        .map(|&x| f16::from_f32(x).to_bits())
        .collect()
}

fn conv_params(window: WindowRecord) -> ConvF32Params {
    ConvF32Params {
        window,
        clamp_min: 0.0.into(),
        clamp_max: 6.0.into(),
        weights: FloatWeights::F16 as u8,
        reserved: [0; 3],
    }
}

fn pool_params(window: WindowRecord) -> PoolParams {
    PoolParams {
        window,
        clamp_min: 0.into(),
        clamp_max: 0.into(),
    }
}

/// A picture and token ids in, a float embedding out.
pub fn picture_and_ids() -> Builder {
    let mut random = Random(5);
    let mut b = Builder::new(ModelKind::Other);
    let picture = b.value(DType::F32, &[1, 5, 5, 3]);
    b.input(picture);
    let ids = b.value(DType::I32, &[4]);
    b.input(ids);
    let tokens = tokens(&mut b, &mut random, picture);
    let words = b.value(DType::F16, &[4, 6]);
    let params = EmbeddingParams {
        weights: FloatWeights::F16 as u8,
        reserved: [0; 3],
        rows: 7.into(),
    };
    let parts = Parts::params(params).data(&halves(&mut random, 42));
    b.op(OpKind::EmbeddingF16, &[ids], words, parts);
    let summed = b.value(DType::F16, &[4, 6]);
    let add = Parts::params(binary_params(BinaryKind::Add));
    b.op(OpKind::BinaryF16, &[tokens, words], summed, add);
    let mixed = attend(&mut b, &mut random, summed);
    embedding(&mut b, mixed);
    b
}

/// Convolutions and pooling: the picture as 4 tokens of 6.
fn tokens(b: &mut Builder, random: &mut Random, picture: usize) -> usize {
    let narrow = b.value(DType::F16, &[1, 5, 5, 3]);
    b.op(OpKind::Convert, &[picture], narrow, Parts::default());
    let conv = b.value(DType::F16, &[1, 3, 3, 6]);
    let parts = Parts::params(conv_params(window(3, 2, 1)))
        .data(&halves(random, 6 * 27))
        .data(&random.floats(6));
    let scratch = tile_scratch_bytes(27, 4);
    b.op(OpKind::ConvF16, &[narrow], conv, parts.scratch(scratch));
    let depthwise = b.value(DType::F16, &[1, 3, 3, 6]);
    let parts = Parts::params(conv_params(window(3, 1, 1))).data(&halves(random, 9 * 6));
    b.op(OpKind::DepthwiseConvF16, &[conv], depthwise, parts);
    let average = b.value(DType::F16, &[1, 3, 3, 6]);
    let parts = Parts::params(pool_params(window(3, 1, 1)));
    b.op(OpKind::AvgPoolF16, &[depthwise], average, parts);
    let maximum = b.value(DType::F16, &[1, 2, 2, 6]);
    let parts = Parts::params(pool_params(window(2, 1, 0)));
    b.op(OpKind::MaxPoolF16, &[average], maximum, parts);
    b.alias(maximum, &[4, 6])
}

/// Normalisation, a product, attention, a function, a product of two values and a softmax.
fn attend(b: &mut Builder, random: &mut Random, tokens: usize) -> usize {
    let normed = b.value(DType::F16, &[4, 6]);
    let parts = Parts::params(LayerNormParams {
        epsilon: 1e-5.into(),
    });
    let parts = parts.data(&random.floats(6)).data(&random.floats(6));
    b.op(OpKind::LayerNormF16, &[tokens], normed, parts);
    let projected = b.value(DType::F16, &[4, 6]);
    let parts = Parts::params(gemm_params(FloatWeights::F16))
        .data(&halves(random, 36))
        .data(&random.floats(6))
        .scratch(tile_scratch_bytes(6, 4));
    b.op(OpKind::GemmF16, &[normed], projected, parts);
    let mixed = b.value(DType::F16, &[4, 6]);
    let parts = Parts::params(AttentionParams {
        num_heads: 2.into(),
        causal: 1,
        reserved: 0,
        scale: 0.5.into(),
    });
    b.op(
        OpKind::AttentionF16,
        &[projected, normed, tokens],
        mixed,
        parts.scratch(attention_scratch_bytes(4)),
    );
    let active = b.value(DType::F16, &[4, 6]);
    let parts = Parts::params(unary_params(UnaryKind::Gelu, 0.0, 0.0));
    b.op(OpKind::UnaryF16, &[mixed], active, parts);
    let squares = b.value(DType::F16, &[4, 4]);
    let params = MatmulParams {
        transpose_rhs: 1,
        reserved: [0; 3],
        scale: 0.5.into(),
    };
    b.op(
        OpKind::MatmulF16,
        &[active, mixed],
        squares,
        Parts::params(params),
    );
    let shares = b.value(DType::F16, &[4, 4]);
    b.op(OpKind::SoftmaxF16, &[squares], shares, Parts::default());
    shares
}

/// The mean of the tokens, through both integer types, as f32.
fn embedding(b: &mut Builder, tokens: usize) {
    let pooled = b.value(DType::F16, &[1, 4]);
    let parts = Parts::params(reduce_params(ReduceKind::Mean, 1));
    b.op(OpKind::ReduceF16, &[tokens], pooled, parts);
    let unit = b.value(DType::F16, &[1, 4]);
    b.op(OpKind::L2NormalizeF16, &[pooled], unit, Parts::default());
    let mut last = unit;
    for (dtype, scale) in [
        (DType::I16, 0.0001),
        (DType::F16, 0.0),
        (DType::I8, 0.01),
        (DType::F32, 0.0),
    ] {
        let next = b.value(dtype, &[1, 4]);
        b.values[next].scale = scale.into();
        b.op(OpKind::Convert, &[last], next, Parts::default());
        last = next;
    }
    b.output(last);
}
