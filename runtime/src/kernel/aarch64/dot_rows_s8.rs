//! One vector times many, four rows at a time.

use super::level::Level;
use super::neon::*;
use crate::kernel::{DotRowsS8, scalar};

/// Rows at a time.
const ROWS: usize = 4;
/// Elements at a time.
const CHUNK: usize = 16;

/// See [`DotRowsS8`].
pub(super) fn dot_rows_s8<L: Level>(level: L, args: DotRowsS8<'_>) {
    let tiles = args.dst.len() / ROWS;
    for tile in 0..tiles {
        let rows: [&[i8]; ROWS] = core::array::from_fn(|row| args.row(tile * ROWS + row));
        let sums = dot(level, args.lhs, rows);
        store_i32x4(&mut args.dst[tile * ROWS..], sums);
    }
    for index in tiles * ROWS..args.dst.len() {
        args.dst[index] = scalar::dot_s8(args.lhs, args.row(index));
    }
}

/// The sum of products of each row; all slices have the same length.
#[inline(always)]
fn dot<L: Level>(level: L, lhs: &[i8], rows: [&[i8]; ROWS]) -> int32x4_t {
    let mut sums = [vdupq_n_s32(0); ROWS];
    let whole = lhs.len() / CHUNK * CHUNK;
    for start in (0..whole).step_by(CHUNK) {
        let left = load_i8x16(&lhs[start..]);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = level.dot(*sum, left, load_i8x16(&row[start..]));
        }
    }
    if whole < lhs.len() {
        let left = load_up_to_i8x16(&lhs[whole..]);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = level.dot(*sum, left, load_up_to_i8x16(&row[whole..]));
        }
    }
    let [a, b, c, d] = sums;
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}
