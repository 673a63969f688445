//! Products: each case becomes a [`Product`] over the register tile, whose left side is f32. Halves on the left are widened
//! into scratch, a tile of rows at a time.

use super::lanes::{Lanes, Number, Stored, convert};
use super::tile::{Finish, Layout, Product, dots};
use crate::kernel::{
    ConvF16, ConvF32, ConvFloat, GemmF16, GemmF32, MatmulFloat, TILE_ROWS, WeightsF32, Window,
};

const UNLIMITED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

impl<'a> Finish<'a> {
    /// What a layer does with its sums.
    fn layer(bias: &'a [f32], clamp: [f32; 2]) -> Self {
        Self {
            factor: 1.0,
            scales: &[],
            bias,
            clamp,
        }
    }
}

/// See [`GemmF32`].
#[inline(always)]
pub(crate) fn gemm_f32<V: Lanes>(v: V, args: GemmF32<'_>) {
    let shape = [args.rows, args.k, args.n];
    let finish = Finish::layer(args.bias, args.clamp);
    let (lhs, dst) = (args.lhs, args.dst);
    match args.weights {
        WeightsF32::F32(rhs) => gemm(v, shape, lhs, rhs, finish, dst, &mut []),
        WeightsF32::F16(rhs) => gemm(v, shape, lhs, rhs, finish, dst, &mut []),
        WeightsF32::I8 { data, scales } => {
            let finish = Finish { scales, ..finish };
            gemm(v, shape, lhs, data, finish, dst, &mut []);
        }
    }
}

/// See [`GemmF16`].
#[inline(always)]
pub(crate) fn gemm_f16<V: Lanes>(v: V, args: GemmF16<'_>) {
    let shape = [args.rows, args.k, args.n];
    let finish = Finish::layer(args.bias, args.clamp);
    gemm(
        v,
        shape,
        args.lhs,
        args.weights,
        finish,
        args.dst,
        args.scratch,
    );
}

/// dst(rows, n) = lhs(rows, k) · packed(k, n), all rows close together; `scratch` is for [`V::TILE_ROWS`](Lanes::TILE_ROWS) rows
/// of a `lhs` that has to be widened.
#[inline(always)]
fn gemm<V: Lanes, T: Stored, E: Number>(
    v: V,
    [rows, k, n]: [usize; 3],
    lhs: &[E],
    rhs: &[T],
    finish: Finish<'_>,
    dst: &mut [E],
    scratch: &mut [f32],
) {
    if let Some(lhs) = E::as_f32s(lhs) {
        return gemm_widened(v, [rows, k, n], lhs, rhs, finish, dst);
    }
    for first in (0..rows).step_by(V::TILE_ROWS) {
        let rows = V::TILE_ROWS.min(rows - first);
        let tile = &mut scratch[..rows * k];
        convert(v, &lhs[first * k..(first + rows) * k], tile);
        let dst = &mut dst[first * n..(first + rows) * n];
        gemm_widened(v, [rows, k, n], tile, rhs, finish, dst);
    }
}

/// [`gemm`] whose left side is f32.
#[inline(always)]
fn gemm_widened<V: Lanes, T: Stored, E: Number>(
    v: V,
    [rows, k, n]: [usize; 3],
    lhs: &[f32],
    rhs: &[T],
    finish: Finish<'_>,
    dst: &mut [E],
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

/// See [`ConvFloat`].
#[inline(always)]
pub(crate) fn conv_f32<V: Lanes>(v: V, args: ConvF32<'_>) {
    let finish = Finish::layer(args.bias, args.clamp);
    match args.weights {
        WeightsF32::F32(rhs) => conv(v, args, rhs, finish),
        WeightsF32::F16(rhs) => conv(v, args, rhs, finish),
        WeightsF32::I8 { data, scales } => conv(v, args, data, Finish { scales, ..finish }),
    }
}

/// See [`ConvFloat`].
#[inline(always)]
pub(crate) fn conv_f16<V: Lanes>(v: V, args: ConvF16<'_>) {
    let finish = Finish::layer(args.bias, args.clamp);
    let weights = args.weights;
    conv(v, args, weights, finish);
}

/// A 1×1 window over every pixel is a product as it stands; others copy the patches of 8 pixels first.
#[inline(always)]
fn conv<V: Lanes, T: Stored, E: Number>(
    v: V,
    args: ConvFloat<'_, E>,
    rhs: &[T],
    finish: Finish<'_>,
) {
    let ConvFloat {
        window,
        in_channels,
        out_channels: n,
        src,
        dst,
        scratch,
        ..
    } = args;
    let pixels = window.output[0] * window.output[1];
    if window.is_pointwise() {
        let shape = [pixels, in_channels, n];
        return gemm(v, shape, src, rhs, finish, dst, scratch);
    }
    let k = window.kernel[0] * window.kernel[1] * in_channels;
    for first in (0..pixels).step_by(TILE_ROWS) {
        let rows = TILE_ROWS.min(pixels - first);
        let tile = &mut scratch[..rows * k];
        for row in 0..rows {
            let patch = &mut tile[row * k..(row + 1) * k];
            copy_patch(v, &window, in_channels, src, first + row, patch);
        }
        let dst = &mut dst[first * n..(first + rows) * n];
        gemm_widened(v, [rows, k, n], tile, rhs, finish, dst);
    }
}

/// Copies what the window over output `pixel` sees; zeros outside the picture.
#[inline(always)]
fn copy_patch<V: Lanes, E: Number>(
    v: V,
    window: &Window,
    c: usize,
    src: &[E],
    pixel: usize,
    patch: &mut [f32],
) {
    let position = [pixel / window.output[1], pixel % window.output[1]];
    let row_elements = window.kernel[1] * c;
    if row_elements == 0 {
        return;
    }
    for (ky, patch) in patch.chunks_exact_mut(row_elements).enumerate() {
        let Some(y) = window.coordinate(0, position[0], ky) else {
            patch.fill(0.0);
            continue;
        };
        let src = &src[y * window.input[1] * c..][..window.input[1] * c];
        for (kx, patch) in patch.chunks_exact_mut(c).enumerate() {
            match window.coordinate(1, position[1], kx) {
                Some(x) => convert(v, &src[x * c..(x + 1) * c], patch),
                None => patch.fill(0.0),
            }
        }
    }
}

/// See [`MatmulFloat`].
#[inline(always)]
pub(crate) fn matmul_float<V: Lanes, E: Number>(v: V, args: MatmulFloat<'_, E>) {
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
fn matmul_transposed<V: Lanes, E: Number>(
    v: V,
    [m, k, n]: [usize; 3],
    lhs: &[E],
    rhs: &[E],
    scale: f32,
    dst: &mut [E],
) {
    for first in (0..m).step_by(4) {
        let mut rows: [&[E]; 4] = [&[]; 4];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &lhs[(first + r).min(m - 1) * k..][..k];
        }
        for column in 0..n {
            let totals = dots(v, rows, &rhs[column * k..(column + 1) * k]);
            for (r, total) in totals.iter().enumerate().take(m - first) {
                dst[(first + r) * n + column] = E::narrow(total * scale);
            }
        }
    }
}
