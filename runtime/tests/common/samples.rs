//! Models that together hold every kind of operator, each with a plan without sharing and with outputs that replace
//! inputs.

use super::{Builder, Parts, Random};
use pinhole_runtime::kernel::{attention_scratch_bytes, packing, tile_scratch_bytes};
use pinhole_runtime::model::format::{DType, GeometryRecord, ModelKind};
use pinhole_runtime::model::op::*;

const INFINITE: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

pub fn window(kernel: u8, stride: u8, padding: u8) -> WindowRecord {
    WindowRecord {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 4],
        dilation: [1; 2],
        reserved: [0; 2],
    }
}

/// Weights (n, k) as the format packs them.
pub fn packed(random: &mut Random, n: usize, k: usize) -> Vec<u8> {
    let mut weights = vec![0; packing::packed_bytes_s8(n, k).unwrap()];
    for channel in 0..n {
        for input in 0..k {
            weights[packing::offset_s8(n, k, channel, input)] = random.next() as u8;
        }
    }
    weights
}

/// Weights, bias, multipliers and shifts of an integer product.
pub fn channels(parts: Parts, random: &mut Random, weights: &[u8], n: usize) -> Parts {
    let bias: Vec<i32> = (0..n).map(|_| random.below(2000) as i32 - 1000).collect();
    let multiplier: Vec<i32> = (0..n)
        .map(|_| (1 << 30) + random.below(1 << 30) as i32)
        .collect();
    parts
        .data(weights)
        .data(&bias)
        .data(&multiplier)
        .data(&vec![-9i8; n])
}

pub fn conv_params(window: WindowRecord) -> ConvParams {
    ConvParams {
        window,
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    }
}

fn pool_params(window: WindowRecord) -> PoolParams {
    PoolParams {
        window,
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    }
}

pub fn add_params() -> AddParams {
    AddParams {
        left_shift: 20.into(),
        input_multiplier: [(1 << 30).into(); 2],
        input_shift: [0.into(); 2],
        output_multiplier: (1 << 30).into(),
        output_shift: (-19).into(),
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    }
}

pub fn mul_params() -> MulParams {
    MulParams {
        multiplier: (1 << 30).into(),
        shift: (-6).into(),
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    }
}

/// A picture in, an int8 embedding out: the integer operators.
pub fn image_s8() -> Builder {
    let mut random = Random(1);
    let mut b = Builder::new(ModelKind::ImageEncoder);
    b.geometry = GeometryRecord {
        width: 6.into(),
        height: 6.into(),
        resize_shorter: 7.into(),
        reserved: 0.into(),
        mean: [0.5.into(); 3],
        std: [0.25.into(); 3],
    };
    let picture = b.value(DType::I8, &[1, 6, 6, 3]);
    b.values[picture].zero_point = (-3).into();
    b.input(picture);
    let conv = b.value(DType::I8, &[1, 3, 3, 18]);
    let weights = packed(&mut random, 18, 27);
    let parts = channels(
        Parts::params(conv_params(window(3, 2, 1))),
        &mut random,
        &weights,
        18,
    );
    b.op(
        OpKind::ConvS8,
        &[picture],
        conv,
        parts.scratch(tile_scratch_bytes(27, 1)),
    );
    let depthwise = b.value(DType::I8, &[1, 3, 3, 18]);
    let weights = random.bytes(9 * 18);
    let parts = channels(
        Parts::params(conv_params(window(3, 1, 1))),
        &mut random,
        &weights,
        18,
    );
    b.op(OpKind::DepthwiseConvS8, &[conv], depthwise, parts);
    let sum = b.value(DType::I8, &[1, 3, 3, 18]);
    b.op(
        OpKind::AddS8,
        &[conv, depthwise],
        sum,
        Parts::params(add_params()),
    );
    let mean = b.value(DType::I8, &[1, 1, 1, 18]);
    let params = MeanParams {
        multiplier: (1 << 30).into(),
        shift: (-2).into(),
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    };
    b.op(OpKind::MeanS8, &[sum], mean, Parts::params(params));
    let gate = b.value(DType::I8, &[1, 1, 1, 18]);
    b.op(
        OpKind::LutS8,
        &[mean],
        gate,
        Parts::default().data(&random.bytes(256)),
    );
    let product = b.value(DType::I8, &[1, 3, 3, 18]);
    b.op(
        OpKind::MulS8,
        &[sum, gate],
        product,
        Parts::params(mul_params()),
    );
    let average = b.value(DType::I8, &[1, 3, 3, 18]);
    b.op(
        OpKind::AvgPoolS8,
        &[product],
        average,
        Parts::params(pool_params(window(3, 1, 1))),
    );
    let maximum = b.value(DType::I8, &[1, 1, 1, 18]);
    b.op(
        OpKind::MaxPoolS8,
        &[average],
        maximum,
        Parts::params(pool_params(window(3, 1, 0))),
    );
    let flat = b.alias(maximum, &[1, 18]);
    let wide = b.value(DType::I16, &[1, 10]);
    let params = GemmParams {
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
    };
    let weights = packed(&mut random, 10, 18);
    let parts = channels(Parts::params(params), &mut random, &weights, 10);
    b.op(
        OpKind::GemmS8,
        &[flat],
        wide,
        parts.scratch(tile_scratch_bytes(18, 1)),
    );
    let embedding = b.value(DType::I8, &[1, 10]);
    b.op(OpKind::NormalizeS16, &[wide], embedding, Parts::default());
    b.output(embedding);
    b.names = (0..b.values.len())
        .map(|i| format!("value{i}\n"))
        .collect::<String>()
        + &(0..b.ops.len())
            .map(|i| format!("op{i}\n"))
            .collect::<String>();
    b
}

