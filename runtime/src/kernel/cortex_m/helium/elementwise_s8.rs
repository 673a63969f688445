//! Tables and dot products, 16 bytes at a time.

use core::arch::asm;

/// `dst[i] = table[src[i] + 128]`: a gather of bytes.
pub(super) fn lut_s8(table: &[i8; 256], src: &[i8], dst: &mut [i8]) {
    let len = src.len().min(dst.len());
    // SAFETY: Reads and writes `len` bytes, which both slices have, and reads bytes of the table at an index of 8 bits; the
    // loop masks lanes beyond, and does not run for 0.
    unsafe {
        asm!(
            "wlstp.8 lr, lr, 3f",
            "2:",
            "vldrb.u8 q0, [{src}], #16",
            "vadd.i8 q0, q0, {half}",
            "vldrb.u8 q1, [{table}, q0]",
            "vstrb.8 q1, [{dst}], #16",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _,
            src = inout(reg) src.as_ptr() => _, dst = inout(reg) dst.as_mut_ptr() => _,
            table = in(reg) table.as_ptr(), half = in(reg) 128,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            options(nostack)
        );
    }
}

/// Sum of products.
pub(super) fn dot_s8(lhs: &[i8], rhs: &[i8]) -> i32 {
    let len = lhs.len().min(rhs.len());
    let mut sum = 0;
    // SAFETY: Reads `len` bytes, which both slices have; the loop masks lanes beyond, and does not run for 0.
    unsafe {
        asm!(
            "wlstp.8 lr, lr, 3f",
            "2:",
            "vldrb.u8 q0, [{lhs}], #16",
            "vldrb.u8 q1, [{rhs}], #16",
            "vmladava.s8 r0, q0, q1",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _, inout("r0") sum,
            lhs = inout(reg) lhs.as_ptr() => _, rhs = inout(reg) rhs.as_ptr() => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            options(nostack, readonly)
        );
    }
    sum
}
