//! One vector times many, four rows at a time, so that its elements are widened once for all of them.

use super::dot_s8::dot_s8;
use super::instruction::{smlad, sxtb16, sxtb16_odd};
use crate::kernel::cortex_m::dot_rows_s8::ROWS;

/// The sum of products of each row, four elements a turn; all slices have the same length.
#[inline(always)]
pub(super) fn dot_rows(lhs: &[i8], rows: [&[i8]; ROWS]) -> [i32; ROWS] {
    let mut sums = [0; ROWS];
    let (words, rest) = lhs.as_chunks::<4>();
    let rows_words = rows.map(|row| &row.as_chunks::<4>().0[..words.len()]);
    let word = |bytes: [i8; 4]| u32::from_le_bytes(bytes.map(|byte| byte as u8));
    for (index, left) in words.iter().enumerate() {
        let left = word(*left);
        let (even, odd) = (sxtb16(left), sxtb16_odd(left));
        for (sum, row) in sums.iter_mut().zip(rows_words) {
            let right = word(row[index]);
            *sum = smlad(sxtb16(right), even, *sum);
            *sum = smlad(sxtb16_odd(right), odd, *sum);
        }
    }
    for (sum, row) in sums.iter_mut().zip(rows) {
        *sum = sum.wrapping_add(dot_s8(rest, &row[lhs.len() - rest.len()..]));
    }
    sums
}