pub fn gemm_params(weights: FloatWeights) -> GemmF32Params {
    GemmF32Params {
        clamp_min: INFINITE[0].into(),
        clamp_max: INFINITE[1].into(),
        weights: weights as u8,
        reserved: [0; 3],
    }
}

pub fn binary_params(function: BinaryKind) -> BinaryParams {
    BinaryParams {
        function: function as u8,
        reserved: [0; 3],
        clamp_min: INFINITE[0].into(),
        clamp_max: INFINITE[1].into(),
    }
}

pub fn unary_params(function: UnaryKind, alpha: f32, beta: f32) -> UnaryParams {
    UnaryParams {
        function: function as u8,
        reserved: [0; 3],
        alpha: alpha.into(),
        beta: beta.into(),
    }
}

pub fn reduce_params(function: ReduceKind, axes: u8) -> ReduceParams {
    ReduceParams {
        function: function as u8,
        axes,
        reserved: [0; 2],
    }
}

fn conv_f32_params(window: WindowRecord) -> ConvF32Params {
    ConvF32Params {
        window,
        clamp_min: 0.0.into(),
        clamp_max: 6.0.into(),
        weights: FloatWeights::F32 as u8,
        reserved: [0; 3],
    }
}

/// A picture in, a float embedding out: float convolutions, pooling, products, moves.
pub fn picture_f32() -> Builder {
    let mut random = Random(2);
    let mut b = Builder::new(ModelKind::Other);
    let picture = b.value(DType::F32, &[1, 5, 5, 3]);
    b.input(picture);
    let padded = b.value(DType::F32, &[1, 6, 6, 3]);
    let params = PadParams {
        before: [0, 1, 0, 0].map(Into::into),
        after: [0, 0, 1, 0].map(Into::into),
        fill: 0.5f32.to_bits().into(),
    };
    b.op(OpKind::Pad, &[picture], padded, Parts::params(params));
    let conv = b.value(DType::F32, &[1, 3, 3, 5]);
    let parts = Parts::params(conv_f32_params(window(3, 2, 1)))
        .data(&random.floats(5 * 27))
        .data(&random.floats(5));
    b.op(
        OpKind::ConvF32,
        &[padded],
        conv,
        parts.scratch(tile_scratch_bytes(27, 4)),
    );
    let depthwise = b.value(DType::F32, &[1, 3, 3, 5]);
    let parts = Parts::params(conv_f32_params(window(3, 1, 1))).data(&random.floats(9 * 5));
    b.op(OpKind::DepthwiseConvF32, &[conv], depthwise, parts);
    let average = b.value(DType::F32, &[1, 3, 3, 5]);
    b.op(
        OpKind::AvgPoolF32,
        &[depthwise],
        average,
        Parts::params(pool_params(window(3, 1, 1))),
    );
    let maximum = b.value(DType::F32, &[1, 2, 2, 5]);
    b.op(
        OpKind::MaxPoolF32,
        &[average],
        maximum,
        Parts::params(pool_params(window(2, 1, 0))),
    );
    let turned = b.value(DType::F32, &[1, 5, 2, 2]);
    let params = TransposeParams {
        permutation: [0, 3, 1, 2],
    };
    b.op(OpKind::Transpose, &[maximum], turned, Parts::params(params));
    let rows = b.alias(turned, &[5, 4]);
    let cut = b.value(DType::F32, &[3, 2]);
    let params = SliceParams {
        starts: [0, 1, 0, 0].map(Into::into),
        steps: [2, 2, 1, 1].map(Into::into),
    };
    b.op(OpKind::Slice, &[rows], cut, Parts::params(params));
    let joined = b.value(DType::F32, &[3, 4]);
    let params = ConcatParams {
        axis: 1,
        reserved: [0; 3],
    };
    b.op(OpKind::Concat, &[cut, cut], joined, Parts::params(params));
    let squares = b.value(DType::F32, &[3, 3]);
    let params = MatmulParams {
        transpose_rhs: 1,
        reserved: [0; 3],
        scale: 0.5.into(),
    };
    b.op(
        OpKind::MatmulF32,
        &[joined, joined],
        squares,
        Parts::params(params),
    );
    let offsets = b.constant(DType::F32, &[3], &random.floats(3));
    let shifted = b.value(DType::F32, &[3, 3]);
    b.op(
        OpKind::BinaryF32,
        &[squares, offsets],
        shifted,
        Parts::params(binary_params(BinaryKind::Add)),
    );
    let quantised = b.value(DType::I8, &[3, 3]);
    b.op(OpKind::QuantizeF32, &[shifted], quantised, Parts::default());
    let back = b.value(DType::F32, &[3, 3]);
    b.op(OpKind::DequantizeS8, &[quantised], back, Parts::default());
    let halves: Vec<u16> = random
        .floats(3 * 7)
        .iter()
        .map(|&w| half::f16::from_f32(w).to_bits())
        .collect();
    let product = b.value(DType::F32, &[3, 7]);
    let parts = Parts::params(gemm_params(FloatWeights::F16))
        .data(&halves)
        .data(&random.floats(7));
    b.op(OpKind::GemmF32, &[back], product, parts);
    b.output(product);
    b
}

