//! Operators over whole rows: softmax, layer normalisation, reductions.
//!
//! Rows of halves are widened a chunk at a time, as often as they are read; sums are f32.

use super::math::exp;
use super::select::max;
use super::{CHUNK, FloatLevel, Number};
use crate::model::op::ReduceKind;

/// See [`crate::kernel::scalar::softmax_float`].
pub(crate) fn softmax<L: FloatLevel, T: Number>(columns: usize, src: &[T], dst: &mut [T]) {
    if columns == 0 {
        return;
    }
    let (mut wide, mut exps) = ([0.0; CHUNK], [0.0; CHUNK]);
    for (src, dst) in src.chunks_exact(columns).zip(dst.chunks_exact_mut(columns)) {
        let largest = largest::<L, T>(src);
        if largest == f32::NEG_INFINITY {
            dst.fill(T::default());
            continue;
        }
        let mut sum = 0.0;
        for src in src.chunks(CHUNK) {
            let exps = &mut exps[..src.len()];
            shifted_exps(T::wide::<L>(src, &mut wide), largest, exps);
            sum += L::sum(exps);
        }
        let reciprocal = 1.0 / sum;
        for (src, dst) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)) {
            let exps = &mut exps[..src.len()];
            // A row of one chunk has its exponentials already.
            if columns > CHUNK {
                shifted_exps(T::wide::<L>(src, &mut wide), largest, exps);
            }
            T::write::<L>(dst, |dst| {
                for (dst, x) in dst.iter_mut().zip(exps.iter()) {
                    *dst = x * reciprocal;
                }
            });
        }
    }
}

/// `dst[i] = e^(src[i] − largest)`
#[inline(always)]
fn shifted_exps(src: &[f32], largest: f32, dst: &mut [f32]) {
    for (src, dst) in src.iter().zip(dst) {
        *dst = exp(src - largest);
    }
}

/// Softmax of one row, in place; a row of nothing but −inf becomes zeros.
pub(super) fn softmax_row<L: FloatLevel>(row: &mut [f32]) {
    let largest = L::largest(row);
    if largest == f32::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    row.iter_mut().for_each(|x| *x = exp(*x - largest));
    let reciprocal = 1.0 / L::sum(row);
    row.iter_mut().for_each(|x| *x *= reciprocal);
}

/// The largest number of a row, −inf when it is empty, NaN when it holds one.
fn largest<L: FloatLevel, T: Number>(row: &[T]) -> f32 {
    let mut wide = [0.0; CHUNK];
    row.chunks(CHUNK).fold(f32::NEG_INFINITY, |largest, chunk| {
        max(largest, L::largest(T::wide::<L>(chunk, &mut wide)))
    })
}

/// Σ x of a row.
fn sum<L: FloatLevel, T: Number>(row: &[T]) -> f32 {
    let mut wide = [0.0; CHUNK];
    let chunks = row.chunks(CHUNK);
    chunks
        .map(|chunk| L::sum(T::wide::<L>(chunk, &mut wide)))
        .sum()
}

/// Σ (x − shift)² of a row.
fn squares<L: FloatLevel, T: Number>(row: &[T], shift: f32) -> f32 {
    let mut wide = [0.0; CHUNK];
    let chunks = row.chunks(CHUNK);
    chunks
        .map(|chunk| L::squares(T::wide::<L>(chunk, &mut wide), shift))
        .sum()
}

/// See [`crate::kernel::scalar::layer_norm_float`].
pub(crate) fn layer_norm<L: FloatLevel, T: Number>(
    epsilon: f32,
    [gamma, beta]: [&[f32]; 2],
    src: &[T],
    dst: &mut [T],
) {
    let width = gamma.len();
    if width == 0 {
        return;
    }
    let mut wide = [0.0; CHUNK];
    for (src, dst) in src.chunks_exact(width).zip(dst.chunks_exact_mut(width)) {
        let mean = sum::<L, T>(src) / width as f32;
        let variance = squares::<L, T>(src, mean) / width as f32;
        let reciprocal = 1.0 / L::sqrt(variance + epsilon);
        let parameters = gamma.chunks(CHUNK).zip(beta.chunks(CHUNK));
        let chunks = src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK));
        for ((src, dst), (gamma, beta)) in chunks.zip(parameters) {
            let src = T::wide::<L>(src, &mut wide);
            T::write::<L>(dst, |dst| {
                for (((dst, x), gamma), beta) in dst.iter_mut().zip(src).zip(gamma).zip(beta) {
                    *dst = (x - mean) * reciprocal * gamma + beta;
                }
            });
        }
    }
}

/// See [`crate::kernel::scalar::reduce_float`].
pub(crate) fn reduce<L: FloatLevel, T: Number>(
    function: ReduceKind,
    [outer, middle, inner]: [usize; 3],
    src: &[T],
    dst: &mut [T],
) {
    if inner == 1 {
        for (o, dst) in dst.iter_mut().enumerate().take(outer) {
            *dst = T::narrow(reduce_row::<L, T>(function, &src[o * middle..][..middle]));
        }
        return;
    }
    for o in 0..outer {
        let src = &src[o * middle * inner..][..middle * inner];
        let dst = &mut dst[o * inner..][..inner];
        for (chunk, dst) in dst.chunks_mut(CHUNK).enumerate() {
            let rows = (0..middle).map(|m| &src[m * inner + chunk * CHUNK..][..dst.len()]);
            let mut state = [0.0; CHUNK];
            reduce_columns::<L, T>(function, rows, &mut state[..dst.len()]);
            T::store::<L>(&state[..dst.len()], dst);
        }
    }
}

/// One number of a row.
fn reduce_row<L: FloatLevel, T: Number>(function: ReduceKind, row: &[T]) -> f32 {
    match function {
        ReduceKind::Sum => sum::<L, T>(row),
        ReduceKind::Mean => sum::<L, T>(row) / row.len() as f32,
        ReduceKind::Max => largest::<L, T>(row),
        ReduceKind::L2 => L::sqrt(squares::<L, T>(row, 0.0)),
    }
}

/// Reduces `rows`, each as long as `state`, to one.
fn reduce_columns<'a, L: FloatLevel, T: Number>(
    function: ReduceKind,
    rows: impl ExactSizeIterator<Item = &'a [T]>,
    state: &mut [f32],
) {
    let count = rows.len() as f32;
    match function {
        ReduceKind::Sum | ReduceKind::Mean => fold::<L, T>(rows, state, |sum, x| sum + x),
        ReduceKind::L2 => fold::<L, T>(rows, state, |sum, x| sum + x * x),
        ReduceKind::Max => {
            state.fill(f32::NEG_INFINITY);
            fold::<L, T>(rows, state, max);
        }
    }
    match function {
        ReduceKind::Mean => state.iter_mut().for_each(|x| *x /= count),
        ReduceKind::L2 => state.iter_mut().for_each(|x| *x = L::sqrt(*x)),
        ReduceKind::Sum | ReduceKind::Max => {}
    }
}

/// `state[i] = function(state[i], x[i])` for each of `rows`.
#[inline(always)]
pub(super) fn fold<'a, L: FloatLevel, T: Number>(
    rows: impl Iterator<Item = &'a [T]>,
    state: &mut [f32],
    function: impl Fn(f32, f32) -> f32,
) {
    let mut wide = [0.0; CHUNK];
    for row in rows {
        let row = T::wide::<L>(row, &mut wide);
        for (state, x) in state.iter_mut().zip(row) {
            *state = function(*state, *x);
        }
    }
}
