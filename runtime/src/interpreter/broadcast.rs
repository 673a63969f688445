//! NumPy broadcasting over a kernel that takes equal lengths.
//!
//! Neighbouring dimensions along which both operands run on are merged first, so that equal shapes become one call, and a
//! bias over the last dimension one call a row. A number that repeats along the innermost dimension is spread over a
//! small buffer.

use crate::kernel::{Float, Kernels};
use crate::model::op::BinaryKind;

/// Elements of the buffer that a repeated number is spread over.
const SPREAD: usize = 64;

/// An operand: its elements and its strides over the dimensions of the output, 0 where it repeats.
type Operand<'r, T> = (&'r [T], [usize; 4]);

/// `dst[i] = function(lhs[i], rhs[i])` over `dims`; `None` when an operand is too short for its strides.
pub(super) fn binary<T: Float>(
    function: BinaryKind,
    mut dims: [usize; 4],
    [(lhs, mut lhs_strides), (rhs, mut rhs_strides)]: [Operand<'_, T>; 2],
    dst: &mut [T],
    kernels: &dyn Kernels,
) -> Option<()> {
    merge(&mut dims, [&mut lhs_strides, &mut rhs_strides]);
    let inner = dims[3];
    for (index, dst) in dst.chunks_exact_mut(inner.max(1)).enumerate() {
        let lhs = Row::new(
            lhs,
            offset(index, &dims, &lhs_strides),
            inner,
            lhs_strides[3],
        )?;
        let rhs = Row::new(
            rhs,
            offset(index, &dims, &rhs_strides),
            inner,
            rhs_strides[3],
        )?;
        row(function, lhs, rhs, dst, kernels);
    }
    Some(())
}

/// Moves whatever runs on into the innermost dimensions; the outer ones become 1.
fn merge(dims: &mut [usize; 4], strides: [&mut [usize; 4]; 2]) {
    let [lhs, rhs] = strides;
    let (from_dims, from_lhs, from_rhs) = (*dims, *lhs, *rhs);
    (*dims, *lhs, *rhs) = ([1; 4], [0; 4], [0; 4]);
    let mut at = 3;
    let mut empty = true;
    for d in (0..4).rev().filter(|&d| from_dims[d] != 1) {
        let runs_on = from_lhs[d] == lhs[at] * dims[at] && from_rhs[d] == rhs[at] * dims[at];
        if !empty && runs_on {
            dims[at] *= from_dims[d];
            continue;
        }
        // There are four dimensions, so that a step outwards is always there.
        at = if empty { 3 } else { at.saturating_sub(1) };
        empty = false;
        (dims[at], lhs[at], rhs[at]) = (from_dims[d], from_lhs[d], from_rhs[d]);
    }
}

/// Where the row `index` of the outer dimensions begins.
fn offset(mut index: usize, dims: &[usize; 4], strides: &[usize; 4]) -> usize {
    let mut offset = 0;
    for d in (0..3).rev() {
        offset += index % dims[d] * strides[d];
        index /= dims[d];
    }
    offset
}

/// The innermost dimension of an operand.
#[derive(Clone, Copy)]
enum Row<'r, T> {
    Elements(&'r [T]),
    Repeated(T),
}

impl<'r, T: Float> Row<'r, T> {
    fn new(operand: &'r [T], offset: usize, len: usize, stride: usize) -> Option<Self> {
        match stride {
            0 => operand.get(offset).copied().map(Self::Repeated),
            _ => operand
                .get(offset..offset.checked_add(len)?)
                .map(Self::Elements),
        }
    }

    /// `len` elements from `start`, spread over the buffer when they repeat.
    fn part<'p>(&'p self, start: usize, len: usize, buffer: &'p mut [T; SPREAD]) -> &'p [T] {
        match *self {
            Self::Elements(elements) => &elements[start..start + len],
            Self::Repeated(number) => {
                buffer.fill(number);
                &buffer[..len]
            }
        }
    }
}

fn row<T: Float>(
    function: BinaryKind,
    lhs: Row<'_, T>,
    rhs: Row<'_, T>,
    dst: &mut [T],
    kernels: &dyn Kernels,
) {
    if let (Row::Elements(lhs), Row::Elements(rhs)) = (lhs, rhs) {
        return T::binary(kernels, function, lhs, rhs, dst);
    }
    for (index, dst) in dst.chunks_mut(SPREAD).enumerate() {
        let (mut lhs_buffer, mut rhs_buffer) = ([T::default(); SPREAD], [T::default(); SPREAD]);
        let (start, len) = (index * SPREAD, dst.len());
        T::binary(
            kernels,
            function,
            lhs.part(start, len, &mut lhs_buffer),
            rhs.part(start, len, &mut rhs_buffer),
            dst,
        );
    }
}
