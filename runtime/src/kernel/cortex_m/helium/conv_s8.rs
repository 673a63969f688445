//! Integer 2-D convolution: patches of three output pixels are laid out in scratch, then multiplied as in
//! [`super::gemm_s8`].

use core::arch::asm;

use zerocopy::IntoBytes;

use super::gemm_s8::{Product, ROWS};
use crate::kernel::patch::{Piece, pieces};
use crate::kernel::{ConvS8, scalar};

/// See [`ConvS8`].
pub(super) fn conv_s8(mut args: ConvS8<'_>) {
    let window = args.window;
    let k = window.kernel[0] * window.kernel[1] * args.in_channels;
    let limits = args.dst.limits();
    let product = Product::new(k, args.out_channels, args.weights, args.requantize, limits);
    let Some(product) = product.filter(|_| args.scratch.len() >= ROWS * k) else {
        return scalar::conv_s8(args);
    };
    let mut dst = core::mem::take(&mut args.dst);
    let rows = window.output[0] * window.output[1];
    if window.is_pointwise() {
        return product.run(&args.src[..rows * k], 0, rows, &mut dst);
    }
    let scratch = as_i8(core::mem::take(&mut args.scratch));
    for row in (0..rows).step_by(ROWS) {
        let count = (rows - row).min(ROWS);
        for (index, patch) in scratch.chunks_exact_mut(k).take(count).enumerate() {
            let row = row + index;
            let position = [row / window.output[1], row % window.output[1]];
            let mut done = 0;
            pieces(&args, position, |piece| match piece {
                Piece::Inside(bytes) => {
                    copy(
                        patch[done..][..bytes.len()].as_mut_bytes(),
                        bytes.as_bytes(),
                    );
                    done += bytes.len();
                }
                Piece::Outside(len) => {
                    patch[done..][..len].fill(args.input_zero_point);
                    done += len;
                }
            });
        }
        product.run(&scratch[..count * k], row, count, &mut dst);
    }
}

/// `dst = src`, without the way to `memcpy` that short pieces do not pay for.
#[inline(always)]
pub(super) fn copy(dst: &mut [u8], src: &[u8]) {
    let len = dst.len().min(src.len());
    // SAFETY: Reads and writes `len` bytes, which both slices have; the loop masks lanes beyond, and does not run for
    // 0.
    unsafe {
        asm!(
            "wlstp.8 lr, lr, 3f",
            "2:",
            "vldrb.u8 q0, [{src}], #16",
            "vstrb.8 q0, [{dst}], #16",
            "letp lr, 2b",
            "3:",
            inout("lr") len => _,
            src = inout(reg) src.as_ptr() => _, dst = inout(reg) dst.as_mut_ptr() => _,
            out("d0") _, out("d1") _,
            options(nostack)
        );
    }
}

fn as_i8(bytes: &mut [u8]) -> &mut [i8] {
    // SAFETY: Every byte is an `i8`.
    let (_, bytes, _) = unsafe { bytes.align_to_mut() };
    bytes
}
