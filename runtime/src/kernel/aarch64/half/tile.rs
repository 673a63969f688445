//! The register tile of products of halves, and the loop over tiles.
//!
//! ```text
//! for a panel of rows that stays in the cache
//!   for 16 columns
//!     for a tile of 8 rows
//!       totals = bias                                     f32
//!       for a chunk of k
//!         sums = 0                                        halves, 8 rows × 2 registers
//!         for 8 inputs
//!           x[row] = lhs[row][8 inputs]                   one register a row
//!           sums[row] += x[row][lane] · rhs[input]        FMLA by lane, both registers of rhs loaded once for all rows
//!         totals += sums
//!       dst = clamp(totals · factor)
//! ```
//!
//! With a single chunk the totals never leave halves: the sums begin with the bias. The chunk bounds the error of a sum
//! (`docs/numerics.md`).
//!
//! A register of columns that is wider than what is left of a row computes lanes that nobody stores: its loads read on into
//! the next row of the same matrix, inside their slice. Only the last rows have no next row; they are copied in front of zeros.
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators, and are what the compiler unrolls"
)]

use core::arch::aarch64::*;
use core::arch::asm;
use core::ops::Range;

use half::f16;

use super::vector::{
    LANES, fma, fma_lane, load, load_from, load_wide, narrow, splat, splat_from, store_to,
    store_up_to, widen,
};
use crate::kernel::packing::BLOCK_CHANNELS;

/// Products that are added up in halves, at most.
pub(super) const CHUNK: usize = 128;
/// No clamp.
pub(super) const UNLIMITED: [f16; 2] = [f16::NEG_INFINITY, f16::INFINITY];
/// Rows of the largest tile.
const ROWS: usize = 8;

/// How the right side of a product lies.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// Blocks of 16 channels, see [`crate::kernel::packing`].
    Packed,
    /// Rows at this distance.
    Rows(usize),
}

/// dst(rows, n) = clamp((lhs(rows, k) · rhs(k, n) + bias) · factor).
pub(super) struct Product<'a> {
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// (rows, k), rows at a distance of `lhs_stride`.
    pub(super) lhs: &'a [f16],
    pub(super) lhs_stride: usize,
    /// (k, n)
    pub(super) rhs: &'a [f16],
    pub(super) layout: Layout,
    /// (n) or empty.
    pub(super) bias: &'a [f32],
    pub(super) factor: f32,
    pub(super) clamp: [f16; 2],
    /// (rows, n), rows at a distance of `dst_stride`.
    pub(super) dst: &'a mut [f16],
    pub(super) dst_stride: usize,
}

/// Columns of the right side: row i begins at `i * stride`.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) data: &'a [f16],
    pub(super) stride: usize,
}

impl Columns<'_> {
    /// Leading rows of which `width` halves lie inside the data.
    pub(super) fn whole_rows(&self, k: usize, width: usize) -> usize {
        match self.data.len().checked_sub(width) {
            Some(room) if self.stride > 0 => k.min(room / self.stride + 1),
            Some(_) => k,
            None => 0,
        }
    }

    /// `NV` registers of row `i`, the rows at this distance.
    ///
    /// # Safety
    /// The row has them.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    pub(super) unsafe fn row<const NV: usize>(&self, i: usize, stride: usize) -> [float16x8_t; NV] {
        let mut registers = [splat(f16::ZERO); NV];
        for j in 0..NV {
            let at = self.data.as_ptr().wrapping_add(i * stride + j * LANES);
            // SAFETY: The caller vouches for the row.
            registers[j] = unsafe { load_from(at) };
        }
        registers
    }

    /// `NV` registers of row `i`, zeros behind the data.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    pub(super) fn padded<const NV: usize>(&self, i: usize) -> [float16x8_t; NV] {
        let row = &self.data[i * self.stride..];
        let mut registers = [splat(f16::ZERO); NV];
        if row.len() >= NV * LANES {
            for j in 0..NV {
                registers[j] = load(&row[j * LANES..]);
            }
            return registers;
        }
        let count = row.len();
        let mut padded = [f16::ZERO; 2 * LANES];
        padded[..count].copy_from_slice(row);
        for j in 0..NV {
            registers[j] = load(&padded[j * LANES..]);
        }
        registers
    }
}

