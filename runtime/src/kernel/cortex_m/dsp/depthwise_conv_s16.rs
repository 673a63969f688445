//! Depthwise convolution of a 16-bit stream, four channels at a time: products of 16-bit halves.

use core::arch::asm;

use super::requantize::{Channel, Outputs};
use crate::kernel::depthwise_s16::Taps;
use crate::kernel::{DepthwiseConvS16, DstS8, scalar};

/// Channels at a time.
const BLOCK: usize = 4;
/// How many products of two bytes are as large as one of 16 and 8 bits.
const PRODUCTS: usize = 256;

/// See [`DepthwiseConvS16`].
pub(super) fn depthwise_conv_s16(mut args: DepthwiseConvS16<'_>) {
    let requantize = args.requantize;
    let products = args.window.kernel[0]
        .saturating_mul(args.window.kernel[1])
        .saturating_mul(PRODUCTS);
    if args.channels < BLOCK || Outputs::new(&requantize, products).is_none() {
        return scalar::depthwise_conv_s16(args);
    }
    let [lowest, highest] = args.dst.limits();
    let [min, max] =
        [requantize.clamp_min, requantize.clamp_max].map(|limit| limit.clamp(lowest, highest));
    let mut dst = core::mem::take(&mut args.dst);
    let [height, width] = args.window.output;
    for pixel in 0..height * width {
        let taps = Taps::inside(&args.window, [pixel / width, pixel % width]);
        for channel in (0..args.channels).step_by(BLOCK) {
            // The last block may overlap the one before it: its outputs are written twice.
            let channel = channel.min(args.channels - BLOCK);
            let sums = sum_taps(&args, &taps, channel);
            let first = pixel * args.channels + channel;
            let outputs = sums.into_iter().enumerate().map(|(index, sum)| {
                let value = Channel::new(&requantize, channel + index).scale(sum);
                (value + requantize.zero_point).max(min).min(max)
            });
            match &mut dst {
                DstS8::I8(dst) => {
                    let dst = dst[first..][..BLOCK].iter_mut();
                    dst.zip(outputs)
                        .for_each(|(dst, output)| *dst = output as i8);
                }
                DstS8::I16(dst) => {
                    let dst = dst[first..][..BLOCK].iter_mut();
                    dst.zip(outputs)
                        .for_each(|(dst, output)| *dst = output as i16);
                }
            }
        }
    }
}

/// The sums of four channels, biases in them.
#[inline(always)]
fn sum_taps(args: &DepthwiseConvS16<'_>, taps: &Taps, channel: usize) -> [i32; BLOCK] {
    let bias = &args.requantize.bias[channel..][..BLOCK];
    let mut sums = [bias[0], bias[1], bias[2], bias[3]];
    let [rows, count] = taps.count;
    if count == 0 {
        return sums;
    }
    let step = args.window.dilation[1] * args.channels;
    for down in 0..rows {
        let [src, weights] = taps.row(args, down);
        let src = &args.src[src + channel..][..(count - 1) * step + BLOCK];
        let weights = &args.weights[weights + channel..][..(count - 1) * args.channels + BLOCK];
        // SAFETY: Both slices were just cut to four channels every `step` numbers and every `channels` bytes, `count`
        // times.
        sums = unsafe {
            add_row(
                sums,
                src.as_ptr(),
                weights.as_ptr(),
                count,
                step,
                args.channels,
            )
        };
    }
    sums
}

/// Adds four channels of `count` neighbouring taps: 13 instructions for 4 products.
///
/// # Safety
/// `count` is not 0; `src` has four numbers every `step`, and `weights` four bytes every `channels`, as many times.
#[inline(always)]
unsafe fn add_row(
    [mut a, mut b, mut c, mut d]: [i32; BLOCK],
    src: *const i16,
    weights: *const i8,
    count: usize,
    step: usize,
    channels: usize,
) -> [i32; BLOCK] {
    // SAFETY: Reads what the caller vouches for; a load of a word need not be aligned. Sets the flag Q, which nothing
    // reads.
    unsafe {
        asm!(
            "2:",
            "ldr {even}, [{weights}]",
            "ldr {pair}, [{src}]",
            "add {weights}, {weights}, {channels}",
            "sxtb16 {odd}, {even}, ror #8",
            "sxtb16 {even}, {even}",
            "subs {count}, {count}, #1",
            "smlabb {a}, {pair}, {even}, {a}",
            "smlatb {b}, {pair}, {odd}, {b}",
            "ldr {pair}, [{src}, #4]",
            "add {src}, {src}, {step}",
            "smlabt {c}, {pair}, {even}, {c}",
            "smlatt {d}, {pair}, {odd}, {d}",
            "bne 2b",
            a = inout(reg) a, b = inout(reg) b, c = inout(reg) c, d = inout(reg) d,
            src = inout(reg) src => _, weights = inout(reg) weights => _,
            count = inout(reg) count => _, step = in(reg) step * size_of::<i16>(),
            channels = in(reg) channels,
            pair = out(reg) _, even = out(reg) _, odd = out(reg) _,
            options(nostack, readonly)
        );
    }
    [a, b, c, d]
}
