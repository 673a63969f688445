//! Weights in the layouts of [`pinhole_runtime::kernel::packing`], as bytes of the data section.

use pinhole_runtime::kernel::packing::{WeightLayout, offset_float};
use pinhole_runtime::model::op::FloatWeights;

/// Integer weights (n, k) row by row → blocks of `layout`.
pub(crate) fn pack_s8(layout: WeightLayout, weights: &[i8], n: usize, k: usize) -> Vec<u8> {
    let mut packed = vec![0u8; layout.packed_bytes_s8(n, k).unwrap_or(0)];
    let together = layout.group_inputs();
    for (channel, row) in weights.chunks_exact(k.max(1)).take(n).enumerate() {
        for (group, weights) in row.chunks(together).enumerate() {
            let at = layout.offset_s8(n, k, channel, group * together);
            for (place, &weight) in packed[at..].iter_mut().zip(weights) {
                *place = weight as u8;
            }
        }
    }
    packed
}

/// Float weights (n, k) row by row → blocks of 16 channels, stored as asked. The second part holds the scales (n) of i8.
pub(crate) fn pack_float(
    weights: &[f32],
    n: usize,
    k: usize,
    storage: FloatWeights,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut packed = vec![0u8; n * k * storage.bytes()];
    let scales = (storage == FloatWeights::I8).then(|| row_scales(weights, n, k));
    for channel in 0..n {
        for input in 0..k {
            let scale = scales.as_ref().map_or(1.0, |scales| scales[channel]);
            let at = offset_float(n, k, channel, input) * storage.bytes();
            store(
                &mut packed[at..at + storage.bytes()],
                weights[channel * k + input],
                scale,
                storage,
            );
        }
    }
    (packed, scales.map(|scales| f32_bytes(&scales)))
}

/// A table (rows, width), not blocked, stored as asked.
pub(crate) fn pack_table(
    table: &[f32],
    rows: usize,
    width: usize,
    storage: FloatWeights,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let scales = (storage == FloatWeights::I8).then(|| row_scales(table, rows, width));
    let mut bytes = vec![0u8; rows * width * storage.bytes()];
    for (index, (&value, slot)) in table
        .iter()
        .zip(bytes.chunks_exact_mut(storage.bytes()))
        .enumerate()
    {
        let scale = scales.as_ref().map_or(1.0, |scales| scales[index / width]);
        store(slot, value, scale, storage);
    }
    (bytes, scales.map(|scales| f32_bytes(&scales)))
}

/// Largest magnitude of each row over 127; 1 for a row of zeros.
fn row_scales(weights: &[f32], rows: usize, width: usize) -> Vec<f32> {
    (0..rows)
        .map(|row| {
            let largest = weights[row * width..(row + 1) * width]
                .iter()
                .fold(0f32, |m, w| m.max(w.abs()));
            if largest > 0.0 { largest / 127.0 } else { 1.0 }
        })
        .collect()
}

fn store(slot: &mut [u8], value: f32, scale: f32, storage: FloatWeights) {
    match storage {
        FloatWeights::F32 => slot.copy_from_slice(&value.to_le_bytes()),
        FloatWeights::F16 => {
            slot.copy_from_slice(&half::f16::from_f32(value).to_bits().to_le_bytes())
        }
        FloatWeights::I8 => slot[0] = (value / scale).round().clamp(-127.0, 127.0) as i8 as u8,
    }
}

/// Little-endian bytes.
pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The nearest halves, little-endian.
pub(crate) fn f16_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|&value| half::f16::from_f32(value).to_le_bytes())
        .collect()
}

/// Little-endian bytes.
pub(crate) fn i32_bytes(values: &[i32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The bytes of signed bytes.
pub(crate) fn i8_bytes(values: &[i8]) -> Vec<u8> {
    values.iter().map(|&value| value as u8).collect()
}

/// Little-endian bytes.
pub(crate) fn i16_bytes(values: &[i16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
