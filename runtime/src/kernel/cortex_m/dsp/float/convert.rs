//! Between halves and f32. The compiler has no operands in registers of this FPU for `asm!`: a block loads and stores.

use core::arch::asm;

use half::f16;

/// `dst[i] = src[i]`: 10 instructions for four numbers.
pub(in crate::kernel::cortex_m) fn widen(src: &[f16], dst: &mut [f32]) {
    let len = src.len().min(dst.len());
    let whole = len / 4 * 4;
    if whole > 0 {
        // SAFETY: Reads and writes `whole` numbers, at least four, which both slices have.
        unsafe {
            asm!(
                "2:",
                "ldr {low}, [{src}], #4",
                "ldr {high}, [{src}], #4",
                "subs {fours}, {fours}, #1",
                "vmov s0, s1, {low}, {high}",
                "vcvtt.f32.f16 s3, s1",
                "vcvtb.f32.f16 s2, s1",
                "vcvtt.f32.f16 s1, s0",
                "vcvtb.f32.f16 s0, s0",
                "vstmia {dst}!, {{s0-s3}}",
                "bne 2b",
                src = inout(reg) src.as_ptr() => _, dst = inout(reg) dst.as_mut_ptr() => _,
                fours = inout(reg) whole / 4 => _, low = out(reg) _, high = out(reg) _,
                out("s0") _, out("s1") _, out("s2") _, out("s3") _,
                options(nostack)
            );
        }
    }
    for (half, wide) in src[whole..].iter().zip(&mut dst[whole..]) {
        *wide = widen_one(*half);
    }
}

/// `dst[i]` = the half nearest to `src[i]`: 10 instructions for four numbers.
pub(in crate::kernel::cortex_m) fn narrow(src: &[f32], dst: &mut [f16]) {
    let len = src.len().min(dst.len());
    let whole = len / 4 * 4;
    if whole > 0 {
        // SAFETY: Reads and writes `whole` numbers, at least four, which both slices have.
        unsafe {
            asm!(
                "2:",
                "vldmia {src}!, {{s0-s3}}",
                "subs {fours}, {fours}, #1",
                "vcvtb.f16.f32 s4, s0",
                "vcvtt.f16.f32 s4, s1",
                "vcvtb.f16.f32 s5, s2",
                "vcvtt.f16.f32 s5, s3",
                "vmov {low}, {high}, s4, s5",
                "str {low}, [{dst}], #4",
                "str {high}, [{dst}], #4",
                "bne 2b",
                src = inout(reg) src.as_ptr() => _, dst = inout(reg) dst.as_mut_ptr() => _,
                fours = inout(reg) whole / 4 => _, low = out(reg) _, high = out(reg) _,
                out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                options(nostack)
            );
        }
    }
    for (wide, half) in src[whole..].iter().zip(&mut dst[whole..]) {
        *half = narrow_one(*wide);
    }
}

/// One half as an f32.
#[inline(always)]
pub(super) fn widen_one(half: f16) -> f32 {
    f32::from_bits(on_s0!("vcvtb.f32.f16 s0, s0", half.to_bits().into()))
}

/// The half nearest to an f32.
#[inline(always)]
fn narrow_one(wide: f32) -> f16 {
    f16::from_bits(on_s0!("vcvtb.f16.f32 s0, s0", wide.to_bits()) as u16)
}