/// Token ids in, a float embedding out: the dynamic operators.
pub fn text_f32(max_tokens: usize) -> Builder {
    let mut random = Random(3);
    let (vocabulary, width) = (11, 6);
    let mut b = Builder::new(ModelKind::TextEncoder);
    let ids = b.dynamic(DType::I32, &[max_tokens]);
    b.input(ids);
    let words = b.dynamic(DType::F32, &[max_tokens, width]);
    let params = EmbeddingParams {
        weights: FloatWeights::I8 as u8,
        reserved: [0; 3],
        rows: (vocabulary as u32).into(),
    };
    let scales: Vec<f32> = (0..vocabulary).map(|i| 0.01 + i as f32 / 500.0).collect();
    let parts = Parts::params(params)
        .data(&random.bytes(vocabulary * width))
        .data(&scales);
    b.op(OpKind::EmbeddingF32, &[ids], words, parts);
    let positions = b.constant(
        DType::F32,
        &[max_tokens, width],
        &random.floats(max_tokens * width),
    );
    let placed = b.dynamic(DType::F32, &[max_tokens, width]);
    b.op(
        OpKind::BinaryF32,
        &[words, positions],
        placed,
        Parts::params(binary_params(BinaryKind::Add)),
    );
    let normed = b.dynamic(DType::F32, &[max_tokens, width]);
    let parts = Parts::params(LayerNormParams {
        epsilon: 1e-5.into(),
    });
    b.op(
        OpKind::LayerNormF32,
        &[placed],
        normed,
        parts
            .data(&random.floats(width))
            .data(&random.floats(width)),
    );
    let [q, k, v] = [0; 3].map(|_| {
        let projected = b.dynamic(DType::F32, &[max_tokens, width]);
        let parts = Parts::params(gemm_params(FloatWeights::I8)).data(&random.bytes(width * width));
        let scales: Vec<f32> = random
            .floats(width)
            .iter()
            .map(|s| s.abs() / 100.0)
            .collect();
        b.op(
            OpKind::GemmF32,
            &[normed],
            projected,
            parts.absent().data(&scales),
        );
        projected
    });
    let mixed = b.dynamic(DType::F32, &[max_tokens, width]);
    let parts = Parts::params(AttentionParams {
        num_heads: 2.into(),
        causal: 0,
        reserved: 0,
        scale: 0.5.into(),
    });
    b.op(
        OpKind::AttentionF32,
        &[q, k, v],
        mixed,
        parts.scratch(attention_scratch_bytes(max_tokens)),
    );
    let active = b.dynamic(DType::F32, &[max_tokens, width]);
    b.op(
        OpKind::UnaryF32,
        &[mixed],
        active,
        Parts::params(unary_params(UnaryKind::Gelu, 0.0, 0.0)),
    );
    let weighted = b.dynamic(DType::F32, &[max_tokens, width]);
    b.op(OpKind::SoftmaxF32, &[active], weighted, Parts::default());
    let pooled = b.value(DType::F32, &[1, width]);
    b.op(
        OpKind::ReduceF32,
        &[weighted],
        pooled,
        Parts::params(reduce_params(ReduceKind::Mean, 1)),
    );
    let embedding = b.value(DType::F32, &[1, width]);
    b.op(
        OpKind::L2NormalizeF32,
        &[pooled],
        embedding,
        Parts::default(),
    );
    b.output(embedding);
    b
}

pub fn all() -> Vec<Builder> {
    let plain = [
        image_s8(),
        picture_f32(),
        text_f32(5),
        super::text::text_s8(5, true),
        super::vit::vit_s8(),
        super::stem::stem_s16(),
        super::half::picture_and_ids(),
    ];
    let shared = plain.each_ref().map(super::in_place::overwriting);
    plain.into_iter().chain(shared).collect()
}
