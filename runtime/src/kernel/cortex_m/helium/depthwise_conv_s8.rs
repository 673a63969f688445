//! Integer depthwise convolution, 16 channels at a time: the products of two taps are added in 16 bits, then widened.
//!
//! Two products fit 16 bits unless both are (−128)·(−128): a block with a weight of −128, which a quantiser does not make,
//! is left to the scalar kernel, with its whole layer.

use core::arch::asm;

use super::requantize::Outputs;
use crate::kernel::cortex_m::taps::{MAX_TAPS, Taps};
use crate::kernel::{DepthwiseConvS8, scalar};

/// Channels at a time.
const BLOCK: usize = 16;
/// See [`DepthwiseConvS8`].
pub(super) fn depthwise_conv_s8(mut args: DepthwiseConvS8<'_>) {
    let taps = args.window.kernel[0].saturating_mul(args.window.kernel[1]);
    let outputs = Outputs::new(&args.requantize, [-128, 127])
        .filter(|outputs| (-128..=127).contains(&outputs.zero_point));
    let tables =
        Taps::new(&args).filter(|_| args.channels >= BLOCK && !args.weights.contains(&i8::MIN));
    let (Some(outputs), Some(mut tables)) = (outputs, tables) else {
        return scalar::depthwise_conv_s8(args);
    };
    let dst = core::mem::take(&mut args.dst);
    let requantize = args.requantize;
    for y in 0..args.window.output[0] {
        for x in 0..args.window.output[1] {
            let (table, base) = tables.at(&args, [y, x]);
            let pixel = y * args.window.output[1] + x;
            let dst = &mut dst[pixel * args.channels..][..args.channels];
            for channel in (0..args.channels).step_by(BLOCK) {
                // The last block may overlap the one before it: its outputs are written twice.
                let channel = channel.min(args.channels - BLOCK);
                let block = Block {
                    weights: args.weights[channel..].as_ptr(),
                    bias: requantize.bias[channel..][..BLOCK].as_ptr(),
                    multiplier: requantize.multiplier[channel..][..BLOCK].as_ptr(),
                    shift: requantize.shift[channel..][..BLOCK].as_ptr(),
                    dst: dst[channel..][..BLOCK].as_mut_ptr(),
                    zero_point: outputs.zero_point,
                    min: outputs.min,
                    max: outputs.max,
                };
                // SAFETY: `taps` is in 1..=`MAX_TAPS` (`Taps::new`), and `weights` has `channels` for each; each address with
                // `base` has 16 bytes from `channel` on, for `channel + 16 ≤ channels`, or is that of zero points. The
                // slices of the block have 16 elements.
                unsafe { convolve(table, taps, base + channel, args.channels, &block) };
            }
        }
    }
}

/// Where 16 channels lie, and what becomes of their sums.
#[repr(C)]
struct Block {
    /// One byte of each tap, `channels` bytes apart.
    weights: *const i8,
    bias: *const i32,
    multiplier: *const i32,
    shift: *const i8,
    dst: *mut i8,
    zero_point: i32,
    min: i32,
    max: i32,
}

