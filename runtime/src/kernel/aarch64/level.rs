//! Products of bytes, which is where the levels of the CPU differ.
//!
//! A kernel is written once over [`Level`]. Every function of a level is exact, so that all levels give the same bits.
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use core::arch::asm;

use super::neon::*;
use super::{Dotprod, I8mm, Neon};

/// What a CPU of a level does with bytes; a reference to the set proves the CPU.
pub(super) trait Level: Copy {
    /// Adds to each of the four sums the products of four bytes.
    fn dot(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;

    /// [`Level::dot`] with the four bytes in `LANE` of `b` for each of the sums.
    fn dot_lane<const LANE: i32>(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;

    /// Adds to the sums of four rows by 16 channels the products of `count` times 16 inputs: rows of bytes, and weights in
    /// groups of 4 inputs of 16 channels.
    ///
    /// # Safety
    /// Each of `rows` can be read for `16 · count` bytes, and `weights` for `256 · count`; `count` is not 0.
    #[inline(always)]
    unsafe fn dot_rows(
        self,
        sums: &mut [[int32x4_t; 4]; 4],
        rows: [*const i8; 4],
        weights: *const i8,
        count: usize,
    ) {
        for step in 0..count {
            let mut bytes = [vdupq_n_s8(0); 4];
            for (bytes, row) in bytes.iter_mut().zip(rows) {
                // SAFETY: `step < count`, for which the caller vouches.
                *bytes = unsafe { core::arch::aarch64::vld1q_s8(row.wrapping_add(16 * step)) };
            }
            macro_rules! lanes {
                ($($lane:literal)*) => {$(
                    for v in 0..4 {
                        let at = 256 * step + 64 * $lane + 16 * v;
                        // SAFETY: as above.
                        let weights = unsafe { core::arch::aarch64::vld1q_s8(weights.wrapping_add(at)) };
                        for r in 0..4 {
                            sums[r][v] = self.dot_lane::<$lane>(sums[r][v], weights, bytes[r]);
                        }
                    }
                )*};
            }
            lanes!(0 1 2 3);
        }
    }
}

impl Level for &Neon {
    #[inline(always)]
    fn dot(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        let high = vpaddlq_s16(vmull_high_s8(a, b));
        vaddq_s32(sums, vpaddq_s32(low, high))
    }

    #[inline(always)]
    fn dot_lane<const LANE: i32>(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: The target has NEON, and the operands are values.
        let four = unsafe { core::arch::aarch64::vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s8(b)) };
        self.dot(sums, a, vreinterpretq_s8_s32(four))
    }
}

/// Instructions for a group of four inputs of 16 channels: their weights, which must stand in consecutive registers, and the
/// lane `$lane` of four rows.
macro_rules! dot_group {
    ($lane:literal) => {
        concat!(
            "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{weights}], #64\n",
            dot_group!("a", "row0", $lane),
            dot_group!("b", "row1", $lane),
            dot_group!("c", "row2", $lane),
            dot_group!("d", "row3", $lane),
        )
    };
    ($sums:literal, $row:literal, $lane:literal) => {
        concat!(
            "sdot {",
            $sums,
            "0:v}.4s, v28.16b, {",
            $row,
            ":v}.4b[",
            $lane,
            "]\n",
            "sdot {",
            $sums,
            "1:v}.4s, v29.16b, {",
            $row,
            ":v}.4b[",
            $lane,
            "]\n",
            "sdot {",
            $sums,
            "2:v}.4s, v30.16b, {",
            $row,
            ":v}.4b[",
            $lane,
            "]\n",
            "sdot {",
            $sums,
            "3:v}.4s, v31.16b, {",
            $row,
            ":v}.4b[",
            $lane,
            "]\n",
        )
    };
}

/// `sdot`, both ways and in a loop. The intrinsics are unstable: <https://github.com/rust-lang/rust/issues/117224>.
macro_rules! sdot {
    () => {
        #[inline(always)]
        fn dot(self, mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
            // SAFETY: `self` proves FEAT_DotProd; the operands are values.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
                    sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sums
        }

        #[inline(always)]
        fn dot_lane<const LANE: i32>(
            self,
            mut sums: int32x4_t,
            a: int8x16_t,
            b: int8x16_t,
        ) -> int32x4_t {
            // SAFETY: `self` proves FEAT_DotProd; the operands are values.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {sums:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
                    sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b, lane = const LANE,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sums
        }

        #[inline(always)]
        unsafe fn dot_rows(
            self,
            sums: &mut [[int32x4_t; 4]; 4],
            rows: [*const i8; 4],
            weights: *const i8,
            count: usize,
        ) {
            let [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]] = sums;
            // SAFETY: `self` proves FEAT_DotProd. Reads 16 bytes of each row and 256 of weights `count` times, for which the
            // caller vouches.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "2:",
                    "ldr {row0:q}, [{from0}], #16",
                    "ldr {row1:q}, [{from1}], #16",
                    "ldr {row2:q}, [{from2}], #16",
                    "ldr {row3:q}, [{from3}], #16",
                    dot_group!(0),
                    dot_group!(1),
                    dot_group!(2),
                    dot_group!(3),
                    "subs {count}, {count}, #1",
                    "b.ne 2b",
                    from0 = inout(reg) rows[0] => _, from1 = inout(reg) rows[1] => _,
                    from2 = inout(reg) rows[2] => _, from3 = inout(reg) rows[3] => _,
                    weights = inout(reg) weights => _, count = inout(reg) count => _,
                    a0 = inout(vreg) *a0, a1 = inout(vreg) *a1, a2 = inout(vreg) *a2, a3 = inout(vreg) *a3,
                    b0 = inout(vreg) *b0, b1 = inout(vreg) *b1, b2 = inout(vreg) *b2, b3 = inout(vreg) *b3,
                    c0 = inout(vreg) *c0, c1 = inout(vreg) *c1, c2 = inout(vreg) *c2, c3 = inout(vreg) *c3,
                    d0 = inout(vreg) *d0, d1 = inout(vreg) *d1, d2 = inout(vreg) *d2, d3 = inout(vreg) *d3,
                    row0 = out(vreg) _, row1 = out(vreg) _, row2 = out(vreg) _, row3 = out(vreg) _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(readonly, nostack)
                );
            }
        }
    };
}

