//! The register tile of products: 4 rows by 4 columns or one row by 16, 16 sums of the 32 registers.

use core::arch::asm;
use core::array;
use core::marker::PhantomData;

use half::f16;

use super::convert::{narrow, widen_one};
use crate::kernel::cortex_m::float::{CHUNK, Call, Outputs, SUMS_ROW, Tile};

/// Products of `L` with `R`, in f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalars<L, R>(PhantomData<(L, R)>);

/// A number that is multiplied as an f32.
trait Operand: Copy {
    /// Its exact value.
    fn widen(self) -> f32;
}

impl Operand for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Operand for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        widen_one(self)
    }
}

impl Operand for i8 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from(self)
    }
}

/// The tile for one pair of types: its loop over 4 × 4 where there is a special one, and what writes its outputs.
macro_rules! scalars {
    ($lhs:ty, $rhs:ty, $tall:ident, $one:ident, $finish:ident) => {
        impl Tile for Scalars<$lhs, $rhs> {
            type Lhs = $lhs;
            type Rhs = $rhs;
            const ROWS: usize = 4;
            const WIDE: [usize; 2] = [4, 16];
            const NARROW: usize = 2;

            #[inline(always)]
            unsafe fn wide(call: &Call<$lhs, $rhs>, tall: bool) {
                // SAFETY: The caller vouches for four columns, or for 16 of one row.
                unsafe {
                    if tall {
                        $tall(call);
                    } else {
                        $one(call);
                    }
                }
            }

            #[inline(always)]
            unsafe fn narrow(call: &Call<$lhs, $rhs>, tall: bool) {
                // SAFETY: The caller vouches for `columns` of them, at most two.
                unsafe {
                    if tall {
                        any::<$lhs, $rhs, 4, 2>(call);
                    } else {
                        any::<$lhs, $rhs, 1, 2>(call);
                    }
                }
            }

            fn finish(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [$lhs]) {
                $finish(sums, outputs, dst);
            }
        }
    };
}

scalars!(f32, f32, four_by_four, one_by_sixteen, finish_f32);
scalars!(
    f32,
    f16,
    four_by_four_halves,
    one_by_sixteen_halves,
    finish_f32
);
scalars!(f32, i8, any_by_4, any_by_16, finish_f32);
scalars!(f16, f16, any_by_4, any_by_16, finish_f16);

fn finish_f32(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f32]) {
    for (index, (dst, sum)) in dst.iter_mut().zip(sums).enumerate() {
        *dst = outputs.apply(index, *sum);
    }
}

fn finish_f16(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [f16]) {
    let mut wide = [0.0; CHUNK];
    finish_f32(sums, outputs, &mut wide[..dst.len()]);
    narrow(&wide[..dst.len()], dst);
}

/// # Safety
/// As [`Tile::wide`], of four rows and four columns.
#[inline(never)]
unsafe fn any_by_4<L: Operand, R: Operand>(call: &Call<L, R>) {
    // SAFETY: The caller vouches for the operands.
    unsafe { any::<L, R, 4, 4>(call) };
}

/// # Safety
/// As [`Tile::wide`], of one row and 16 columns.
#[inline(never)]
unsafe fn any_by_16<L: Operand, R: Operand>(call: &Call<L, R>) {
    // SAFETY: The caller vouches for the operands.
    unsafe { any::<L, R, 1, 16>(call) };
}

