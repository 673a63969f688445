//! Integer 2-D convolution: patches of two output pixels are widened into scratch, then multiplied as in
//! [`super::gemm_s8`].

use super::gemm_s8::{Product, widen};
use super::requantize::Outputs;
use crate::kernel::packing::GROUP_INPUTS;
use crate::kernel::{ConvS8, Requantize, scalar};

/// See [`ConvS8`].
#[target_feature(enable = "avx2")]
pub(crate) fn conv_s8(mut args: ConvS8<'_>) {
    let Requantize {
        zero_point,
        clamp_min,
        clamp_max,
        ..
    } = args.requantize;
    let Some(outputs) = Outputs::new(zero_point, [clamp_min, clamp_max], args.dst.limits()) else {
        return scalar::conv_s8(args);
    };
    let mut dst = core::mem::take(&mut args.dst);
    let k = args.window.kernel[0] * args.window.kernel[1] * args.in_channels;
    let wide_bytes = 2 * k.next_multiple_of(GROUP_INPUTS);
    let (n, weights, requantize) = (args.out_channels, args.weights, args.requantize);
    let product = Product {
        k,
        n,
        weights,
        requantize,
        outputs,
    };
    let rows = args.window.output[0] * args.window.output[1];
    product.for_each_tile(rows, |chunk, row, count| {
        for index in 0..count {
            lay_out_patch(&mut args, row + index, index * wide_bytes, wide_bytes);
        }
        product.tile(
            chunk,
            &args.scratch[..count * wide_bytes],
            &mut dst,
            row,
            count,
        );
    });
}

/// Writes the patch of output pixel `row` in 16 bits to `bytes` bytes of scratch from `start` on.
#[target_feature(enable = "avx2")]
fn lay_out_patch(args: &mut ConvS8<'_>, row: usize, start: usize, bytes: usize) {
    let (window, c) = (args.window, args.in_channels);
    let position = [row / window.output[1], row % window.output[1]];
    let patch = &mut args.scratch[start..start + bytes];
    let taps = window.kernel[0] * window.kernel[1];
    let (body, end) = patch.split_at_mut(2 * taps * c);
    for (tap, wide) in body.chunks_exact_mut((2 * c).max(1)).enumerate() {
        match window.pixel(position, [tap / window.kernel[1], tap % window.kernel[1]]) {
            Some(pixel) => widen(&args.src[pixel * c..][..c], wide),
            None => {
                for wide in wide.chunks_exact_mut(2) {
                    wide.copy_from_slice(&i16::from(args.input_zero_point).to_ne_bytes());
                }
            }
        }
    }
    end.fill(0);
}
