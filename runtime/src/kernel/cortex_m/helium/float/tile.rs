//! The register tile of products: three rows by two vectors of columns, six sums and two vectors of weights in the
//! eight registers; or three rows by one vector of columns at any distance, which are gathered.
//!
//! Sums of halves are halves for at most 128 inputs; then they are added to sums in f32. Those of the even columns of a
//! vector come first and those of the odd ones behind them, as `vcvtb` and `vcvtt` leave them: [`arranged`].

use core::arch::asm;
use core::marker::PhantomData;

use half::f16;

use super::finish::{clear, finish_f16, finish_f32, scale_f16};
use super::sums::{add_sums, load_sums, store_sums, zero_sums};
use crate::kernel::cortex_m::float::{CHUNK, Call, Outputs, Tile};
use crate::kernel::packing::BLOCK_CHANNELS;

/// Products of `L` with `R`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vectors<L, R>(PhantomData<(L, R)>);

/// Inputs whose products are added in halves.
const HALF_INPUTS: usize = 128;
/// Halves of a vector.
const HALVES: usize = 8;

/// Where the sum of a column lies among those of [`Vectors`] of halves.
fn arranged(column: usize) -> usize {
    column / HALVES * HALVES + column % 2 * (HALVES / 2) + column % HALVES / 2
}

/// Loads the next input of each row, by `$load` with a distance, and adds its products with q6 and q7, or with q6
/// alone.
macro_rules! multiply {
    (3 by 2, $load:literal, $bytes:literal, $fma:literal) => {
        concat!(
            $load,
            " r4, [r1], #",
            $bytes,
            "\n",
            $load,
            " r5, [r2], #",
            $bytes,
            "\n",
            $load,
            " r8, [r3], #",
            $bytes,
            "\n",
            $fma,
            " q0, q6, r4\n",
            $fma,
            " q1, q7, r4\n",
            $fma,
            " q2, q6, r5\n",
            $fma,
            " q3, q7, r5\n",
            $fma,
            " q4, q6, r8\n",
            $fma,
            " q5, q7, r8\n",
        )
    };
    (1 by 2, $load:literal, $bytes:literal, $fma:literal) => {
        concat!(
            $load,
            " r4, [r1], #",
            $bytes,
            "\n",
            $fma,
            " q0, q6, r4\n",
            $fma,
            " q1, q7, r4\n",
        )
    };
    (3 by 1, $load:literal, $bytes:literal, $fma:literal) => {
        concat!(
            $load,
            " r4, [r1], #",
            $bytes,
            "\n",
            $load,
            " r5, [r2], #",
            $bytes,
            "\n",
            $load,
            " r8, [r3], #",
            $bytes,
            "\n",
            $fma,
            " q0, q6, r4\n",
            $fma,
            " q1, q6, r5\n",
            $fma,
            " q2, q6, r8\n",
        )
    };
    (1 by 1, $load:literal, $bytes:literal, $fma:literal) => {
        concat!($load, " r4, [r1], #", $bytes, "\n", $fma, " q0, q6, r4\n")
    };
}

/// The loop over the inputs of three rows, two at a time: 23 instructions for 12 products of vectors of halves or f32.
macro_rules! three_rows {
    ($packed:literal, $input:literal, $bytes:literal, $fma:literal) => {
        concat!(
            "and r10, lr, #1\n",
            "lsr lr, lr, #1\n",
            "wls lr, lr, 3f\n",
            "2:\n",
            $packed, "\n",
            multiply!(3 by 2, $input, $bytes, $fma),
            $packed, "\n",
            multiply!(3 by 2, $input, $bytes, $fma),
            "le lr, 2b\n",
            "3:\n",
            "wls lr, r10, 4f\n",
            $packed, "\n",
            multiply!(3 by 2, $input, $bytes, $fma),
            "4:",
        )
    };
}

