//! Depthwise convolution: the sums of eight channels stay in registers over the taps.

use core::arch::asm;
use core::slice;

use crate::kernel::cortex_m::dsp::Dsp;
use crate::kernel::cortex_m::float::{CHUNK, DepthwiseBlock, Number, Tap, clamp};

/// Channels whose sums stay in registers.
const GROUP: usize = 8;

/// # Safety
/// `block` is sound.
pub(super) unsafe fn depthwise<T: Number>(block: &DepthwiseBlock) {
    let bytes = size_of::<T>();
    // SAFETY: The caller vouches for the entries.
    let table = unsafe { slice::from_raw_parts(block.table, block.taps) };
    let limits = block.clamp.map(T::from_bits);
    let aligned = (block.src.addr() | block.weights.addr()).is_multiple_of(4)
        && table
            .iter()
            .all(|[src, weights]| (src | weights).is_multiple_of(4));
    let mut narrow = [0.0; CHUNK];
    for channel in (0..block.channels).step_by(GROUP) {
        let count = GROUP.min(block.channels - channel);
        let [src, weights] =
            [block.src, block.weights].map(|start| start.wrapping_add(channel * bytes));
        let mut sums = [0.0; GROUP];
        // SAFETY: `src` and `weights` have `count` elements from here on at each distance of the table; those of the
        // loops for whole groups are of the type that `T` is, and aligned to words.
        unsafe {
            match bytes {
                4 if count == GROUP => group_f32(table, src, weights, &mut sums),
                2 if count == GROUP && aligned => group_f16(table, src, weights, &mut sums),
                _ => group_of::<T>(table, src, weights, &mut sums[..count]),
            }
        }
        for (index, (narrow, sum)) in narrow.iter_mut().zip(sums).take(count).enumerate() {
            // SAFETY: The bias has as many elements as a whole block.
            let bias = unsafe { *block.bias.wrapping_add(channel + index) };
            *narrow = clamp(sum + bias, limits);
        }
        let dst = block.dst.wrapping_add(channel * bytes).cast::<T>();
        // SAFETY: `dst` has `channels` elements.
        let dst = unsafe { slice::from_raw_parts_mut(dst, count) };
        T::store::<Dsp>(&narrow[..count], dst);
    }
}

/// Fewer channels, or halves at any address.
///
/// # Safety
/// `src` and `weights` have as many elements as `sums` at each distance of the table.
#[inline(never)]
unsafe fn group_of<T: Number>(table: &[Tap], src: *const u8, weights: *const u8, sums: &mut [f32]) {
    let mut buffers = [[0.0; CHUNK]; 2];
    let [left, right] = &mut buffers;
    for tap in table {
        // SAFETY: The caller vouches for the elements of the picture.
        let src = unsafe { slice::from_raw_parts(src.wrapping_add(tap[0]).cast(), sums.len()) };
        // SAFETY: The caller vouches for the weights.
        let weights =
            unsafe { slice::from_raw_parts(weights.wrapping_add(tap[1]).cast(), sums.len()) };
        let src = T::wide::<Dsp>(src, left);
        let weights = T::wide::<Dsp>(weights, right);
        for ((sum, x), weight) in sums.iter_mut().zip(src).zip(weights) {
            *sum += x * weight;
        }
    }
}

/// Adds the products of eight channels of each tap to their sums, s0 to s7. `$multiply` loads the elements at `x` and
/// the weights at `w`, and uses s8 to s23.
macro_rules! each_tap {
    ($table:ident, $src:ident, $weights:ident, $sums:ident, $multiply:expr) => {
        asm!(
            "vldmia {sums}, {{s0-s7}}",
            "2:",
            "ldrd {x}, {w}, [{table}], #8",
            "add {x}, {x}, {src}",
            "add {w}, {w}, {weights}",
            "subs {taps}, {taps}, #1",
            $multiply,
            "bne 2b",
            "vstmia {sums}, {{s0-s7}}",
            table = inout(reg) $table.as_ptr() => _, taps = inout(reg) $table.len() => _,
            src = in(reg) $src, weights = in(reg) $weights, sums = in(reg) $sums.as_mut_ptr(),
            x = out(reg) _, w = out(reg) _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            out("s12") _, out("s13") _, out("s14") _, out("s15") _, out("s16") _, out("s17") _,
            out("s18") _, out("s19") _, out("s20") _, out("s21") _, out("s22") _, out("s23") _,
            options(nostack)
        )
    };
}

/// Adds the products of two channels, the halves of `$x` and `$w`, to two sums.
macro_rules! multiply_halves {
    ($low:literal, $high:literal, $x:literal, $w:literal) => {
        concat!(
            "vcvtb.f32.f16 s16, ",
            $x,
            "\nvcvtb.f32.f16 s17, ",
            $w,
            "\nvcvtt.f32.f16 s18, ",
            $x,
            "\nvcvtt.f32.f16 s19, ",
            $w,
            "\nvfma.f32 ",
            $low,
            ", s16, s17\nvfma.f32 ",
            $high,
            ", s18, s19\n",
        )
    };
}

/// A group of f32: 15 instructions for 8 products.
///
/// # Safety
/// `src` and `weights` are aligned to words and have 8 numbers at each distance of the table.
#[inline(always)]
unsafe fn group_f32(table: &[Tap], src: *const u8, weights: *const u8, sums: &mut [f32; GROUP]) {
    if table.is_empty() {
        return;
    }
    // SAFETY: Reads the entries of the table, which are not none, and what the caller vouches for; reads and writes
    // eight sums.
    unsafe {
        each_tap!(
            table,
            src,
            weights,
            sums,
            "vldmia {x}, {{s8-s15}}
            vldmia {w}, {{s16-s23}}
            vfma.f32 s0, s8, s16
            vfma.f32 s1, s9, s17
            vfma.f32 s2, s10, s18
            vfma.f32 s3, s11, s19
            vfma.f32 s4, s12, s20
            vfma.f32 s5, s13, s21
            vfma.f32 s6, s14, s22
            vfma.f32 s7, s15, s23"
        );
    }
}

/// A group of halves: 31 instructions for 8 products.
///
/// # Safety
/// `src`, `weights` and the distances of the table are aligned to words, and there are 8 halves at each.
#[inline(always)]
unsafe fn group_f16(table: &[Tap], src: *const u8, weights: *const u8, sums: &mut [f32; GROUP]) {
    if table.is_empty() {
        return;
    }
    // SAFETY: As in `group_f32`.
    unsafe {
        each_tap!(
            table,
            src,
            weights,
            sums,
            concat!(
                "vldmia {x}, {{s8-s11}}\nvldmia {w}, {{s12-s15}}\n",
                multiply_halves!("s0", "s1", "s8", "s12"),
                multiply_halves!("s2", "s3", "s9", "s13"),
                multiply_halves!("s4", "s5", "s10", "s14"),
                multiply_halves!("s6", "s7", "s11", "s15"),
            )
        );
    }
}
