//! Integer 2-D convolution: patches of 8 output pixels are laid out as rows in scratch, then multiplied as in
//! [`super::gemm_s8`].

use core::arch::x86_64::*;

use super::super::attention::signed;
use super::dot_tile::raise;
use super::gemm_s8::{Outputs, Product, tile_rows};
use super::memory::{load_i8, load_i8x16, store_i8, store_i8x16};
use crate::kernel::packing::{BLOCK_CHANNELS, GROUP_INPUTS};
use crate::kernel::{ConvS8, scalar};

/// See [`ConvS8`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) fn conv_s8(mut args: ConvS8<'_>) {
    let Some(outputs) = Outputs::new(&args.requantize, &args.dst) else {
        return scalar::conv_s8(args);
    };
    let mut dst = core::mem::take(&mut args.dst);
    let k = args.window.kernel[0] * args.window.kernel[1] * args.in_channels;
    let pitch = k.next_multiple_of(GROUP_INPUTS);
    let (n, weights, requantize) = (args.out_channels, args.weights, args.requantize);
    let product = Product {
        k,
        n,
        weights,
        requantize,
        outputs,
    };
    let rows = args.window.output[0] * args.window.output[1];
    let across = args.window.output[1];
    for first_block in (0..n.div_ceil(BLOCK_CHANNELS)).step_by(super::gemm_s8::CHUNK_BLOCKS) {
        let chunk = product.chunk(first_block);
        let (mut row, mut position) = (0, [0, 0]);
        while row < rows {
            let tile = tile_rows(rows - row);
            for index in 0..tile {
                lay_out_patch(&mut args, position, index * pitch);
                position = match position {
                    [y, x] if x + 1 < across => [y, x + 1],
                    [y, _] => [y + 1, 0],
                };
            }
            product.tile(&chunk, args.scratch, tile, &mut dst, row);
            row += tile;
        }
    }
}

/// Writes the patch of the output pixel at `position`, raised by 128, to scratch from `start` on, in ascending order; may
/// write on, over what the next patch overwrites, what meets zero weights, or what lies behind the last patch.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn lay_out_patch(args: &mut ConvS8<'_>, position: [usize; 2], start: usize) {
    let (window, c) = (&args.window, args.in_channels);
    let [height, width] = window.kernel;
    let scratch = signed(&mut args.scratch[start..]);
    let first = window.coordinate(1, position[1], 0);
    let last = window.coordinate(1, position[1], width - 1);
    // The first column, where all of them are inside the picture and side by side.
    let dense = first.filter(|_| window.dilation[1] == 1 && last.is_some());
    for ky in 0..height {
        let taps = &mut scratch[ky * width * c..];
        if let (Some(y), Some(x)) = (window.coordinate(0, position[0], ky), dense) {
            let pixel = y * window.input[1] + x;
            copy(taps, &args.src[pixel * c..], width * c);
            continue;
        }
        for (kx, tap) in taps[..width * c].chunks_exact_mut(c).enumerate() {
            match window.pixel(position, [ky, kx]) {
                Some(pixel) => {
                    for (to, &from) in tap.iter_mut().zip(&args.src[pixel * c..][..c]) {
                        *to = from ^ i8::MIN;
                    }
                }
                None => tap.fill(args.input_zero_point ^ i8::MIN),
            }
        }
    }
}

/// Copies the first `len` bytes of `src`, raised by 128, to the start of `dst`, where up to 63 bytes beyond them may be
/// overwritten.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn copy(dst: &mut [i8], src: &[i8], len: usize) {
    if let (..=16, Some(src), Some(dst)) = (len, src.get(..16), dst.get_mut(..16)) {
        return store_i8x16(dst, _mm_xor_si128(load_i8x16(src), _mm_set1_epi8(i8::MIN)));
    }
    for (index, bytes) in src[..len].chunks(64).enumerate() {
        let dst = &mut dst[index * 64..];
        if dst.len() >= 64 {
            store_i8(dst, raise(load_i8(bytes)));
        } else {
            store_i8(&mut dst[..bytes.len()], raise(load_i8(bytes)));
        }
    }
}
