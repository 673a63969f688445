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
}
