//! Operators over whole rows: softmax, layer normalisation (Ba et al., 2016, <https://arxiv.org/abs/1607.06450>),
//! reductions.

use super::max_f32;
use crate::kernel::Element;
use crate::model::op::ReduceKind;

/// Softmax of each row of `columns`: eˣ⁻ᵐᵃˣ over its sum.
///
/// A row of nothing but −inf becomes zeros, so that a masked row adds nothing; a row with NaN or +inf becomes NaN.
pub fn softmax_float<T: Element>(columns: usize, src: &[T], dst: &mut [T]) {
    if columns == 0 {
        return;
    }
    for (src, dst) in src.chunks_exact(columns).zip(dst.chunks_exact_mut(columns)) {
        let largest = src
            .iter()
            .fold(f32::NEG_INFINITY, |largest, x| max_f32(largest, x.widen()));
        if largest == f32::NEG_INFINITY {
            dst.fill(T::default());
            continue;
        }
        let mut sum = 0.0;
        for x in src {
            sum += libm::expf(x.widen() - largest);
        }
        for (x, dst) in src.iter().zip(dst) {
            *dst = T::narrow(libm::expf(x.widen() - largest) / sum);
        }
    }
}

/// [`softmax_float`] of one row, in place.
pub(crate) fn softmax_row(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, max_f32);
    if largest == f32::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = libm::expf(*x - largest);
        sum += *x;
    }
    for x in row.iter_mut() {
        *x /= sum;
    }
}

/// `(x − mean) / √(variance + epsilon) · gamma + beta` of each row of `gamma.len()`; the mean first, then the variance
/// from the differences, so that a large mean costs no precision.
pub fn layer_norm_float<T: Element>(
    epsilon: f32,
    gamma: &[f32],
    beta: &[f32],
    src: &[T],
    dst: &mut [T],
) {
    let width = gamma.len();
    if width == 0 {
        return;
    }
    for (src, dst) in src.chunks_exact(width).zip(dst.chunks_exact_mut(width)) {
        let mean = src.iter().map(|x| x.widen()).sum::<f32>() / width as f32;
        let squares: f32 = src
            .iter()
            .map(|x| (x.widen() - mean) * (x.widen() - mean))
            .sum();
        let reciprocal = 1.0 / libm::sqrtf(squares / width as f32 + epsilon);
        for i in 0..width {
            dst[i] = T::narrow((src[i].widen() - mean) * reciprocal * gamma[i] + beta[i]);
        }
    }
}

/// Reduces `src` (outer, middle, inner) over its middle dimension into `dst` (outer, inner).
///
/// Of an empty middle the sum and the norm are 0, the maximum −inf, the mean NaN.
pub fn reduce_float<T: Element>(function: ReduceKind, dims: [usize; 3], src: &[T], dst: &mut [T]) {
    let [outer, middle, inner] = dims;
    for o in 0..outer {
        for i in 0..inner {
            let values = (0..middle).map(|m| src[(o * middle + m) * inner + i].widen());
            dst[o * inner + i] = T::narrow(match function {
                ReduceKind::Sum => values.sum(),
                ReduceKind::Mean => values.sum::<f32>() / middle as f32,
                ReduceKind::Max => values.fold(f32::NEG_INFINITY, max_f32),
                ReduceKind::L2 => libm::sqrtf(values.map(|x| x * x).sum()),
            });
        }
    }
}
