//! Integer operations without a window: TFLite's `ADD` and `MUL`, tables, and the ends of the integer part of a graph.

use crate::kernel::requantize::multiply_by_quantized_multiplier;
use crate::kernel::{AddS8, DstS8, LUT_S16_ENTRIES, LutChannelsS16, LutS16, MulS8};

/// TFLite's ADD: both inputs on a common scale with `left_shift` bits of headroom, their sum back on the output's.
pub fn add_s8(args: AddS8<'_>) {
    let AddS8 {
        lhs,
        rhs,
        input_offset,
        input_multiplier,
        input_shift,
        ..
    } = args;
    let common = |side: usize, value: i8| {
        let value = i32::from(value).wrapping_add(input_offset[side]);
        let value = value.wrapping_shl(args.left_shift as u32);
        multiply_by_quantized_multiplier(value, input_multiplier[side], input_shift[side])
    };
    for ((dst, &lhs), &rhs) in args.dst.iter_mut().zip(lhs).zip(rhs) {
        let sum = common(0, lhs).wrapping_add(common(1, rhs));
        let output =
            multiply_by_quantized_multiplier(sum, args.output_multiplier, args.output_shift)
                .saturating_add(args.output_offset)
                .max(args.clamp_min)
                .min(args.clamp_max);
        *dst = output.clamp(-128, 127) as i8;
    }
}

/// TFLite's MUL; `rhs` repeats when it is shorter.
pub fn mul_s8(args: MulS8<'_>) {
    let [lhs_offset, rhs_offset] = args.input_offset;
    for ((dst, &lhs), &rhs) in args
        .dst
        .iter_mut()
        .zip(args.lhs)
        .zip(args.rhs.iter().cycle())
    {
        let lhs = i32::from(lhs).wrapping_add(lhs_offset);
        let product = lhs.wrapping_mul(i32::from(rhs).wrapping_add(rhs_offset));
        let output = multiply_by_quantized_multiplier(product, args.multiplier, args.shift)
            .saturating_add(args.output_offset)
            .max(args.clamp_min)
            .min(args.clamp_max);
        *dst = output.clamp(-128, 127) as i8;
    }
}

/// `dst[i] = table[src[i] + 128]`.
pub fn lut_s8(table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
    for (dst, &src) in dst.iter_mut().zip(src) {
        *dst = table[(i32::from(src) + 128) as usize];
    }
}

/// A function of 16 bits, straight between the entries of its tables.
pub fn lut_s16(args: LutS16<'_>) {
    let tables = [args.outer, args.inner];
    let values = args
        .src
        .iter()
        .map(|&q| between(tables, args.inner_shift, q));
    match args.dst {
        DstS8::I16(dst) => {
            for (dst, value) in dst.iter_mut().zip(values) {
                *dst = to_i16(value);
            }
        }
        DstS8::I8(dst) => {
            for (dst, (x, shift)) in dst.iter_mut().zip(values) {
                *dst = ((x + (1 << (shift + 7))) >> (shift + 8)).min(127) as i8;
            }
        }
    }
}

/// A function of 16 bits of channels whose steps differ.
pub fn lut_channels_s16(args: LutChannelsS16<'_>) {
    let channels = args.index.len();
    if channels == 0 {
        return;
    }
    for (dst, src) in args.dst.chunks_mut(channels).zip(args.src.chunks(channels)) {
        for ((dst, &q), &table) in dst.iter_mut().zip(src).zip(args.index) {
            let table = usize::from(table);
            let [outer, inner] = &args.tables[table];
            let shift = u32::from(args.inner_shifts[table]);
            *dst = to_i16(between([outer, inner], shift, q));
        }
    }
}

/// 2^shift times what lies straight between two entries, at most 2²² of it, and the shift.
#[inline]
fn between([outer, inner]: [&[i16; LUT_S16_ENTRIES]; 2], inner_shift: u32, q: i16) -> (i32, u32) {
    let q = i32::from(q);
    let (table, shift) = match q.abs() < 256 << inner_shift {
        true => (inner, inner_shift),
        false => (outer, 7),
    };
    let place = q + (256 << shift);
    let entry = (place >> shift) as usize;
    let [low, high] = [table[entry], table[entry + 1]].map(i32::from);
    let x = (low << shift) + (high - low) * (place - ((entry as i32) << shift));
    (x, shift)
}

fn to_i16((x, shift): (i32, u32)) -> i16 {
    ((x + (1 << shift >> 1)) >> shift) as i16
}

/// `dst[i, c] = tables[index[c]][src[i, c] + 128]`.
pub fn lut_channels_s8(tables: &[[i8; 256]], index: &[u8], src: &[i8], dst: &mut [i8]) {
    if index.is_empty() {
        return;
    }
    for (dst, src) in dst.chunks_mut(index.len()).zip(src.chunks(index.len())) {
        for ((dst, &src), &table) in dst.iter_mut().zip(src).zip(index) {
            *dst = tables[usize::from(table)][(i32::from(src) + 128) as usize];
        }
    }
}

/// `dst[i, c] = tables[c][src[i, c]]` of pixels with three channels.
pub fn lut_rgb_u8(tables: &[[i8; 256]; 3], src: &[u8], dst: &mut [i8]) {
    let pixels = src.as_chunks::<3>().0;
    for (dst, src) in dst.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
        for ((dst, &src), table) in dst.iter_mut().zip(src).zip(tables) {
            *dst = table[usize::from(src)];
        }
    }
}

/// `dst[i] = src[i] · 127 / max |src|`, halves away from zero; zeros stay zeros.
pub fn normalize_s16(src: &[i16], dst: &mut [i8]) {
    let largest = src
        .iter()
        .map(|value| u32::from(value.unsigned_abs()))
        .max()
        .unwrap_or(0);
    for (dst, &src) in dst.iter_mut().zip(src) {
        let magnitude = u32::from(src.unsigned_abs());
        // Adding half of the divisor before the division rounds halves up; both sides are doubled to keep it whole.
        let rounded = (magnitude * 127 * 2 + largest)
            .checked_div(largest * 2)
            .unwrap_or(0) as i8;
        *dst = if src < 0 { -rounded } else { rounded };
    }
}

/// Exact sum of products of two vectors of at most 2¹⁶ elements.
pub fn dot_s8(lhs: &[i8], rhs: &[i8]) -> i32 {
    lhs.iter().zip(rhs).fold(0, |sum: i32, (&lhs, &rhs)| {
        sum.wrapping_add(i32::from(lhs) * i32::from(rhs))
    })
}

/// `clamp(round(src / scale) + zero_point, −128, 127)`, halves away from zero; NaN becomes the zero point.
pub fn quantize_f32(src: &[f32], scale: f32, zero_point: i32, dst: &mut [i8]) {
    for (dst, &src) in dst.iter_mut().zip(src) {
        // The cast takes NaN to 0 and saturates what does not fit.
        let rounded = libm::roundf(src / scale) as i32;
        *dst = rounded.saturating_add(zero_point).clamp(-128, 127) as i8;
    }
}

/// `scale · (src − zero_point)`.
pub fn dequantize_s8(src: &[i8], scale: f32, zero_point: i32, dst: &mut [f32]) {
    for (dst, &src) in dst.iter_mut().zip(src) {
        *dst = scale * i32::from(src).wrapping_sub(zero_point) as f32;
    }
}
