//! Addresses of the taps of a depthwise window: one table for all windows inside the picture, another one for each at its
//! border.

use crate::kernel::DepthwiseConvS8;

/// Taps that fit the stack; a window with more is left to the scalar kernel.
pub(super) const MAX_TAPS: usize = 64;
/// Zero points that stand for the channels of a tap outside the picture.
const OUTSIDE_BYTES: usize = 16;

/// An address, and a mask for the offset that is to be added: none of it for a tap outside the picture.
pub(super) type Tap = [usize; 2];

/// The tables.
pub(super) struct Taps {
    count: usize,
    /// Of the source.
    start: usize,
    /// In a window that begins at the first pixel.
    inside: [Tap; MAX_TAPS],
    /// In a window at the border.
    border: [Tap; MAX_TAPS],
    outside: [i8; OUTSIDE_BYTES],
}

impl Taps {
    /// Of a window; `None` where it has no taps or too many, or where a slice is shorter than its shape.
    pub(super) fn new(args: &DepthwiseConvS8<'_>) -> Option<Self> {
        let [height, width] = args.window.kernel;
        let count = height.checked_mul(width)?;
        let pixels = args.window.input[0].checked_mul(args.window.input[1])?;
        let sound = (1..=MAX_TAPS).contains(&count)
            && pixels > 0
            && args.src.len() >= pixels.checked_mul(args.channels)?
            && args.weights.len() >= count.checked_mul(args.channels)?;
        if !sound {
            return None;
        }
        let start = args.src.as_ptr().expose_provenance();
        let mut inside = [[start, usize::MAX]; MAX_TAPS];
        let dilation = args.window.dilation;
        for (tap, entry) in inside[..count].iter_mut().enumerate() {
            let down = tap / width * dilation[0] * args.window.input[1];
            entry[0] = start.wrapping_add((down + tap % width * dilation[1]) * args.channels);
        }
        Some(Self {
            count,
            start,
            inside,
            border: inside,
            outside: [args.input_zero_point; OUTSIDE_BYTES],
        })
    }

    /// The table for the output at `position`, and an offset. Each address with the offset, masked, is that of the channels
    /// of a pixel of the picture, or of [`OUTSIDE_BYTES`] zero points.
    #[inline]
    pub(super) fn at(
        &mut self,
        args: &DepthwiseConvS8<'_>,
        position: [usize; 2],
    ) -> (&[Tap; MAX_TAPS], usize) {
        let [height, width] = args.window.kernel;
        let first = args.window.pixel(position, [0, 0]);
        let last = args.window.pixel(position, [height - 1, width - 1]);
        match (first, last) {
            (Some(first), Some(_)) => (&self.inside, first * args.channels),
            _ => {
                self.fill_border(args, position);
                (&self.border, 0)
            }
        }
    }

    #[inline(never)]
    fn fill_border(&mut self, args: &DepthwiseConvS8<'_>, position: [usize; 2]) {
        let width = args.window.kernel[1];
        let outside = (&raw const self.outside).expose_provenance();
        for (tap, entry) in self.border[..self.count].iter_mut().enumerate() {
            *entry = match args.window.pixel(position, [tap / width, tap % width]) {
                Some(pixel) => [self.start + pixel * args.channels, usize::MAX],
                None => [outside, 0],
            };
        }
    }
}
