//! Requantisation of vectors, equal to [`crate::kernel::requantize`] where [`Outputs::new`] says so.
//!
//! `vqrdmulh.s32` is the first rounding to the bit, its saturation too. `vrshl` by −e rounds halves up; adding −1 to negative
//! numbers first (`vqadd` of the sign) makes that halves away from zero, for e > 0. For e = 0, which a channel of almost no
//! spread has, nothing is added: the sign is that of both number and shift. Layers with a shift above 0 take the scalar way.

use core::arch::asm;

use crate::kernel::{DstS8, Requantize};

/// Zero point and clamp of outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs {
    pub(super) zero_point: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

impl Outputs {
    /// Of outputs within `limits`, the range of their type; `None` for a shift or a zero point outside the usual.
    pub(super) fn new(requantize: &Requantize<'_>, limits: [i32; 2]) -> Option<Self> {
        // Folds, because they become vectors and a search does not.
        let largest = requantize.shift.iter().fold(i8::MIN, |a, &b| a.max(b));
        let smallest = requantize.shift.iter().fold(i8::MAX, |a, &b| a.min(b));
        (largest <= 0 && smallest >= -31 && requantize.zero_point.unsigned_abs() <= 1 << 16).then(
            || Self {
                zero_point: requantize.zero_point,
                min: requantize.clamp_min.clamp(limits[0], limits[1]),
                max: requantize.clamp_max.clamp(limits[0], limits[1]),
            },
        )
    }
}

/// Writes the outputs whose sums, biases in them, are `sums`, channels from `channel` on, to `dst` from `place` on.
#[inline(always)]
pub(super) fn write(
    requantize: &Requantize<'_>,
    outputs: Option<Outputs>,
    sums: &[i32],
    channel: usize,
    dst: &mut DstS8<'_>,
    place: usize,
) {
    let len = sums.len();
    if len == 0 {
        return;
    }
    let Some(outputs) = outputs else {
        return write_any(requantize, sums, channel, dst, place);
    };
    let multiplier = &requantize.multiplier[channel..][..len];
    let shift = &requantize.shift[channel..][..len];
    // Four lanes: sum, factor, sign; limits stay in q3 and q4. Narrow memory operands take the registers
    // r0 to r7 alone.
    macro_rules! requantize {
        ($dst:expr, $store:literal) => {{
            let dst = &mut $dst[place..][..len];
            // SAFETY: Reads `len` sums, multipliers and shifts, and writes `len` outputs: the lengths of the slices. The
            // loop masks lanes beyond `len`.
            unsafe {
                asm!(
                    "vdup.32 q3, {min}",
                    "vdup.32 q4, {max}",
                    "dlstp.32 lr, lr",
                    "2:",
                    "vldrw.u32 q0, [{sums}], #16",
                    "vldrw.u32 q1, [{multiplier}], #16",
                    "vqrdmulh.s32 q0, q0, q1",
                    "vldrb.s32 q1, [r3], #4",
                    "vand q2, q0, q1",
                    "vshr.s32 q2, q2, #31",
                    "vqadd.s32 q0, q0, q2",
                    "vrshl.s32 q0, q0, q1",
                    "vadd.i32 q0, q0, {zero_point}",
                    "vmax.s32 q0, q0, q3",
                    "vmin.s32 q0, q0, q4",
                    $store,
                    "letp lr, 2b",
                    inout("lr") len => _,
                    sums = inout(reg) sums.as_ptr() => _,
                    multiplier = inout(reg) multiplier.as_ptr() => _,
                    inout("r3") shift.as_ptr() => _,
                    inout("r2") dst.as_mut_ptr() => _,
                    zero_point = in(reg) outputs.zero_point,
                    min = in(reg) outputs.min, max = in(reg) outputs.max,
                    out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _,
                    out("d5") _, out("d6") _, out("d7") _, out("d8") _, out("d9") _,
                    options(nostack)
                );
            }
        }};
    }
    match dst {
        DstS8::I8(dst) => requantize!(dst, "vstrb.32 q0, [r2], #4"),
        DstS8::I16(dst) => requantize!(dst, "vstrh.32 q0, [r2], #8"),
    }
}

/// As [`write`], for every shift.
#[inline(never)]
fn write_any(
    requantize: &Requantize<'_>,
    sums: &[i32],
    channel: usize,
    dst: &mut DstS8<'_>,
    place: usize,
) {
    for (index, &sum) in sums.iter().enumerate() {
        let channel = channel + index;
        let output = requantize.apply(channel, sum.wrapping_sub(requantize.bias[channel]));
        match dst {
            DstS8::I8(dst) => dst[place + index] = output.clamp(-128, 127) as i8,
            DstS8::I16(dst) => dst[place + index] = output.clamp(-32768, 32767) as i16,
        }
    }
}
