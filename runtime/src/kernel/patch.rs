//! The numbers under a sliding window, as the stretches in which they lie in the picture.

use crate::kernel::{ConvS8, Window};

/// A piece of a patch.
pub(crate) enum Piece<'a, T = i8> {
    /// Numbers of the picture.
    Inside(&'a [T]),
    /// So many numbers outside, which read the zero point.
    Outside(usize),
}

/// Calls `take` with the pieces of the patch of output `position`, in the order of the weights: by row of the window one
/// piece, or one before, one inside and one behind the picture.
#[inline]
pub(crate) fn pieces(args: &ConvS8<'_>, position: [usize; 2], take: impl FnMut(Piece<'_>)) {
    pieces_of(&args.window, args.in_channels, args.src, position, take);
}

/// The same of a picture `src` (H, W, c) of any numbers.
#[inline]
pub(crate) fn pieces_of<T>(
    window: &Window,
    c: usize,
    src: &[T],
    position: [usize; 2],
    mut take: impl FnMut(Piece<'_, T>),
) {
    let [height, width] = window.kernel;
    if window.dilation[1] != 1 {
        for tap in 0..height * width {
            take(match window.pixel(position, [tap / width, tap % width]) {
                Some(pixel) => Piece::Inside(&src[pixel * c..][..c]),
                None => Piece::Outside(c),
            });
        }
        return;
    }
    // Taps across that lie left of the picture, and those before its right edge.
    let start = position[1] * window.stride[1];
    let left = window.padding[1].saturating_sub(start).min(width);
    let end = (window.input[1] + window.padding[1])
        .saturating_sub(start)
        .clamp(left, width);
    for tap in 0..height {
        let Some(y) = window.coordinate(0, position[0], tap) else {
            take(Piece::Outside(width * c));
            continue;
        };
        if left > 0 {
            take(Piece::Outside(left * c));
        }
        if end > left {
            let first = y * window.input[1] + start + left - window.padding[1];
            take(Piece::Inside(&src[first * c..][..(end - left) * c]));
        }
        if end < width {
            take(Piece::Outside((width - end) * c));
        }
    }
}
