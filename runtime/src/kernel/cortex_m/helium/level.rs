//! What the shared kernels take from Helium.

use core::arch::asm;

use super::Helium;
use crate::kernel::cortex_m::level::{CHUNK, Level, Scale};

/// Requantises sums that share a scale: see [`super::requantize`], with one factor and one shift.
macro_rules! requantize {
    ($scale:ident, $sums:ident, $dst:ident, $store:literal) => {{
        let len = $sums.len().min($dst.len());
        if len == 0 {
            return;
        }
        // SAFETY: Reads `len` sums and writes `len` outputs, which both slices have; the loop masks lanes beyond. Narrow memory
        // operands take the registers r0 to r7 alone.
        unsafe {
            asm!(
                "vdup.32 q2, {min}",
                "vdup.32 q3, {max}",
                "dlstp.32 lr, lr",
                "2:",
                "vldrw.u32 q0, [{sums}], #16",
                "vqrdmulh.s32 q0, q0, {multiplier}",
                "vshr.s32 q1, q0, #31",
                "vqadd.s32 q0, q0, q1",
                "vrshl.s32 q0, {shift}",
                "vadd.i32 q0, q0, {zero_point}",
                "vmax.s32 q0, q0, q2",
                "vmin.s32 q0, q0, q3",
                $store,
                "letp lr, 2b",
                inout("lr") len => _,
                sums = inout(reg) $sums.as_ptr() => _,
                inout("r2") $dst.as_mut_ptr() => _,
                multiplier = in(reg) $scale.multiplier, shift = in(reg) $scale.shift,
                zero_point = in(reg) $scale.zero_point,
                min = in(reg) $scale.clamp[0], max = in(reg) $scale.clamp[1],
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _,
                out("d5") _, out("d6") _, out("d7") _,
                options(nostack)
            );
        }
    }};
}

impl Level for Helium {
    /// Whatever the sums.
    fn requantize_i8(scale: &Scale, sums: &[i32], dst: &mut [i8]) {
        requantize!(scale, sums, dst, "vstrb.32 q0, [r2], #4");
    }

    /// Whatever the sums.
    fn requantize_i16(scale: &Scale, sums: &[i32], dst: &mut [i16]) {
        requantize!(scale, sums, dst, "vstrh.32 q0, [r2], #8");
    }

    fn sum_tables(
        [left, right]: [&[i32; 256]; 2],
        [lhs, rhs]: [&[i8]; 2],
        sums: &mut [i32; CHUNK],
    ) {
        let len = lhs.len().min(rhs.len()).min(CHUNK);
        // SAFETY: Reads `len` bytes of each input and words of the tables at indices of 8 bits, and writes `len` ≤ CHUNK sums; the
        // loop masks lanes beyond, and does not run for 0. Narrow memory operands take the registers r0 to r7 alone.
        unsafe {
            asm!(
                "wlstp.32 lr, lr, 3f",
                "2:",
                "vldrb.u32 q0, [r0], #4",
                "vldrb.u32 q1, [r1], #4",
                "vldrw.u32 q2, [{left}, q0, uxtw #2]",
                "vldrw.u32 q3, [{right}, q1, uxtw #2]",
                "vadd.i32 q2, q2, q3",
                "vstrw.32 q2, [{sums}], #16",
                "letp lr, 2b",
                "3:",
                inout("lr") len => _,
                inout("r0") lhs.as_ptr() => _, inout("r1") rhs.as_ptr() => _,
                left = in(reg) left.as_ptr(), right = in(reg) right.as_ptr(),
                sums = inout(reg) sums.as_mut_ptr() => _,
                out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                out("d6") _, out("d7") _,
                options(nostack)
            );
        }
    }

    fn add_pixels(sums: &mut [u32; CHUNK / 2], src: &[i8], len: usize, stride: usize) {
        let pixels = src.chunks(stride).map(|pixel| &pixel[..len]);
        for pixel in pixels.take_while(|pixel| pixel.len() <= CHUNK) {
            // SAFETY: Reads `len` bytes, reads and writes `len` ≤ CHUNK halves of words; the loop masks lanes beyond, and does
            // not run for 0. Narrow memory operands take the registers r0 to r7 alone.
            unsafe {
                asm!(
                    "wlstp.16 lr, lr, 3f",
                    "2:",
                    "vldrb.s16 q0, [r1], #8",
                    "vldrh.u16 q1, [{sums}]",
                    "vadd.i16 q0, q0, q1",
                    "vstrh.16 q0, [{sums}], #16",
                    "letp lr, 2b",
                    "3:",
                    inout("lr") len => _,
                    inout("r1") pixel.as_ptr() => _, sums = inout(reg) sums.as_mut_ptr() => _,
                    out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                    options(nostack)
                );
            }
        }
    }

    fn unpack([low, high]: [u32; 2]) -> [i16; 4] {
        [low, low >> 16, high, high >> 16].map(|half| half as i16)
    }

    fn max_bytes(dst: &mut [i8], src: &[i8]) {
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = src.max(*dst);
        }
    }
}
