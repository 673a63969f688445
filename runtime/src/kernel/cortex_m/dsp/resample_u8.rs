//! Weighted sums of the rows and columns of a picture: a load and a `mla` for each product, whose weights have too many
//! bits for the 16-bit products of the extension.

use core::arch::asm;

use super::instruction::clip8;
use crate::kernel::resample::{CHANNELS, ROUNDING, ResampleColumnsU8, ResampleRowU8};
use crate::kernel::scalar;

/// Samples of a column at a time.
const BLOCK: usize = 4;

/// See [`ResampleRowU8`].
pub(super) fn resample_row_u8(mut args: ResampleRowU8<'_>) {
    let dst = core::mem::take(&mut args.dst);
    for (column, dst) in dst.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
        let (pixels, weights) = args.column(column);
        let mut sums = [ROUNDING; CHANNELS];
        if !weights.is_empty() {
            // SAFETY: `ResampleRowU8::column` cuts both slices to the same number of pixels, which is not 0.
            sums = unsafe { sum_span(pixels.as_ptr(), weights.as_ptr(), weights.len()) };
        }
        *dst = sums.map(clip8);
    }
}

/// The weighted sum of `len` pixels: 9 instructions for 3 products.
///
/// # Safety
/// `len` is not 0; `pixels` has so many pixels, and `weights` so many weights.
#[inline(always)]
unsafe fn sum_span(pixels: *const u8, weights: *const i32, len: usize) -> [i32; CHANNELS] {
    let (mut r, mut g, mut b) = (ROUNDING, ROUNDING, ROUNDING);
    // SAFETY: Reads what the caller vouches for.
    unsafe {
        asm!(
            "2:",
            "ldr {weight}, [{weights}], #4",
            "ldrb {x}, [{pixels}], #1",
            "ldrb {y}, [{pixels}], #1",
            "ldrb {z}, [{pixels}], #1",
            "subs {len}, {len}, #1",
            "mla {r}, {x}, {weight}, {r}",
            "mla {g}, {y}, {weight}, {g}",
            "mla {b}, {z}, {weight}, {b}",
            "bne 2b",
            pixels = inout(reg) pixels => _, weights = inout(reg) weights => _,
            len = inout(reg) len => _, weight = out(reg) _,
            x = out(reg) _, y = out(reg) _, z = out(reg) _,
            r = inout(reg) r, g = inout(reg) g, b = inout(reg) b,
            options(nostack, readonly)
        );
    }
    [r, g, b]
}

/// See [`ResampleColumnsU8`].
pub(super) fn resample_columns_u8(args: ResampleColumnsU8<'_>) {
    let len = args.dst.len();
    if len < BLOCK {
        return scalar::resample_columns_u8(args);
    }
    let (before, after) = args.ring.split_at(args.first * len);
    let of_after = args.weights.len().min(after.len() / len);
    let (of_after, of_before) = args.weights.split_at(of_after);
    for start in (0..len).step_by(BLOCK) {
        // The last block may overlap the one before it: its outputs are written twice.
        let start = start.min(len - BLOCK);
        let sums = add_rows([ROUNDING; BLOCK], after, of_after, len, start);
        let sums = add_rows(sums, before, of_before, len, start);
        args.dst[start..][..BLOCK].copy_from_slice(&sums.map(clip8));
    }
}

/// Adds samples of rows, from `start` on in each, times the weights of the rows: 12 instructions for 4 products.
#[inline(always)]
fn add_rows(
    [mut a, mut b, mut c, mut d]: [i32; BLOCK],
    rows: &[u8], // (rows, len)
    weights: &[i32],
    len: usize,
    start: usize,
) -> [i32; BLOCK] {
    let count = weights.len();
    if count == 0 {
        return [a, b, c, d];
    }
    let rows = &rows[start..][..(count - 1) * len + BLOCK];
    // SAFETY: Reads `count` weights, and four samples every `len` bytes as many times, to which `rows` was just cut.
    unsafe {
        asm!(
            "2:",
            "ldrb {x}, [{rows}, #1]",
            "ldrb {y}, [{rows}, #2]",
            "ldrb {z}, [{rows}, #3]",
            "ldrb {w}, [{rows}]",
            "add {rows}, {rows}, {len}",
            "ldr {weight}, [{weights}], #4",
            "subs {count}, {count}, #1",
            "mla {a}, {w}, {weight}, {a}",
            "mla {b}, {x}, {weight}, {b}",
            "mla {c}, {y}, {weight}, {c}",
            "mla {d}, {z}, {weight}, {d}",
            "bne 2b",
            rows = inout(reg) rows.as_ptr() => _, weights = inout(reg) weights.as_ptr() => _,
            count = inout(reg) count => _, len = in(reg) len, weight = out(reg) _,
            w = out(reg) _, x = out(reg) _, y = out(reg) _, z = out(reg) _,
            a = inout(reg) a, b = inout(reg) b, c = inout(reg) c, d = inout(reg) d,
            options(nostack, readonly)
        );
    }
    [a, b, c, d]
}

/// `dst[i] = clip8(sums[i])`.
pub(super) fn clip_sums_u8(sums: &[i32], dst: &mut [u8]) {
    for (dst, &sum) in dst.iter_mut().zip(sums) {
        *dst = clip8(sum);
    }
}
