//! Half precision by way of f32, for sets without arithmetic in halves: inputs are widened a few rows at a time, the set's own
//! f32 operation runs over them, and its results are rounded to halves.
//!
//! This is also the definition of the f16 operations: with the scalar set, each is its f32 operation over the same numbers,
//! rounded once at the end.

use half::f16;

use super::packing::BLOCK_CHANNELS;
use super::{ConvF16, GemmF16, GemmF32, Kernels, TILE_ROWS, WeightsF32};
use crate::model::op::{BinaryKind, UnaryKind};

/// Numbers of an element-wise operation that are widened at once.
const CHUNK: usize = 64;
/// Output channels of a product that are computed at once, whole blocks.
const CHUNK_CHANNELS: usize = 4 * BLOCK_CHANNELS;

/// See [`GemmF16`].
pub(super) fn gemm_f16<K: Kernels + ?Sized>(kernels: &K, args: GemmF16<'_>) {
    let GemmF16 {
        rows,
        k,
        n,
        lhs,
        weights,
        bias,
        clamp,
        dst,
        scratch,
    } = args;
    let product = Product {
        k,
        n,
        weights,
        bias,
        clamp,
    };
    for row in (0..rows).step_by(TILE_ROWS) {
        let count = TILE_ROWS.min(rows - row);
        let tile = &mut scratch[..count * k];
        kernels.widen_f16(&lhs[row * k..(row + count) * k], tile);
        product.rows(kernels, tile, &mut dst[row * n..(row + count) * n]);
    }
}

/// See [`ConvF16`].
pub(super) fn conv_f16<K: Kernels + ?Sized>(kernels: &K, args: ConvF16<'_>) {
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
    let [kernel_height, kernel_width] = window.kernel;
    let k = kernel_height * kernel_width * in_channels;
    let product = Product {
        k,
        n,
        weights,
        bias,
        clamp,
    };
    let rows = window.output[0] * window.output[1];
    for row in (0..rows).step_by(TILE_ROWS) {
        let count = TILE_ROWS.min(rows - row);
        let tile = &mut scratch[..count * k];
        for pixel in 0..count {
            let position = [
                (row + pixel) / window.output[1],
                (row + pixel) % window.output[1],
            ];
            for tap in 0..kernel_height * kernel_width {
                let from = pixel * k + tap * in_channels;
                let patch = &mut tile[from..from + in_channels];
                match window.pixel(position, [tap / kernel_width, tap % kernel_width]) {
                    Some(source) => {
                        let from = source * in_channels;
                        kernels.widen_f16(&src[from..from + in_channels], patch);
                    }
                    None => patch.fill(0.0),
                }
            }
        }
        product.rows(kernels, tile, &mut dst[row * n..(row + count) * n]);
    }
}

/// Weights, and what becomes of the sums.
struct Product<'a> {
    k: usize,
    n: usize,
    weights: &'a [f16],
    bias: &'a [f32],
    clamp: [f32; 2],
}

impl Product<'_> {
    /// The product of at most [`TILE_ROWS`] rows of `lhs`.
    fn rows<K: Kernels + ?Sized>(&self, kernels: &K, lhs: &[f32], dst: &mut [f16]) {
        let rows = dst.len() / self.n.max(1);
        let mut sums = [0.0; TILE_ROWS * CHUNK_CHANNELS];
        for channel in (0..self.n).step_by(CHUNK_CHANNELS) {
            let width = CHUNK_CHANNELS.min(self.n - channel);
            let sums = &mut sums[..rows * width];
            kernels.gemm_f32(GemmF32 {
                rows,
                k: self.k,
                n: width,
                lhs,
                weights: WeightsF32::F16(
                    &self.weights[channel * self.k..(channel + width) * self.k],
                ),
                bias: match self.bias {
                    [] => &[],
                    bias => &bias[channel..channel + width],
                },
                clamp: self.clamp,
                dst: sums,
                scratch: &mut [],
            });
            for (sums, dst) in sums.chunks_exact(width).zip(dst.chunks_exact_mut(self.n)) {
                kernels.narrow_f32(sums, &mut dst[channel..channel + width]);
            }
        }
    }
}

/// See [`Kernels::unary_f16`].
pub(super) fn unary_f16<K: Kernels + ?Sized>(
    kernels: &K,
    function: UnaryKind,
    constants: [f32; 2],
    src: &[f16],
    dst: &mut [f16],
) {
    let (mut wide, mut results) = ([0.0; CHUNK], [0.0; CHUNK]);
    for (src, dst) in src.chunks(CHUNK).zip(dst.chunks_mut(CHUNK)) {
        let (wide, results) = (&mut wide[..src.len()], &mut results[..src.len()]);
        kernels.widen_f16(src, wide);
        kernels.unary_f32(function, constants, wide, results);
        kernels.narrow_f32(results, dst);
    }
}

/// See [`Kernels::binary_f16`].
pub(super) fn binary_f16<K: Kernels + ?Sized>(
    kernels: &K,
    function: BinaryKind,
    lhs: &[f16],
    rhs: &[f16],
    dst: &mut [f16],
) {
    let mut wide = [[0.0; CHUNK]; 3];
    let chunks = lhs.chunks(CHUNK).zip(rhs.chunks(CHUNK));
    for ((lhs, rhs), dst) in chunks.zip(dst.chunks_mut(CHUNK)) {
        let [a, b, results] = wide.each_mut().map(|wide| &mut wide[..lhs.len()]);
        kernels.widen_f16(lhs, a);
        kernels.widen_f16(rhs, b);
        kernels.binary_f32(function, a, b, results);
        kernels.narrow_f32(results, dst);
    }
}
