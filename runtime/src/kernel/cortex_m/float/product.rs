//! Products cut into tiles: a few rows by a few columns, whose sums stay in registers over the inputs.
//!
//! ```text
//! for a chunk of 64 columns
//!   for a tile of rows                                    as many as the level has registers for, or one
//!     for a group of columns                              whose numbers lie side by side, or at any distance
//!       sums[row][column] += lhs[row][i] · rhs[i][column]
//!     finish the chunk of each row
//! ```

use core::array;

#[cfg(cortex_m_helium)]
use half::f16;

use super::CHUNK;
use super::select::clamp;
use crate::kernel::packing::BLOCK_CHANNELS;

/// Rows of the largest tile of any level.
pub(crate) const MAX_ROWS: usize = 4;
/// Sums of a chunk of columns for each row of a tile.
pub(crate) type Sums = [[f32; CHUNK]; MAX_ROWS];
/// Bytes from one row of [`Sums`] to the next.
pub(crate) const SUMS_ROW: usize = CHUNK * size_of::<f32>();

/// How the right side of a product lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// Blocks of 16 channels, see [`crate::kernel::packing`].
    Packed,
    /// (k, n), rows at this distance.
    Rows(usize),
    /// (n, k), rows at this distance.
    Columns(usize),
}

/// The operands of one tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<L, R> {
    /// The inputs of each row, the first of the tile's rows alone when it has one.
    pub(crate) lhs: [*const L; MAX_ROWS],
    /// The first input of the first column.
    pub(crate) rhs: *const R,
    /// Not 0.
    pub(crate) inputs: usize,
    /// Elements of `rhs` from one input to the next.
    pub(crate) input_step: usize,
    /// Elements of `rhs` from one column to the next.
    pub(crate) column_step: usize,
    /// Not 0.
    pub(crate) columns: usize,
    /// The sums of the first row and column; rows lie [`SUMS_ROW`] bytes apart, and each has room for the columns of
    /// the tile, those beyond `columns` too.
    pub(crate) sums: *mut f32,
}

/// The inner loops of a level for one pair of types.
pub(crate) trait Tile {
    /// Of the left side.
    type Lhs: Copy;
    /// Of the right side.
    type Rhs: Copy;
    /// Rows of a tall tile.
    const ROWS: usize;
    /// Columns of a wide tile, tall or of one row, which lie side by side.
    const WIDE: [usize; 2];
    /// Columns of a narrow tile, which lie at any distance.
    const NARROW: usize;
    /// Inputs of one call.
    const MAX_INPUTS: usize = usize::MAX;

    /// Whether a wide tile takes columns that begin there, this many elements from one input to the next.
    fn is_wide(_rhs: *const Self::Rhs, _input_step: usize) -> bool {
        true
    }
    /// Adds the products of a wide tile, of [`Tile::ROWS`] rows or of one.
    ///
    /// # Safety
    /// Each row has `inputs` elements; `rhs` has [`Tile::WIDE`] elements for each of them; `sums` are as [`Call`] says.
    unsafe fn wide(call: &Call<Self::Lhs, Self::Rhs>, tall: bool);
    /// Adds the products of a narrow tile, whose `columns` are at most [`Tile::NARROW`].
    ///
    /// # Safety
    /// Each row has `inputs` elements; `rhs` has `columns` elements `column_step` apart for each of them; `sums` are as
    /// [`Call`] says.
    unsafe fn narrow(call: &Call<Self::Lhs, Self::Rhs>, tall: bool);

    /// Sets the sums of a chunk to 0, those beyond the last column too.
    fn clear(sums: &mut [f32; CHUNK]) {
        sums.fill(0.0);
    }
    /// Puts numbers of a chunk of columns in the order in which the sums lie.
    fn arrange(_chunk: &mut [f32; CHUNK]) {}
    /// `dst[i] = factor · sums[i]`, in the order of the columns.
    fn scale(sums: &[f32; CHUNK], factor: f32, dst: &mut [f32]) {
        for (dst, sum) in dst.iter_mut().zip(sums) {
            *dst = sum * factor;
        }
    }
    /// `dst[i] = clamp(scale[i] · sums[i] + bias[i])`.
    fn finish(sums: &[f32; CHUNK], outputs: &Outputs, dst: &mut [Self::Lhs]);
}

/// What becomes of a chunk of sums, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outputs {
    /// The same for all columns but with weights in bytes.
    pub(crate) scale: [f32; CHUNK],
    pub(crate) bias: [f32; CHUNK],
    pub(crate) clamp: [f32; 2],
    /// Bits of the limits as halves.
    #[cfg(cortex_m_helium)]
    pub(crate) clamp_half: [u32; 2],
}

impl Outputs {
    /// Without scales and bias.
    pub(crate) fn new(clamp: [f32; 2]) -> Self {
        Self {
            scale: [1.0; CHUNK],
            bias: [0.0; CHUNK],
            clamp,
            #[cfg(cortex_m_helium)]
            clamp_half: clamp.map(|limit| f16::from_f32(limit).to_bits().into()),
        }
    }

    /// One output.
    #[inline(always)]
    pub(crate) fn apply(&self, index: usize, sum: f32) -> f32 {
        clamp(sum * self.scale[index] + self.bias[index], self.clamp)
    }
}

