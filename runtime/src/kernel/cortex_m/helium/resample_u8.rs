//! Weighted sums of the rows and columns of a picture, four products of 32 bits an instruction.
//!
//! Along a row, four pixels of a span are gathered, a channel after the other, and their products added to a general
//! register. Down a column, the sums of 16 neighbouring samples stay in vectors.

use core::arch::asm;

use crate::kernel::resample::{
    CHANNELS, ROUNDING, ResampleColumnsU8, ResampleRowU8, resample_columns_in_blocks,
};
use crate::kernel::scalar;

/// Samples of a column at a time.
const BLOCK: usize = 16;
/// Distances of four pixels.
const PIXELS: [u32; 4] = [0, 3, 6, 9];

/// See [`ResampleRowU8`].
pub(super) fn resample_row_u8(args: ResampleRowU8<'_>) {
    let columns = args.spans.len();
    // Folds, because they become vectors and a search does not.
    let spans = args.spans.iter();
    let first = spans
        .clone()
        .fold(u32::MAX, |first, span| first.min(span[0]));
    let end = spans
        .clone()
        .fold(0, |end, span| end.max(span[0].saturating_add(span[1])));
    let longest = spans.fold(0, |longest, span| longest.max(span[1]));
    let sound = columns > 0
        && first >= args.first
        && (end - args.first) as usize <= args.src.len() / CHANNELS
        && longest as usize <= args.taps
        && args.weights.len() >= columns * args.taps
        && args.dst.len() >= columns * CHANNELS;
    if !sound {
        return scalar::resample_row_u8(args);
    }
    let origin = args
        .src
        .as_ptr()
        .wrapping_sub(CHANNELS * args.first as usize);
    // SAFETY: Reads the pixels of every span, which lie between the first and the end of all, and so in `src`; the
    // weights of each, at most `taps`, of which `weights` has so many for every column; writes a pixel for each. The
    // loop masks lanes beyond a span, and does not run for an empty one. The compiler keeps r6 and r7 for itself: they
    // cannot be named as operands, are no operand here, and are restored. `mov` with 0x200000 is ROUNDING.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "mov r7, r12",
            "vldrw.u32 q3, [r4]",
            "vmov.i32 q4, #12",
            "2:",
            "ldrd r11, r12, [r1], #8",
            "mov r3, r8",
            "add r8, r8, r7",
            "mov r0, #{rounding}",
            "add r11, r11, r11, lsl #1",
            "mov r2, #{rounding}",
            "add r11, r11, r5",
            "mov r4, #{rounding}",
            "vmov q0, q3",
            "add r6, r11, #2",
            "wlstp.32 lr, r12, 4f",
            "add r12, r11, #1",
            "3:",
            "vldrw.u32 q1, [r3], #16",
            "vldrb.u32 q2, [r11, q0]",
            "vmladava.s32 r0, q1, q2",
            "vldrb.u32 q2, [r12, q0]",
            "vmladava.s32 r2, q1, q2",
            "vldrb.u32 q2, [r6, q0]",
            "vmladava.s32 r4, q1, q2",
            "vadd.i32 q0, q0, q4",
            "letp lr, 3b",
            "4:",
            "usat r0, #8, r0, asr #22",
            "usat r2, #8, r2, asr #22",
            "usat r4, #8, r4, asr #22",
            "strb r0, [r10], #1",
            "strb r2, [r10], #1",
            "strb r4, [r10], #1",
            "subs r9, r9, #1",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r1") args.spans.as_ptr() => _, inout("r4") PIXELS.as_ptr() => _,
            in("r5") origin, inout("r8") args.weights.as_ptr() => _, inout("r9") columns => _,
            inout("r10") args.dst.as_mut_ptr() => _,
            inout("r12") args.taps * size_of::<i32>() => _,
            rounding = const ROUNDING,
            out("r0") _, out("r2") _, out("r3") _, out("r11") _, out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _,
        );
    }
}

/// See [`ResampleColumnsU8`].
pub(super) fn resample_columns_u8(args: ResampleColumnsU8<'_>) {
    let len = args.dst.len();
    if len < BLOCK {
        return resample_columns_in_blocks::<BLOCK>(args);
    }
    let (before, after) = args.ring.split_at(args.first * len);
    let (of_after, of_before) = args
        .weights
        .split_at(args.weights.len().min(after.len() / len));
    assert!(of_before.len() <= before.len() / len);
    for start in (0..len).step_by(BLOCK) {
        // The last block may overlap the one before it: its outputs are written twice.
        let start = start.min(len - BLOCK);
        // SAFETY: So many rows of `len` samples are in both parts of the ring (the minimum and the assertion above),
        // and 16 samples from `start` on are in each row and in `dst`. Without rows nothing is read.
        unsafe {
            let rows = [after, before].map(|rows| rows.as_ptr().wrapping_add(start));
            sum_block(
                rows,
                [of_after.len(), of_before.len()],
                args.weights.as_ptr(),
                len,
                args.dst[start..].as_mut_ptr(),
            );
        }
    }
}

