//! Depthwise convolution of a 16-bit stream, 16 channels at a time.

use core::arch::asm;

use super::requantize::{Outputs, write};
use crate::kernel::depthwise_s16::Taps;
use crate::kernel::{DepthwiseConvS16, scalar};

/// Channels at a time.
const BLOCK: usize = 16;

/// See [`DepthwiseConvS16`].
pub(super) fn depthwise_conv_s16(mut args: DepthwiseConvS16<'_>) {
    if args.channels < BLOCK {
        return scalar::depthwise_conv_s16(args);
    }
    let requantize = args.requantize;
    let outputs = Outputs::new(&requantize, args.dst.limits());
    let mut dst = core::mem::take(&mut args.dst);
    let [height, width] = args.window.output;
    for pixel in 0..height * width {
        let taps = Taps::inside(&args.window, [pixel / width, pixel % width]);
        for channel in (0..args.channels).step_by(BLOCK) {
            // The last block may overlap the one before it: its outputs are written twice.
            let channel = channel.min(args.channels - BLOCK);
            let sums = sum_taps(&args, &taps, channel);
            let place = pixel * args.channels + channel;
            write(&requantize, outputs, &sums, channel, &mut dst, place);
        }
    }
}

/// The sums of 16 channels, biases in them.
#[inline(always)]
fn sum_taps(args: &DepthwiseConvS16<'_>, taps: &Taps, channel: usize) -> [i32; BLOCK] {
    let mut sums = [0; BLOCK];
    sums.copy_from_slice(&args.requantize.bias[channel..][..BLOCK]);
    let [rows, count] = taps.count;
    if count == 0 {
        return sums;
    }
    let step = args.window.dilation[1] * args.channels;
    for down in 0..rows {
        let [src, weights] = taps.row(args, down);
        let src = &args.src[src + channel..][..(count - 1) * step + BLOCK];
        let weights = &args.weights[weights + channel..][..(count - 1) * args.channels + BLOCK];
        // SAFETY: Both slices were just cut to 16 channels every `step` numbers and every `channels` bytes, `count`
        // times.
        unsafe {
            add_row(
                &mut sums,
                src.as_ptr(),
                weights.as_ptr(),
                [count, step, args.channels],
            );
        }
    }
    sums
}

/// Adds 16 channels of neighbouring taps: 19 instructions for 16 products.
///
/// # Safety
/// `count` is not 0; `src` has 16 numbers every `step`, and `weights` 16 bytes every `channels`, as many times.
#[inline(always)]
unsafe fn add_row(
    sums: &mut [i32; BLOCK],
    src: *const i16,
    weights: *const i8,
    [count, step, channels]: [usize; 3],
) {
    // SAFETY: Reads what the caller vouches for, and reads and writes `sums`. Narrow memory operands take the registers
    // r0 to r7 alone.
    unsafe {
        asm!(
            "vldrw.u32 q0, [{sums}]",
            "vldrw.u32 q1, [{sums}, #16]",
            "vldrw.u32 q2, [{sums}, #32]",
            "vldrw.u32 q3, [{sums}, #48]",
            "dls lr, lr",
            "2:",
            "vldrh.s32 q4, [r1]",
            "vldrb.s32 q5, [r2]",
            "vmul.i32 q4, q4, q5",
            "vldrh.s32 q6, [r1, #8]",
            "vadd.i32 q0, q0, q4",
            "vldrb.s32 q5, [r2, #4]",
            "vmul.i32 q6, q6, q5",
            "vldrh.s32 q4, [r1, #16]",
            "vadd.i32 q1, q1, q6",
            "vldrb.s32 q5, [r2, #8]",
            "vmul.i32 q4, q4, q5",
            "vldrh.s32 q6, [r1, #24]",
            "vadd.i32 q2, q2, q4",
            "vldrb.s32 q5, [r2, #12]",
            "vmul.i32 q6, q6, q5",
            "add r1, r1, {step}",
            "vadd.i32 q3, q3, q6",
            "add r2, r2, {channels}",
            "le lr, 2b",
            "vstrw.32 q0, [{sums}]",
            "vstrw.32 q1, [{sums}, #16]",
            "vstrw.32 q2, [{sums}, #32]",
            "vstrw.32 q3, [{sums}, #48]",
            inout("lr") count => _, sums = in(reg) sums.as_mut_ptr(),
            inout("r1") src => _, inout("r2") weights => _,
            step = in(reg) step * size_of::<i16>(), channels = in(reg) channels,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _,
            options(nostack)
        );
    }
}
