//! The first layers of a convolutional network in 16 bits: convolution, function, depthwise convolution.

use super::samples::{channels, conv_params, packed, window};
use super::{Builder, Parts, Random};
use pinhole_runtime::kernel::{LUT_S16_ENTRIES, tile_scratch_bytes};
use pinhole_runtime::model::format::{DType, ModelKind};
use pinhole_runtime::model::op::*;

const CHANNELS: usize = 5;

/// i8 (1, 7, 7, 3) → conv_s8 → i16 → lut_channels_s16 → i16 → depthwise_conv_s16 → i8, and beside it lut_s16 → i8.
pub fn stem_s16() -> Builder {
    let mut random = Random(6);
    let mut b = Builder::new(ModelKind::Other);
    let picture = b.value(DType::I8, &[1, 7, 7, 3]);
    b.values[picture].zero_point = 4.into();
    b.input(picture);
    let conv = b.value(DType::I16, &[1, 4, 4, CHANNELS]);
    let weights = packed(&mut random, CHANNELS, 27);
    let params = ConvParams {
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
        ..conv_params(window(3, 2, 1))
    };
    let parts = channels(Parts::params(params), &mut random, &weights, CHANNELS);
    let parts = parts.scratch(tile_scratch_bytes(27, 1));
    b.op(OpKind::ConvS8, &[picture], conv, parts);
    let mut tables = |count: usize| -> Vec<i16> {
        let entries = 0..count * LUT_S16_ENTRIES;
        entries.map(|_| random.next() as i16).collect()
    };
    let curve = Parts::params(LutChannelsParams { tables: 2.into() })
        .data(&tables(4))
        .data(&[0u8, 1, 1, 0, 1])
        .data(&[3u8, 7]);
    let gate = LutS16Params {
        inner_shift: 7.into(),
    };
    let gate = Parts::params(gate).data(&tables(1)).data(&tables(1));
    let swished = b.value(DType::I16, &[1, 4, 4, CHANNELS]);
    b.op(OpKind::LutChannelsS16, &[conv], swished, curve);
    let gates = b.value(DType::I8, &[1, 4, 4, CHANNELS]);
    b.op(OpKind::LutS16, &[swished], gates, gate);
    let mixed = b.value(DType::I8, &[1, 4, 4, CHANNELS]);
    b.values[mixed].zero_point = (-9).into();
    let weights = random.bytes(9 * CHANNELS);
    let params = ConvParams {
        clamp_min: (-9).into(),
        ..conv_params(window(3, 1, 1))
    };
    let parts = channels(Parts::params(params), &mut random, &weights, CHANNELS);
    b.op(OpKind::DepthwiseConvS16, &[swished], mixed, parts);
    let product = b.value(DType::I8, &[1, 4, 4, CHANNELS]);
    let parts = Parts::params(super::samples::mul_params());
    b.op(OpKind::MulS8, &[mixed, gates], product, parts);
    b.output(product);
    b
}
