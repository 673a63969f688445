//! Operators that move elements of any type, by the number of their bytes.

use crate::model::step::{ConcatStep, PadStep, StridedCopy, natural_strides};

/// Gathers the elements of `src` into `dst`.
pub(super) fn strided_copy(copy: &StridedCopy, src: &[u8], dst: &mut [u8]) -> Option<()> {
    let StridedCopy {
        dims,
        strides,
        start,
        element_bytes,
    } = *copy;
    let row_bytes = dims[3] * element_bytes;
    for (index, row) in dst.chunks_exact_mut(row_bytes).enumerate() {
        let at = [
            index / (dims[2] * dims[1]),
            index / dims[2] % dims[1],
            index % dims[2],
        ];
        let from = start + at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2];
        if strides[3] == 1 {
            let from = from * element_bytes;
            row.copy_from_slice(src.get(from..from + row_bytes)?);
            continue;
        }
        match element_bytes {
            1 => gather::<1>(src, from, strides[3], row)?,
            2 => gather::<2>(src, from, strides[3], row)?,
            _ => gather::<4>(src, from, strides[3], row)?,
        }
    }
    Some(())
}

/// Every `stride`th element from `from` on.
fn gather<const BYTES: usize>(
    src: &[u8],
    from: usize,
    stride: usize,
    row: &mut [u8],
) -> Option<()> {
    let (src, _) = src.as_chunks::<BYTES>();
    let (row, _) = row.as_chunks_mut::<BYTES>();
    for (index, element) in row.iter_mut().enumerate() {
        *element = *src.get(from + index * stride)?;
    }
    Some(())
}

/// Joins the inputs along a dimension: a block of each in turn.
pub(super) fn concat(concat: &ConcatStep, inputs: &[&[u8]; 4], dst: &mut [u8]) -> Option<()> {
    let whole = concat.block_bytes.iter().sum();
    for (index, mut dst) in dst.chunks_exact_mut(whole).take(concat.outer).enumerate() {
        for (input, &bytes) in inputs.iter().zip(&concat.block_bytes) {
            let (block, rest) = dst.split_at_mut_checked(bytes)?;
            block.copy_from_slice(input.get(index * bytes..(index + 1) * bytes)?);
            dst = rest;
        }
    }
    Some(())
}

/// Fills `dst`, then copies the rows of `src` to their places.
pub(super) fn pad(pad: &PadStep, src: &[u8], dst: &mut [u8]) -> Option<()> {
    let PadStep {
        input,
        output,
        before,
        element_bytes,
        fill,
    } = *pad;
    let fill = fill.get(..element_bytes)?;
    dst.chunks_exact_mut(element_bytes)
        .for_each(|element| element.copy_from_slice(fill));
    let strides = natural_strides(&output);
    let row_bytes = input[3] * element_bytes;
    for (index, row) in src.chunks_exact(row_bytes).enumerate() {
        let at = [
            index / (input[2] * input[1]),
            index / input[2] % input[1],
            index % input[2],
            0,
        ];
        let to: usize = (0..4).map(|d| (at[d] + before[d]) * strides[d]).sum();
        let to = to * element_bytes;
        dst.get_mut(to..to + row_bytes)?.copy_from_slice(row);
    }
    Some(())
}
