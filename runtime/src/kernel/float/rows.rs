//! Operators over whole rows: softmax, layer normalisation, reductions.

use half::f16;

use super::lanes::{Lanes, MAX_LANES, Number};
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

/// See [`scalar::softmax_float`]. Halves have no room for what comes before the division: exponentials are computed twice.
#[inline(always)]
pub(crate) fn softmax_f16<V: Lanes>(v: V, columns: usize, src: &[f16], dst: &mut [f16]) {
    if columns == 0 {
        return;
    }
    for (src, dst) in src.chunks_exact(columns).zip(dst.chunks_exact_mut(columns)) {
        let largest = row_max(v, src);
        if largest == f32::NEG_INFINITY {
            dst.fill(f16::ZERO);
            continue;
        }
        let shift = v.splat(-largest);
        let power = |src: &[f16]| exp(v, v.add(f16::load_up_to(v, src), shift));
        let mut sums = v.splat(0.0);
        let chunks = src.chunks_exact(V::LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            sums = v.add(sums, power(chunk));
        }
        let mut lanes = [0.0; MAX_LANES];
        v.store(power(rest), &mut lanes);
        let total = v.sum(sums) + lanes[..rest.len()].iter().sum::<f32>();
        let reciprocal = v.splat(1.0 / total);
        for (src, dst) in src.chunks(V::LANES).zip(dst.chunks_mut(V::LANES)) {
            f16::store_up_to(v, v.mul(power(src), reciprocal), dst);
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
        f32::store_up_to(v, v.mul(f32::load_up_to(v, chunk), reciprocal), chunk);
    }
}

/// The largest number of a row, −inf when it is empty, NaN when it holds one.
#[inline(always)]
fn row_max<V: Lanes, E: Number>(v: V, row: &[E]) -> f32 {
    let mut largest = v.splat(f32::NEG_INFINITY);
    let chunks = row.chunks_exact(V::LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        largest = v.max_nan(largest, E::load(v, chunk));
    }
    let mut lanes = [f32::NEG_INFINITY; MAX_LANES];
    v.store(largest, &mut lanes);
    let rest = rest.iter().map(|x| x.widen());
    lanes
        .into_iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, scalar::float::max_f32)
}

/// See [`scalar::layer_norm_float`].
#[inline(always)]
pub(crate) fn layer_norm_float<V: Lanes, E: Number>(
    v: V,
    epsilon: f32,
    gamma: &[f32],
    beta: &[f32],
    src: &[E],
    dst: &mut [E],
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
            let x = v.mul(v.add(E::load_up_to(v, src), shift), reciprocal);
            let y = v.mul_add(x, f32::load_up_to(v, gamma), f32::load_up_to(v, beta));
            E::store_up_to(v, y, dst);
        }
    }
}

/// Σ (x − shift), or Σ (x − shift)² when `squared`.
#[inline(always)]
fn row_sum<V: Lanes, E: Number>(v: V, row: &[E], shift: f32, squared: bool) -> f32 {
    let mut sums = v.splat(0.0);
    let chunks = row.chunks_exact(V::LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        let x = v.sub(E::load(v, chunk), v.splat(shift));
        sums = if squared {
            v.mul_add(x, x, sums)
        } else {
            v.add(sums, x)
        };
    }
    let mut total = v.sum(sums);
    for x in rest {
        let x = x.widen() - shift;
        total += if squared { x * x } else { x };
    }
    total
}

/// See [`scalar::reduce_float`].
#[inline(always)]
pub(crate) fn reduce_float<V: Lanes, E: Number>(
    v: V,
    function: ReduceKind,
    dims: [usize; 3],
    src: &[E],
    dst: &mut [E],
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
                let x = E::load_up_to(v, &row[group * V::LANES..][..dst.len()]);
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
            E::store_up_to(v, state, dst);
        }
    }
}

/// Reduces each row of `middle` to one number.
#[inline(always)]
fn reduce_rows<V: Lanes, E: Number>(
    v: V,
    function: ReduceKind,
    [outer, middle]: [usize; 2],
    src: &[E],
    dst: &mut [E],
) {
    for (o, dst) in dst.iter_mut().enumerate().take(outer) {
        let row = &src[o * middle..(o + 1) * middle];
        *dst = E::narrow(match function {
            ReduceKind::Sum => row_sum(v, row, 0.0, false),
            ReduceKind::Mean => row_sum(v, row, 0.0, false) / middle as f32,
            ReduceKind::Max => row_max(v, row),
            ReduceKind::L2 => libm::sqrtf(row_sum(v, row, 0.0, true)),
        });
    }
}

/// What a reduction of nothing is before it is finished.
fn start(function: ReduceKind) -> f32 {
    match function {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::L2 => 0.0,
        ReduceKind::Max => f32::NEG_INFINITY,
    }
}
