//! Layer normalisation: both sums of a row in one loop, then four numbers at a time.

use core::arch::asm;

use crate::kernel::cortex_m::row_scale::row_scale;
use crate::kernel::row_scale::RowScale;
use crate::kernel::{DstS8, LayerNormS16, SrcS16, scalar};

/// See [`LayerNormS16`].
pub(super) fn layer_norm_s16(mut args: LayerNormS16<'_>) {
    let n = args.gamma.len();
    let len = match &args.dst {
        DstS8::I8(dst) => dst.len(),
        DstS8::I16(dst) => dst.len(),
    };
    if n == 0 || args.beta.len() != n || args.src.len() != len {
        return scalar::layer_norm_s16(args);
    }
    for start in (0..len / n * n).step_by(n) {
        let (sum, squares) = match args.src {
            SrcS16::I8(src) => sums_i8(&src[start..][..n]),
            SrcS16::I16(src) => sums_i16(&src[start..][..n]),
        };
        let scale = row_scale(n, sum, squares, args.epsilon);
        write(&mut args, start, n, &scale);
    }
}

/// Σx and Σx² of one row.
macro_rules! sums {
    ($name:ident, $type:ty, $load:literal) => {
        fn $name(src: &[$type]) -> (i32, u64) {
            let (mut sum, mut low, mut high) = (0, 0u32, 0u32);
            // SAFETY: Reads `src`; the loop masks lanes beyond, and does not run for 0. Narrow memory operands take the registers
            // r0 to r7 alone.
            unsafe {
                asm!(
                    "wlstp.16 lr, lr, 3f",
                    "2:",
                    $load,
                    "vaddva.s16 r0, q0",
                    "vmlaldava.s16 r2, r3, q0, q0",
                    "letp lr, 2b",
                    "3:",
                    inout("lr") src.len() => _, inout("r0") sum, inout("r2") low, inout("r3") high,
                    inout("r1") src.as_ptr() => _,
                    out("d0") _, out("d1") _,
                    options(nostack, readonly)
                );
            }
            (sum, u64::from(high) << 32 | u64::from(low))
        }
    };
}
sums!(sums_i8, i8, "vldrb.s16 q0, [r1], #8");
sums!(sums_i16, i16, "vldrh.u16 q0, [r1], #16");

/// The outputs of a row of `n` from `start` on, all slices of them checked.
fn write(args: &mut LayerNormS16<'_>, start: usize, n: usize, scale: &RowScale) {
    // Four lanes: numbers, parameters, the factor. A normalised number is narrowed to limit it.
    macro_rules! row {
        ($src:ident, $dst:ident, $load:literal, $limit:literal, $store:literal) => {{
            let (src, dst) = (&$src[start..][..n], &mut $dst[start..][..n]);
            let (gamma, beta) = (&args.gamma[..n], &args.beta[..n]);
            // SAFETY: Reads `n` numbers, gammas and betas and writes `n` outputs, the lengths of the slices; the loop masks lanes
            // beyond, and does not run for 0. Narrow memory operands take the registers r0 to r7 alone.
            unsafe {
                asm!(
                    "vdup.32 q3, {multiplier}",
                    "wlstp.32 lr, lr, 3f",
                    "2:",
                    $load,
                    "vmlas.s32 q0, q3, {offset}",
                    "vshl.s32 q0, {normal_shift}",
                    "vqmovnb.s32 q0, q0",
                    "vmovlb.s16 q0, q0",
                    "vldrh.s32 q1, [r2], #8",
                    "vldrw.u32 q2, [{beta}], #16",
                    "vmul.i32 q0, q0, q1",
                    "vadd.i32 q0, q0, q2",
                    "vshl.s32 q0, {shift}",
                    $limit,
                    $store,
                    "letp lr, 2b",
                    "3:",
                    inout("lr") n => _,
                    inout("r0") dst.as_mut_ptr() => _, inout("r1") src.as_ptr() => _,
                    inout("r2") gamma.as_ptr() => _, beta = inout(reg) beta.as_ptr() => _,
                    multiplier = in(reg) scale.multiplier, offset = in(reg) scale.offset,
                    normal_shift = in(reg) -(scale.shift as i32),
                    shift = in(reg) -(args.shift as i32),
                    out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                    out("d6") _, out("d7") _,
                    options(nostack)
                );
            }
        }};
        ($src:ident, $load:literal) => {
            match &mut args.dst {
                DstS8::I8(dst) => row!(
                    $src,
                    dst,
                    $load,
                    "vqmovnb.s32 q0, q0\nvqmovnb.s16 q0, q0",
                    "vstrb.32 q0, [r0], #4"
                ),
                DstS8::I16(dst) => {
                    row!($src, dst, $load, "vqmovnb.s32 q0, q0", "vstrh.32 q0, [r0], #8");
                }
            }
        };
    }
    match args.src {
        SrcS16::I8(src) => row!(src, "vldrb.s32 q0, [r1], #4"),
        SrcS16::I16(src) => row!(src, "vldrh.s32 q0, [r1], #8"),
    }
}
