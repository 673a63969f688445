//! The register tile of float products, and the loop over tiles.
//!
//! ```text
//! for a panel of rows that stays in the cache
//!   for two vectors of columns
//!     for a tile of up to 8 rows
//!       sums = 0
//!       for i in 0..k
//!         sums[row][column] += lhs[row][i] · weights[i][column]     both weights loaded once for all rows
//!       dst = clamp(sums · scale + bias)
//! ```
//!
//! A vector of columns that is wider than what is left of a block computes lanes that nobody stores: its loads read on
//! into the next row of the same weights, inside their slice. Only the last rows of the last block have no next row;
//! they are copied in front of zeros.
#![allow(
    clippy::needless_range_loop,
    reason = "indices of a tile are clearer than zipped iterators"
)]

use super::lanes::{Lanes, Number, Stored};
use crate::kernel::packing::BLOCK_CHANNELS;

/// How the right side of a product lies.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    /// Blocks of 16 channels, see [`crate::kernel::packing`].
    Packed,
    /// Rows at this distance.
    Rows(usize),
}

/// dst(rows, n) = clamp(lhs(rows, k) · rhs(k, n) · factor · scales + bias).
pub(super) struct Product<'a, L, T, E> {
    pub(super) rows: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// (rows, k), rows at a distance of `lhs_stride`.
    pub(super) lhs: &'a [L],
    pub(super) lhs_stride: usize,
    /// (k, n)
    pub(super) rhs: &'a [T],
    pub(super) layout: Layout,
    pub(super) finish: Finish<'a>,
    /// (rows, n), rows at a distance of `dst_stride`.
    pub(super) dst: &'a mut [E],
    pub(super) dst_stride: usize,
}

/// What happens to a finished sum.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) factor: f32,
    /// (n) or empty.
    pub(super) scales: &'a [f32],
    /// (n) or empty.
    pub(super) bias: &'a [f32],
    pub(super) clamp: [f32; 2],
}

/// One vector of columns: row i begins at `i * stride`.
#[derive(Clone, Copy)]
struct Column<'a, T> {
    data: &'a [T],
    stride: usize,
}

impl<T> Column<'_, T> {
    /// Leading rows whose vector of `lanes` lies inside the data.
    #[inline(always)]
    fn whole_rows(&self, k: usize, lanes: usize) -> usize {
        match self.data.len().checked_sub(lanes) {
            Some(room) if self.stride > 0 => k.min(room / self.stride + 1),
            Some(_) => k,
            None => 0,
        }
    }
}

impl<L: Number, T: Stored, E: Number> Product<'_, L, T, E> {
    /// The vector of columns that begins at `channel`.
    #[inline(always)]
    fn column(&self, channel: usize) -> Column<'_, T> {
        let (offset, stride) = match self.layout {
            Layout::Rows(stride) => (channel, stride),
            Layout::Packed => {
                let block = channel / BLOCK_CHANNELS * BLOCK_CHANNELS;
                (
                    block * self.k + channel - block,
                    BLOCK_CHANNELS.min(self.n - block),
                )
            }
        };
        // With k = 0 there are no weights, and the offset points behind them.
        Column {
            data: self.rhs.get(offset..).unwrap_or_default(),
            stride,
        }
    }

    /// Computes the product.
    #[inline(always)]
    pub(super) fn run<V: Lanes>(mut self, v: V) {
        if self.rows == 0 {
            return;
        }
        // Half of a first-level cache of 32 KiB is left to the weights; a panel of one tile is always worth it.
        let panel_rows = (65_536 / self.k.max(1))
            .next_multiple_of(V::TILE_ROWS)
            .max(3 * V::TILE_ROWS);
        for first_row in (0..self.rows).step_by(panel_rows) {
            let rows = panel_rows.min(self.rows - first_row);
            let mut channel = 0;
            while channel + V::LANES < self.n {
                self.columns::<V, 2>(v, first_row, rows, channel);
                channel += 2 * V::LANES;
            }
            if channel < self.n {
                self.columns::<V, 1>(v, first_row, rows, channel);
            }
        }
    }

    /// `NV` vectors of columns of a panel, in tiles of rows.
    #[inline(always)]
    fn columns<V: Lanes, const NV: usize>(
        &mut self,
        v: V,
        first_row: usize,
        rows: usize,
        channel: usize,
    ) {
        let mut row = first_row;
        let end = first_row + rows;
        while row < end {
            let left = end - row;
            row += match left {
                1 => self.tile::<V, NV, 1>(v, row, 1, channel),
                // Two tiles of 4 are as fast as one of 8, and AVX2 has no registers for 8.
                2..=4 => self.tile::<V, NV, 4>(v, row, left, channel),
                8 if V::TILE_ROWS < 8 => self.tile::<V, NV, 4>(v, row, 4, channel),
                5 if V::TILE_ROWS < 8 => self.tile::<V, NV, 4>(v, row, 4, channel),
                _ if V::TILE_ROWS == 8 => self.tile::<V, NV, 8>(v, row, left.min(8), channel),
                _ => self.tile::<V, NV, 6>(v, row, left.min(6), channel),
            };
        }
    }

    /// A tile of `rows` rows, at most `MR`, and `NV` vectors of columns; returns `rows`.
    ///
    /// Missing rows repeat the last one and are not stored.
    #[inline(always)]
    fn tile<V: Lanes, const NV: usize, const MR: usize>(
        &mut self,
        v: V,
        first_row: usize,
        rows: usize,
        channel: usize,
    ) -> usize {
        let mut lhs: [&[L]; MR] = [&[]; MR];
        for (r, lhs) in lhs.iter_mut().enumerate() {
            *lhs = &self.lhs[(first_row + r.min(rows - 1)) * self.lhs_stride..][..self.k];
        }
        let mut columns = [Column {
            data: &self.rhs[..0],
            stride: 0,
        }; NV];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = self.column(channel + j * V::LANES);
        }
        let mut sums = sums::<V, L, T, NV, MR>(v, self.k, lhs, columns);
        for j in 0..NV {
            let channel = channel + j * V::LANES;
            let count = V::LANES.min(self.n - channel);
            let (scale, bias) = self.finish.vectors(v, channel, count);
            for r in 0..MR {
                sums[r][j] = v.clamp(v.mul_add(sums[r][j], scale, bias), self.finish.clamp);
            }
        }
        let width = (self.n - channel).min(NV * V::LANES);
        if rows == MR && width == NV * V::LANES {
            for r in 0..MR {
                let first = (first_row + r) * self.dst_stride + channel;
                let dst = &mut self.dst[first..first + width];
                for j in 0..NV {
                    E::store(v, sums[r][j], &mut dst[j * V::LANES..]);
                }
            }
            return rows;
        }
        // The loops below are not unrolled. They index a copy, so that the sums themselves stay in registers.
        let mut copy = [[v.splat(0.0); NV]; MR];
        for r in 0..MR {
            for j in 0..NV {
                copy[r][j] = sums[r][j];
            }
        }
        for (r, row) in copy.iter().enumerate().take(rows) {
            let first = (first_row + r) * self.dst_stride + channel;
            let dst = &mut self.dst[first..first + width];
            for (x, dst) in row.iter().zip(dst.chunks_mut(V::LANES)) {
                E::store_up_to(v, *x, dst);
            }
        }
        rows
    }
}

