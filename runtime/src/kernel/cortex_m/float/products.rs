//! Products with constant weights, linear layers and convolutions, and of two computed matrices.

use zerocopy::{FromBytes, IntoBytes};

use super::product::{Finish, Layout, Outputs, Product, Tile};
use super::{CHUNK, FloatLevel, Number};
use crate::kernel::patch::{Piece, pieces_of};
use crate::kernel::{ConvFloat, GemmFloat, MatmulFloat, WeightsF32, Window};

/// A clamp that changes nothing.
pub(super) const UNLIMITED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// See [`crate::kernel::GemmF32`].
pub(crate) fn gemm_f32<L: FloatLevel>(args: GemmFloat<'_, f32>) {
    match args.weights {
        WeightsF32::F32(weights) => gemm::<L::Single>(args, weights, &[]),
        WeightsF32::F16(weights) => gemm::<L::SingleByHalf>(args, weights, &[]),
        WeightsF32::I8 { data, scales } => gemm::<L::SingleByByte>(args, data, scales),
    }
}

/// See [`crate::kernel::GemmF16`].
#[cfg(cortex_m_helium)]
pub(crate) fn gemm_f16<L: FloatLevel>(args: GemmFloat<'_, half::f16>) {
    let weights = args.weights;
    gemm::<L::Half>(args, weights, &[]);
}

/// See [`crate::kernel::ConvF32`].
pub(crate) fn conv_f32<L: FloatLevel>(args: ConvFloat<'_, f32>) {
    match args.weights {
        WeightsF32::F32(weights) => conv::<L, L::Single>(args, weights, &[]),
        WeightsF32::F16(weights) => conv::<L, L::SingleByHalf>(args, weights, &[]),
        WeightsF32::I8 { data, scales } => conv::<L, L::SingleByByte>(args, data, scales),
    }
}

/// See [`crate::kernel::ConvF16`].
#[cfg(cortex_m_helium)]
pub(crate) fn conv_f16<L: FloatLevel>(args: ConvFloat<'_, half::f16>) {
    let weights = args.weights;
    conv::<L, L::Half>(args, weights, &[]);
}

/// Writes finished sums to rows of a matrix.
struct Store<'a, T: Tile> {
    factor: f32,
    /// (n) or empty.
    scales: &'a [f32],
    /// (n) or empty.
    bias: &'a [f32],
    /// Of the chunk.
    outputs: Outputs,
    /// (rows, n)
    dst: &'a mut [T::Lhs],
    n: usize,
}

impl<'a, T: Tile> Store<'a, T> {
    fn new(
        scales: &'a [f32],
        bias: &'a [f32],
        clamp: [f32; 2],
        dst: &'a mut [T::Lhs],
        n: usize,
    ) -> Self {
        Self {
            factor: 1.0,
            scales,
            bias,
            outputs: Outputs::new(clamp),
            dst,
            n,
        }
    }
}

impl<T: Tile> Finish for Store<'_, T> {
    fn begin(&mut self, column: usize, len: usize) {
        let Outputs { scale, bias, .. } = &mut self.outputs;
        scale.fill(self.factor);
        if !self.scales.is_empty() {
            for (scale, channel) in scale.iter_mut().zip(&self.scales[column..][..len]) {
                *scale = self.factor * channel;
            }
        }
        bias.fill(0.0);
        if !self.bias.is_empty() {
            bias[..len].copy_from_slice(&self.bias[column..][..len]);
        }
        T::arrange(scale);
        T::arrange(bias);
    }

    #[inline]
    fn row(&mut self, row: usize, column: usize, len: usize, sums: &[f32; CHUNK]) {
        let dst = &mut self.dst[row * self.n + column..][..len];
        T::finish(sums, &self.outputs, dst);
    }
}

/// A product of rows that lie close together.
fn gemm<T: Tile>(args: GemmFloat<'_, T::Lhs>, rhs: &[T::Rhs], scales: &[f32])
where
    T::Lhs: Number,
{
    let GemmFloat {
        rows,
        k,
        n,
        lhs,
        bias,
        clamp,
        dst,
        ..
    } = args;
    let product = Product::<T>::packed(lhs, rhs, [k, n]);
    product.run(rows, &mut Store::<T>::new(scales, bias, clamp, dst, n));
}

/// A 1×1 window over every pixel is a product as it stands; others copy the patches of a few tiles of rows first.
fn conv<L: FloatLevel, T: Tile>(args: ConvFloat<'_, T::Lhs>, rhs: &[T::Rhs], scales: &[f32])
where
    T::Lhs: Number,
{
    let ConvFloat {
        window,
        in_channels,
        out_channels: n,
        src,
        bias,
        clamp,
        dst,
        scratch,
        ..
    } = args;
    let k = window.kernel[0] * window.kernel[1] * in_channels;
    let pixels = window.output[0] * window.output[1];
    if window.is_pointwise() {
        let product = Product::<T>::packed(src, rhs, [k, n]);
        return product.run(pixels, &mut Store::<T>::new(scales, bias, clamp, dst, n));
    }
    // A half has no stricter alignment than an f32, and no patch is longer than its share of the scratch.
    let Ok(scratch) = <[T::Lhs]>::mut_from_bytes(scratch.as_mut_bytes()) else {
        return;
    };
    let room = scratch.len() / k.max(1);
    let batch = (room.min(4 * T::ROWS) / T::ROWS * T::ROWS).max(1);
    for pixel in (0..pixels).step_by(batch) {
        let rows = batch.min(pixels - pixel);
        for row in 0..rows {
            let patch = &mut scratch[row * k..][..k];
            copy_patch::<L, _>(&window, in_channels, src, pixel + row, patch);
        }
        let dst = &mut dst[pixel * n..][..rows * n];
        let product = Product::<T>::packed(scratch, rhs, [k, n]);
        product.run(rows, &mut Store::<T>::new(scales, bias, clamp, dst, n));
    }
}

/// Copies what the window over output `pixel` sees; zeros outside the picture.
fn copy_patch<L: FloatLevel, T: Number>(
    window: &Window,
    channels: usize,
    src: &[T],
    pixel: usize,
    patch: &mut [T],
) {
    let position = [pixel / window.output[1], pixel % window.output[1]];
    let mut done = 0;
    pieces_of(window, channels, src, position, |piece| match piece {
        Piece::Inside(src) => {
            L::copy(src.as_bytes(), patch[done..][..src.len()].as_mut_bytes());
            done += src.len();
        }
        Piece::Outside(len) => {
            patch[done..][..len].fill(T::default());
            done += len;
        }
    });
}

/// See [`MatmulFloat`].
pub(crate) fn matmul<L: FloatLevel, T: Number>(args: MatmulFloat<'_, T>) {
    let MatmulFloat {
        m,
        k,
        n,
        lhs,
        rhs,
        transpose_rhs,
        scale,
        dst,
    } = args;
    let product = Product::<T::Product<L>> {
        k,
        n,
        lhs,
        lhs_stride: k,
        rhs,
        layout: match transpose_rhs {
            true => Layout::Columns(k),
            false => Layout::Rows(n),
        },
    };
    let store = Store::<T::Product<L>>::new(&[], &[], UNLIMITED, dst, n);
    product.run(
        m,
        &mut Store {
            factor: scale,
            ..store
        },
    );
}
