//! Arguments of the product of one vector with many: an embedding with the classes of a bank.

/// `dst[i] = Σₖ lhs[k] · rows[i · stride + k]`, exact sums.
#[derive(Debug)]
pub struct DotRowsS8<'a> {
    /// (k), at most 2¹⁶.
    pub lhs: &'a [i8],
    /// (rows, k), a row every `stride` bytes; it may end with the last row.
    pub rows: &'a [i8],
    /// Bytes from the beginning of a row to that of the next.
    pub stride: usize,
    /// (rows)
    pub dst: &'a mut [i32],
}

impl<'a> DotRowsS8<'a> {
    /// The row of output `index`.
    #[inline(always)]
    pub(crate) fn row(&self, index: usize) -> &'a [i8] {
        &self.rows[index * self.stride..][..self.lhs.len()]
    }

    /// Computes `ROWS` outputs at a time by `dot`, and what is left by the scalar kernel.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn run_in_tiles<const ROWS: usize>(
        self,
        dot: impl Fn([&'a [i8]; ROWS]) -> [i32; ROWS],
    ) {
        let whole = self.dst.len() / ROWS * ROWS;
        for first in (0..whole).step_by(ROWS) {
            let sums = dot(core::array::from_fn(|row| self.row(first + row)));
            self.dst[first..][..ROWS].copy_from_slice(&sums);
        }
        for index in whole..self.dst.len() {
            self.dst[index] = super::scalar::dot_s8(self.lhs, self.row(index));
        }
    }
}