impl Level for &Dotprod {
    sdot!();
}

impl Level for &I8mm {
    sdot!();
}

/// Instructions for a pair of rows, in a register, and four pairs of channels.
macro_rules! matmul_pair {
    ($sums:literal, $row:literal) => {
        concat!(
            "smmla {",
            $sums,
            "0:v}.4s, v",
            $row,
            ".16b, v28.16b\n",
            "smmla {",
            $sums,
            "1:v}.4s, v",
            $row,
            ".16b, v29.16b\n",
            "smmla {",
            $sums,
            "2:v}.4s, v",
            $row,
            ".16b, v30.16b\n",
            "smmla {",
            $sums,
            "3:v}.4s, v",
            $row,
            ".16b, v31.16b\n",
        )
    };
}

impl I8mm {
    /// Adds the product of two rows of `a` and two rows of `b`, 8 bytes each: `sums[2 · i + j] += Σ a[i] · b[j]`.
    #[inline(always)]
    pub(super) fn matmul(&self, mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: `self` proves FEAT_I8MM; the operands are values. `vmmlaq_s32` is unstable, as above.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "smmla {sums:v}.4s, {a:v}.16b, {b:v}.16b",
                sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }

    /// Adds to the sums of four pairs of rows by four pairs of channels the products of `count` times 8 inputs.
    ///
    /// # Safety
    /// `rows` and `weights` can be read for `64 · count` bytes; `count` is not 0.
    #[inline(always)]
    pub(super) unsafe fn matmul_rows(
        &self,
        sums: &mut [[int32x4_t; 4]; 4],
        rows: *const i8,
        weights: *const i8,
        count: usize,
    ) {
        let [
            [a0, a1, a2, a3],
            [b0, b1, b2, b3],
            [c0, c1, c2, c3],
            [d0, d1, d2, d3],
        ] = sums;
        // SAFETY: `self` proves FEAT_I8MM. Reads 64 bytes of rows and of weights `count` times, for which the caller vouches.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "2:",
                "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{rows}], #64",
                "ld1 {{v28.16b, v29.16b, v30.16b, v31.16b}}, [{weights}], #64",
                matmul_pair!("a", "24"),
                matmul_pair!("b", "25"),
                matmul_pair!("c", "26"),
                matmul_pair!("d", "27"),
                "subs {count}, {count}, #1",
                "b.ne 2b",
                rows = inout(reg) rows => _, weights = inout(reg) weights => _,
                count = inout(reg) count => _,
                a0 = inout(vreg) *a0, a1 = inout(vreg) *a1, a2 = inout(vreg) *a2, a3 = inout(vreg) *a3,
                b0 = inout(vreg) *b0, b1 = inout(vreg) *b1, b2 = inout(vreg) *b2, b3 = inout(vreg) *b3,
                c0 = inout(vreg) *c0, c1 = inout(vreg) *c1, c2 = inout(vreg) *c2, c3 = inout(vreg) *c3,
                d0 = inout(vreg) *d0, d1 = inout(vreg) *d1, d2 = inout(vreg) *d2, d3 = inout(vreg) *d3,
                out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                options(readonly, nostack)
            );
        }
    }
}
