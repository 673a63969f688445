//! Integer depthwise convolution, four channels at a time: one word of the picture a tap.

use core::arch::asm;

use super::requantize::{Channel, Outputs};
use crate::kernel::cortex_m::taps::{MAX_TAPS, Tap, Taps};
use crate::kernel::{DepthwiseConvS8, scalar};

/// Channels at a time.
const BLOCK: usize = 4;

/// See [`DepthwiseConvS8`].
pub(super) fn depthwise_conv_s8(mut args: DepthwiseConvS8<'_>) {
    let taps = args.window.kernel[0].saturating_mul(args.window.kernel[1]);
    let outputs = Outputs::new(&args.requantize, taps);
    let tables = Taps::new(&args).filter(|_| args.channels >= BLOCK);
    let (Some(outputs), Some(mut tables)) = (outputs, tables) else {
        return scalar::depthwise_conv_s8(args);
    };
    let dst = core::mem::take(&mut args.dst);
    for y in 0..args.window.output[0] {
        for x in 0..args.window.output[1] {
            let (table, base) = tables.at(&args, [y, x]);
            let pixel = y * args.window.output[1] + x;
            let dst = &mut dst[pixel * args.channels..][..args.channels];
            for channel in (0..args.channels).step_by(BLOCK) {
                // The last block may overlap the one before it: its outputs are written twice.
                let channel = channel.min(args.channels - BLOCK);
                let bias = &args.requantize.bias[channel..][..BLOCK];
                let bias = [bias[0], bias[1], bias[2], bias[3]];
                let weights = args.weights[channel..].as_ptr();
                // SAFETY: `taps` is in 1..=`MAX_TAPS` (`Taps::new`), and `weights` has `channels` for each; each address with
                // `base` has 4 bytes from `channel` on, for `channel + 4 ≤ channels`, or is that of zero points.
                let sums =
                    unsafe { dot(table, weights, taps, base + channel, args.channels, bias) };
                let dst = &mut dst[channel..][..BLOCK];
                for (index, sum) in sums.into_iter().enumerate() {
                    let factor = Channel::new(&args.requantize, channel + index);
                    dst[index] = outputs.apply(factor, sum);
                }
            }
        }
    }
}

/// The sums of four channels over `taps` taps: 15 instructions for 4 products.
///
/// # Safety
/// `taps` is in 1..=`MAX_TAPS`. Each of so many entries in `table` is an address with 4 bytes when `base`, masked, is added;
/// `weights` has 4 bytes every `channels` bytes.
#[inline(always)]
unsafe fn dot(
    table: &[Tap; MAX_TAPS],
    weights: *const i8,
    taps: usize,
    base: usize,
    channels: usize,
    [mut a, mut b, mut c, mut d]: [i32; BLOCK],
) -> [i32; BLOCK] {
    // SAFETY: Reads what the caller vouches for, and `taps` entries of the table. The compiler keeps r6 and r7 for itself:
    // they cannot be named as operands, are no operand here, and are restored.
    unsafe {
        asm!(
            "push {{r6, r7}}",
            "2:",
            "ldrd r10, r11, [r4], #8",
            "ldr r6, [r5]",
            "add r5, r5, r12",
            "and r11, r11, r9",
            "ldr r10, [r10, r11]",
            "subs r8, r8, #1",
            "sxtb16 r7, r6, ror #8",
            "sxtb16 r6, r6",
            "sxtb16 r11, r10, ror #8",
            "sxtb16 r10, r10",
            "smlabb r1, r11, r7, r1",
            "smlabb r0, r10, r6, r0",
            "smlatt r3, r11, r7, r3",
            "smlatt r2, r10, r6, r2",
            "bne 2b",
            "pop {{r6, r7}}",
            inout("r0") a, inout("r1") b, inout("r2") c, inout("r3") d,
            inout("r4") table.as_ptr() => _, inout("r5") weights => _, inout("r8") taps => _,
            in("r9") base, in("r12") channels, out("r10") _, out("r11") _,
            options(readonly)
        );
    }
    [a, b, c, d]
}
