//! Sums of rows, in four strands, so that an instruction need not wait for the one before.

use core::arch::asm;

/// Σ x: 7 instructions for four numbers.
pub(super) fn sum(row: &[f32]) -> f32 {
    let (fours, rest) = row.as_chunks::<4>();
    let mut sums = [0.0_f32; 4];
    if !fours.is_empty() {
        // SAFETY: Reads the numbers of `fours`, which are not none, and reads and writes four sums.
        unsafe {
            asm!(
                "vldmia {sums}, {{s0-s3}}",
                "2:",
                "vldmia {row}!, {{s4-s7}}",
                "subs {fours}, {fours}, #1",
                "vadd.f32 s0, s0, s4",
                "vadd.f32 s1, s1, s5",
                "vadd.f32 s2, s2, s6",
                "vadd.f32 s3, s3, s7",
                "bne 2b",
                "vstmia {sums}, {{s0-s3}}",
                row = inout(reg) fours.as_ptr() => _, fours = inout(reg) fours.len() => _,
                sums = in(reg) sums.as_mut_ptr(),
                out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                out("s6") _, out("s7") _,
                options(nostack)
            );
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x;
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// Σ (x − shift)²: 11 instructions for four numbers.
pub(super) fn squares(row: &[f32], shift: f32) -> f32 {
    let (fours, rest) = row.as_chunks::<4>();
    let mut sums = [0.0_f32; 4];
    if !fours.is_empty() {
        // SAFETY: As in `sum`.
        unsafe {
            asm!(
                "vldmia {sums}, {{s0-s3}}",
                "vmov s8, {shift}",
                "2:",
                "vldmia {row}!, {{s4-s7}}",
                "subs {fours}, {fours}, #1",
                "vsub.f32 s4, s4, s8",
                "vsub.f32 s5, s5, s8",
                "vsub.f32 s6, s6, s8",
                "vsub.f32 s7, s7, s8",
                "vfma.f32 s0, s4, s4",
                "vfma.f32 s1, s5, s5",
                "vfma.f32 s2, s6, s6",
                "vfma.f32 s3, s7, s7",
                "bne 2b",
                "vstmia {sums}, {{s0-s3}}",
                row = inout(reg) fours.as_ptr() => _, fours = inout(reg) fours.len() => _,
                sums = in(reg) sums.as_mut_ptr(), shift = in(reg) shift.to_bits(),
                out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                out("s6") _, out("s7") _, out("s8") _,
                options(nostack)
            );
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += (x - shift) * (x - shift);
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}
