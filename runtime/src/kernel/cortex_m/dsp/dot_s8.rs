//! Dot products, to score a bank.

use super::instruction::{smlad, sxtb16, sxtb16_odd};

/// Sum of products, four a turn.
pub(super) fn dot_s8(lhs: &[i8], rhs: &[i8]) -> i32 {
    let len = lhs.len().min(rhs.len());
    let (lhs, lhs_rest) = lhs[..len].as_chunks::<4>();
    let (rhs, rhs_rest) = rhs[..len].as_chunks::<4>();
    let mut sum = 0;
    for (lhs, rhs) in lhs.iter().zip(rhs) {
        let [lhs, rhs] = [lhs, rhs].map(|bytes| u32::from_le_bytes(bytes.map(|byte| byte as u8)));
        sum = smlad(sxtb16(lhs), sxtb16(rhs), sum);
        sum = smlad(sxtb16_odd(lhs), sxtb16_odd(rhs), sum);
    }
    lhs_rest
        .iter()
        .zip(rhs_rest)
        .fold(sum, |sum, (&lhs, &rhs)| {
            sum.wrapping_add(i32::from(lhs) * i32::from(rhs))
        })
}
