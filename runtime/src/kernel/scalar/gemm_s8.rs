//! Integer matrix product, as TFLite's `FULLY_CONNECTED` with per-channel weights.

use crate::kernel::GemmS8;

/// `dst[row, channel] = requantize(Σ lhs[row, input] · weights[channel, input])`; sums wrap at 32 bits.
pub fn gemm_s8(args: GemmS8<'_>) {
    let GemmS8 {
        rows,
        k,
        n,
        lhs,
        weights,
        layout,
        requantize,
        mut dst,
        ..
    } = args;
    for row in 0..rows {
        let lhs = &lhs[row * k..][..k];
        for channel in 0..n {
            let mut sum = 0i32;
            for (input, &value) in lhs.iter().enumerate() {
                let weight = weights[layout.offset_s8(n, k, channel, input)];
                sum = sum.wrapping_add(i32::from(value) * i32::from(weight));
            }
            dst.set(row * n + channel, requantize.apply(channel, sum));
        }
    }
}