/// The outputs of 16 channels of a pixel: 28 instructions for two taps, 52 for the rest.
///
/// # Safety
/// `taps` is in 1..=`MAX_TAPS`. Each of so many entries in `table` is an address with 16 bytes when `base`, masked, is
/// added. `block` has 16 bytes of weights for each tap, and 16 elements of everything else.
#[inline(always)]
unsafe fn convolve(
    table: &[[usize; 2]; MAX_TAPS],
    taps: usize,
    base: usize,
    channels: usize,
    block: &Block,
) {
    /// Takes the next tap of the table to r4, its address, and leaves r5 undefined.
    macro_rules! next_tap {
        () => {
            "ldrd r4, r5, [{table}], #8
            and r5, r5, {base}
            add r4, r4, r5"
        };
    }
    /// The second rounding of one vector; the shifts are bytes, every fourth of them for it.
    macro_rules! round {
        ($sums:literal) => {
            concat!(
                "vldrb.s32 q5, [r5, q7]\n",
                "add r5, r5, #1\n",
                "vand q4, q5, ",
                $sums,
                "\n",
                "vshr.s32 q4, q4, #31\n",
                "vqadd.s32 ",
                $sums,
                ", ",
                $sums,
                ", q4\n",
                "vrshl.s32 ",
                $sums,
                ", ",
                $sums,
                ", q5",
            )
        };
    }
    // SAFETY: Reads and writes what the caller vouches for, so many entries of `table`.
    unsafe {
        asm!(
            "ldrd {weights}, r4, [{block}]",
            // Channels 0, 4, 8, 12 to q0, 1, 5, 9, 13 to q1, and so on.
            "vld40.32 {{q0, q1, q2, q3}}, [r4]",
            "vld41.32 {{q0, q1, q2, q3}}, [r4]",
            "vld42.32 {{q0, q1, q2, q3}}, [r4]",
            "vld43.32 {{q0, q1, q2, q3}}, [r4]",
            "wls lr, lr, 4f",
            "2:",
            next_tap!(),
            // Even channels to q6, odd ones to q4.
            "vldrb.u8 q4, [r4]",
            "vldrb.u8 q5, [{weights}]",
            "add {weights}, {weights}, {channels}",
            "vmullb.s8 q6, q4, q5",
            "vmullt.s8 q4, q4, q5",
            next_tap!(),
            "vldrb.u8 q5, [r4]",
            "vldrb.u8 q7, [{weights}]",
            "vmullb.s8 q7, q5, q7",
            "vadd.i16 q6, q6, q7",
            "vldrb.u8 q7, [{weights}]",
            "add {weights}, {weights}, {channels}",
            "vmullt.s8 q5, q5, q7",
            "vadd.i16 q4, q4, q5",
            "vmovlb.s16 q5, q6",
            "vadd.i32 q0, q0, q5",
            "vmovlt.s16 q5, q6",
            "vadd.i32 q2, q2, q5",
            "vmovlb.s16 q5, q4",
            "vadd.i32 q1, q1, q5",
            "vmovlt.s16 q5, q4",
            "vadd.i32 q3, q3, q5",
            "le lr, 2b",
            "4:",
            // An odd tap is left.
            "cbz r3, 3f",
            next_tap!(),
            "vldrb.u8 q4, [r4]",
            "vldrb.u8 q5, [{weights}]",
            "vmullb.s8 q6, q4, q5",
            "vmullt.s8 q4, q4, q5",
            "vmovlb.s16 q5, q6",
            "vadd.i32 q0, q0, q5",
            "vmovlt.s16 q5, q6",
            "vadd.i32 q2, q2, q5",
            "vmovlb.s16 q5, q4",
            "vadd.i32 q1, q1, q5",
            "vmovlt.s16 q5, q4",
            "vadd.i32 q3, q3, q5",
            "3:",
            "ldrd r4, r5, [{block}, #8]",
            "vld40.32 {{q4, q5, q6, q7}}, [r4]",
            "vld41.32 {{q4, q5, q6, q7}}, [r4]",
            "vld42.32 {{q4, q5, q6, q7}}, [r4]",
            "vld43.32 {{q4, q5, q6, q7}}, [r4]",
            "vqrdmulh.s32 q0, q0, q4",
            "vqrdmulh.s32 q1, q1, q5",
            "vqrdmulh.s32 q2, q2, q6",
            "vqrdmulh.s32 q3, q3, q7",
            "mov r4, #0",
            "vidup.u32 q7, r4, #4",
            round!("q0"),
            round!("q1"),
            round!("q2"),
            round!("q3"),
            // Saturating on the way changes nothing: the outputs are bytes.
            "vqmovnb.s32 q0, q0",
            "vqmovnt.s32 q0, q2",
            "vqmovnb.s32 q1, q1",
            "vqmovnt.s32 q1, q3",
            "ldrd r4, r5, [{block}, #16]",
            "vqadd.s16 q0, q0, r5",
            "vqadd.s16 q1, q1, r5",
            "vqmovnb.s16 q0, q0",
            "vqmovnt.s16 q0, q1",
            "ldrd {weights}, r5, [{block}, #24]",
            "vdup.8 q1, {weights}",
            "vdup.8 q2, r5",
            "vmax.s8 q0, q0, q1",
            "vmin.s8 q0, q0, q2",
            "vstrb.8 q0, [r4]",
            inout("lr") taps / 2 => _, in("r3") taps % 2,
            table = inout(reg) table.as_ptr() => _, weights = out(reg) _,
            base = in(reg) base, channels = in(reg) channels, block = in(reg) block,
            out("r4") _, out("r5") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _, out("d14") _, out("d15") _,
            options(nostack)
        );
    }
}
