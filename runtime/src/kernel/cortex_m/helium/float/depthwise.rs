//! Depthwise convolution: the sums of four vectors of channels stay in registers over the taps, in the type of the
//! elements.

use core::arch::asm;

use crate::kernel::cortex_m::float::{BLOCK_BYTES, DepthwiseBlock, Number};

/// Takes the next tap of the table: addresses of its elements to r4 and of its weights to r5.
macro_rules! next_tap {
    () => {
        "ldrd r4, r5, [{table}], #8
        add r4, r4, {src}
        add r5, r5, {weights}"
    };
}

/// Loads the limits to r4 and r5, and the smaller one to q4.
macro_rules! limits {
    ($bits:literal) => {
        concat!("ldrd r4, r5, [{clamp}]\n", "vdup.", $bits, " q4, r4")
    };
}

/// Limits a vector. NaN stays: `gt` is false for it, unlike `lt`.
macro_rules! clamp {
    ($bits:literal, $sums:literal) => {
        concat!(
            "vpt.f",
            $bits,
            " gt, q4, ",
            $sums,
            "\n",
            "vdupt.",
            $bits,
            " ",
            $sums,
            ", r4\n",
            "vpt.f",
            $bits,
            " gt, ",
            $sums,
            ", r5\n",
            "vdupt.",
            $bits,
            " ",
            $sums,
            ", r5",
        )
    };
}

/// Eight numbers of the bias as halves.
macro_rules! half_bias {
    ($sums:literal) => {
        concat!(
            "vld20.32 {{q4, q5}}, [{bias}]\n",
            "vld21.32 {{q4, q5}}, [{bias}]!\n",
            "vcvtb.f16.f32 ",
            $sums,
            ", q4\n",
            "vcvtt.f16.f32 ",
            $sums,
            ", q5",
        )
    };
}

/// A block of instructions over a [`DepthwiseBlock`], the number of its channels in r8.
macro_rules! block {
    ($block:ident, $($line:expr,)*) => {
        asm!(
            $($line,)*
            table = inout(reg) $block.table => _, inout("lr") $block.taps => _,
            src = in(reg) $block.src, weights = in(reg) $block.weights,
            bias = inout(reg) $block.bias => _, dst = in(reg) $block.dst,
            in("r8") $block.channels, clamp = in(reg) &raw const $block.clamp,
            out("r4") _, out("r5") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _, out("d14") _, out("d15") _,
            options(nostack)
        )
    };
}

/// # Safety
/// `block` is sound.
#[inline(always)]
pub(super) unsafe fn depthwise<T: Number>(block: &DepthwiseBlock) {
    let whole = block.channels * size_of::<T>() == BLOCK_BYTES;
    // SAFETY: The caller vouches for the block, and these are the sizes of its two types.
    unsafe {
        match (size_of::<T>(), whole) {
            (4, true) => whole_f32(block),
            (4, false) => part_f32(block),
            (_, true) => whole_f16(block),
            (_, false) => part_f16(block),
        }
    }
}

/// 16 channels: 16 instructions for 16 products.
///
/// # Safety
/// `block` is sound, of f32, and whole.
#[inline(never)]
unsafe fn whole_f32(block: &DepthwiseBlock) {
    // SAFETY: Reads 16 numbers of each tap, of its weights and of the bias, and writes 16.
    unsafe {
        block!(
            block,
            "vldrw.u32 q0, [{bias}]",
            "vldrw.u32 q1, [{bias}, #16]",
            "vldrw.u32 q2, [{bias}, #32]",
            "vldrw.u32 q3, [{bias}, #48]",
            "wls lr, lr, 3f",
            "2:",
            next_tap!(),
            "vldrw.u32 q4, [r4]",
            "vldrw.u32 q5, [r5]",
            "vfma.f32 q0, q4, q5",
            "vldrw.u32 q6, [r4, #16]",
            "vldrw.u32 q7, [r5, #16]",
            "vfma.f32 q1, q6, q7",
            "vldrw.u32 q4, [r4, #32]",
            "vldrw.u32 q5, [r5, #32]",
            "vfma.f32 q2, q4, q5",
            "vldrw.u32 q6, [r4, #48]",
            "vldrw.u32 q7, [r5, #48]",
            "vfma.f32 q3, q6, q7",
            "le lr, 2b",
            "3:",
            limits!("32"),
            clamp!("32", "q0"),
            clamp!("32", "q1"),
            clamp!("32", "q2"),
            clamp!("32", "q3"),
            "vstrw.32 q0, [{dst}]",
            "vstrw.32 q1, [{dst}, #16]",
            "vstrw.32 q2, [{dst}, #32]",
            "vstrw.32 q3, [{dst}, #48]",
        );
    }
}