/// `ROWS` rows by at most `COLUMNS` columns of any type at any distance; missing columns repeat the last one.
///
/// # Safety
/// As [`Tile::narrow`], of so many rows and columns.
#[inline(always)]
unsafe fn any<L: Operand, R: Operand, const ROWS: usize, const COLUMNS: usize>(call: &Call<L, R>) {
    let mut columns: [*const R; COLUMNS] = array::from_fn(|c| {
        call.rhs
            .wrapping_add(c.min(call.columns - 1) * call.column_step)
    });
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for input in 0..call.inputs {
        let weights: [f32; COLUMNS] = array::from_fn(|c| {
            // SAFETY: `input` is below `inputs`, for each of which the caller vouches for the columns.
            unsafe { *columns[c] }.widen()
        });
        columns = columns.map(|column| column.wrapping_add(call.input_step));
        for (sums, row) in sums.iter_mut().zip(&call.lhs) {
            // SAFETY: As above, for each row of the tile.
            let x = unsafe { *row.wrapping_add(input) }.widen();
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let place = call
            .sums
            .wrapping_byte_add(row * SUMS_ROW)
            .cast::<[f32; COLUMNS]>();
        // SAFETY: The caller vouches for room for the columns of the tile in each row.
        let place = unsafe { &mut *place };
        for (place, sum) in place.iter_mut().zip(sums) {
            *place += sum;
        }
    }
}

/// Adds the products of two inputs of four rows, s24 to s31, with four columns of each, s16 to s23, to s0 to s15.
macro_rules! multiply_two {
    () => {
        "vfma.f32 s0, s24, s16
        vfma.f32 s1, s24, s17
        vfma.f32 s2, s24, s18
        vfma.f32 s3, s24, s19
        vfma.f32 s0, s25, s20
        vfma.f32 s1, s25, s21
        vfma.f32 s2, s25, s22
        vfma.f32 s3, s25, s23
        vfma.f32 s4, s26, s16
        vfma.f32 s5, s26, s17
        vfma.f32 s6, s26, s18
        vfma.f32 s7, s26, s19
        vfma.f32 s4, s27, s20
        vfma.f32 s5, s27, s21
        vfma.f32 s6, s27, s22
        vfma.f32 s7, s27, s23
        vfma.f32 s8, s28, s16
        vfma.f32 s9, s28, s17
        vfma.f32 s10, s28, s18
        vfma.f32 s11, s28, s19
        vfma.f32 s8, s29, s20
        vfma.f32 s9, s29, s21
        vfma.f32 s10, s29, s22
        vfma.f32 s11, s29, s23
        vfma.f32 s12, s30, s16
        vfma.f32 s13, s30, s17
        vfma.f32 s14, s30, s18
        vfma.f32 s15, s30, s19
        vfma.f32 s12, s31, s20
        vfma.f32 s13, s31, s21
        vfma.f32 s14, s31, s22
        vfma.f32 s15, s31, s23"
    };
}

/// The same of one input, s24 to s27 with s16 to s19.
macro_rules! multiply_one {
    () => {
        "vfma.f32 s0, s24, s16
        vfma.f32 s1, s24, s17
        vfma.f32 s2, s24, s18
        vfma.f32 s3, s24, s19
        vfma.f32 s4, s25, s16
        vfma.f32 s5, s25, s17
        vfma.f32 s6, s25, s18
        vfma.f32 s7, s25, s19
        vfma.f32 s8, s26, s16
        vfma.f32 s9, s26, s17
        vfma.f32 s10, s26, s18
        vfma.f32 s11, s26, s19
        vfma.f32 s12, s27, s16
        vfma.f32 s13, s27, s17
        vfma.f32 s14, s27, s18
        vfma.f32 s15, s27, s19"
    };
}

/// Four rows by four columns, two inputs at a time. `$two` loads the columns of two inputs to s16 to s23 and steps past
/// them, `$one` those of the last one to s16 to s19.
macro_rules! four_rows {
    ($call:ident, $rhs:ty, two $two:literal, one $one:literal) => {
        asm!(
            "vldmia {sums}, {{s0-s3}}",
            "add {next}, {sums}, #{row}",
            "vldmia {next}, {{s4-s7}}",
            "add {next}, {next}, #{row}",
            "vldmia {next}, {{s8-s11}}",
            "add {next}, {next}, #{row}",
            "vldmia {next}, {{s12-s15}}",
            "lsrs {next}, {inputs}, #1",
            "beq 3f",
            "2:",
            $two,
            "vldmia {a}!, {{s24-s25}}",
            "vldmia {b}!, {{s26-s27}}",
            "vldmia {c}!, {{s28-s29}}",
            "vldmia {d}!, {{s30-s31}}",
            "subs {next}, {next}, #1",
            multiply_two!(),
            "bne 2b",
            "3:",
            "tst {inputs}, #1",
            "beq 4f",
            $one,
            "vldmia {a}, {{s24}}",
            "vldmia {b}, {{s25}}",
            "vldmia {c}, {{s26}}",
            "vldmia {d}, {{s27}}",
            multiply_one!(),
            "4:",
            "vstmia {sums}, {{s0-s3}}",
            "add {sums}, {sums}, #{row}",
            "vstmia {sums}, {{s4-s7}}",
            "add {sums}, {sums}, #{row}",
            "vstmia {sums}, {{s8-s11}}",
            "add {sums}, {sums}, #{row}",
            "vstmia {sums}, {{s12-s15}}",
            a = inout(reg) $call.lhs[0] => _, b = inout(reg) $call.lhs[1] => _,
            c = inout(reg) $call.lhs[2] => _, d = inout(reg) $call.lhs[3] => _,
            rhs = inout(reg) $call.rhs => _, step = in(reg) size_of::<$rhs>() * $call.input_step,
            inputs = in(reg) $call.inputs, sums = inout(reg) $call.sums => _, next = out(reg) _,
            row = const SUMS_ROW,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            out("s12") _, out("s13") _, out("s14") _, out("s15") _, out("s16") _, out("s17") _,
            out("s18") _, out("s19") _, out("s20") _, out("s21") _, out("s22") _, out("s23") _,
            out("s24") _, out("s25") _, out("s26") _, out("s27") _, out("s28") _, out("s29") _,
            out("s30") _, out("s31") _,
            options(nostack)
        )
    };
}

/// Four rows by four columns: 42 instructions for 32 products.
///
/// # Safety
/// As [`Tile::wide`], of four rows and four columns.
#[inline(never)]
unsafe fn four_by_four(call: &Call<f32, f32>) {
    // SAFETY: Reads what the caller vouches for: `inputs` numbers of each row and four columns of each input; reads and
    // writes four sums in each of four rows.
    unsafe {
        four_rows!(
            call, f32,
            two "vldmia {rhs}, {{s16-s19}}
                add {rhs}, {rhs}, {step}
                vldmia {rhs}, {{s20-s23}}
                add {rhs}, {rhs}, {step}",
            one "vldmia {rhs}, {{s16-s19}}"
        );
    }
}

/// The same with columns of halves, which are converted once for four rows: 50 instructions for 32 products.
///
/// # Safety
/// As for [`four_by_four`].
#[inline(never)]
unsafe fn four_by_four_halves(call: &Call<f32, f16>) {
    if !is_aligned(call) {
        // SAFETY: The caller vouches for the operands.
        return unsafe { any_by_4(call) };
    }
    // SAFETY: As in `four_by_four`.
    unsafe {
        four_rows!(
            call, f16,
            two "vldmia {rhs}, {{s16-s17}}
                add {rhs}, {rhs}, {step}
                vldmia {rhs}, {{s20-s21}}
                add {rhs}, {rhs}, {step}
                vcvtt.f32.f16 s19, s17
                vcvtb.f32.f16 s18, s17
                vcvtt.f32.f16 s17, s16
                vcvtb.f32.f16 s16, s16
                vcvtt.f32.f16 s23, s21
                vcvtb.f32.f16 s22, s21
                vcvtt.f32.f16 s21, s20
                vcvtb.f32.f16 s20, s20",
            one "vldmia {rhs}, {{s16-s17}}
                vcvtt.f32.f16 s19, s17
                vcvtb.f32.f16 s18, s17
                vcvtt.f32.f16 s17, s16
                vcvtb.f32.f16 s16, s16"
        );
    }
}

/// One row by 16 columns. `$multiply` loads the columns of an input, leaves `rhs` 32 bytes beyond the first, and adds
/// their products with s24 to s0 to s15.
macro_rules! one_row {
    ($call:ident, $rhs:ty, $multiply:expr) => {
        asm!(
            "vldmia {sums}, {{s0-s15}}",
            "2:",
            "vldmia {a}!, {{s24}}",
            "subs {inputs}, {inputs}, #1",
            $multiply,
            "add {rhs}, {rhs}, {step}",
            "bne 2b",
            "vstmia {sums}, {{s0-s15}}",
            a = inout(reg) $call.lhs[0] => _, rhs = inout(reg) $call.rhs => _,
            step = in(reg) (size_of::<$rhs>() * $call.input_step).wrapping_sub(32),
            inputs = inout(reg) $call.inputs => _, sums = in(reg) $call.sums,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            out("s12") _, out("s13") _, out("s14") _, out("s15") _, out("s16") _, out("s17") _,
            out("s18") _, out("s19") _, out("s20") _, out("s21") _, out("s22") _, out("s23") _,
            out("s24") _, out("s25") _, out("s26") _,
            options(nostack)
        )
    };
}

/// Adds the products of two halves, the low one and the high one of a register, with s24.
macro_rules! multiply_halves {
    ($low:literal, $high:literal, $halves:literal) => {
        concat!(
            "vcvtb.f32.f16 s25, ",
            $halves,
            "\n",
            "vcvtt.f32.f16 s26, ",
            $halves,
            "\n",
            "vfma.f32 ",
            $low,
            ", s24, s25\n",
            "vfma.f32 ",
            $high,
            ", s24, s26\n",
        )
    };
}

/// One row by 16 columns: 22 instructions for 16 products.
///
/// # Safety
/// As [`Tile::wide`], of one row and 16 columns.
#[inline(never)]
unsafe fn one_by_sixteen(call: &Call<f32, f32>) {
    // SAFETY: Reads what the caller vouches for, `inputs` numbers of the row and 16 columns of each; reads and writes
    // 16 sums.
    unsafe {
        one_row!(
            call,
            f32,
            "vldmia {rhs}!, {{s16-s23}}
            vfma.f32 s0, s24, s16
            vfma.f32 s1, s24, s17
            vfma.f32 s2, s24, s18
            vfma.f32 s3, s24, s19
            vfma.f32 s4, s24, s20
            vfma.f32 s5, s24, s21
            vfma.f32 s6, s24, s22
            vfma.f32 s7, s24, s23
            vldmia {rhs}, {{s16-s23}}
            vfma.f32 s8, s24, s16
            vfma.f32 s9, s24, s17
            vfma.f32 s10, s24, s18
            vfma.f32 s11, s24, s19
            vfma.f32 s12, s24, s20
            vfma.f32 s13, s24, s21
            vfma.f32 s14, s24, s22
            vfma.f32 s15, s24, s23"
        );
    }
}

/// The same with columns of halves: 37 instructions for 16 products.
///
/// # Safety
/// As for [`one_by_sixteen`].
#[inline(never)]
unsafe fn one_by_sixteen_halves(call: &Call<f32, f16>) {
    if !is_aligned(call) {
        // SAFETY: The caller vouches for the operands.
        return unsafe { any_by_16(call) };
    }
    // SAFETY: As in `one_by_sixteen`.
    unsafe {
        one_row!(
            call,
            f16,
            concat!(
                "vldmia {rhs}!, {{s16-s23}}\n",
                multiply_halves!("s0", "s1", "s16"),
                multiply_halves!("s2", "s3", "s17"),
                multiply_halves!("s4", "s5", "s18"),
                multiply_halves!("s6", "s7", "s19"),
                multiply_halves!("s8", "s9", "s20"),
                multiply_halves!("s10", "s11", "s21"),
                multiply_halves!("s12", "s13", "s22"),
                multiply_halves!("s14", "s15", "s23"),
            )
        );
    }
}

/// Whether the halves of every input begin at a word, as loads to registers of the FPU want them.
fn is_aligned(call: &Call<f32, f16>) -> bool {
    call.rhs.addr().is_multiple_of(4) && call.input_step.is_multiple_of(2)
}
