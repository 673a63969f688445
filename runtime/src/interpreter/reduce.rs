//! Reductions over any set of dimensions, and what is built on them.

use crate::kernel::{Float, Kernels};
use crate::model::op::ReduceKind;
use crate::model::step::natural_strides;

/// Smallest norm that a vector is divided by.
const SMALLEST_NORM: f32 = 1e-12;

/// Reduces the dimensions of `axes` (bit d for dimension d) of `src` into `dst`.
pub(super) fn reduce<T: Float>(
    function: ReduceKind,
    dims: [usize; 4],
    axes: u8,
    src: &[T],
    dst: &mut [T],
    kernels: &dyn Kernels,
) -> Option<()> {
    let is_reduced = |d: &usize| axes >> d & 1 == 1;
    // Dimensions of 1 may count as reduced or not, whatever lets the others be neighbours.
    let mut wide = (0..4).filter(|&d| dims[d] != 1 && is_reduced(&d));
    let (first, last) = match (wide.next(), wide.next_back()) {
        (Some(first), last) => (first, last.unwrap_or(first)),
        (None, _) => (3, 2),
    };
    let neighbours = (first..=last).all(|d| dims[d] == 1 || is_reduced(&d));
    if neighbours {
        let product = |range: &[usize]| range.iter().product::<usize>();
        let middle = if first <= last {
            first..last + 1
        } else {
            first..first
        };
        let sizes = [
            product(&dims[..middle.start]),
            product(&dims[middle.clone()]),
            product(&dims[middle.end..]),
        ];
        T::reduce(kernels, function, sizes, src, dst);
        return Some(());
    }
    scattered(function, dims, axes, src, dst)
}

/// Reduced dimensions with kept ones between them: rare, and therefore only correct.
fn scattered<T: Float>(
    function: ReduceKind,
    dims: [usize; 4],
    axes: u8,
    src: &[T],
    dst: &mut [T],
) -> Option<()> {
    let strides = natural_strides(&dims);
    let part = |reduced: bool| {
        let mut sizes = dims;
        for (d, size) in sizes.iter_mut().enumerate() {
            if (axes >> d & 1 == 1) != reduced {
                *size = 1;
            }
        }
        sizes
    };
    let (kept, reduced) = (part(false), part(true));
    let count: usize = reduced.iter().product();
    for (index, dst) in dst.iter_mut().enumerate() {
        let start = offset(index, &kept, &strides);
        let mut result = if function == ReduceKind::Max {
            f32::NEG_INFINITY
        } else {
            0.0
        };
        for inner in 0..count {
            let element = src.get(start + offset(inner, &reduced, &strides))?.widen();
            result = match function {
                ReduceKind::Sum | ReduceKind::Mean => result + element,
                ReduceKind::Max => {
                    if element > result || element.is_nan() {
                        element
                    } else {
                        result
                    }
                }
                ReduceKind::L2 => result + element * element,
            };
        }
        *dst = T::narrow(match function {
            ReduceKind::Sum | ReduceKind::Max => result,
            ReduceKind::Mean => result / count as f32,
            ReduceKind::L2 => libm::sqrtf(result),
        });
    }
    Some(())
}

/// Where element `index` of a part of the dimensions lies in the whole.
fn offset(mut index: usize, dims: &[usize; 4], strides: &[usize; 4]) -> usize {
    let mut offset = 0;
    for d in (0..4).rev() {
        offset += index % dims[d] * strides[d];
        index /= dims[d];
    }
    offset
}

/// Divides each row by its Euclidean norm.
pub(super) fn l2_normalize<T: Float>(
    columns: usize,
    src: &[T],
    dst: &mut [T],
    kernels: &dyn Kernels,
) {
    for (src, dst) in src.chunks_exact(columns).zip(dst.chunks_exact_mut(columns)) {
        let norm = norm(src, kernels);
        let norm = if norm < SMALLEST_NORM {
            SMALLEST_NORM
        } else {
            norm
        };
        for (dst, src) in dst.iter_mut().zip(src) {
            *dst = T::narrow(src.widen() / norm);
        }
    }
}

/// Euclidean norm, of halves too in f32: their squares overflow them.
fn norm<T: Float>(row: &[T], kernels: &dyn Kernels) -> f32 {
    let mut norm = [0.0];
    match T::as_f32(row) {
        Some(row) => {
            kernels.reduce_f32(ReduceKind::L2, [1, row.len(), 1], row, &mut norm);
            norm[0]
        }
        None => libm::sqrtf(row.iter().map(|x| x.widen() * x.widen()).sum()),
    }
}