/// Fewer channels, a vector at a time.
///
/// # Safety
/// `block` is sound, and of f32.
#[inline(never)]
unsafe fn part_f32(block: &DepthwiseBlock) {
    for channel in (0..block.channels).step_by(4) {
        let block = block.from::<f32>(channel);
        // SAFETY: Reads at most 4 numbers, those that are left of the block, of each tap, of its weights and of the
        // bias, and writes as many: the loads and the store are masked. A bias of the length of a whole block is read
        // past them.
        unsafe {
            block!(
                block,
                "vldrw.u32 q0, [{bias}]",
                "vctp.32 r8",
                "wls lr, lr, 3f",
                "2:",
                next_tap!(),
                "vpsttt",
                "vldrwt.u32 q4, [r4]",
                "vldrwt.u32 q5, [r5]",
                "vfmat.f32 q0, q4, q5",
                "le lr, 2b",
                "3:",
                limits!("32"),
                clamp!("32", "q0"),
                "vctp.32 r8",
                "vpst",
                "vstrwt.32 q0, [{dst}]",
            );
        }
    }
}

/// 32 channels: 16 instructions for 32 products.
///
/// # Safety
/// `block` is sound, of halves, and whole.
#[inline(never)]
unsafe fn whole_f16(block: &DepthwiseBlock) {
    // SAFETY: Reads 32 numbers of each tap, of its weights and of the bias, and writes 32.
    unsafe {
        block!(
            block,
            half_bias!("q0"),
            half_bias!("q1"),
            half_bias!("q2"),
            half_bias!("q3"),
            "wls lr, lr, 3f",
            "2:",
            next_tap!(),
            "vldrh.u16 q4, [r4]",
            "vldrh.u16 q5, [r5]",
            "vfma.f16 q0, q4, q5",
            "vldrh.u16 q6, [r4, #16]",
            "vldrh.u16 q7, [r5, #16]",
            "vfma.f16 q1, q6, q7",
            "vldrh.u16 q4, [r4, #32]",
            "vldrh.u16 q5, [r5, #32]",
            "vfma.f16 q2, q4, q5",
            "vldrh.u16 q6, [r4, #48]",
            "vldrh.u16 q7, [r5, #48]",
            "vfma.f16 q3, q6, q7",
            "le lr, 2b",
            "3:",
            limits!("16"),
            clamp!("16", "q0"),
            clamp!("16", "q1"),
            clamp!("16", "q2"),
            clamp!("16", "q3"),
            "vstrh.16 q0, [{dst}]",
            "vstrh.16 q1, [{dst}, #16]",
            "vstrh.16 q2, [{dst}, #32]",
            "vstrh.16 q3, [{dst}, #48]",
        );
    }
}

/// Fewer channels, a vector at a time.
///
/// # Safety
/// `block` is sound, and of halves.
#[inline(never)]
unsafe fn part_f16(block: &DepthwiseBlock) {
    for channel in (0..block.channels).step_by(8) {
        let block = block.from::<half::f16>(channel);
        // SAFETY: As in `part_f32`, with 8 numbers.
        unsafe {
            block!(
                block,
                half_bias!("q0"),
                "vctp.16 r8",
                "wls lr, lr, 3f",
                "2:",
                next_tap!(),
                "vpsttt",
                "vldrht.u16 q4, [r4]",
                "vldrht.u16 q5, [r5]",
                "vfmat.f16 q0, q4, q5",
                "le lr, 2b",
                "3:",
                limits!("16"),
                clamp!("16", "q0"),
                "vctp.16 r8",
                "vpst",
                "vstrht.16 q0, [{dst}]",
            );
        }
    }
}
