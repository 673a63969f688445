//! Operators over whole rows: softmax, layer normalisation, reductions.

use super::lanes::Lanes;
use super::math::exp;
use crate::kernel::scalar;
use crate::model::op::ReduceKind;

/// See [`scalar::softmax_float`].
#[inline(always)]
pub(crate) fn softmax_f32<V: Lanes>(v: V, columns: usize, src: &[f32], dst: &mut [f32]) {
    dst.copy_from_slice(src);
    if columns > 0 {
        for row in dst.chunks_exact_mut(columns) {
            softmax_row(v, row);
        }
    }
}

/// Softmax of one row, in place; a row of nothing but −inf becomes zeros.
#[inline(always)]
pub(super) fn softmax_row<V: Lanes>(v: V, row: &mut [f32]) {
    let largest = row_max(v, row);
    if largest == f32::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    let shift = v.splat(-largest);
    let mut sums = v.splat(0.0);
    let (whole, rest) = row.split_at_mut(row.len() / V::LANES * V::LANES);
    for chunk in whole.chunks_exact_mut(V::LANES) {
        let x = exp(v, v.add(v.load(chunk), shift));
        v.store(x, chunk);
        sums = v.add(sums, x);
    }
    let mut total = v.sum(sums);
    if !rest.is_empty() {
        v.store_partial(exp(v, v.add(v.load_partial(rest), shift)), rest);
        total += rest.iter().sum::<f32>();
    }
    let reciprocal = v.splat(1.0 / total);
    for chunk in row.chunks_mut(V::LANES) {
        v.store_up_to(v.mul(v.load_up_to(chunk), reciprocal), chunk);
    }
}

/// The largest number of a row, −inf when it is empty, NaN when it holds one.
#[inline(always)]
fn row_max<V: Lanes>(v: V, row: &[f32]) -> f32 {
    let mut largest = v.splat(f32::NEG_INFINITY);
    let chunks = row.chunks_exact(V::LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        largest = v.max_nan(largest, v.load(chunk));
    }
    let mut lanes = [f32::NEG_INFINITY; 16];
    v.store(largest, &mut lanes);
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, scalar::float::max_f32)
}

/// See [`scalar::layer_norm_float`].
#[inline(always)]
pub(crate) fn layer_norm_f32<V: Lanes>(
    v: V,
    epsilon: f32,
    gamma: &[f32],
    beta: &[f32],
    src: &[f32],
    dst: &mut [f32],
) {
    let width = gamma.len();
    if width == 0 {
        return;
    }
    for (src, dst) in src.chunks_exact(width).zip(dst.chunks_exact_mut(width)) {
        let mean = row_sum(v, src, 0.0, false) / width as f32;
        let variance = row_sum(v, src, mean, true) / width as f32;
        let shift = v.splat(-mean);
        let reciprocal = v.splat(1.0 / libm::sqrtf(variance + epsilon));
        let parameters = gamma.chunks(V::LANES).zip(beta.chunks(V::LANES));
        for ((src, dst), (gamma, beta)) in src
            .chunks(V::LANES)
            .zip(dst.chunks_mut(V::LANES))
            .zip(parameters)
        {
            let x = v.mul(v.add(v.load_up_to(src), shift), reciprocal);
            v.store_up_to(v.mul_add(x, v.load_up_to(gamma), v.load_up_to(beta)), dst);
        }
    }
}

/// Σ (x − shift), or Σ (x − shift)² when `squared`.
#[inline(always)]
fn row_sum<V: Lanes>(v: V, row: &[f32], shift: f32, squared: bool) -> f32 {
    let mut sums = v.splat(0.0);
    let chunks = row.chunks_exact(V::LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        let x = v.sub(v.load(chunk), v.splat(shift));
        sums = if squared {
            v.mul_add(x, x, sums)
        } else {
            v.add(sums, x)
        };
    }
    let mut total = v.sum(sums);
    for x in rest {
        let x = x - shift;
        total += if squared { x * x } else { x };
    }
    total
}

/// See [`scalar::reduce_float`].
#[inline(always)]
pub(crate) fn reduce_f32<V: Lanes>(
    v: V,
    function: ReduceKind,
    dims: [usize; 3],
    src: &[f32],
    dst: &mut [f32],
) {
    let [outer, middle, inner] = dims;
    if inner == 1 {
        reduce_rows(v, function, [outer, middle], src, dst);
        return;
    }
    for o in 0..outer {
        let src = &src[o * middle * inner..(o + 1) * middle * inner];
        let dst = &mut dst[o * inner..(o + 1) * inner];
        for (group, dst) in dst.chunks_mut(V::LANES).enumerate() {
            let mut state = v.splat(start(function));
            for m in 0..middle {
                let row = &src[m * inner..(m + 1) * inner];
                let x = v.load_up_to(&row[group * V::LANES..][..dst.len()]);
                state = match function {
                    ReduceKind::Sum | ReduceKind::Mean => v.add(state, x),
                    ReduceKind::Max => v.max_nan(state, x),
                    ReduceKind::L2 => v.mul_add(x, x, state),
                };
            }
            let state = match function {
                ReduceKind::Sum | ReduceKind::Max => state,
                ReduceKind::Mean => v.div(state, v.splat(middle as f32)),
                ReduceKind::L2 => v.sqrt(state),
            };
            v.store_up_to(state, dst);
        }
    }
}

/// Reduces each row of `middle` to one number.
#[inline(always)]
fn reduce_rows<V: Lanes>(
    v: V,
    function: ReduceKind,
    [outer, middle]: [usize; 2],
    src: &[f32],
    dst: &mut [f32],
) {
    for (o, dst) in dst.iter_mut().enumerate().take(outer) {
        let row = &src[o * middle..(o + 1) * middle];
        *dst = match function {
            ReduceKind::Sum => row_sum(v, row, 0.0, false),
            ReduceKind::Mean => row_sum(v, row, 0.0, false) / middle as f32,
            ReduceKind::Max => row_max(v, row),
            ReduceKind::L2 => libm::sqrtf(row_sum(v, row, 0.0, true)),
        };
    }
}

/// What a reduction of nothing is before it is finished.
fn start(function: ReduceKind) -> f32 {
    match function {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::L2 => 0.0,
        ReduceKind::Max => f32::NEG_INFINITY,
    }
}
