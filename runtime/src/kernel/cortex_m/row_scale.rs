//! [`RowScale::new`] in words of 32 bits, for which a Cortex-M has a division: a fifth of its instructions, the same numbers.

use crate::kernel::row_scale::{FRACTION_BITS, MAX_ROW, RowScale};

/// See [`RowScale::new`], of which this is the arithmetic; longer rows are left to it.
pub(super) fn row_scale(n: usize, sum: i32, sum_of_squares: u64, epsilon: u64) -> RowScale {
    let total = u64::from(sum.unsigned_abs());
    if n == 0 || n > MAX_ROW || total > (n as u64) << 15 || epsilon > 1 << 60 {
        return RowScale::new(n, sum, sum_of_squares, epsilon);
    }
    let n = n as u32;
    let floor = (n * n).div_ceil(64);
    let spread = (u64::from(n) * sum_of_squares).saturating_sub(total * total);
    let power = (spread + epsilon).max(floor.into());
    let doublings = (power.leading_zeros().max(2) - 2) & !1;
    let root = square_root(power << doublings);
    let (multiplier, drop) = reciprocal(n, root);
    let shift = (46 - FRACTION_BITS)
        .saturating_sub(doublings / 2 + drop)
        .clamp(1, 20);
    let mean = mean(sum, multiplier, n);
    RowScale {
        multiplier: multiplier as i32,
        offset: (1 << (shift - 1)) - mean,
        shift,
    }
}

/// ⌊√x⌋ of 2⁶⁰ ≤ x < 2⁶²: the root of the upper 32 bits bit by bit, the lower 15 bits of the root by one division, at most one
/// too many (Zimmermann, Karatsuba Square Root, 1999).
fn square_root(x: u64) -> u32 {
    let (mut rest, mut root) = ((x >> 30) as u32, 0);
    let mut bit = 1 << 30;
    while bit != 0 {
        if rest >= root + bit {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    let dividend = rest << 15 | (x >> 15) as u32 & 0x7FFF;
    let (quotient, rest) = (dividend / (2 * root), dividend % (2 * root));
    let last = u64::from(rest) << 15 | x & 0x7FFF;
    let square = u64::from(quotient) * u64::from(quotient);
    (root << 15) + quotient - u32::from(square > last)
}

/// n · 2⁴⁶ / root as a number of 15 bits, halves up, and the bits that it drops; 2³⁰ ≤ root < 2³¹. The quotient with the upper 16
/// bits of the root is nearly it.
fn reciprocal(n: u32, root: u32) -> (u32, u32) {
    let (dividend, divisor) = (u64::from(n) << 46, u64::from(root));
    let len = 32 - n.leading_zeros();
    let drop = len + u32::from(dividend >= divisor << (len + 15));
    let half = divisor << (drop - 1);
    let mut rounded = (n << (31 - drop)) / (root >> 15);
    while u64::from(2 * rounded - 1) * half > dividend {
        rounded -= 1;
    }
    while u64::from(2 * rounded + 1) * half <= dividend {
        rounded += 1;
    }
    if rounded == 1 << 15 {
        (1 << 14, drop + 1)
    } else {
        (rounded, drop)
    }
}

/// ⌊(2 · sum · multiplier + n) / 2n⌋ for |sum| ≤ n · 2¹⁵: raised by 2³¹, so that nothing is negative, and divided in two steps of
/// 16 bits.
fn mean(sum: i32, multiplier: u32, n: u32) -> i32 {
    let divisor = 2 * n;
    let product = 2 * i64::from(sum) * i64::from(multiplier);
    let dividend = (product + i64::from(n) + (i64::from(divisor) << 31)) as u64;
    let upper = (dividend >> 16) as u32;
    let lower = (upper % divisor) << 16 | dividend as u32 & 0xFFFF;
    let quotient = ((upper / divisor) << 16).wrapping_add(lower / divisor);
    quotient.wrapping_sub(1 << 31).cast_signed()
}
