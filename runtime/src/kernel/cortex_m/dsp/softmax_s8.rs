//! Integer softmax by a table of exponentials.

use super::requantize::Channel;
use crate::kernel::cortex_m::exponential::exponentials;
use crate::kernel::cortex_m::quotient::normalized_quotient;
use crate::kernel::{SoftmaxS8, scalar};

/// See [`SoftmaxS8`].
pub(super) fn softmax_s8(args: SoftmaxS8<'_>) {
    let Some(table) = exponentials(&args) else {
        return scalar::softmax_s8(args);
    };
    let columns = args.columns.max(1);
    let rows = args.src.chunks_exact(columns);
    for (src, dst) in rows.zip(args.dst.chunks_exact_mut(columns)) {
        let largest = src.iter().copied().fold(i8::MIN, i8::max);
        let exponential = |src: i8| table[usize::from(largest.wrapping_sub(src) as u8)];
        let sum = src.iter().map(|&src| u32::from(exponential(src))).sum();
        // Negative for each sum of at most 2¹⁶ exponentials, the largest of them 32766.
        let (multiplier, shift) = normalized_quotient(1 << 30, 9, sum);
        let channel = Channel::of(multiplier, shift);
        for (dst, &src) in dst.iter_mut().zip(src) {
            let output = channel.scale(exponential(src).into());
            *dst = (output - 128).clamp(-128, 127) as i8;
        }
    }
}