/// The loop over the inputs of one row.
macro_rules! one_row {
    ($packed:literal, $input:literal, $bytes:literal, $fma:literal) => {
        concat!(
            "dls lr, lr\n",
            "2:\n",
            $packed, "\n",
            multiply!(1 by 2, $input, $bytes, $fma),
            "le lr, 2b",
        )
    };
}

/// The same of halves, four inputs at a time: 21 instructions for 64 products.
macro_rules! one_row_of_halves {
    ($packed:literal, $input:literal, $bytes:literal, $fma:literal) => {
        concat!(
            "and r8, lr, #3\n",
            "lsr lr, lr, #2\n",
            "wls lr, lr, 3f\n",
            "2:\n",
            "ldr r4, [r1], #4\n",
            "ldr r5, [r1], #4\n",
            one_row_of_halves!($packed, "r4", $fma),
            "lsr r4, r4, #16\n",
            one_row_of_halves!($packed, "r4", $fma),
            one_row_of_halves!($packed, "r5", $fma),
            "lsr r5, r5, #16\n",
            one_row_of_halves!($packed, "r5", $fma),
            "le lr, 2b\n",
            "3:\n",
            "wls lr, r8, 5f\n",
            "4:\n",
            $packed, "\n",
            multiply!(1 by 2, $input, $bytes, $fma),
            "le lr, 4b\n",
            "5:",
        )
    };
    ($packed:literal, $input:literal, $fma:literal) => {
        concat!(
            $packed, "\n",
            $fma, " q0, q6, ", $input, "\n",
            $fma, " q1, q7, ", $input, "\n",
        )
    };
}

/// The distances of columns in `$bits`, those beyond the last one its own, from r5, the step, and r10, the last one.
macro_rules! distances {
    ($bits:literal) => {
        concat!(
            "mov r4, #0\n",
            "vidup.u",
            $bits,
            " q7, r4, #1\n",
            "vdup.",
            $bits,
            " q6, r10\n",
            "vmin.u",
            $bits,
            " q7, q7, q6\n",
            "vmul.i",
            $bits,
            " q7, q7, r5",
        )
    };
}

/// The loop over the inputs by `$load`, which leaves r0 at the first column; r9 is the step to the next input.
macro_rules! each_input {
    ($load:expr, $multiply:expr) => {
        concat!(
            "dls lr, lr\n",
            "2:\n",
            $load,
            "\nadd r0, r0, r9\n",
            $multiply,
            "le lr, 2b"
        )
    };
}

