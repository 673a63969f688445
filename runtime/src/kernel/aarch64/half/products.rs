//! Products: each case becomes a [`Product`] over the register tile.

use core::arch::aarch64::*;

use half::f16;
use zerocopy::{FromBytes, IntoBytes};

use super::super::Neon;
use super::tile::{CHUNK, Layout, Product, UNLIMITED};
use super::vector::{LANES, load_from, load_up_to, splat, store, store_to, transpose};
use crate::kernel::packing::BLOCK_CHANNELS;
use crate::kernel::{ConvF16, GemmF16, Kernels, MatmulF16, TILE_ROWS, Window};

/// See [`GemmF16`].
#[target_feature(enable = "neon,fp16")]
pub(in super::super) fn gemm_f16(args: GemmF16<'_>) {
    Product {
        rows: args.rows,
        k: args.k,
        n: args.n,
        lhs: args.lhs,
        lhs_stride: args.k,
        rhs: args.weights,
        layout: Layout::Packed,
        bias: args.bias,
        factor: 1.0,
        clamp: args.clamp.map(f16::from_f32),
        dst: args.dst,
        dst_stride: args.n,
    }
    .run();
}

/// See [`ConvF16`]. A 1×1 window over every pixel is a product as it stands; others copy as many patches as there is scratch for.
#[target_feature(enable = "neon,fp16")]
pub(in super::super) fn conv_f16(args: ConvF16<'_>) {
    let ConvF16 {
        window,
        in_channels,
        out_channels: n,
        src,
        weights,
        bias,
        clamp,
        dst,
        scratch,
    } = args;
    let pixels = window.output[0] * window.output[1];
    let k = window.kernel[0] * window.kernel[1] * in_channels;
    let gemm = |rows, lhs: &[f16], dst: &mut [f16]| {
        gemm_f16(GemmF16 {
            rows,
            k,
            n,
            lhs,
            weights,
            bias,
            clamp,
            dst,
            scratch: &mut [],
        });
    };
    if window.is_pointwise() {
        return gemm(pixels, src, dst);
    }
    let patches = <[f16]>::mut_from_bytes(scratch.as_mut_bytes()).unwrap_or_default();
    // Scratch is for a tile of rows in f32.
    let rows_at_once = 2 * TILE_ROWS;
    for first in (0..pixels).step_by(rows_at_once) {
        let rows = rows_at_once.min(pixels - first);
        for row in 0..rows {
            let patch = &mut patches[row * k..(row + 1) * k];
            copy_patch(&window, in_channels, src, first + row, patch);
        }
        let dst = &mut dst[first * n..(first + rows) * n];
        gemm(rows, &patches[..rows * k], dst);
    }
}

/// Copies what the window over output `pixel` sees; zeros outside the picture.
#[target_feature(enable = "neon,fp16")]
fn copy_patch(window: &Window, c: usize, src: &[f16], pixel: usize, patch: &mut [f16]) {
    let position = [pixel / window.output[1], pixel % window.output[1]];
    let len = window.kernel[1] * c;
    let origin = [0, 1].map(|axis| {
        let first = position[axis] * window.stride[axis];
        let end = first + window.kernel[axis];
        let inside =
            first >= window.padding[axis] && end <= window.input[axis] + window.padding[axis];
        (inside && window.dilation[axis] == 1).then(|| first - window.padding[axis])
    });
    if let [Some(y), Some(x)] = origin
        && len >= LANES
    {
        let src = &src[(y * window.input[1] + x) * c..];
        return copy_rows(src, window.input[1] * c, patch, [window.kernel[0], len]);
    }
    for (ky, patch) in patch.chunks_exact_mut(len.max(1)).enumerate() {
        let y = window.coordinate(0, position[0], ky);
        for (kx, patch) in patch.chunks_exact_mut(c).enumerate() {
            match y.zip(window.coordinate(1, position[1], kx)) {
                Some((y, x)) => patch.copy_from_slice(&src[(y * window.input[1] + x) * c..][..c]),
                None => patch.fill(f16::ZERO),
            }
        }
    }
}