/// Length of the chunks of a sum of `k` products: as equal as multiples of 8 are.
pub(super) fn chunk_len(k: usize) -> usize {
    k.div_ceil(k.div_ceil(CHUNK).max(1)).next_multiple_of(LANES)
}

impl<'a> Product<'a> {
    /// Computes the product.
    #[target_feature(enable = "neon,fp16")]
    pub(super) fn run(mut self) {
        // Half of a first-level cache of 64 KiB is left to the weights; a panel of one tile is always worth it.
        let panel_rows = (32_768 / self.k.max(1))
            .next_multiple_of(ROWS)
            .max(3 * ROWS);
        for first_row in (0..self.rows).step_by(panel_rows) {
            let end = self.rows.min(first_row + panel_rows);
            for channel in (0..self.n).step_by(BLOCK_CHANNELS) {
                let columns = self.columns(channel);
                let rows = first_row..end;
                match (self.n - channel, columns.stride) {
                    (..=8, 8) => self.panel::<1, 8>(rows, channel, columns),
                    (..=8, _) => self.panel::<1, 0>(rows, channel, columns),
                    (_, 16) => self.panel::<2, 16>(rows, channel, columns),
                    _ => self.panel::<2, 0>(rows, channel, columns),
                }
            }
        }
    }

    /// The columns that begin at `channel`, a multiple of 16.
    fn columns(&self, channel: usize) -> Columns<'a> {
        let (offset, stride) = match self.layout {
            Layout::Rows(stride) => (channel, stride),
            Layout::Packed => (channel * self.k, BLOCK_CHANNELS.min(self.n - channel)),
        };
        // With k = 0 there are no weights, and the offset points behind them.
        Columns {
            data: self.rhs.get(offset..).unwrap_or_default(),
            stride,
        }
    }
}

/// Sums of a tile: `MR` rows by `NV` registers.
type Sums<const NV: usize, const MR: usize> = [[float16x8_t; NV]; MR];

