//! One vector times many.

use super::dot_s8;
use crate::kernel::DotRowsS8;

/// One dot product after the other.
pub fn dot_rows_s8(args: DotRowsS8<'_>) {
    for index in 0..args.dst.len() {
        args.dst[index] = dot_s8(args.lhs, args.row(index));
    }
}
