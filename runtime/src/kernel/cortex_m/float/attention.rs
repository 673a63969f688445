//! Attention, a few tiles of queries at a time, at most eight queries: scores are a product with the keys as columns;
//! softmax; then a product with the values.

use core::marker::PhantomData;

use zerocopy::{FromBytes, IntoBytes};

use super::product::{Finish, Layout, Outputs, Product, Tile};
use super::products::UNLIMITED;
use super::rows::softmax_row;
use super::{CHUNK, FloatLevel, Number};
use crate::kernel::{AttentionFloat, TILE_ROWS};

/// See [`AttentionFloat`].
pub(crate) fn attention<L: FloatLevel, T: Number>(args: AttentionFloat<'_, T>) {
    let AttentionFloat {
        queries,
        keys,
        width,
        num_heads,
        scale,
        causal,
        q,
        k,
        v,
        dst,
        scratch,
    } = args;
    let head_width = width / num_heads;
    if head_width == 0 {
        return;
    }
    let tall = <T::Product<L> as Tile>::ROWS;
    let band = TILE_ROWS / tall * tall;
    for head in 0..num_heads {
        let column = head * head_width;
        for first in (0..queries).step_by(band) {
            let rows = band.min(queries - first);
            let scores = &mut scratch[..rows * keys]; // (rows, keys)
            Product::<T::Product<L>> {
                k: head_width,
                n: keys,
                lhs: &q[first * width + column..],
                lhs_stride: width,
                rhs: &k[column..],
                layout: Layout::Columns(width),
            }
            .run(rows, &mut Scores::<T::Product<L>>::new(scores, keys, scale));
            for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
                let seen = if causal { first + row + 1 } else { keys };
                let (seen, unseen) = scores.split_at_mut(seen);
                softmax_row::<L>(seen);
                unseen.fill(0.0);
            }
            let Some(weights) = narrowed::<L, T>(scores) else {
                return;
            };
            Product::<T::Product<L>> {
                k: keys,
                n: head_width,
                lhs: weights,
                lhs_stride: keys,
                rhs: &v[column..],
                layout: Layout::Rows(width),
            }
            .run(
                rows,
                &mut Values::<T::Product<L>>::new(&mut dst[first * width + column..], width),
            );
        }
    }
}

/// The same numbers as `T`, in place of the first of them.
fn narrowed<L: FloatLevel, T: Number>(numbers: &mut [f32]) -> Option<&[T]> {
    let len = numbers.len();
    if size_of::<T>() < size_of::<f32>() {
        let mut chunk = [T::default(); CHUNK];
        for first in (0..len).step_by(CHUNK) {
            let count = CHUNK.min(len - first);
            T::store::<L>(&numbers[first..][..count], &mut chunk[..count]);
            let (narrow, _) =
                <[T]>::mut_from_prefix_with_elems(numbers.as_mut_bytes(), len).ok()?;
            narrow[first..][..count].copy_from_slice(&chunk[..count]);
        }
    }
    let (narrow, _) = <[T]>::ref_from_prefix_with_elems(numbers.as_bytes(), len).ok()?;
    Some(narrow)
}

/// Scales scores and writes them as f32.
struct Scores<'a, T> {
    /// (rows, keys)
    scores: &'a mut [f32],
    keys: usize,
    scale: f32,
    tile: PhantomData<T>,
}

impl<'a, T: Tile> Scores<'a, T> {
    fn new(scores: &'a mut [f32], keys: usize, scale: f32) -> Self {
        Self {
            scores,
            keys,
            scale,
            tile: PhantomData,
        }
    }
}

impl<T: Tile> Finish for Scores<'_, T> {
    fn row(&mut self, row: usize, column: usize, len: usize, sums: &[f32; CHUNK]) {
        let scores = &mut self.scores[row * self.keys + column..][..len];
        T::scale(sums, self.scale, scores);
    }
}

/// Writes weighted sums of values.
struct Values<'a, T: Tile> {
    outputs: Outputs,
    /// Rows at a distance of `stride`.
    dst: &'a mut [T::Lhs],
    stride: usize,
}

impl<'a, T: Tile> Values<'a, T> {
    fn new(dst: &'a mut [T::Lhs], stride: usize) -> Self {
        Self {
            outputs: Outputs::new(UNLIMITED),
            dst,
            stride,
        }
    }
}

impl<T: Tile> Finish for Values<'_, T> {
    fn row(&mut self, row: usize, column: usize, len: usize, sums: &[f32; CHUNK]) {
        let dst = &mut self.dst[row * self.stride + column..][..len];
        T::finish(sums, &self.outputs, dst);
    }
}
