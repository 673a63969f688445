//! What becomes of finished sums.

use core::arch::asm;

use half::f16;

use crate::kernel::cortex_m::float::{CHUNK, Outputs, clamp};

/// Zeros, without the way to `memclr`.
#[inline(always)]
pub(super) fn clear(sums: &mut [f32; CHUNK]) {
    const _: () = assert!(CHUNK == 16 * 4);
    // SAFETY: Writes 16 vectors, which are all of the sums.
    unsafe {
        asm!(
            "vmov.i32 q0, #0",
            "vstrw.32 q0, [{sums}, #0]",
            "vstrw.32 q0, [{sums}, #16]",
            "vstrw.32 q0, [{sums}, #32]",
            "vstrw.32 q0, [{sums}, #48]",
            "vstrw.32 q0, [{sums}, #64]",
            "vstrw.32 q0, [{sums}, #80]",
            "vstrw.32 q0, [{sums}, #96]",
            "vstrw.32 q0, [{sums}, #112]",
            "vstrw.32 q0, [{sums}, #128]",
            "vstrw.32 q0, [{sums}, #144]",
            "vstrw.32 q0, [{sums}, #160]",
            "vstrw.32 q0, [{sums}, #176]",
            "vstrw.32 q0, [{sums}, #192]",
            "vstrw.32 q0, [{sums}, #208]",
            "vstrw.32 q0, [{sums}, #224]",
            "vstrw.32 q0, [{sums}, #240]",
            sums = in(reg) sums.as_mut_ptr(), out("d0") _, out("d1") _,
            options(nostack, preserves_flags)
        );
    }
}

/// `dst[i] = clamp(scale[i] · sums[i] + bias[i])`
pub(super) fn finish_f32(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f32]) {
    let limits = outputs.clamp;
    let parameters = outputs.scale.iter().zip(&outputs.bias);
    for ((dst, sum), (scale, bias)) in dst.iter_mut().zip(sums).zip(parameters) {
        *dst = clamp(sum * scale + bias, limits);
    }
}

/// Eight outputs from the next sums, in q0.
macro_rules! finish_vector {
    () => {
        "vldrw.u32 q0, [{sums}], #16
        vldrw.u32 q1, [{sums}], #16
        vldrw.u32 q2, [{bias}], #16
        vldrw.u32 q3, [{bias}], #16
        vmul.f32 q0, q0, {scale}
        vmul.f32 q1, q1, {scale}
        vadd.f32 q0, q0, q2
        vadd.f32 q1, q1, q3
        vcvtb.f16.f32 q0, q0
        vcvtt.f16.f32 q0, q1
        // NaN stays: `gt` is false for it, unlike `lt`.
        vpt.f16 gt, q4, q0
        vdupt.16 q0, {low}
        vpt.f16 gt, q0, {high}
        vdupt.16 q0, {high}"
    };
}

/// The same of sums of halves; the scale is that of the first column. 16 instructions for 8 outputs.
pub(super) fn finish_f16(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f16]) {
    let len = dst.len().min(CHUNK);
    if len == 0 {
        return;
    }
    // SAFETY: Reads whole vectors of the CHUNK sums and of as many numbers of the bias, and writes `len` halves: the
    // last store is masked.
    unsafe {
        asm!(
            "vdup.16 q4, {low}",
            "wls lr, lr, 3f",
            "2:",
            finish_vector!(),
            "vstrh.16 q0, [{dst}], #16",
            "le lr, 2b",
            "3:",
            // What is left of a vector.
            "cbz r3, 4f",
            finish_vector!(),
            "vctp.16 r3",
            "vpst",
            "vstrht.16 q0, [{dst}]",
            "4:",
            inout("lr") len / 8 => _, in("r3") len % 8,
            sums = inout(reg) sums.as_ptr() => _, bias = inout(reg) outputs.bias.as_ptr() => _,
            dst = inout(reg) dst.as_mut_ptr() => _, scale = in(reg) outputs.scale[0].to_bits(),
            low = in(reg) outputs.clamp_half[0], high = in(reg) outputs.clamp_half[1],
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _,
            options(nostack)
        );
    }
}

/// `dst[i] = factor · sums[i]` of sums of halves, in the order of the columns.
pub(super) fn scale_f16(sums: &[f32; CHUNK], factor: f32, dst: &mut [f32]) {
    let len = dst.len().min(CHUNK);
    if len == 0 {
        return;
    }
    let mut ordered = [0.0_f32; CHUNK];
    // SAFETY: Reads and writes as many whole vectors of CHUNK numbers as `len`, at least one, begins.
    unsafe {
        asm!(
            "dls lr, lr",
            "2:",
            "vldrw.u32 q0, [{sums}], #16",
            "vldrw.u32 q1, [{sums}], #16",
            "vmul.f32 q0, q0, {factor}",
            "vmul.f32 q1, q1, {factor}",
            "vst20.32 {{q0, q1}}, [{dst}]",
            "vst21.32 {{q0, q1}}, [{dst}]!",
            "le lr, 2b",
            inout("lr") len.div_ceil(8) => _, sums = inout(reg) sums.as_ptr() => _,
            dst = inout(reg) ordered.as_mut_ptr() => _, factor = in(reg) factor.to_bits(),
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            options(nostack)
        );
    }
    for (dst, x) in dst.iter_mut().zip(ordered) {
        *dst = x;
    }
}
