//! What becomes of finished sums.

use core::arch::asm;

use half::f16;

use crate::kernel::cortex_m::float::{CHUNK, Outputs, clamp};

/// `dst[i] = clamp(scale[i] · sums[i] + bias[i])`
pub(super) fn finish_f32(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f32]) {
    let limits = outputs.clamp;
    let parameters = outputs.scale.iter().zip(&outputs.bias);
    for ((dst, sum), (scale, bias)) in dst.iter_mut().zip(sums).zip(parameters) {
        *dst = clamp(sum * scale + bias, limits);
    }
}

/// The same of sums of halves; the scale is that of the first column. 19 instructions for 8 outputs.
pub(super) fn finish_f16(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f16]) {
    let len = dst.len().min(CHUNK);
    if len == 0 {
        return;
    }
    // SAFETY: Reads whole vectors of the CHUNK sums and of as many numbers of the bias, and writes `len` halves, at least one:
    // the last store is masked.
    unsafe {
        asm!(
            "vdup.16 q4, {low}",
            "dls lr, lr",
            "2:",
            "vldrw.u32 q0, [{sums}], #16",
            "vldrw.u32 q1, [{sums}], #16",
            "vldrw.u32 q2, [{bias}], #16",
            "vldrw.u32 q3, [{bias}], #16",
            "vmul.f32 q0, q0, {scale}",
            "vmul.f32 q1, q1, {scale}",
            "vadd.f32 q0, q0, q2",
            "vadd.f32 q1, q1, q3",
            "vcvtb.f16.f32 q0, q0",
            "vcvtt.f16.f32 q0, q1",
            // NaN stays: `gt` is false for it, unlike `lt`.
            "vpt.f16 gt, q4, q0",
            "vdupt.16 q0, {low}",
            "vpt.f16 gt, q0, {high}",
            "vdupt.16 q0, {high}",
            "vctp.16 {len}",
            "vpst",
            "vstrht.16 q0, [{dst}], #16",
            "sub {len}, {len}, #8",
            "le lr, 2b",
            inout("lr") len.div_ceil(8) => _, len = inout(reg) len => _,
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
