//! Layer normalisation: sums of a row two numbers at a time, then a multiply-add a number and parameter.

use core::arch::asm;

use super::instruction::{smlad, smlald, sxtb16, sxtb16_odd};
use crate::kernel::cortex_m::row_scale::row_scale;
use crate::kernel::row_scale::RowScale;
use crate::kernel::{DstS8, LayerNormS16, SrcS16, scalar};

/// Two ones.
const ONES: u32 = 0x0001_0001;

/// See [`LayerNormS16`].
pub(super) fn layer_norm_s16(mut args: LayerNormS16<'_>) {
    let n = args.gamma.len();
    if n == 0 || args.beta.len() != n {
        return scalar::layer_norm_s16(args);
    }
    for row in 0..args.src.len() / n {
        let (sum, squares) = match args.src {
            SrcS16::I8(src) => sums_i8(&src[row * n..][..n]),
            SrcS16::I16(src) => sums_i16(&src[row * n..][..n]),
        };
        let scale = row_scale(n, sum, squares, args.epsilon);
        write(&mut args, row, &scale);
    }
}

/// Σx and Σx² of bytes; a row of 2¹⁵ keeps both in 32 bits.
fn sums_i8(src: &[i8]) -> (i32, u64) {
    let (words, rest) = src.as_chunks::<4>();
    let (mut sum, mut squares) = (0, 0);
    for word in words {
        let word = u32::from_le_bytes(word.map(|byte| byte as u8));
        let (even, odd) = (sxtb16(word), sxtb16_odd(word));
        sum = smlad(odd, ONES, smlad(even, ONES, sum));
        squares = smlad(odd, odd, smlad(even, even, squares));
    }
    for &x in rest {
        sum += i32::from(x);
        squares += i32::from(x) * i32::from(x);
    }
    (sum, squares as u64)
}

/// Σx and Σx² of 16-bit numbers.
fn sums_i16(src: &[i16]) -> (i32, u64) {
    let (pairs, rest) = src.as_chunks::<2>();
    let (mut sum, mut squares) = (0, 0);
    for &[low, high] in pairs {
        let pair = u32::from(high as u16) << 16 | u32::from(low as u16);
        sum = smlad(pair, ONES, sum);
        squares = smlald(pair, pair, squares);
    }
    for &x in rest {
        sum += i32::from(x);
        squares += u64::from(x.unsigned_abs()) * u64::from(x.unsigned_abs());
    }
    (sum, squares)
}

/// The outputs of a row.
fn write(args: &mut LayerNormS16<'_>, row: usize, scale: &RowScale) {
    let n = args.gamma.len();
    let (gamma, beta, shift) = (&args.gamma[..n], &args.beta[..n], args.shift);
    // Two numbers a turn, then one that may be left.
    macro_rules! row {
        ($src:expr, $dst:expr, $load:literal, $bits:literal, $store:literal, $type:ty) => {{
            let (src, dst) = (&$src[row * n..][..n], &mut $dst[row * n..][..n]);
            if n > 1 {
                // SAFETY: Reads two numbers, gammas and betas and writes two outputs n / 2 > 0 times: the slices have n. Betas
                // are aligned. The compiler keeps r6 and r7 for itself: they cannot be named as operands, are no operand
                // here, and are restored.
                unsafe {
                    asm!(
                        "push {{r6, r7}}",
                        "2:",
                        $load,
                        "ldr r11, [r2], #4",
                        "ldrd r6, r7, [r3], #8",
                        "asr r12, r12, r9",
                        "asr lr, lr, r9",
                        "ssat r12, #16, r12",
                        "ssat lr, #16, lr",
                        "smlabb r12, r12, r11, r6",
                        "smlabt lr, lr, r11, r7",
                        "asr r12, r12, r10",
                        "asr lr, lr, r10",
                        concat!("ssat r12, #", $bits, ", r12"),
                        concat!("ssat lr, #", $bits, ", lr"),
                        $store,
                        "subs r4, r4, #1",
                        "bne 2b",
                        "pop {{r6, r7}}",
                        inout("r0") dst.as_mut_ptr() => _, inout("r1") src.as_ptr() => _,
                        inout("r2") gamma.as_ptr() => _, inout("r3") beta.as_ptr() => _,
                        inout("r4") n / 2 => _, in("r5") scale.multiplier, in("r8") scale.offset,
                        in("r9") scale.shift, in("r10") shift,
                        out("r11") _, out("r12") _, out("lr") _,
                    );
                }
            }
            if n % 2 == 1 {
                let normal = scale.apply(src[n - 1].into());
                let product = normal.wrapping_mul(gamma[n - 1].into());
                let output = product.wrapping_add(beta[n - 1]) >> shift;
                dst[n - 1] = output.clamp(<$type>::MIN.into(), <$type>::MAX.into()) as $type;
            }
        }};
        ($src:expr, $load:literal) => {
            match &mut args.dst {
                DstS8::I8(dst) => {
                    row!($src, dst, $load, "8", "strb r12, [r0], #1\nstrb lr, [r0], #1", i8)
                }
                DstS8::I16(dst) => {
                    row!($src, dst, $load, "16", "strh r12, [r0], #2\nstrh lr, [r0], #2", i16)
                }
            }
        };
    }
    match args.src {
        SrcS16::I8(src) => row!(
            src,
            "ldrsb r12, [r1], #1
            ldrsb lr, [r1], #1
            smlabb r12, r12, r5, r8
            smlabb lr, lr, r5, r8"
        ),
        SrcS16::I16(src) => row!(
            src,
            "ldr r11, [r1], #4
            smlabb r12, r11, r5, r8
            smlatb lr, r11, r5, r8"
        ),
    }
}
