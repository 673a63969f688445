//! The factor of a row of attention or softmax in words of 32 bits: the numbers of [`crate::kernel::softmax::row_multiplier`].

use crate::kernel::{HeadScale, softmax};

/// The factor of a row of attention whose weights sum to `sum`.
pub(super) fn row_multiplier(head: &HeadScale, sum: u32) -> (i32, i32) {
    normalized_quotient(head.output_multiplier, head.output_shift, sum)
}

/// `multiplier · 2^(shift − 31) / divisor` as such a pair again, rounded down.
pub(super) fn normalized_quotient(multiplier: i32, shift: i32, divisor: u32) -> (i32, i32) {
    if multiplier < 1 << 30 || divisor == 0 {
        return softmax::normalized_quotient(multiplier, shift, divisor);
    }
    // With the highest bit of the divisor set the quotient has 31 or 32 bits.
    let doublings = divisor.leading_zeros();
    let quotient = divide(multiplier.cast_unsigned(), divisor << doublings);
    let drop = u32::from(quotient >= 1 << 31);
    (
        (quotient >> drop).cast_signed(),
        shift + (drop + doublings) as i32 - 32,
    )
}

/// ⌊upper · 2³² / divisor⌋ for upper < divisor, whose highest bit is set: two digits of 16 bits (Knuth, algorithm D).
fn divide(upper: u32, divisor: u32) -> u32 {
    let (first, rest) = digit(upper, divisor);
    let (second, _) = digit(rest, divisor);
    first << 16 | second
}

/// ⌊upper · 2¹⁶ / divisor⌋ and the rest.
fn digit(upper: u32, divisor: u32) -> (u32, u32) {
    // The quotient with the upper half of the divisor is at most two too many.
    let (high, low) = (divisor >> 16, divisor & 0xFFFF);
    let (mut quotient, mut rest) = (upper / high, upper % high);
    while quotient > 0xFFFF || quotient * low > rest << 16 {
        quotient -= 1;
        rest += high;
        if rest > 0xFFFF {
            break;
        }
    }
    let rest = (upper << 16).wrapping_sub(quotient.wrapping_mul(divisor));
    (quotient, rest)
}
