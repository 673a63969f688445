//! Integer 2-D convolution: patches of 8 output pixels are laid out as rows in scratch, then multiplied as in
//! [`super::gemm_s8`]. A 1×1 window over every pixel is a product as it stands.

use core::ops::Range;

use super::gemm_s8::as_i8;
use super::neon::*;
use crate::kernel::patch::{Piece, pieces};
use crate::kernel::{ConvS8, GemmS8};

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
        dst: args.dst,
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
    let mut inside = Inside::new(args, 0);
    for row in (0..rows).step_by(ROWS) {
        let count = (rows - row).min(ROWS);
        for index in 0..count {
            let dst = &mut scratch[index * pitch..];
            if inside.columns.contains(&position[1]) {
                inside.lay_out(args, position[1], dst);
            } else {
                lay_out(args, position, dst);
            }
            position[1] += 1;
            if position[1] == width {
                position = [position[0] + 1, 0];
                inside = Inside::new(args, position[0]);
            }
        }
        product(&scratch[..count * pitch], row);
    }
    args.scratch = bytes;
}

/// The windows of a row of outputs that lie within the picture.
struct Inside {
    columns: Range<usize>,
    /// Input row of the first tap.
    top: usize,
}

impl Inside {
    /// Of the outputs in row `y`.
    fn new(args: &ConvS8<'_>, y: usize) -> Self {
        let window = args.window;
        let [height, width] = window.kernel;
        let top = (y * window.stride[0]).wrapping_sub(window.padding[0]);
        let within = window.dilation == [1, 1]
            && window.input[0]
                .checked_sub(height)
                .is_some_and(|last| top <= last);
        let last = (window.input[1] + window.padding[1]).checked_sub(width);
        let columns = match last.filter(|_| within) {
            Some(last) => window.padding[1].div_ceil(window.stride[1])..last / window.stride[1] + 1,
            None => 0..0,
        };
        Self { columns, top }
    }

    /// Writes the patch of the output in column `x`: a stretch of the picture for each row of the window.
    #[inline(always)]
    fn lay_out(&self, args: &ConvS8<'_>, x: usize, dst: &mut [i8]) {
        let (window, c) = (args.window, args.in_channels);
        let [height, width] = window.kernel;
        let (len, step) = (width * c, window.input[1] * c);
        let column = x * window.stride[1] - window.padding[1];
        let src = &args.src[(self.top * window.input[1] + column) * c..];
        if !(8..=16).contains(&len) {
            for (dst, src) in dst.chunks_exact_mut(len).zip(src.chunks(step)).take(height) {
                copy(dst, &src[..len]);
            }
            return;
        }
        // What is copied behind a stretch is overwritten by the next one.
        for row in 0..height - 1 {
            store_i8x16(&mut dst[row * len..], load_i8x16(&src[row * step..]));
        }
        copy(
            &mut dst[(height - 1) * len..][..len],
            &src[(height - 1) * step..][..len],
        );
    }
}

/// Writes the patch of the output at `position` to the start of `dst`.
#[inline(never)]
fn lay_out(args: &ConvS8<'_>, position: [usize; 2], dst: &mut [i8]) {
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
