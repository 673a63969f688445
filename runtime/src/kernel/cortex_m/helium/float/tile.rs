//! The register tile of products: three rows by two vectors of columns, six sums and two vectors of weights in the eight
//! registers; or three rows by one vector of columns at any distance, which are gathered.
//!
//! Sums of halves are halves for at most 128 inputs; then they are added to sums in f32. Those of the even columns of a vector
//! come first and those of the odd ones behind them, as `vcvtb` and `vcvtt` leave them: [`arranged`].

use core::arch::asm;
use core::marker::PhantomData;

use half::f16;

use super::finish::{clear, finish_f16, finish_f32, scale_f16};
use crate::kernel::cortex_m::float::{CHUNK, Call, Outputs, SUMS_ROW, Tile};
use crate::kernel::packing::BLOCK_CHANNELS;

/// Products of `L` with `R`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vectors<L, R>(PhantomData<(L, R)>);

/// Inputs whose products are added in halves.
const HALF_INPUTS: usize = 128;
/// Halves of a vector.
const HALVES: usize = 8;

// The rows of sums, as the instructions below address them.
const _: () = assert!(SUMS_ROW == 256);

/// Where the sum of a column lies among those of [`Vectors`] of halves.
fn arranged(column: usize) -> usize {
    column / HALVES * HALVES + column % 2 * (HALVES / 2) + column % HALVES / 2
}