/// Functions of one block of instructions over a [`Call`]: `rhs` in r0, rows in r1 to r3, the step of columns in r5, of
/// inputs in bytes in r9, the last column in r10, sums in r12, inputs in lr. Narrow memory operands take the registers
/// r0 to r7 alone.
macro_rules! tiles {
    ($lhs:ty, $rhs:ty, $($(#[$doc:meta])* $name:ident: $($line:expr),+;)+) => {
        impl Vectors<$lhs, $rhs> { $(
            $(#[$doc])*
            #[inline(never)]
            unsafe fn $name(call: &Call<$lhs, $rhs>) {
                // SAFETY: Reads the inputs of the rows and the columns that the caller vouches for, a lane beyond the
                // last column that one; reads and writes the sums of these rows, as many vectors as the tile has
                // columns.
                unsafe {
                    asm!(
                        $($line,)+
                        inout("r0") call.rhs => _, inout("r1") call.lhs[0] => _, inout("r2") call.lhs[1] => _,
                        inout("r3") call.lhs[2] => _, inout("r5") call.column_step => _,
                        in("r9") call.input_step * size_of::<$rhs>(), inout("r10") call.columns - 1 => _,
                        in("r12") call.sums, inout("lr") call.inputs => _, out("r4") _, out("r8") _,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
                        out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
                        out("d12") _, out("d13") _, out("d14") _, out("d15") _,
                        options(nostack)
                    );
                }
            }
        )+ }
    };
}

/// The tiles of one pair of types. Two vectors of weights are loaded to q6 and q7, from whole packed blocks or at any
/// distance of inputs; one is gathered to q6.
macro_rules! loops {
    (
        $lhs:ty, $rhs:ty, packed $packed:literal, rows $rows:literal, distances $bits:literal, gather $gather:literal,
        input $input:literal $bytes:literal, $fma:literal, $begin:ident, $end:ident, $one:ident
    ) => {
        tiles! {
            $lhs, $rhs,
            /// # Safety
            /// As [`Tile::wide`], of three rows and of columns in whole blocks.
            packed_3: $begin!(3 by 2), three_rows!($packed, $input, $bytes, $fma), $end!(3 by 2);
            /// # Safety
            /// As [`Tile::wide`], of one row and of columns in whole blocks.
            packed_1: $begin!(1 by 2), $one!($packed, $input, $bytes, $fma), $end!(1 by 2);
            /// # Safety
            /// As [`Tile::wide`], of three rows.
            rows_3: $begin!(3 by 2), each_input!($rows, multiply!(3 by 2, $input, $bytes, $fma)), $end!(3 by 2);
            /// # Safety
            /// As [`Tile::wide`], of one row.
            rows_1: $begin!(1 by 2), each_input!($rows, multiply!(1 by 2, $input, $bytes, $fma)), $end!(1 by 2);
            /// # Safety
            /// As [`Tile::narrow`], of three rows; the distances of columns fit a lane.
            gather_3: distances!($bits), $begin!(3 by 1),
                each_input!($gather, multiply!(3 by 1, $input, $bytes, $fma)), $end!(3 by 1);
            /// # Safety
            /// As [`Tile::narrow`], of one row; the distances of columns fit a lane.
            gather_1: distances!($bits), $begin!(1 by 1),
                each_input!($gather, multiply!(1 by 1, $input, $bytes, $fma)), $end!(1 by 1);
        }
    };
}

loops! {
    f32, f32,
    packed "vldrw.u32 q6, [r0], #16
        vldrw.u32 q7, [r0], #48",
    rows "vldrw.u32 q6, [r0]
        vldrw.u32 q7, [r0, #16]",
    distances "32",
    gather "vldrw.u32 q6, [r0, q7, uxtw #2]",
    input "ldr" "4", "vfma.f32", load_sums, store_sums, one_row
}

loops! {
    f32, f16,
    packed "vldrh.u32 q6, [r0], #8
        vldrh.u32 q7, [r0], #24
        vcvtb.f32.f16 q6, q6
        vcvtb.f32.f16 q7, q7",
    rows "vldrh.u32 q6, [r0]
        vldrh.u32 q7, [r0, #8]
        vcvtb.f32.f16 q6, q6
        vcvtb.f32.f16 q7, q7",
    distances "32",
    gather "vldrh.u32 q6, [r0, q7, uxtw #1]
        vcvtb.f32.f16 q6, q6",
    input "ldr" "4", "vfma.f32", load_sums, store_sums, one_row
}

loops! {
    f32, i8,
    packed "vldrb.s32 q6, [r0], #4
        vldrb.s32 q7, [r0], #12
        vcvt.f32.s32 q6, q6
        vcvt.f32.s32 q7, q7",
    rows "vldrb.s32 q6, [r0]
        vldrb.s32 q7, [r0, #4]
        vcvt.f32.s32 q6, q6
        vcvt.f32.s32 q7, q7",
    distances "32",
    gather "vldrb.s32 q6, [r0, q7]
        vcvt.f32.s32 q6, q6",
    input "ldr" "4", "vfma.f32", load_sums, store_sums, one_row
}

loops! {
    f16, f16,
    packed "vldrh.u16 q6, [r0], #16
        vldrh.u16 q7, [r0], #16",
    rows "vldrh.u16 q6, [r0]
        vldrh.u16 q7, [r0, #16]",
    distances "16",
    gather "vldrh.u16 q6, [r0, q7, uxtw #1]",
    input "ldrh" "2", "vfma.f16", zero_sums, add_sums, one_row_of_halves
}

/// The tile that the loops of one pair of types are.
macro_rules! vectors {
    ($lhs:ty, $rhs:ty, lanes $lanes:literal, far $far:ident, { $($items:item)* }) => {
        impl Tile for Vectors<$lhs, $rhs> {
            type Lhs = $lhs;
            type Rhs = $rhs;
            const ROWS: usize = 3;
            const WIDE: [usize; 2] = [2 * $lanes; 2];
            const NARROW: usize = $lanes;

            #[inline]
            unsafe fn wide(call: &Call<$lhs, $rhs>, tall: bool) {
                // SAFETY: The caller vouches for the rows and for two vectors of columns.
                unsafe {
                    match (call.input_step == BLOCK_CHANNELS, tall) {
                        (true, true) => Self::packed_3(call),
                        (true, false) => Self::packed_1(call),
                        (false, true) => Self::rows_3(call),
                        (false, false) => Self::rows_1(call),
                    }
                }
            }

            #[inline]
            unsafe fn narrow(call: &Call<$lhs, $rhs>, tall: bool) {
                // SAFETY: The caller vouches for the rows and for the columns, and the loop for what it takes.
                unsafe {
                    match tall {
                        _ if $far(call, tall) => {}
                        true => Self::gather_3(call),
                        false => Self::gather_1(call),
                    }
                }
            }

            $($items)*
        }
    };
    ($lhs:ty, $rhs:ty) => {
        vectors! { $lhs, $rhs, lanes 4, far never, {
            fn clear(sums: &mut [f32; CHUNK]) {
                clear(sums);
            }
            fn finish(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f32]) {
                finish_f32(sums, outputs, dst);
            }
        } }
    };
}

vectors! { f32, f32 }
vectors! { f32, f16 }
vectors! { f32, i8 }
vectors! { f16, f16, lanes 8, far far, {
    const MAX_INPUTS: usize = HALF_INPUTS;

    fn clear(sums: &mut [f32; CHUNK]) {
        clear(sums);
    }
    fn arrange(chunk: &mut [f32; CHUNK]) {
        let ordered = *chunk;
        for (column, x) in ordered.into_iter().enumerate() {
            chunk[arranged(column)] = x;
        }
    }
    fn scale(sums: &[f32; CHUNK], factor: f32, dst: &mut [f32]) {
        scale_f16(sums, factor, dst);
    }
    fn finish(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f16]) {
        finish_f16(sums, outputs, dst);
    }
} }

/// Distances of 32 bits reach every column.
unsafe fn never<R>(_: &Call<f32, R>, _: bool) -> bool {
    false
}

/// Adds the products of columns too far apart for distances of 16 bits, one by one; false where they are not.
///
/// # Safety
/// As [`Tile::narrow`].
unsafe fn far(call: &Call<f16, f16>, tall: bool) -> bool {
    if (HALVES - 1) * call.column_step <= usize::from(u16::MAX) {
        return false;
    }
    for row in 0..if tall { 3 } else { 1 } {
        for column in 0..call.columns {
            let mut sum = 0.0;
            for input in 0..call.inputs {
                let weight = input * call.input_step + column * call.column_step;
                let (x, weight) = (
                    call.lhs[row].wrapping_add(input),
                    call.rhs.wrapping_add(weight),
                );
                // SAFETY: The caller vouches for `inputs` elements of each row, and of each column.
                let (x, weight) = unsafe { (*x, *weight) };
                sum += x.to_f32() * weight.to_f32();
            }
            let place = call.sums.wrapping_add(row * CHUNK + arranged(column));
            // SAFETY: The caller vouches for the sums of a vector in each row.
            unsafe { *place += sum };
        }
    }
    true
}