impl Product<'_> {
    /// `NV` registers of columns of a panel, in tiles of rows. `STRIDE` is the distance of the rows of `columns` where it is
    /// known when the code is compiled, else 0.
    #[target_feature(enable = "neon,fp16")]
    fn panel<const NV: usize, const STRIDE: usize>(
        &mut self,
        rows: Range<usize>,
        channel: usize,
        columns: Columns<'_>,
    ) {
        let bias = self.bias.get(channel..).unwrap_or_default();
        let mut start = [[vdupq_n_f32(0.0); 2]; NV];
        for (start, bias) in start.iter_mut().zip(bias.chunks(LANES)) {
            *start = load_wide(bias);
        }
        let mut row = rows.start;
        while row < rows.end {
            row += match rows.end - row {
                ROWS.. => self.tile::<NV, STRIDE, ROWS>(row, channel, start, columns),
                4.. => self.tile::<NV, STRIDE, 4>(row, channel, start, columns),
                _ => self.tile::<NV, STRIDE, 1>(row, channel, start, columns),
            };
        }
    }

    /// A tile of `MR` rows from `row` on; returns `MR`.
    #[target_feature(enable = "neon,fp16")]
    fn tile<const NV: usize, const STRIDE: usize, const MR: usize>(
        &mut self,
        row: usize,
        channel: usize,
        start: [Wide; NV],
        columns: Columns<'_>,
    ) -> usize {
        let count = (self.n - channel).min(NV * LANES);
        let lhs = Lhs {
            data: &self.lhs[row * self.lhs_stride..][..(MR - 1) * self.lhs_stride + self.k],
            stride: self.lhs_stride,
        };
        let sums = if self.k <= CHUNK && self.factor == 1.0 {
            let mut halves = [splat(f16::ZERO); NV];
            for j in 0..NV {
                halves[j] = narrow(start[j]);
            }
            // SAFETY: The CPU has FEAT_FP16, as here. The tile has `MR` rows of `k`.
            unsafe { accumulate::<NV, STRIDE, MR>(halves, lhs, 0..self.k, columns) }
        } else {
            self.chunks::<NV, STRIDE, MR>(lhs, start, columns)
        };
        let sums = self.clamped(sums);
        let last = (MR - 1) * self.dst_stride + count;
        let dst = &mut self.dst[row * self.dst_stride + channel..][..last];
        let to = dst.as_mut_ptr();
        for r in 0..MR {
            let at = r * self.dst_stride;
            for j in 0..NV {
                let x = sums[r][j];
                if count == NV * LANES {
                    // SAFETY: `dst` was cut to the end of the last of `MR` rows of `count`.
                    unsafe { store_to(x, to.wrapping_add(at + j * LANES)) };
                } else if j * LANES < count {
                    store_up_to(x, &mut dst[at + j * LANES..at + count.min((j + 1) * LANES)]);
                }
            }
        }
        MR
    }

    /// Limits the sums, where there are limits.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    fn clamped<const NV: usize, const MR: usize>(&self, mut sums: Sums<NV, MR>) -> Sums<NV, MR> {
        if self.clamp == UNLIMITED {
            return sums;
        }
        let [low, high] = self.clamp.map(f16::to_bits);
        let [low, high] = [low, high].map(|bits| vreinterpretq_f16_u16(vdupq_n_u16(bits)));
        for r in 0..MR {
            for j in 0..NV {
                sums[r][j] = vminq_f16(vmaxq_f16(sums[r][j], low), high);
            }
        }
        sums
    }

    /// Sums over more than one chunk, in f32 between the chunks.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    fn chunks<const NV: usize, const STRIDE: usize, const MR: usize>(
        &self,
        lhs: Lhs<'_>,
        start: [Wide; NV],
        columns: Columns<'_>,
    ) -> Sums<NV, MR> {
        let mut totals = [start; MR];
        let len = chunk_len(self.k).max(1);
        let mut first = 0;
        loop {
            let inputs = first..self.k.min(first + len);
            let zeros = [splat(f16::ZERO); NV];
            // SAFETY: The CPU has FEAT_FP16, as here. The tile has `MR` rows of `k`.
            let mut sums = unsafe { accumulate::<NV, STRIDE, MR>(zeros, lhs, inputs, columns) };
            first += len;
            if first >= self.k {
                for r in 0..MR {
                    for j in 0..NV {
                        sums[r][j] = scaled(added(totals[r][j], sums[r][j]), self.factor);
                    }
                }
                return sums;
            }
            for r in 0..MR {
                for j in 0..NV {
                    totals[r][j] = added(totals[r][j], sums[r][j]);
                }
            }
        }
    }
}

/// A register of halves in f32.
pub(super) type Wide = [float32x4_t; 2];

/// `totals + sums`.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn added(totals: Wide, sums: float16x8_t) -> Wide {
    let [low, high] = widen(sums);
    [vaddq_f32(totals[0], low), vaddq_f32(totals[1], high)]
}

/// `totals · factor`, rounded once.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(super) fn scaled(totals: Wide, factor: f32) -> float16x8_t {
    narrow([
        vmulq_n_f32(totals[0], factor),
        vmulq_n_f32(totals[1], factor),
    ])
}

/// Rows of the left side of a tile.
#[derive(Clone, Copy)]
struct Lhs<'a> {
    data: &'a [f16],
    /// Halves from one row to the next.
    stride: usize,
}

