//! A text model in integers, of fixed or of any number of tokens.

use super::vit::{HEADS, attention_params};
use super::{Builder, Parts};
use pinhole_runtime::kernel::attention_s8_scratch_bytes;
use pinhole_runtime::model::format::{DType, ModelKind};
use pinhole_runtime::model::op::*;

/// Ids to the mean of a causal attention, all in integers: a table, positions, a stream in 16 bits.
pub fn text_s8(tokens: usize, dynamic: bool) -> Builder {
    let mut b = Builder::new(ModelKind::Other);
    let rows = |b: &mut Builder, dtype: DType, shape: &[usize]| match dynamic {
        true => b.dynamic(dtype, shape),
        false => b.value(dtype, shape),
    };
    let ids = rows(&mut b, DType::I32, &[tokens]);
    b.input(ids);
    let table: Vec<i8> = (0..20).map(|i| (i * i * 37 % 255 - 127) as i8).collect();
    let words = rows(&mut b, DType::I16, &[tokens, 4]);
    let params = EmbeddingS8Params {
        rows: 5.into(),
        shift: 9.into(),
    };
    let multipliers = [65_535u16, 40_000, 20_000, 1, 30_000];
    let parts = Parts::params(params).data(&table).data(&multipliers);
    b.op(OpKind::EmbeddingS8, &[ids], words, parts);
    let positions: Vec<i16> = (0..4 * tokens as i32)
        .map(|i| (i * i * 91 % 9001 - 4500) as i16)
        .collect();
    let positions = b.constant(DType::I16, &[tokens, 4], &positions);
    let stream = rows(&mut b, DType::I16, &[tokens, 4]);
    let params = AddS16Params {
        multiplier: [16_384.into(); 2],
        shift: 14.into(),
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
    };
    b.op(
        OpKind::AddS16,
        &[words, positions],
        stream,
        Parts::params(params),
    );
    let mut narrow = || {
        let narrow = rows(&mut b, DType::I8, &[tokens, 4]);
        let params = RescaleS16Params {
            multiplier: 12_000.into(),
            shift: 21.into(),
            clamp_min: (-128).into(),
            clamp_max: 127.into(),
        };
        b.op(OpKind::RescaleS16, &[stream], narrow, Parts::params(params));
        narrow
    };
    let inputs = [narrow(), narrow(), narrow()];
    let mixed = rows(&mut b, DType::I8, &[tokens, 4]);
    let mut params = attention_params(1, [0; 3], [0, 0]);
    params.causal = 1.into();
    let scratch = attention_s8_scratch_bytes(tokens, 2);
    let parts = Parts::params(params).data(&HEADS).scratch(scratch);
    b.op(OpKind::AttentionS8, &inputs, mixed, parts);
    let sum = rows(&mut b, DType::I16, &[tokens, 4]);
    let params = AddS16Params {
        multiplier: [16_384.into(), 8_000.into()],
        shift: 14.into(),
        clamp_min: (-32768).into(),
        clamp_max: 32767.into(),
    };
    b.op(OpKind::AddS16, &[mixed, stream], sum, Parts::params(params));
    let mean = b.value(DType::I8, &[1, 4]);
    let (multiplier, shift) = match dynamic {
        true => (1 << 30, -7),
        false => normalized_mean(tokens),
    };
    let params = MeanParams {
        multiplier: multiplier.into(),
        shift: shift.into(),
        clamp_min: (-128).into(),
        clamp_max: 127.into(),
    };
    b.op(OpKind::MeanS16, &[sum], mean, Parts::params(params));
    b.output(mean);
    b
}

/// 2³⁰ · 2⁻⁷ divided by a number of rows, as 31 bits and a shift.
fn normalized_mean(rows: usize) -> (i32, i32) {
    let (mut multiplier, mut shift) = ((1u64 << 62) / rows as u64, -7 - 32);
    while multiplier >= 1 << 31 {
        (multiplier, shift) = (multiplier >> 1, shift + 1);
    }
    (multiplier as i32, shift)
}
