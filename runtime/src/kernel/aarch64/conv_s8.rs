//! Integer 2-D convolution: patches of 8 output pixels are laid out as rows in scratch, then multiplied as in
//! [`super::gemm_s8`]. A 1×1 window over every pixel is a product as it stands.

use super::gemm_s8::as_i8;
use super::neon::*;
use crate::kernel::patch::{Piece, pieces};
use crate::kernel::{ConvS8, DstS8, GemmS8};

/// Whether each output pixel sees one input pixel, its own.
pub(super) fn is_pointwise(args: &ConvS8<'_>) -> bool {
    let window = args.window;
    window.kernel == [1, 1]
        && window.stride == [1, 1]
        && window.padding == [0, 0]
        && window.input == window.output
}

/// The product that a convolution is when it [`is_pointwise`].
pub(super) fn product_of(args: ConvS8<'_>) -> GemmS8<'_> {
    GemmS8 {
        rows: args.window.output[0] * args.window.output[1],
        k: args.in_channels,
        n: args.out_channels,
        lhs: args.src,
        weights: args.weights,
        layout: args.layout,
        requantize: args.requantize,
        dst: DstS8::I8(args.dst),
        scratch: args.scratch,
    }
}

/// Lays out the patches of `ROWS` output pixels at a time, rows of `pitch` bytes in scratch, and calls `product` with them
/// and the first pixel. Bytes of a row behind its patch are any bytes.
pub(super) fn for_each_tile<const ROWS: usize>(
    args: &mut ConvS8<'_>,
    pitch: usize,
    mut product: impl FnMut(&[i8], usize),
) {
    let bytes = core::mem::take(&mut args.scratch);
    let scratch = as_i8(&mut *bytes);
    let rows = args.window.output[0] * args.window.output[1];
    let width = args.window.output[1].max(1);
    let mut position = [0, 0];
    for row in (0..rows).step_by(ROWS) {
        let count = (rows - row).min(ROWS);
        for index in 0..count {
            lay_out(args, position, &mut scratch[index * pitch..]);
            position[1] += 1;
            if position[1] == width {
                position = [position[0] + 1, 0];
            }
        }
        product(&scratch[..count * pitch], row);
    }
    args.scratch = bytes;
}

/// Writes the patch of the output at `position` to the start of `dst`.
fn lay_out(args: &ConvS8<'_>, position: [usize; 2], dst: &mut [i8]) {
    let (window, c) = (args.window, args.in_channels);
    let [height, width] = window.kernel;
    let last = window.pixel(position, [height - 1, width - 1]);
    if let (Some(first), Some(_), [1, 1]) = (window.pixel(position, [0, 0]), last, window.dilation)
    {
        // All of the window is inside: a stretch of the picture for each of its rows.
        let (len, step) = (width * c, window.input[1] * c);
        let rows = args.src[first * c..].chunks(step.max(1));
        for (dst, row) in dst.chunks_exact_mut(len).zip(rows).take(height) {
            copy(dst, &row[..len]);
        }
        return;
    }
    let mut done = 0;
    pieces(args, position, |piece| match piece {
        Piece::Inside(bytes) => {
            copy(&mut dst[done..], bytes);
            done += bytes.len();
        }
        Piece::Outside(len) => {
            dst[done..][..len].fill(args.input_zero_point);
            done += len;
        }
    });
}

/// Copies `src` to the start of `dst`; short pieces by two loads that overlap, without a call.
#[inline(always)]
fn copy(dst: &mut [i8], src: &[i8]) {
    let len = src.len();
    let dst = &mut dst[..len];
    match len {
        16.. => {
            for at in (0..len - 15).step_by(16).chain([len - 16]) {
                store_i8x16(&mut dst[at..], load_i8x16(&src[at..]));
            }
        }
        8.. => {
            let ends = [load_i8x8(src), load_i8x8(&src[len - 8..])];
            store_i8x8(dst, ends[0]);
            store_i8x8(&mut dst[len - 8..], ends[1]);
        }
        _ => {
            for (dst, src) in dst.iter_mut().zip(src) {
                *dst = *src;
            }
        }
    }
}
