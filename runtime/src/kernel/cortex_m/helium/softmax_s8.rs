//! Integer softmax by a table of exponentials, which is gathered from.

use core::arch::asm;

use crate::kernel::cortex_m::exponential::exponentials;
use crate::kernel::cortex_m::quotient::normalized_quotient;
use crate::kernel::{SoftmaxS8, scalar};

/// See [`SoftmaxS8`].
pub(super) fn softmax_s8(args: SoftmaxS8<'_>) {
    let Some(table) = exponentials(&args) else {
        return scalar::softmax_s8(args);
    };
    let columns = args.columns.max(1);
    let rows = args.src.chunks_exact(columns);
    for (src, dst) in rows.zip(args.dst.chunks_exact_mut(columns)) {
        let largest = src.iter().copied().fold(i8::MIN, i8::max);
        let sum = sum(&table, src, largest);
        // The shift is negative for each sum of at most 2¹⁶ exponentials, the largest of them 32766.
        let (multiplier, shift) = normalized_quotient(1 << 30, 9, sum);
        write(&table, src, largest, [multiplier, shift], dst);
    }
}

/// The sum of the exponentials of a row.
fn sum(table: &[u16; 256], src: &[i8], largest: i8) -> u32 {
    let mut sum = 0;
    // SAFETY: Reads the bytes of `src`, and of the table at distances of bytes from the largest one, which are 0..=255; the
    // loop masks lanes beyond, and does not run for 0. Narrow memory operands take the registers r0 to r7 alone.
    unsafe {
        asm!(
            "vdup.16 q2, {largest}",
            "wlstp.16 lr, lr, 3f",
            "2:",
            "vldrb.s16 q0, [r1], #8",
            "vsub.i16 q0, q2, q0",
            "vldrh.u16 q1, [{table}, q0, uxtw #1]",
            "vaddva.u16 r0, q1",
            "letp lr, 2b",
            "3:",
            inout("lr") src.len() => _, inout("r0") sum, inout("r1") src.as_ptr() => _,
            table = in(reg) table.as_ptr(), largest = in(reg) i32::from(largest),
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            options(nostack, readonly)
        );
    }
    sum
}

/// The outputs of a row: no exponential is negative, so that a rounding shift is all of the second rounding.
fn write(table: &[u16; 256], src: &[i8], largest: i8, factor: [i32; 2], dst: &mut [i8]) {
    let len = src.len().min(dst.len());
    // SAFETY: As in `sum`; writes `len` bytes.
    unsafe {
        asm!(
            "vdup.32 q2, {largest}",
            "vmov.i32 q3, #127",
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrb.s32 q0, [r1], #4",
            "vsub.i32 q0, q2, q0",
            "vldrh.u32 q1, [{table}, q0, uxtw #1]",
            "vqrdmulh.s32 q1, q1, {multiplier}",
            "vrshl.s32 q1, {shift}",
            "vsub.i32 q1, q1, {zero_point}",
            "vmin.s32 q1, q1, q3",
            "vstrb.32 q1, [r0], #4",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _, inout("r0") dst.as_mut_ptr() => _, inout("r1") src.as_ptr() => _,
            table = in(reg) table.as_ptr(), largest = in(reg) i32::from(largest),
            multiplier = in(reg) factor[0], shift = in(reg) factor[1], zero_point = in(reg) 128,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _,
            options(nostack)
        );
    }
}