/// Loads the sums of rows of f32, of two vectors to q0 to q5 or of one to q0 to q2. Row 2 lies beyond the reach of an offset.
macro_rules! load_sums {
    (3 by 2) => {
        "add r8, r12, #512
        vldrw.u32 q0, [r12]
        vldrw.u32 q1, [r12, #16]
        vldrw.u32 q2, [r12, #256]
        vldrw.u32 q3, [r12, #272]
        vldrw.u32 q4, [r8]
        vldrw.u32 q5, [r8, #16]"
    };
    (1 by 2) => {
        "vldrw.u32 q0, [r12]
        vldrw.u32 q1, [r12, #16]"
    };
    (3 by 1) => {
        "add r8, r12, #512
        vldrw.u32 q0, [r12]
        vldrw.u32 q1, [r12, #256]
        vldrw.u32 q2, [r8]"
    };
    (1 by 1) => {
        "vldrw.u32 q0, [r12]"
    };
}

/// Stores what [`load_sums`] loads.
macro_rules! store_sums {
    (3 by 2) => {
        "add r8, r12, #512
        vstrw.32 q0, [r12]
        vstrw.32 q1, [r12, #16]
        vstrw.32 q2, [r12, #256]
        vstrw.32 q3, [r12, #272]
        vstrw.32 q4, [r8]
        vstrw.32 q5, [r8, #16]"
    };
    (1 by 2) => {
        "vstrw.32 q0, [r12]
        vstrw.32 q1, [r12, #16]"
    };
    (3 by 1) => {
        "add r8, r12, #512
        vstrw.32 q0, [r12]
        vstrw.32 q1, [r12, #256]
        vstrw.32 q2, [r8]"
    };
    (1 by 1) => {
        "vstrw.32 q0, [r12]"
    };
}

/// Sums in halves begin at 0.
macro_rules! zero_sums {
    (3 by 2) => {
        "vmov.i32 q0, #0
        vmov.i32 q1, #0
        vmov.i32 q2, #0
        vmov.i32 q3, #0
        vmov.i32 q4, #0
        vmov.i32 q5, #0"
    };
    (1 by 2) => {
        "vmov.i32 q0, #0
        vmov.i32 q1, #0"
    };
    (3 by 1) => {
        "vmov.i32 q0, #0
        vmov.i32 q1, #0
        vmov.i32 q2, #0"
    };
    (1 by 1) => {
        "vmov.i32 q0, #0"
    };
}

/// Adds sums in halves to those in f32; uses q6 and q7.
macro_rules! add_sums {
    (3 by 2) => {
        concat!(
            "add r8, r12, #512\n",
            add_sums!("q0", "[r12]", "[r12, #16]"),
            add_sums!("q1", "[r12, #32]", "[r12, #48]"),
            add_sums!("q2", "[r12, #256]", "[r12, #272]"),
            add_sums!("q3", "[r12, #288]", "[r12, #304]"),
            add_sums!("q4", "[r8]", "[r8, #16]"),
            add_sums!("q5", "[r8, #32]", "[r8, #48]"),
        )
    };
    (1 by 2) => {
        concat!(
            add_sums!("q0", "[r12]", "[r12, #16]"),
            add_sums!("q1", "[r12, #32]", "[r12, #48]"),
        )
    };
    (3 by 1) => {
        concat!(
            "add r8, r12, #512\n",
            add_sums!("q0", "[r12]", "[r12, #16]"),
            add_sums!("q1", "[r12, #256]", "[r12, #272]"),
            add_sums!("q2", "[r8]", "[r8, #16]"),
        )
    };
    (1 by 1) => {
        add_sums!("q0", "[r12]", "[r12, #16]")
    };
    ($sums:literal, $even:literal, $odd:literal) => {
        concat!(
            "vcvtb.f32.f16 q6, ",
            $sums,
            "\n",
            "vcvtt.f32.f16 q7, ",
            $sums,
            "\n",
            "vldrw.u32 ",
            $sums,
            ", ",
            $even,
            "\n",
            "vadd.f32 q6, q6, ",
            $sums,
            "\n",
            "vldrw.u32 ",
            $sums,
            ", ",
            $odd,
            "\n",
            "vadd.f32 q7, q7, ",
            $sums,
            "\n",
            "vstrw.32 q6, ",
            $even,
            "\n",
            "vstrw.32 q7, ",
            $odd,
            "\n",
        )
    };
}

/// Loads the next input of each row, by `$load` with a distance, and adds its products with q6 and q7, or with q6 alone.
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

/// One block of instructions over a [`Call`]: `rhs` in r0, rows in r1 to r3, the step of columns in r5, of inputs in bytes in
/// r9, the last column in r10, sums in r12, inputs in lr. Narrow memory operands take the registers r0 to r7 alone.
macro_rules! tile {
    ($call:ident, $rhs:ty, $($line:expr,)*) => {
        asm!(
            $($line,)*
            inout("r0") $call.rhs => _, inout("r1") $call.lhs[0] => _, inout("r2") $call.lhs[1] => _,
            inout("r3") $call.lhs[2] => _, inout("r5") $call.column_step => _,
            in("r9") $call.input_step * size_of::<$rhs>(), inout("r10") $call.columns - 1 => _,
            in("r12") $call.sums, inout("lr") $call.inputs => _, out("r4") _, out("r8") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _, out("d14") _, out("d15") _,
            options(nostack)
        )
    };
}

/// The loops of one pair of types. Two vectors of weights are loaded to q6 and q7, from whole packed blocks or at any distance
/// of inputs; one is gathered to q6.
macro_rules! loops {
    (
        $lhs:ty, $rhs:ty, packed $packed:literal, rows $rows:literal, distances $bits:literal, gather $gather:literal,
        input $input:literal $bytes:literal, $fma:literal, $begin:ident, $end:ident, $one:ident
    ) => {
        impl Vectors<$lhs, $rhs> {
            /// # Safety
            /// As [`Tile::wide`], of three rows and of columns in whole blocks.
            #[inline(never)]
            unsafe fn packed_3(call: &Call<$lhs, $rhs>) {
                // SAFETY: Reads what the caller vouches for, reads and writes sums of two vectors in three rows.
                unsafe {
                    tile!(
                        call, $rhs,
                        $begin!(3 by 2), three_rows!($packed, $input, $bytes, $fma), $end!(3 by 2),
                    );
                }
            }

            /// # Safety
            /// As [`Tile::wide`], of one row and of columns in whole blocks.
            #[inline(never)]
            unsafe fn packed_1(call: &Call<$lhs, $rhs>) {
                // SAFETY: Reads what the caller vouches for, reads and writes sums of two vectors.
                unsafe {
                    tile!(
                        call, $rhs,
                        $begin!(1 by 2), $one!($packed, $input, $bytes, $fma), $end!(1 by 2),
                    );
                }
            }

            /// # Safety
            /// As [`Tile::wide`], of three rows.
            #[inline(never)]
            unsafe fn rows_3(call: &Call<$lhs, $rhs>) {
                // SAFETY: Reads what the caller vouches for, reads and writes sums of two vectors in three rows.
                unsafe {
                    tile!(
                        call, $rhs,
                        $begin!(3 by 2), "dls lr, lr", "2:", $rows, "add r0, r0, r9",
                        multiply!(3 by 2, $input, $bytes, $fma), "le lr, 2b", $end!(3 by 2),
                    );
                }
            }

            /// # Safety
            /// As [`Tile::wide`], of one row.
            #[inline(never)]
            unsafe fn rows_1(call: &Call<$lhs, $rhs>) {
                // SAFETY: Reads what the caller vouches for, reads and writes sums of two vectors.
                unsafe {
                    tile!(
                        call, $rhs,
                        $begin!(1 by 2), "dls lr, lr", "2:", $rows, "add r0, r0, r9",
                        multiply!(1 by 2, $input, $bytes, $fma), "le lr, 2b", $end!(1 by 2),
                    );
                }
            }

            /// # Safety
            /// As [`Tile::narrow`], of three rows; the distances of columns fit a lane.
            #[inline(never)]
            unsafe fn gather_3(call: &Call<$lhs, $rhs>) {
                // SAFETY: Reads what the caller vouches for: a lane beyond the last column reads the last one. Reads and writes
                // sums of one vector in three rows.
                unsafe {
                    tile!(
                        call, $rhs,
                        distances!($bits), $begin!(3 by 1), "dls lr, lr", "2:", $gather, "add r0, r0, r9",
                        multiply!(3 by 1, $input, $bytes, $fma), "le lr, 2b", $end!(3 by 1),
                    );
                }
            }

            /// # Safety
            /// As [`Tile::narrow`], of one row; the distances of columns fit a lane.
            #[inline(never)]
            unsafe fn gather_1(call: &Call<$lhs, $rhs>) {
                // SAFETY: As in `gather_3`, with one row.
                unsafe {
                    tile!(
                        call, $rhs,
                        distances!($bits), $begin!(1 by 1), "dls lr, lr", "2:", $gather, "add r0, r0, r9",
                        multiply!(1 by 1, $input, $bytes, $fma), "le lr, 2b", $end!(1 by 1),
                    );
                }
            }
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
