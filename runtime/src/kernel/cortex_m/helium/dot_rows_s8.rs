//! One vector times many, four rows at a time: 10 instructions for 64 products.

use core::arch::asm;

use crate::kernel::cortex_m::dot_rows_s8::ROWS;

/// The sum of products of each row; all slices have the same length.
#[inline(always)]
pub(super) fn dot_rows(lhs: &[i8], rows: [&[i8]; ROWS]) -> [i32; ROWS] {
    let len = lhs.len();
    let [a, b, c, d] = rows.map(|row| row[..len].as_ptr());
    let mut sums = [0; ROWS];
    let [sum_a, sum_b, sum_c, sum_d] = &mut sums;
    // SAFETY: Reads `len` bytes, which all slices have; the loop masks lanes beyond, and does not run for 0.
    unsafe {
        asm!(
            "wlstp.8 lr, lr, 3f",
            "2:",
            "vldrb.u8 q0, [r1], #16",
            "vldrb.u8 q1, [r3], #16",
            "vmladava.s8 r0, q0, q1",
            "vldrb.u8 q2, [r5], #16",
            "vmladava.s8 r2, q0, q2",
            "vldrb.u8 q1, [r9], #16",
            "vmladava.s8 r4, q0, q1",
            "vldrb.u8 q2, [r11], #16",
            "vmladava.s8 r8, q0, q2",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _,
            inout("r0") *sum_a, inout("r2") *sum_b, inout("r4") *sum_c, inout("r8") *sum_d,
            inout("r1") lhs.as_ptr() => _,
            inout("r3") a => _, inout("r5") b => _, inout("r9") c => _, inout("r11") d => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            options(nostack, readonly)
        );
    }
    sums
}
