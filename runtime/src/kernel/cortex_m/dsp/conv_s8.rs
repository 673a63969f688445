//! Integer 2-D convolution: patches of four output pixels are widened into scratch, then multiplied as in
//! [`super::gemm_s8`].

use super::gemm_s8::{Product, aligned};
use super::widen::Stage;
use crate::kernel::patch::{Piece, pieces};
use crate::kernel::{ConvS8, scalar};

/// See [`ConvS8`].
pub(super) fn conv_s8(mut args: ConvS8<'_>) {
    let (window, c) = (args.window, args.in_channels);
    let k = window.kernel[0] * window.kernel[1] * c;
    let product = Product::new(k, args.out_channels, args.weights, args.requantize);
    let scratch = core::mem::take(&mut args.scratch);
    let Some(product) = product.filter(|_| aligned(scratch, k).is_some()) else {
        return scalar::conv_s8(args);
    };
    let Some(words) = aligned(scratch, k) else {
        return;
    };
    let mut dst = core::mem::take(&mut args.dst);
    let rows = window.output[0] * window.output[1];
    if window.is_pointwise() {
        product.run(rows, words, &mut dst, |wide, row, index| {
            wide.put(index, 0, &args.src[row * c..][..c]);
        });
        return;
    }
    let mut stage = Stage::new();
    product.run(rows, words, &mut dst, |wide, row, index| {
        let position = [row / window.output[1], row % window.output[1]];
        stage.restart();
        pieces(&args, position, |piece| match piece {
            Piece::Inside(bytes) => stage.append(wide, index, bytes.len(), |done, part| {
                part.copy_from_slice(&bytes[done..][..part.len()]);
            }),
            Piece::Outside(len) => stage.append(wide, index, len, |_, part| {
                part.fill(args.input_zero_point);
            }),
        });
        stage.flush(wide, index);
    });
}
