//! One vector times many, four rows at a time.

use crate::kernel::DotRowsS8;

/// Rows at a time.
pub(super) const ROWS: usize = 4;

/// See [`DotRowsS8`]. `dot_rows` computes four sums and `dot` one, of slices that are as long as the vector.
#[inline(always)]
pub(super) fn dot_rows_s8(
    args: DotRowsS8<'_>,
    dot_rows: impl Fn(&[i8], [&[i8]; ROWS]) -> [i32; ROWS],
    dot: impl Fn(&[i8], &[i8]) -> i32,
) {
    let tiles = args.dst.len() / ROWS;
    for tile in 0..tiles {
        let rows = core::array::from_fn(|row| args.row(tile * ROWS + row));
        args.dst[tile * ROWS..][..ROWS].copy_from_slice(&dot_rows(args.lhs, rows));
    }
    for index in tiles * ROWS..args.dst.len() {
        args.dst[index] = dot(args.lhs, args.row(index));
    }
}
