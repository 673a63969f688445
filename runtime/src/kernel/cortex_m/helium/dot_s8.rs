//! Dot products, to score a bank.

use core::arch::asm;

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