/// Copies `rows` rows of `len`, at least 8, which lie `stride` apart in `src` and close together in `dst`. The last register of
/// a row begins where it still ends with the row.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn copy_rows(src: &[f16], stride: usize, dst: &mut [f16], [rows, len]: [usize; 2]) {
    assert!(len >= LANES && rows > 0);
    let (mut from, mut to) = (
        src[..(rows - 1) * stride + len].as_ptr(),
        dst[..rows * len].as_mut_ptr(),
    );
    let last = len - LANES;
    for _ in 0..rows {
        for at in (0..last).step_by(LANES) {
            // SAFETY: `at` + 8 halves lie within the row, and the rows within what both slices were cut to.
            let taps = unsafe { load_from(from.wrapping_add(at)) };
            // SAFETY: as above.
            unsafe { store_to(taps, to.wrapping_add(at)) };
        }
        // SAFETY: as above.
        let taps = unsafe { load_from(from.wrapping_add(last)) };
        // SAFETY: as above.
        unsafe { store_to(taps, to.wrapping_add(last)) };
        from = from.wrapping_add(stride);
        to = to.wrapping_add(len);
    }
}

/// See [`MatmulF16`]. A transposed right side is laid out as weights, 16 columns at a time; one that is longer than a chunk is
/// left to NEON.
#[target_feature(enable = "neon,fp16")]
pub(in super::super) fn matmul_f16(args: MatmulF16<'_>) {
    if args.transpose_rhs && args.k > CHUNK {
        return Neon(()).matmul_f16(args);
    }
    let MatmulF16 {
        m,
        k,
        n,
        lhs,
        rhs,
        transpose_rhs,
        scale,
        dst,
    } = args;
    let shape = [m, k, n];
    if !transpose_rhs {
        return multiply(shape, lhs, rhs, n, scale, dst, n);
    }
    let mut block = [f16::ZERO; CHUNK * BLOCK_CHANNELS];
    for column in (0..n).step_by(BLOCK_CHANNELS) {
        let width = BLOCK_CHANNELS.min(n - column);
        let rows = Rows {
            data: &rhs[column * k..],
            stride: k,
            count: width,
            len: k,
        };
        rows.transpose(BLOCK_CHANNELS, f16::ONE, &mut block);
        let rhs = &block[..k * BLOCK_CHANNELS];
        let dst = dst.get_mut(column..).unwrap_or_default();
        multiply([m, k, width], lhs, rhs, BLOCK_CHANNELS, scale, dst, n);
    }
}

/// dst(m, n) = lhs(m, k) · rhs(k, n) · factor; rows of `lhs` lie close together, those of the others at these distances.
#[target_feature(enable = "neon,fp16")]
fn multiply(
    [rows, k, n]: [usize; 3],
    lhs: &[f16],
    rhs: &[f16],
    rhs_stride: usize,
    factor: f32,
    dst: &mut [f16],
    dst_stride: usize,
) {
    Product {
        rows,
        k,
        n,
        lhs,
        lhs_stride: k,
        rhs,
        layout: Layout::Rows(rhs_stride),
        bias: &[],
        factor,
        clamp: UNLIMITED,
        dst,
        dst_stride,
    }
    .run();
}

/// Rows of a matrix.
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f16],
    /// Halves from one to the next.
    pub(super) stride: usize,
    pub(super) count: usize,
    /// Halves of a row.
    pub(super) len: usize,
}

impl Rows<'_> {
    /// Writes the transposed matrix times `factor`, rows of `width` halves, a multiple of 8 that holds all rows; behind them zeros.
    #[target_feature(enable = "neon,fp16")]
    pub(super) fn transpose(&self, width: usize, factor: f16, dst: &mut [f16]) {
        let factor = splat(factor);
        for first in (0..width).step_by(LANES) {
            for column in (0..self.len).step_by(LANES) {
                let count = LANES.min(self.len - column);
                let mut block = [splat(f16::ZERO); LANES];
                for (r, row) in block.iter_mut().enumerate() {
                    if first + r < self.count {
                        let at = (first + r) * self.stride + column;
                        *row = load_up_to(&self.data[at..at + count]);
                    }
                }
                let block = transpose(block);
                for (c, &column_of_rows) in block.iter().enumerate().take(count) {
                    let at = (column + c) * width + first;
                    store(vmulq_f16(column_of_rows, factor), &mut dst[at..]);
                }
            }
        }
    }
}