/// The sums of the products over `inputs`, each row beginning with `start`.
///
/// # Safety
/// The CPU has FEAT_FP16. `lhs` has `MR` rows, none of which ends before `inputs`.
#[inline(always)]
unsafe fn accumulate<const NV: usize, const STRIDE: usize, const MR: usize>(
    start: [float16x8_t; NV],
    lhs: Lhs<'_>,
    inputs: Range<usize>,
    columns: Columns<'_>,
) -> Sums<NV, MR> {
    let stride = if STRIDE > 0 { STRIDE } else { columns.stride };
    let whole = columns.whole_rows(inputs.end, NV * LANES);
    let mut sums = [start; MR];
    let mut i = inputs.start;
    if STRIDE == 2 * LANES && NV == 2 && MR == ROWS && i + LANES <= whole {
        let count = (whole - i) / LANES;
        let (lhs_data, rhs) = (lhs.data[i..].as_ptr(), columns.data[i * stride..].as_ptr());
        // SAFETY: `count` groups of 8 inputs lie before `whole`, the end of the rows of `columns`, and before the end of the
        // rows of `lhs`.
        unsafe { accumulate_full(&mut sums, start, lhs_data, lhs.stride, rhs, count) };
        i += count * LANES;
    }
    while i + LANES <= whole {
        // SAFETY: The caller vouches for the rows; i + 7 < whole ≤ columns.whole_rows().
        unsafe { step::<NV, MR>(&mut sums, lhs, i, columns, stride) };
        i += LANES;
    }
    while i < inputs.end {
        let weights = if i < whole {
            // SAFETY: The caller vouches for FEAT_FP16; i < whole ≤ columns.whole_rows().
            unsafe { columns.row::<NV>(i, stride) }
        } else {
            // SAFETY: The caller vouches for FEAT_FP16.
            unsafe { columns.padded::<NV>(i) }
        };
        for r in 0..MR {
            // SAFETY: The caller vouches for the row and for FEAT_FP16.
            let x = unsafe { splat_from(lhs.data.as_ptr().wrapping_add(r * lhs.stride + i)) };
            for j in 0..NV {
                // SAFETY: as above.
                sums[r][j] = unsafe { fma(sums[r][j], weights[j], x) };
            }
        }
        i += 1;
    }
    sums
}

/// Adds the products over the eight inputs from `i` on.
///
/// # Safety
/// As of [`accumulate`], and `i + 8` rows of `columns` have `NV` registers.
#[inline(always)]
unsafe fn step<const NV: usize, const MR: usize>(
    sums: &mut Sums<NV, MR>,
    lhs: Lhs<'_>,
    i: usize,
    columns: Columns<'_>,
    stride: usize,
) {
    let mut x = [sums[0][0]; MR];
    for r in 0..MR {
        // SAFETY: The caller vouches for the row and for FEAT_FP16.
        x[r] = unsafe { load_from(lhs.data.as_ptr().wrapping_add(r * lhs.stride + i)) };
    }
    macro_rules! lanes {
        ($($lane:literal)*) => {$(
            // SAFETY: The caller vouches for the row.
            let weights = unsafe { columns.row::<NV>(i + $lane, stride) };
            for r in 0..MR {
                for j in 0..NV {
                    // SAFETY: The caller vouches for FEAT_FP16.
                    sums[r][j] = unsafe { fma_lane::<$lane>(sums[r][j], weights[j], x[r]) };
                }
            }
        )*};
    }
    lanes!(0 1 2 3 4 5 6 7);
}

/// Instructions for an input of 16 channels, whose weights are in two registers: the lane `$lane` of the eight rows.
macro_rules! fmla_input {
    ($low:literal, $high:literal, $lane:literal) => {
        concat!(
            fmla_input!(@row "a", "0", $low, $high, $lane),
            fmla_input!(@row "b", "1", $low, $high, $lane),
            fmla_input!(@row "c", "2", $low, $high, $lane),
            fmla_input!(@row "d", "3", $low, $high, $lane),
            fmla_input!(@row "e", "4", $low, $high, $lane),
            fmla_input!(@row "f", "5", $low, $high, $lane),
            fmla_input!(@row "g", "6", $low, $high, $lane),
            fmla_input!(@row "h", "7", $low, $high, $lane),
        )
    };
    (@row $sums:literal, $row:literal, $low:literal, $high:literal, $lane:literal) => {
        concat!(
            "fmla {", $sums, "0:v}.8h, ", $low, ".8h, v", $row, ".h[", $lane, "]\n",
            "fmla {", $sums, "1:v}.8h, ", $high, ".8h, v", $row, ".h[", $lane, "]\n",
        )
    };
}