impl Finish<'_> {
    /// Scale and bias of `count` channels from `channel` on.
    #[inline(always)]
    fn vectors<V: Lanes>(&self, v: V, channel: usize, count: usize) -> (V::F32, V::F32) {
        let scale = match self.scales.get(channel..channel + count) {
            Some(scales) => v.mul(f32::load_up_to(v, scales), v.splat(self.factor)),
            None => v.splat(self.factor),
        };
        let bias = match self.bias.get(channel..channel + count) {
            Some(bias) => f32::load_up_to(v, bias),
            None => v.splat(0.0),
        };
        (scale, bias)
    }
}

/// Sums of products of `MR` rows with `NV` vectors of columns, over all of `k`.
#[inline(always)]
fn sums<V: Lanes, L: Number, T: Stored, const NV: usize, const MR: usize>(
    v: V,
    k: usize,
    lhs: [&[L]; MR],
    columns: [Column<'_, T>; NV],
) -> [[V::F32; NV]; MR] {
    let mut sums = [[v.splat(0.0); NV]; MR];
    let mut whole = k;
    for column in &columns {
        whole = whole.min(column.whole_rows(k, V::LANES));
    }
    for i in 0..whole {
        let mut weights = [v.splat(0.0); NV];
        for (weights, column) in weights.iter_mut().zip(&columns) {
            // SAFETY: i < whole ≤ column.whole_rows(), so that i · stride + LANES ≤ data.len().
            let row = unsafe {
                column
                    .data
                    .get_unchecked(i * column.stride..i * column.stride + V::LANES)
            };
            *weights = T::load(v, row);
        }
        for r in 0..MR {
            let x = L::splat(v, lhs[r][i]);
            for j in 0..NV {
                sums[r][j] = v.mul_add(x, weights[j], sums[r][j]);
            }
        }
    }
    for i in whole..k {
        for j in 0..NV {
            let row = &columns[j].data[i * columns[j].stride..];
            let count = row.len().min(V::LANES);
            let mut padded = [T::default(); BLOCK_CHANNELS];
            padded[..count].copy_from_slice(&row[..count]);
            let weights = T::load(v, &padded);
            for r in 0..MR {
                sums[r][j] = v.mul_add(L::splat(v, lhs[r][i]), weights, sums[r][j]);
            }
        }
    }
    sums
}

/// Dot products of `R` rows with `column`, all of its length.
#[inline(always)]
pub(super) fn dots<V: Lanes, E: Number, const R: usize>(
    v: V,
    rows: [&[E]; R],
    column: &[E],
) -> [f32; R] {
    let k = column.len();
    let rows = rows.map(|row| &row[..k]);
    let mut sums = [v.splat(0.0); R];
    let mut i = 0;
    while i + V::LANES <= k {
        let x = E::load(v, &column[i..i + V::LANES]);
        for r in 0..R {
            sums[r] = v.mul_add(E::load(v, &rows[r][i..i + V::LANES]), x, sums[r]);
        }
        i += V::LANES;
    }
    if i < k {
        let x = E::load_partial(v, &column[i..]);
        for r in 0..R {
            sums[r] = v.mul_add(E::load_partial(v, &rows[r][i..]), x, sums[r]);
        }
    }
    let mut totals = [0.0; R];
    for r in 0..R {
        totals[r] = v.sum(sums[r]);
    }
    totals
}
