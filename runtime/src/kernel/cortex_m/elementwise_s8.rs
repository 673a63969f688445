//! Integer operations without a window: sums by two tables, products, and floats to bytes.

use super::dsp::smmlar;
use super::level::{CHUNK, Level, Scale};
use crate::kernel::requantize::multiply_by_quantized_multiplier;
use crate::kernel::{AddS8, MulS8, scalar};

/// Elements from which on two tables of 256 numbers pay.
const TABLES_PAY: usize = 256;
/// What the sums of a [`Level`] stay below.
const LARGEST_SUM: u32 = 1 << 30;

/// See [`AddS8`]. What an input contributes to the common scale depends on its byte alone, and is looked up.
pub(super) fn add_s8<L: Level>(args: AddS8<'_>) {
    if args.dst.len() < TABLES_PAY {
        return scalar::add_s8(args);
    }
    let table = |side: usize| {
        let offset = args.input_offset[side];
        let factor = [args.input_multiplier[side], args.input_shift[side]];
        contributions(offset, args.left_shift, factor)
    };
    let largest = |table: &[i32; 256]| table.iter().fold(0, |a, &b| b.unsigned_abs().max(a));
    let (left, right) = (table(0), table(1));
    if largest(&left).saturating_add(largest(&right)) >= LARGEST_SUM {
        return scalar::add_s8(args);
    }
    let factor = [args.output_multiplier, args.output_shift];
    let scale = Scale::new_i8(factor, args.output_offset, [args.clamp_min, args.clamp_max]);
    let mut sums = [0; CHUNK];
    let inputs = args.lhs.chunks(CHUNK).zip(args.rhs.chunks(CHUNK));
    for (dst, (lhs, rhs)) in args.dst.chunks_mut(CHUNK).zip(inputs) {
        L::sum_tables([&left, &right], [lhs, rhs], &mut sums);
        scale.write_i8::<L>(&sums[..dst.len()], dst);
    }
}

/// `M((q + offset) · 2^left_shift, multiplier, shift)` of each byte q, by its unsigned value.
fn contributions(offset: i32, left_shift: i32, [multiplier, shift]: [i32; 2]) -> [i32; 256] {
    let value = |byte: usize| {
        let value = i32::from(byte as u8 as i8).wrapping_add(offset);
        value.wrapping_shl(left_shift as u32)
    };
    let usual = offset.unsigned_abs() < 1 << 9
        && (0..=20).contains(&left_shift)
        && (-30..=0).contains(&shift)
        && multiplier >= 0;
    if !usual {
        return core::array::from_fn(|byte| {
            multiply_by_quantized_multiplier(value(byte), multiplier, shift)
        });
    }
    // Values are below 2³⁰: `super::dsp::requantize` says why this is both roundings.
    let half = 1 << -shift >> 1;
    let away = if shift < 0 { -1 } else { 0 };
    core::array::from_fn(|byte| {
        let value = value(byte);
        smmlar(value << 1, multiplier, half + (value >> 31 & away)) >> -shift
    })
}

/// See [`MulS8`].
pub(super) fn mul_s8<L: Level>(args: MulS8<'_>) {
    let [lhs_offset, rhs_offset] = args.input_offset;
    let small = |offset: i32| offset.unsigned_abs() < 1 << 14;
    if !(small(lhs_offset) && small(rhs_offset)) || args.rhs.is_empty() {
        return scalar::mul_s8(args);
    }
    // A short right side is repeated, so that chunks are long.
    let mut repeated = [0; CHUNK];
    let rhs = if args.rhs.len() < CHUNK {
        let len = CHUNK / args.rhs.len() * args.rhs.len();
        for (dst, &src) in repeated.iter_mut().zip(args.rhs.iter().cycle()) {
            *dst = src;
        }
        &repeated[..len]
    } else {
        args.rhs
    };
    let factor = [args.multiplier, args.shift];
    let scale = Scale::new_i8(factor, args.output_offset, [args.clamp_min, args.clamp_max]);
    let mut products = [0; CHUNK];
    let periods = args.lhs.chunks(rhs.len());
    for (dst, lhs) in args.dst.chunks_mut(rhs.len()).zip(periods) {
        let inputs = lhs.chunks(CHUNK).zip(rhs.chunks(CHUNK));
        for (dst, (lhs, rhs)) in dst.chunks_mut(CHUNK).zip(inputs) {
            for ((product, &lhs), &rhs) in products.iter_mut().zip(lhs).zip(rhs) {
                *product = (i32::from(lhs) + lhs_offset) * (i32::from(rhs) + rhs_offset);
            }
            scale.write_i8::<L>(&products[..dst.len()], dst);
        }
    }
}

/// `dst[i] = table[src[i] + 128]`.
pub(super) fn lut_s8(table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
    // The upper half first: an unsigned byte is the index.
    let mut rotated = *table;
    rotated.rotate_left(128);
    for (dst, &src) in dst.iter_mut().zip(src) {
        *dst = rotated[usize::from(src as u8)];
    }
}

/// `dst[i, c] = tables[index[c]][src[i, c] + 128]`.
pub(super) fn lut_channels_s8(tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
    let largest = index.iter().fold(0, |largest, &table| table.max(largest));
    if index.is_empty() || usize::from(largest) >= tables.len() {
        return scalar::lut_channels_s8(tables, index, src, dst);
    }
    let tables = tables.as_flattened();
    let rows = dst.chunks_mut(index.len()).zip(src.chunks(index.len()));
    for (dst, src) in rows {
        for ((dst, &src), &table) in dst.iter_mut().zip(src).zip(index) {
            let place = usize::from(table) << 8 | usize::from(src as u8 ^ 0x80);
            // SAFETY: `table` is below the number of tables, checked above, and the rest of the place below 256.
            *dst = unsafe { *tables.get_unchecked(place) };
        }
    }
}

/// `clamp(round(src / scale) + zero_point, −128, 127)`: what the conversion to an integer cuts off decides the
/// rounding.
pub(super) fn quantize_f32(src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
    for (dst, &src) in dst.iter_mut().zip(src) {
        let quotient = src / scale;
        // Saturates, and takes NaN to 0.
        let whole = quotient as i32;
        let rest = quotient - whole as f32;
        let rounded = if rest >= 0.5 {
            whole.saturating_add(1)
        } else if rest <= -0.5 {
            whole.saturating_sub(1)
        } else {
            whole
        };
        *dst = rounded.saturating_add(zero_point).clamp(-128, 127) as i8;
    }
}
