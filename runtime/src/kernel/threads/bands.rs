//! How the output of an operation is cut: where bands begin, what is worth it, and what of its operands a band has.

use core::ops::Range;

use super::{ELEMENTS_UNIT, Threads};
use crate::kernel::{Columns, DstS8, SrcS16, TILE_ROWS, Window};

impl Threads {
    /// Calls `body` for bands of `rows`, with the stretch of `dst` that each owns: `per_row` elements a row.
    ///
    /// Bands begin at multiples of `unit`; there are as many as threads, or fewer.
    pub(super) fn bands<D: Divide>(
        &self,
        rows: usize,
        unit: usize,
        per_row: usize,
        dst: D,
        body: impl Fn(Range<usize>, D) + Sync,
    ) {
        let units = rows / unit;
        let count = self.count().min(units).max(1);
        self.pool.scope(|scope| {
            let (body, mut rest, mut start) = (&body, dst, 0);
            for band in 1..count {
                let end = band * units / count * unit;
                let (own, others) = rest.divide((end - start) * per_row);
                scope.spawn(move |_| body(start..end, own));
                (rest, start) = (others, end);
            }
            body(start..rows, rest);
        });
    }

    /// Whether a product of `macs` over `rows` is worth it.
    pub(super) fn cuts_product(&self, rows: usize, macs: usize) -> bool {
        self.count() > 1 && rows >= 2 * TILE_ROWS && macs >= self.least_macs
    }

    /// Whether `len` elements are.
    pub(super) fn cuts_elements(&self, len: usize) -> bool {
        self.count() > 1 && len >= self.least_elements.max(2 * ELEMENTS_UNIT)
    }

    /// Whether rows of an operation over `len` elements are.
    pub(super) fn cuts_rows(&self, rows: usize, len: usize) -> bool {
        self.count() > 1 && rows > 1 && len >= self.least_elements
    }

    /// Whether the rows of a picture are: a band must begin inside the input.
    pub(super) fn cuts_window(&self, window: &Window, macs: usize) -> bool {
        let last = (window.output[0].saturating_sub(1) * window.stride[0])
            .saturating_sub(window.padding[0]);
        self.count() > 1
            && window.output[0] > 1
            && macs >= self.least_macs
            && last < window.input[0]
    }
}

/// What can be cut in two at an element.
pub(super) trait Divide: Sized + Send {
    fn divide(self, at: usize) -> (Self, Self);
}

impl<T: Send> Divide for &mut [T] {
    fn divide(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

impl Divide for DstS8<'_> {
    fn divide(self, at: usize) -> (Self, Self) {
        match self {
            Self::I8(dst) => {
                let (own, rest) = dst.split_at_mut(at);
                (Self::I8(own), Self::I8(rest))
            }
            Self::I16(dst) => {
                let (own, rest) = dst.split_at_mut(at);
                (Self::I16(own), Self::I16(rest))
            }
        }
    }
}

impl SrcS16<'_> {
    /// Some of the elements.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        match *self {
            Self::I8(src) => SrcS16::I8(&src[range]),
            Self::I16(src) => SrcS16::I16(&src[range]),
        }
    }
}

impl Window {
    /// The window over the output rows `rows`, and the first input row that it may read. What lies below the band in the
    /// input stays part of it, so that taps outside the picture are the same ones.
    pub(super) fn band(&self, rows: Range<usize>) -> (Self, usize) {
        let top = rows.start * self.stride[0];
        let first = top.saturating_sub(self.padding[0]);
        let band = Self {
            input: [self.input[0] - first, self.input[1]],
            output: [rows.len(), self.output[1]],
            padding: [self.padding[0].saturating_sub(top), self.padding[1]],
            ..*self
        };
        (band, first)
    }

    /// Multiply-accumulates for each channel of input and output.
    pub(super) fn taps(&self) -> usize {
        self.output[0] * self.output[1] * self.kernel[0] * self.kernel[1]
    }
}

impl Columns<'_> {
    /// The rows of some windows of `rows` rows.
    pub(super) fn rows(&self, windows: &Range<usize>, rows: usize) -> Self {
        let row = rows * self.stride;
        Columns {
            data: &self.data[windows.start * row..windows.end * row],
            ..*self
        }
    }
}
