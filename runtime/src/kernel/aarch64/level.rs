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

/// Instructions for a pair of rows, in `v$row`, and four pairs of channels, in v20 to v23.
macro_rules! matmul_pair {
    ($row:literal, $($sums:literal $weights:literal)*) => {
        concat!($("smmla v", $sums, ".4s, v", $row, ".16b, v", $weights, ".16b\n"),*)
    };
    (0) => {
        matmul_pair!(16, 0 20 1 21 2 22 3 23)
    };
    (1) => {
        matmul_pair!(17, 4 20 5 21 6 22 7 23)
    };
    (2) => {
        matmul_pair!(18, 8 20 9 21 10 22 11 23)
    };
    (3) => {
        matmul_pair!(19, 12 20 13 21 14 22 15 23)
    };
}

/// Instructions for 8 inputs of so many pairs of rows and four pairs of channels.
macro_rules! matmul_group {
    (rows 1) => { "ld1 {{v16.16b}}, [{rows}], #16\n" };
    (rows 2) => { "ld1 {{v16.16b, v17.16b}}, [{rows}], #32\n" };
    (rows 3) => { "ld1 {{v16.16b, v17.16b, v18.16b}}, [{rows}], #48\n" };
    (rows 4) => { "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{rows}], #64\n" };
    ($pairs:tt $($pair:tt)*) => {
        concat!(
            matmul_group!(rows $pairs),
            "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{weights}], #64\n",
            $(matmul_pair!($pair)),*
        )
    };
}

/// A whole tile: sums begin as biases, four of which are loaded twice each; then groups of inputs, four at a time, two, one.
macro_rules! matmul_tile {
    ($bias:expr, $rows:expr, $weights:expr, $groups:expr, $pairs:tt [$($pair:tt)*] [$($start:literal)*] $($v:tt $sum:expr),*) => {
        asm!(
            ".arch_extension i8mm",
            $($start,)*
            "lsr {quads}, {groups}, #2",
            "cbz {quads}, 3f",
            "2:",
            matmul_group!($pairs $($pair)*),
            matmul_group!($pairs $($pair)*),
            matmul_group!($pairs $($pair)*),
            matmul_group!($pairs $($pair)*),
            "subs {quads}, {quads}, #1",
            "b.ne 2b",
            "3:",
            "tbz {groups}, #1, 4f",
            matmul_group!($pairs $($pair)*),
            matmul_group!($pairs $($pair)*),
            "4:",
            "tbz {groups}, #0, 5f",
            matmul_group!($pairs $($pair)*),
            "5:",
            bias = in(reg) $bias, rows = inout(reg) $rows => _, weights = inout(reg) $weights => _,
            groups = in(reg) $groups, quads = out(reg) _,
            $(out($v) $sum,)*
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            options(readonly, nostack)
        )
    };
}

impl I8mm {
    /// Products of `P` pairs of rows and four pairs of channels over `groups` times 8 inputs, onto the biases of the channels;
    /// `P` is 1 to 4. A vector has two rows by two channels: `sums[2 · i + j] += Σ rows[i] · weights[j]`.
    ///
    /// # Safety
    /// `rows` can be read for `16 · P · groups` bytes, and `weights` for `64 · groups`.
    #[inline(always)]
    pub(super) unsafe fn matmul_tile<const P: usize>(
        &self,
        bias: &[i32; 8],
        rows: *const i8,
        weights: *const i8,
        groups: usize,
    ) -> [[int32x4_t; 4]; P] {
        const { assert!(1 <= P && P <= 4) };
        let zero = [vdupq_n_s32(0); 4];
        let [mut a, mut b, mut c, mut d] = [zero; 4];
        let bias = bias.as_ptr();
        macro_rules! tile {
            ($($tile:tt)*) => {
                // SAFETY: `self` proves FEAT_I8MM. Reads the biases, `16 · P` bytes of rows and 64 of weights `groups` times,
                // for which the caller vouches.
                unsafe { matmul_tile!(bias, rows, weights, groups, $($tile)*) }
            };
        }
        match P {
            1 => tile!(
                1 [0]
                ["ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{bias}]"]
                "v0" a[0], "v1" a[1], "v2" a[2], "v3" a[3]
            ),
            2 => tile!(
                2 [0 1]
                ["ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{bias}]"
                 "ld4r {{v4.2d, v5.2d, v6.2d, v7.2d}}, [{bias}]"]
                "v0" a[0], "v1" a[1], "v2" a[2], "v3" a[3],
                "v4" b[0], "v5" b[1], "v6" b[2], "v7" b[3]
            ),
            3 => tile!(
                3 [0 1 2]
                ["ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{bias}]"
                 "ld4r {{v4.2d, v5.2d, v6.2d, v7.2d}}, [{bias}]"
                 "ld4r {{v8.2d, v9.2d, v10.2d, v11.2d}}, [{bias}]"]
                "v0" a[0], "v1" a[1], "v2" a[2], "v3" a[3],
                "v4" b[0], "v5" b[1], "v6" b[2], "v7" b[3],
                "v8" c[0], "v9" c[1], "v10" c[2], "v11" c[3]
            ),
            _ => tile!(
                4 [0 1 2 3]
                ["ld4r {{v0.2d, v1.2d, v2.2d, v3.2d}}, [{bias}]"
                 "ld4r {{v4.2d, v5.2d, v6.2d, v7.2d}}, [{bias}]"
                 "ld4r {{v8.2d, v9.2d, v10.2d, v11.2d}}, [{bias}]"
                 "ld4r {{v12.2d, v13.2d, v14.2d, v15.2d}}, [{bias}]"]
                "v0" a[0], "v1" a[1], "v2" a[2], "v3" a[3],
                "v4" b[0], "v5" b[1], "v6" b[2], "v7" b[3],
                "v8" c[0], "v9" c[1], "v10" c[2], "v11" c[3],
                "v12" d[0], "v13" d[1], "v14" d[2], "v15" d[3]
            ),
        }
        let tile = [a, b, c, d];
        core::array::from_fn(|p| tile[p])
    }
}
