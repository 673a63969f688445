//! What layer normalisation does once a row: mean and reciprocal standard deviation, from exact sums.
//!
//! n² times the variance is n · Σx² − (Σx)², an integer below 2⁶⁰ for rows of at most 2¹⁵ numbers of 16 bits. Its square
//! root is taken bit by bit, rounded down, on 62 bits. Every kernel set calls this with its sums, so that it cannot differ.

/// Longest row.
pub const MAX_ROW: usize = 1 << 15;
/// Fraction bits of a normalised number.
pub const FRACTION_BITS: u32 = 10;
/// Rows whose standard deviation is below 1/8 of a step count as if it were 1/8.
const SMALLEST_DEVIATION_LOG2: u32 = 3;

/// A normalised number is `saturate_i16((x · multiplier + offset) >> shift)`, with [`FRACTION_BITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowScale {
    /// In 2¹⁴..2¹⁵.
    pub multiplier: i32,
    /// −mean · multiplier, and the half for rounding. `x · multiplier + offset` fits 32 bits.
    pub offset: i32,
    /// In 1..=20.
    pub shift: u32,
}

impl RowScale {
    /// Of a row of `n` numbers, 1..=[`MAX_ROW`], with these sums; `epsilon` is n² · ε in steps², at most 2⁶⁰.
    pub fn new(n: usize, sum: i32, sum_of_squares: u64, epsilon: u64) -> Self {
        let n = n as u64;
        let total = i64::from(sum).unsigned_abs();
        let spread = (n * sum_of_squares).saturating_sub(total * total);
        let floor = (n * n).div_ceil(1 << (2 * SMALLEST_DEVIATION_LOG2));
        // n² · (variance + ε), its square root with 31 bits, and n over it.
        let power = (spread + epsilon).max(floor);
        let doublings = (power.leading_zeros().max(2) - 2) & !1;
        let root = u64::from(square_root(power << doublings)).max(1);
        let quotient = (n << 46) / root;
        let drop = (64 - quotient.leading_zeros()).max(16) - 15;
        let rounded = (quotient + (1 << (drop - 1))) >> drop;
        let (multiplier, drop) = if rounded == 1 << 15 {
            (1 << 14, drop + 1)
        } else {
            (rounded as i64, drop)
        };
        let shift = (46 - FRACTION_BITS)
            .saturating_sub(doublings / 2 + drop)
            .clamp(1, 20);
        let divisor = 2 * n as i64;
        let mean = (2 * i64::from(sum) * multiplier + n as i64).div_euclid(divisor);
        Self {
            multiplier: multiplier as i32,
            offset: ((1i64 << (shift - 1)) - mean) as i32,
            shift,
        }
    }

    /// One normalised number.
    pub fn apply(&self, x: i32) -> i32 {
        let product = x.wrapping_mul(self.multiplier).wrapping_add(self.offset);
        (product >> self.shift).clamp(i16::MIN.into(), i16::MAX.into())
    }
}

/// ⌊√x⌋, one bit a step.
fn square_root(x: u64) -> u32 {
    let (mut rest, mut root) = (x, 0u64);
    let mut bit = 1u64 << 62;
    while bit != 0 {
        if rest >= root + bit {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    root as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn square_roots_are_exact() {
        for root in [
            0u64,
            1,
            2,
            3,
            1000,
            46340,
            46341,
            (1 << 30) + 7,
            u32::MAX.into(),
        ] {
            assert_eq!(u64::from(square_root(root * root)), root);
            assert_eq!(u64::from(square_root(root * root + 2 * root)), root);
        }
        assert_eq!(square_root(u64::MAX), u32::MAX);
    }

    /// The sum in 32 bits never wraps, and a normalised number is the real one.
    fn check(row: &[i32], epsilon: u64) {
        let n = row.len() as f64;
        let sum: i32 = row.iter().sum();
        let squares: u64 = row
            .iter()
            .map(|&x| (i64::from(x) * i64::from(x)) as u64)
            .sum();
        let scale = RowScale::new(row.len(), sum, squares, epsilon);
        assert!((1 << 14..1 << 15).contains(&scale.multiplier), "{scale:?}");
        let mean = f64::from(sum) / n;
        let variance = row
            .iter()
            .map(|&x| (f64::from(x) - mean).powi(2))
            .sum::<f64>()
            / n;
        let floor = (n * n / 64.0).ceil() / (n * n);
        let deviation = (variance + epsilon as f64 / (n * n)).max(floor).sqrt();
        for &x in row {
            let wide = i64::from(x) * i64::from(scale.multiplier) + i64::from(scale.offset);
            assert!(i32::try_from(wide).is_ok(), "{} numbers: {wide}", row.len());
            let found = f64::from(scale.apply(x)) / 1024.0;
            let real = ((f64::from(x) - mean) / deviation).clamp(-32.0, 32767.0 / 1024.0);
            let error = (found - real).abs();
            assert!(
                error <= 0.76 / 1024.0 + real.abs() / 32000.0,
                "{x} of {}: {found}, {real}",
                row.len()
            );
        }
    }

    #[test]
    fn rows_of_extremes_stay_inside_32_bits() {
        for n in (1..=67).chain([256, 384, 1000, 1024, 4096, 16383, MAX_ROW]) {
            for outliers in [0, 1, 2, n / 2, n.saturating_sub(1)] {
                for (low, high) in [
                    (-32768, 32767),
                    (32767, -32768),
                    (-1, 0),
                    (0, 1),
                    (32766, 32767),
                    (-32768, -32768),
                ] {
                    let row: Vec<i32> = (0..n)
                        .map(|i| if i < outliers { high } else { low })
                        .collect();
                    check(&row, 0);
                    check(&row, (n * n) as u64 * 3);
                }
            }
        }
    }

    #[test]
    fn random_rows_are_normalised() {
        let mut state = 1u64;
        for n in [2, 3, 64, 256, 384] {
            for spread in [1, 2, 7, 100, 3000, 32767] {
                for centre in [-20000, 0, 300] {
                    let row: Vec<i32> = (0..n)
                        .map(|_| {
                            state = state
                                .wrapping_mul(6364136223846793005)
                                .wrapping_add(1442695040888963407);
                            let x = (state >> 33) as i32 % (2 * spread + 1) - spread + centre;
                            x.clamp(-32768, 32767)
                        })
                        .collect();
                    check(&row, 0);
                }
            }
        }
    }
}
