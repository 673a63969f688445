//! Products: each case becomes a [`Product`] over the register tile.

use super::lanes::{Lanes, Stored};
use super::tile::{Finish, Layout, Product, dots};
use crate::kernel::{ConvF32, GemmF32, MatmulF32, TILE_ROWS, WeightsF32, Window};

const UNLIMITED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// See [`GemmF32`].
#[inline(always)]
pub(crate) fn gemm_f32<V: Lanes>(v: V, args: GemmF32<'_>) {
    let GemmF32 {
        rows,
        k,
        n,
        lhs,
        weights,
        bias,
        clamp,
        dst,
        ..
    } = args;
    let finish = Finish {
        factor: 1.0,
        scales: &[],
        bias,
        clamp,
    };
    match weights {
        WeightsF32::F32(rhs) => gemm(v, [rows, k, n], lhs, rhs, finish, dst),
        WeightsF32::F16(rhs) => gemm(v, [rows, k, n], lhs, rhs, finish, dst),
        WeightsF32::I8 { data, scales } => {
            gemm(v, [rows, k, n], lhs, data, Finish { scales, ..finish }, dst)
        }
    }
}

/// dst(rows, n) = lhs(rows, k) · packed(k, n), all rows close together.
#[inline(always)]
fn gemm<V: Lanes, T: Stored>(
    v: V,
    [rows, k, n]: [usize; 3],
    lhs: &[f32],
    rhs: &[T],
    finish: Finish<'_>,
    dst: &mut [f32],
) {
    Product {
        rows,
        k,
        n,
        lhs,
        lhs_stride: k,
        rhs,
        layout: Layout::Packed,
        finish,
        dst,
        dst_stride: n,
    }
    .run(v);
}

/// See [`ConvF32`].
#[inline(always)]
pub(crate) fn conv_f32<V: Lanes>(v: V, args: ConvF32<'_>) {
    let ConvF32 {
        window,
        in_channels,
        out_channels,
        src,
        weights,
        bias,
        clamp,
        dst,
        scratch,
    } = args;
    let finish = Finish {
        factor: 1.0,
        scales: &[],
        bias,
        clamp,
    };
    let conv = Conv {
        window,
        in_channels,
        out_channels,
        src,
    };
    match weights {
        WeightsF32::F32(rhs) => conv.run(v, rhs, finish, dst, scratch),
        WeightsF32::F16(rhs) => conv.run(v, rhs, finish, dst, scratch),
        WeightsF32::I8 { data, scales } => {
            conv.run(v, data, Finish { scales, ..finish }, dst, scratch)
        }
    }
}

/// The geometry and the picture of a convolution.
struct Conv<'a> {
    window: Window,
    in_channels: usize,
    out_channels: usize,
    src: &'a [f32],
}

impl Conv<'_> {
    /// A 1×1 window over every pixel is a product as it stands; others copy the patches of 8 pixels first.
    #[inline(always)]
    fn run<V: Lanes, T: Stored>(
        &self,
        v: V,
        rhs: &[T],
        finish: Finish<'_>,
        dst: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Window {
            input,
            output,
            kernel,
            stride,
            padding,
            ..
        } = self.window;
        let n = self.out_channels;
        let pixels = output[0] * output[1];
        if kernel == [1, 1] && stride == [1, 1] && padding == [0, 0] && input == output {
            return gemm(v, [pixels, self.in_channels, n], self.src, rhs, finish, dst);
        }
        let k = kernel[0] * kernel[1] * self.in_channels;
        for first in (0..pixels).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(pixels - first);
            for row in 0..rows {
                self.copy_patch(first + row, &mut scratch[row * k..(row + 1) * k]);
            }
            let dst = &mut dst[first * n..(first + rows) * n];
            gemm(v, [rows, k, n], scratch, rhs, finish, dst);
        }
    }

    /// Copies what the window over output `pixel` sees; zeros outside the picture.
    #[inline(always)]
    fn copy_patch(&self, pixel: usize, patch: &mut [f32]) {
        let c = self.in_channels;
        let position = [pixel / self.window.output[1], pixel % self.window.output[1]];
        let row_elements = self.window.kernel[1] * c;
        if row_elements == 0 {
            return;
        }
        for (ky, patch) in patch.chunks_exact_mut(row_elements).enumerate() {
            let Some(y) = self.window.coordinate(0, position[0], ky) else {
                patch.fill(0.0);
                continue;
            };
            let src = &self.src[y * self.window.input[1] * c..][..self.window.input[1] * c];
            for (kx, patch) in patch.chunks_exact_mut(c).enumerate() {
                match self.window.coordinate(1, position[1], kx) {
                    Some(x) => patch.copy_from_slice(&src[x * c..(x + 1) * c]),
                    None => patch.fill(0.0),
                }
            }
        }
    }
}

/// See [`MatmulF32`].
#[inline(always)]
pub(crate) fn matmul_f32<V: Lanes>(v: V, args: MatmulF32<'_>) {
    let MatmulF32 {
        m,
        k,
        n,
        lhs,
        rhs,
        transpose_rhs,
        scale,
        dst,
    } = args;
    if transpose_rhs {
        return matmul_transposed(v, [m, k, n], lhs, rhs, scale, dst);
    }
    let finish = Finish {
        factor: scale,
        scales: &[],
        bias: &[],
        clamp: UNLIMITED,
    };
    Product {
        rows: m,
        k,
        n,
        lhs,
        lhs_stride: k,
        rhs,
        layout: Layout::Rows(n),
        finish,
        dst,
        dst_stride: n,
    }
    .run(v);
}

/// Both sides lie along `k`: dot products, four rows at a time.
#[inline(always)]
fn matmul_transposed<V: Lanes>(
    v: V,
    [m, k, n]: [usize; 3],
    lhs: &[f32],
    rhs: &[f32],
    scale: f32,
    dst: &mut [f32],
) {
    for first in (0..m).step_by(4) {
        let mut rows: [&[f32]; 4] = [&[]; 4];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &lhs[(first + r).min(m - 1) * k..][..k];
        }
        for column in 0..n {
            let totals = dots(v, rows, &rhs[column * k..(column + 1) * k]);
            for (r, total) in totals.iter().enumerate().take(m - first) {
                dst[(first + r) * n + column] = total * scale;
            }
        }
    }
}