/// Takes finished sums: those of `len` columns from `column` on.
pub(crate) trait Finish {
    /// Before the first row of a chunk.
    fn begin(&mut self, _column: usize, _len: usize) {}
    /// Of one row.
    fn row(&mut self, row: usize, column: usize, len: usize, sums: &[f32; CHUNK]);
}

/// lhs(rows, k) · rhs(k, n).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a, T: Tile> {
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// (rows, k), rows at a distance of `lhs_stride`.
    pub(crate) lhs: &'a [T::Lhs],
    pub(crate) lhs_stride: usize,
    pub(crate) rhs: &'a [T::Rhs],
    pub(crate) layout: Layout,
}

/// Where columns begin, and the distances of what follows.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: usize,
    input_step: usize,
    column_step: usize,
    /// Columns from here on that lie alike.
    room: usize,
}

impl<'a, T: Tile> Product<'a, T> {
    /// Of rows that lie close together and of packed weights, `dims` being [k, n].
    pub(crate) fn packed(lhs: &'a [T::Lhs], rhs: &'a [T::Rhs], dims: [usize; 2]) -> Self {
        let [k, n] = dims;
        Self {
            k,
            n,
            lhs,
            lhs_stride: k,
            rhs,
            layout: Layout::Packed,
        }
    }

    /// Computes `rows` rows.
    #[inline]
    pub(crate) fn run(&self, rows: usize, finish: &mut impl Finish) {
        let mut sums: Sums = [[0.0; CHUNK]; MAX_ROWS];
        for column in (0..self.n).step_by(CHUNK) {
            let len = CHUNK.min(self.n - column);
            finish.begin(column, len);
            let mut row = 0;
            while row < rows {
                let tall = rows - row >= T::ROWS;
                let count = if tall { T::ROWS } else { 1 };
                self.tile([row, count], [column, len], &mut sums);
                for (index, sums) in sums[..count].iter().enumerate() {
                    finish.row(row + index, column, len, sums);
                }
                row += count;
            }
        }
    }

    /// The sums of `count` rows and of a chunk of columns.
    #[inline]
    fn tile(&self, [row, count]: [usize; 2], [column, len]: [usize; 2], sums: &mut Sums) {
        sums[..count].iter_mut().for_each(T::clear);
        if self.k == 0 {
            return;
        }
        let lhs = array::from_fn(|index| {
            let row = row + if index < count { index } else { 0 };
            self.lhs[row * self.lhs_stride..][..self.k].as_ptr()
        });
        let mut done = 0;
        while done < len {
            let sums = sums.as_mut_ptr().cast::<f32>().wrapping_add(done);
            done += self.group(lhs, count > 1, [column + done, len - done], sums);
        }
    }

    /// The sums of at most `left` columns from `column` on; returns how many.
    #[inline]
    fn group(
        &self,
        lhs: [*const T::Lhs; MAX_ROWS],
        tall: bool,
        [column, left]: [usize; 2],
        sums: *mut f32,
    ) -> usize {
        let place = self.place(column);
        let left = left.min(place.room);
        let width = T::WIDE[usize::from(!tall)];
        let rhs = &self.rhs[place.offset..];
        let wide =
            place.column_step == 1 && left >= width && T::is_wide(rhs.as_ptr(), place.input_step);
        let columns = if wide { width } else { left.min(T::NARROW) };
        let last = (self.k - 1) * place.input_step + (columns - 1) * place.column_step;
        assert!(last < rhs.len(), "the right side is shorter than its shape");
        let calls = self.k.div_ceil(T::MAX_INPUTS);
        let inputs = self.k.div_ceil(calls);
        for input in (0..self.k).step_by(inputs) {
            let call = Call {
                lhs: lhs.map(|row| row.wrapping_add(input)),
                rhs: rhs.as_ptr().wrapping_add(input * place.input_step),
                inputs: inputs.min(self.k - input),
                input_step: place.input_step,
                column_step: place.column_step,
                columns,
                sums,
            };
            // SAFETY: Each row has `k` elements from its start (`tile`); the last element of `rhs` was checked above,
            // and no step is negative. Groups begin at multiples of their tile's columns, or are the last of a block of
            // 16, and a tile has at most 16 columns: `sums` has room for them in each of the rows.
            unsafe {
                if wide {
                    T::wide(&call, tall);
                } else {
                    T::narrow(&call, tall);
                }
            }
        }
        columns
    }

    fn place(&self, column: usize) -> Place {
        match self.layout {
            Layout::Packed => {
                let block = column / BLOCK_CHANNELS * BLOCK_CHANNELS;
                let width = BLOCK_CHANNELS.min(self.n - block);
                Place {
                    offset: block * self.k + column - block,
                    input_step: width,
                    column_step: 1,
                    room: block + width - column,
                }
            }
            Layout::Rows(stride) => Place {
                offset: column,
                input_step: stride,
                column_step: 1,
                room: self.n - column,
            },
            Layout::Columns(stride) => Place {
                offset: column * stride,
                input_step: 1,
                column_step: stride,
                room: self.n - column,
            },
        }
    }
}
