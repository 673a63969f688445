//! Layer normalisation: sums of a row two numbers at a time, then a multiply-add a number and parameter.

use super::instruction::{smlad, smlald, sxtb16, sxtb16_odd};
use crate::kernel::cortex_m::row_scale::row_scale;
use crate::kernel::row_scale::RowScale;
use crate::kernel::{DstS8, LayerNormS16, SrcS16, scalar};

/// Two ones.
const ONES: u32 = 0x0001_0001;

/// See [`LayerNormS16`].
pub(super) fn layer_norm_s16(mut args: LayerNormS16<'_>) {
    let n = args.gamma.len();
    if n == 0 || args.beta.len() != n {
        return scalar::layer_norm_s16(args);
    }
    match args.src {
        SrcS16::I8(src) => {
            for (row, src) in src.chunks_exact(n).enumerate() {
                let (sum, squares) = sums_i8(src);
                let scale = row_scale(n, sum, squares, args.epsilon);
                write(&mut args, row, src, scale);
            }
        }
        SrcS16::I16(src) => {
            for (row, src) in src.chunks_exact(n).enumerate() {
                let (sum, squares) = sums_i16(src);
                let scale = row_scale(n, sum, squares, args.epsilon);
                write(&mut args, row, src, scale);
            }
        }
    }
}

/// Σx and Σx² of bytes; a row of 2¹⁵ keeps both in 32 bits.
fn sums_i8(src: &[i8]) -> (i32, u64) {
    let (words, rest) = src.as_chunks::<4>();
    let (mut sum, mut squares) = (0, 0);
    for word in words {
        let word = u32::from_le_bytes(word.map(|byte| byte as u8));
        let (even, odd) = (sxtb16(word), sxtb16_odd(word));
        sum = smlad(odd, ONES, smlad(even, ONES, sum));
        squares = smlad(odd, odd, smlad(even, even, squares));
    }
    for &x in rest {
        sum += i32::from(x);
        squares += i32::from(x) * i32::from(x);
    }
    (sum, squares as u64)
}

/// Σx and Σx² of 16-bit numbers.
fn sums_i16(src: &[i16]) -> (i32, u64) {
    let (pairs, rest) = src.as_chunks::<2>();
    let (mut sum, mut squares) = (0, 0);
    for &[low, high] in pairs {
        let pair = u32::from(high as u16) << 16 | u32::from(low as u16);
        sum = smlad(pair, ONES, sum);
        squares = smlald(pair, pair, squares);
    }
    for &x in rest {
        sum += i32::from(x);
        squares += u64::from(x.unsigned_abs()) * u64::from(x.unsigned_abs());
    }
    (sum, squares)
}

/// The outputs of a row.
#[inline(always)]
fn write<T: Copy + Into<i32>>(args: &mut LayerNormS16<'_>, row: usize, src: &[T], scale: RowScale) {
    let (n, shift) = (src.len(), args.shift);
    let element = |x: T, gamma: i16, beta: i32| {
        let product = scale.apply(x.into()).wrapping_mul(gamma.into());
        product.wrapping_add(beta) >> shift
    };
    let parameters = src.iter().zip(args.gamma).zip(args.beta);
    match &mut args.dst {
        DstS8::I8(dst) => {
            let dst = &mut dst[row * n..][..n];
            for (dst, ((&x, &gamma), &beta)) in dst.iter_mut().zip(parameters) {
                *dst = element(x, gamma, beta).clamp(-128, 127) as i8;
            }
        }
        DstS8::I16(dst) => {
            let dst = &mut dst[row * n..][..n];
            for (dst, ((&x, &gamma), &beta)) in dst.iter_mut().zip(parameters) {
                *dst = element(x, gamma, beta).clamp(-32768, 32767) as i16;
            }
        }
    }
}