/// 16 samples of the weighted sum of rows: 11 instructions a row.
///
/// # Safety
/// Both of `rows` have 16 samples every `len` bytes, `counts` times; `weights` as many as both together, and `dst` 16
/// places.
#[inline(always)]
unsafe fn sum_block(
    rows: [*const u8; 2],
    counts: [usize; 2],
    weights: *const i32,
    len: usize,
    dst: *mut u8,
) {
    /// A loop over the rows from r1 on.
    macro_rules! add_rows {
        () => {
            "2:
            ldr r4, [r3], #4
            vldrb.u32 q4, [r1]
            vldrb.u32 q5, [r1, #4]
            vmla.s32 q0, q4, r4
            vldrb.u32 q4, [r1, #8]
            vmla.s32 q1, q5, r4
            vldrb.u32 q5, [r1, #12]
            vmla.s32 q2, q4, r4
            add r1, r1, r5
            vmla.s32 q3, q5, r4
            le lr, 2b
            3:"
        };
    }
    /// Shifts and limits a vector of sums, and stores four samples.
    macro_rules! finish {
        ($sums:literal, $place:literal) => {
            concat!(
                "vshr.s32 ",
                $sums,
                ", ",
                $sums,
                ", #22\n",
                "vqmovunb.s32 ",
                $sums,
                ", ",
                $sums,
                "\n",
                "vqmovunb.s16 ",
                $sums,
                ", ",
                $sums,
                "\n",
                "vstrb.32 ",
                $sums,
                ", [r0, #",
                $place,
                "]",
            )
        };
    }
    // SAFETY: Reads and writes what the caller vouches for.
    unsafe {
        asm!(
            "vdup.32 q0, r4",
            "vdup.32 q1, r4",
            "vdup.32 q2, r4",
            "vdup.32 q3, r4",
            "wls lr, lr, 3f",
            add_rows!(),
            "mov r1, r2",
            "wls lr, r8, 3f",
            add_rows!(),
            finish!("q0", "0"),
            finish!("q1", "4"),
            finish!("q2", "8"),
            finish!("q3", "12"),
            inout("lr") counts[0] => _, in("r8") counts[1],
            inout("r1") rows[0] => _, in("r2") rows[1], inout("r3") weights => _,
            inout("r4") ROUNDING => _, in("r5") len, in("r0") dst,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            options(nostack)
        );
    }
}

/// `sums[i] += weight · src[i]`.
pub(super) fn add_weighted_u8(weight: i32, src: &[u8], sums: &mut [i32]) {
    let len = src.len().min(sums.len());
    // SAFETY: Reads `len` samples, reads and writes `len` sums, the lengths of the slices; the loop masks lanes beyond,
    // and does not run for 0. Narrow memory operands take the registers r0 to r7 alone.
    unsafe {
        asm!(
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrb.u32 q0, [r1], #4",
            "vldrw.u32 q1, [{sums}]",
            "vmla.s32 q1, q0, {weight}",
            "vstrw.32 q1, [{sums}], #16",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _, inout("r1") src.as_ptr() => _,
            sums = inout(reg) sums.as_mut_ptr() => _, weight = in(reg) weight,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            options(nostack)
        );
    }
}

/// `dst[i] = clip8(sums[i])`.
pub(super) fn clip_sums_u8(sums: &[i32], dst: &mut [u8]) {
    let len = sums.len().min(dst.len());
    // SAFETY: Reads `len` sums and writes `len` samples, the lengths of the slices; the loop masks lanes beyond, and
    // does not run for 0. Narrow memory operands take the registers r0 to r7 alone.
    unsafe {
        asm!(
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q0, [{sums}], #16",
            "vshr.s32 q0, q0, #22",
            "vqmovunb.s32 q0, q0",
            "vqmovunb.s16 q0, q0",
            "vstrb.32 q0, [r2], #4",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _, sums = inout(reg) sums.as_ptr() => _,
            inout("r2") dst.as_mut_ptr() => _,
            out("d0") _, out("d1") _,
            options(nostack)
        );
    }
}
