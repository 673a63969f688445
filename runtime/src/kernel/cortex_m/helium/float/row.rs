//! Conversions, sums and functions of rows, vector after vector; the loops mask what lies beyond the end of a row.

use core::arch::asm;

use half::f16;

use crate::kernel::scalar::float::max_f32;
use crate::model::op::BinaryKind;

/// `dst[i] = src[i]`
pub(super) fn widen(src: &[f16], dst: &mut [f32]) {
    let len = src.len().min(dst.len());
    // SAFETY: Reads and writes `len` numbers, which both slices have; the loop masks lanes beyond, and does not run for
    // 0. Narrow memory operands take the registers r0 to r7 alone.
    unsafe {
        asm!(
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrh.u32 q0, [r1], #8",
            "vcvtb.f32.f16 q0, q0",
            "vstrw.32 q0, [{dst}], #16",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _, inout("r1") src.as_ptr() => _, dst = inout(reg) dst.as_mut_ptr() => _,
            out("d0") _, out("d1") _,
            options(nostack)
        );
    }
}

/// `dst[i]` = the half nearest to `src[i]`
pub(super) fn narrow(src: &[f32], dst: &mut [f16]) {
    let len = src.len().min(dst.len());
    // SAFETY: As in `widen`.
    unsafe {
        asm!(
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q0, [{src}], #16",
            "vcvtb.f16.f32 q0, q0",
            "vstrh.32 q0, [r1], #8",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _, inout("r1") dst.as_mut_ptr() => _, src = inout(reg) src.as_ptr() => _,
            out("d0") _, out("d1") _,
            options(nostack)
        );
    }
}

/// Σ x
pub(super) fn sum(row: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 4];
    // SAFETY: Reads `row.len()` numbers, and writes four sums; the loop masks lanes beyond, whose sums stay as they
    // are.
    unsafe {
        asm!(
            "vmov.i32 q0, #0",
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q1, [{row}], #16",
            "vadd.f32 q0, q0, q1",
            "letp lr, 2b",
            "3:",
            "vstrw.32 q0, [{sums}]",
            inout("lr") row.len() => _, row = inout(reg) row.as_ptr() => _,
            sums = in(reg) sums.as_mut_ptr(),
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            options(nostack)
        );
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Σ (x − shift)²
pub(super) fn squares(row: &[f32], shift: f32) -> f32 {
    let mut sums = [0.0_f32; 4];
    // SAFETY: As in `sum`.
    unsafe {
        asm!(
            "vmov.i32 q0, #0",
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q1, [{row}], #16",
            "vsub.f32 q1, q1, {shift}",
            "vfma.f32 q0, q1, q1",
            "letp lr, 2b",
            "3:",
            "vstrw.32 q0, [{sums}]",
            inout("lr") row.len() => _, row = inout(reg) row.as_ptr() => _,
            sums = in(reg) sums.as_mut_ptr(), shift = in(reg) shift.to_bits(),
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            options(nostack)
        );
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// The largest number, −inf of none, NaN when there is one: `vmaxnm` passes over it, so that it is kept beside the
/// maximum.
pub(super) fn largest(row: &[f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; 4];
    let mut nan = [0.0_f32; 4];
    // SAFETY: As in `sum`, with four maxima too.
    unsafe {
        asm!(
            "vldrw.u32 q0, [{largest}]",
            "vmov.i32 q1, #0",
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q2, [{row}], #16",
            "vmaxnm.f32 q0, q0, q2",
            // Not a number is the only one that is not equal to itself.
            "vpt.f32 ne, q2, q2",
            "vmovt q1, q2",
            "letp lr, 2b",
            "3:",
            "vstrw.32 q0, [{largest}]",
            "vstrw.32 q1, [{nan}]",
            inout("lr") row.len() => _, row = inout(reg) row.as_ptr() => _,
            largest = in(reg) largest.as_mut_ptr(), nan = in(reg) nan.as_mut_ptr(),
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            options(nostack)
        );
    }
    if nan.iter().any(|nan| nan.is_nan()) {
        return f32::NAN;
    }
    largest.into_iter().fold(f32::NEG_INFINITY, max_f32)
}

/// `dst[i] = lhs[i] ∘ rhs[i]` for the functions that have an instruction: a sum, a difference and a product of halves
/// in f32 rounded to a half is what one rounding to a half gives (Figueroa, 1995,
/// <https://doi.org/10.1145/221332.221334>).
pub(super) fn binary(function: BinaryKind, lhs: &[f16], rhs: &[f16], dst: &mut [f16]) -> bool {
    let len = lhs.len().min(rhs.len()).min(dst.len());
    macro_rules! each {
        ($instruction:literal) => {
            // SAFETY: Reads and writes `len` halves, which all slices have; the loop masks lanes beyond, and does not
            // run for 0.
            unsafe {
                asm!(
                    "wlstp.16 lr, lr, 3f",
                    "2:",
                    "vldrh.u16 q0, [{lhs}], #16",
                    "vldrh.u16 q1, [{rhs}], #16",
                    concat!($instruction, " q0, q0, q1"),
                    "vstrh.16 q0, [{dst}], #16",
                    "letp lr, 2b",
                    "3:",
                    inout("lr") len => _, lhs = inout(reg) lhs.as_ptr() => _,
                    rhs = inout(reg) rhs.as_ptr() => _, dst = inout(reg) dst.as_mut_ptr() => _,
                    out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                    options(nostack)
                )
            }
        };
    }
    match function {
        BinaryKind::Add => each!("vadd.f16"),
        BinaryKind::Sub => each!("vsub.f16"),
        BinaryKind::Mul => each!("vmul.f16"),
        BinaryKind::Div | BinaryKind::Pow | BinaryKind::Max | BinaryKind::Min => return false,
    }
    true
}