/// A full tile: the sums of the products of `count` times eight inputs, rows of `rhs` of 16 channels, beginning with `start`. A
/// loop of 142 instructions, 128 of them FMLA; the compiler's has an addition more for each row.
///
/// # Safety
/// The CPU has FEAT_FP16. `count` is not 0; `8 · count` halves can be read from `lhs` and from each of the 7 rows behind it, and
/// `128 · count` from `rhs`.
#[inline(always)]
unsafe fn accumulate_full<const NV: usize, const MR: usize>(
    sums: &mut Sums<NV, MR>,
    start: [float16x8_t; NV],
    lhs: *const f16,
    lhs_stride: usize,
    rhs: *const f16,
    count: usize,
) {
    let (
        [
            a0,
            a1,
            b0,
            b1,
            c0,
            c1,
            d0,
            d1,
            e0,
            e1,
            f0,
            f1,
            g0,
            g1,
            h0,
            h1,
        ],
        &[start0, start1],
    ) = (sums.as_flattened_mut(), start.as_slice())
    else {
        return;
    };
    // SAFETY: The caller vouches for the instructions and for what is read.
    unsafe {
        asm!(
            ".arch_extension fp16",
            "mov {a0:v}.16b, v8.16b", "mov {a1:v}.16b, v9.16b",
            "mov {b0:v}.16b, v8.16b", "mov {b1:v}.16b, v9.16b",
            "mov {c0:v}.16b, v8.16b", "mov {c1:v}.16b, v9.16b",
            "mov {d0:v}.16b, v8.16b", "mov {d1:v}.16b, v9.16b",
            "mov {e0:v}.16b, v8.16b", "mov {e1:v}.16b, v9.16b",
            "mov {f0:v}.16b, v8.16b", "mov {f1:v}.16b, v9.16b",
            "mov {g0:v}.16b, v8.16b", "mov {g1:v}.16b, v9.16b",
            "mov {h0:v}.16b, v8.16b", "mov {h1:v}.16b, v9.16b",
            "2:",
            "ldr q0, [{row0}], #16",
            "ldr q1, [{row1}], #16",
            "ldr q2, [{row2}], #16",
            "ldr q3, [{row3}], #16",
            "ldr q4, [{row4}], #16",
            "ldr q5, [{row5}], #16",
            "ldr q6, [{row6}], #16",
            "ldr q7, [{row7}], #16",
            "ld1 {{v8.8h, v9.8h, v10.8h, v11.8h}}, [{rhs}], #64",
            "ld1 {{v12.8h, v13.8h, v14.8h, v15.8h}}, [{rhs}], #64",
            fmla_input!("v8", "v9", 0),
            fmla_input!("v10", "v11", 1),
            "ld1 {{v8.8h, v9.8h, v10.8h, v11.8h}}, [{rhs}], #64",
            fmla_input!("v12", "v13", 2),
            fmla_input!("v14", "v15", 3),
            "ld1 {{v12.8h, v13.8h, v14.8h, v15.8h}}, [{rhs}], #64",
            fmla_input!("v8", "v9", 4),
            fmla_input!("v10", "v11", 5),
            "subs {count}, {count}, #1",
            fmla_input!("v12", "v13", 6),
            fmla_input!("v14", "v15", 7),
            "b.ne 2b",
            row0 = inout(reg) lhs => _,
            row1 = inout(reg) lhs.wrapping_add(lhs_stride) => _,
            row2 = inout(reg) lhs.wrapping_add(2 * lhs_stride) => _,
            row3 = inout(reg) lhs.wrapping_add(3 * lhs_stride) => _,
            row4 = inout(reg) lhs.wrapping_add(4 * lhs_stride) => _,
            row5 = inout(reg) lhs.wrapping_add(5 * lhs_stride) => _,
            row6 = inout(reg) lhs.wrapping_add(6 * lhs_stride) => _,
            row7 = inout(reg) lhs.wrapping_add(7 * lhs_stride) => _,
            rhs = inout(reg) rhs => _, count = inout(reg) count => _,
            a0 = out(vreg) *a0, a1 = out(vreg) *a1,
            b0 = out(vreg) *b0, b1 = out(vreg) *b1,
            c0 = out(vreg) *c0, c1 = out(vreg) *c1,
            d0 = out(vreg) *d0, d1 = out(vreg) *d1,
            e0 = out(vreg) *e0, e1 = out(vreg) *e1,
            f0 = out(vreg) *f0, f1 = out(vreg) *f1,
            g0 = out(vreg) *g0, g1 = out(vreg) *g1,
            h0 = out(vreg) *h0, h1 = out(vreg) *h1,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            inout("v8") start0 => _, inout("v9") start1 => _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            options(readonly, nostack)
        );
    }
}
