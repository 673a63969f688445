//! From rows of camera pixels to the input tensor of a model: bicubic resize with antialiasing, centre crop, normalisation.
//!
//! The result equals, sample for sample, what Pillow's `Image.resize(size, BICUBIC)` and torchvision's
//! `Resize(resize_shorter)`, `CenterCrop((height, width))` give for 8-bit RGB, because encoders are trained behind those;
//! filter and arithmetic are described in `axis.rs`, and `runtime/tests/golden/make_resize.py` makes the golden pictures.
//! The one exception: Pillow 13 and later swap the two passes for some pictures that are about twice as high as wide or
//! higher, and this module keeps the order that all earlier versions had.
//!
//! Rows are pushed from the top to the bottom and finished rows leave through a [`RowSink`]; there is no frame buffer. Each
//! source row that matters is resampled horizontally, in the columns that survive the crop, to 8 bits. Vertically the
//! smaller of two forms is used: a ring of the rows that one output reads, or, for a strong reduction, five rows of i32
//! sums, since a source row then reaches at most five outputs. Integer sums do not depend on their order, so that both
//! forms give the same bits. The memory therefore depends on the width of the output and on the width of the source (its
//! horizontal weights), and not on the height of the source.
//!
//! Colours are converted row by row on the way in ([`PixelFormat`]); a Bayer mosaic goes through [`Demosaic`] first. Not here:
//! JPEG.

mod axis;
mod demosaic;
mod error;
mod pixel;
mod quantise;

use axis::Axis;
use zerocopy::{FromBytes, IntoBytes};

use crate::kernel::Kernels;
use crate::kernel::resample::{CHANNELS, ROUNDING, ResampleColumnsU8, ResampleRowU8, clip8};

pub use demosaic::{BayerPattern, Demosaic};
pub use error::InputError;
pub use pixel::{PixelFormat, rgb565_to_rgb, yuv_to_rgb};
pub use quantise::{F32Sink, S8Sink, quantisation_table};

/// Longest side of a source picture, in pixels.
pub const MAX_SOURCE_SIDE: u32 = 65_535;

/// Open output rows at any time when the picture shrinks: output `y + 5` starts at `center + 3 * scale`, which is past the
/// end of output `y` at `center + 2 * scale`.
const OPEN_ROWS: usize = 5;

/// Pixels of other formats than RGB888 that are converted before they are resampled.
const TILE_PIXELS: usize = 256;

/// What a model expects of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputGeometry {
    /// Width of the input tensor.
    pub width: u16,
    /// Height of the input tensor.
    pub height: u16,
    /// The shorter side of the picture is resized to this, then the middle `width` x `height` is cut out.
    ///
    /// Where the resized picture is smaller than that, it is padded with black.
    pub resize_shorter: u16,
    /// Mean of red, green and blue, for pixels in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
}

impl InputGeometry {
    /// Checks that no side is zero and that the normalisation divides by a positive finite number.
    ///
    /// # Errors
    /// [`InputError::EmptyGeometry`], [`InputError::BadNormalisation`].
    pub fn check(&self) -> Result<(), InputError> {
        if self.width == 0 || self.height == 0 || self.resize_shorter == 0 {
            return Err(InputError::EmptyGeometry {
                width: self.width,
                height: self.height,
                resize_shorter: self.resize_shorter,
            });
        }
        for (channel, (mean, std)) in (0u8..).zip(self.mean.iter().zip(&self.std)) {
            if !(mean.is_finite() && std.is_finite() && *std > 0.0) {
                return Err(InputError::BadNormalisation { channel });
            }
        }
        Ok(())
    }
}

/// Receives the finished rows.
pub trait RowSink {
    /// Row `y` of the cropped picture, `width * 3` bytes of RGB; called once for each y in `0..height`, in order.
    fn row(&mut self, y: usize, rgb: &[u8]);
}

/// How the vertical pass keeps what it still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vertical {
    /// A ring of the last horizontally resampled rows.
    Ring,
    /// Partial sums of the open output rows.
    Sums,
}

/// The two axes of a resize and the words of scratch that each part takes.
#[derive(Clone, Copy, Debug)]
struct Plan {
    columns: Axis,
    rows: Axis,
    vertical: Vertical,
    /// Bytes of one horizontally resampled row.
    row_bytes: usize,
    out_row_bytes: usize,
    out_height: usize,
}

impl Plan {
    fn new(geometry: &InputGeometry, width: u32, height: u32) -> Result<Self, InputError> {
        geometry.check()?;
        let sides = 1..=MAX_SOURCE_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(InputError::SourceSize { width, height });
        }
        let shorter = u64::from(geometry.resize_shorter);
        let (short, long) = (u64::from(width.min(height)), u64::from(width.max(height)));
        let longer = shorter * long / short;
        let (resized_width, resized_height) = if width <= height {
            (shorter, longer)
        } else {
            (longer, shorter)
        };
        let columns = Axis::new(width, resized_width, geometry.width);
        let rows = Axis::new(height, resized_height, geometry.height);
        let mut plan = Self {
            columns,
            rows,
            vertical: Vertical::Ring,
            row_bytes: columns.count * CHANNELS,
            out_row_bytes: usize::from(geometry.width) * CHANNELS,
            out_height: usize::from(geometry.height),
        };
        let sums = Self {
            vertical: Vertical::Sums,
            ..plan
        };
        if !rows.grows() && sums.scratch_words() < plan.scratch_words() {
            plan = sums;
        }
        Ok(plan)
    }

    /// Words of the part that belongs to the vertical pass.
    fn vertical_words(&self) -> u64 {
        let row_bytes = self.row_bytes as u64;
        let taps = self.rows.taps as u64;
        match self.vertical {
            Vertical::Ring => (row_bytes * taps).div_ceil(4) + taps,
            Vertical::Sums => OPEN_ROWS as u64 * row_bytes + row_bytes.div_ceil(4),
        }
    }

    fn coefficient_words(&self) -> u64 {
        self.columns.count as u64 * self.columns.taps as u64
    }

    fn scratch_words(&self) -> u64 {
        self.columns.count as u64 * 2
            + self.coefficient_words()
            + (self.out_row_bytes as u64).div_ceil(4)
            + self.vertical_words()
    }
}

/// Resizes and crops one picture, row by row.
///
/// After `height` rows and [`Preprocessor::finish`] the sink has seen every output row.
#[derive(Debug)]
pub struct Preprocessor<'a> {
    kernels: &'a dyn Kernels,
    plan: Plan,
    format: PixelFormat,
    source_row_bytes: usize,
    source_height: u32,
    rows_pushed: u32,
    /// The first computed output row that has not left yet, without padding.
    next_row: usize,
    /// Sum of the weights of each open output row, at `row % OPEN_ROWS`; for [`Vertical::Sums`].
    weight_sums: [f64; OPEN_ROWS],
    columns: Columns<'a>,
    out_row: &'a mut [u8], // (width, 3)
    /// Ring: the rows at `row % taps`, (taps, columns, 3). Sums: the row being added, (columns, 3).
    rows: &'a mut [u8],
    /// Ring: the weights of the row being computed, (taps). Sums: (OPEN_ROWS, columns, 3) at `row % OPEN_ROWS`.
    sums: &'a mut [i32],
}

/// The horizontal weights.
#[derive(Debug)]
struct Columns<'a> {
    taps: usize,
    spans: &'a [[u32; 2]], // (columns): start and length in source pixels
    weights: &'a [i32],    // (columns, taps)
}

impl<'a> Preprocessor<'a> {
    /// Words of scratch that [`Preprocessor::new`] needs for a picture of this size.
    ///
    /// # Errors
    /// When the geometry or the size is out of range, or the number does not fit the address space.
    pub fn scratch_len(
        geometry: &InputGeometry,
        src_width: u32,
        src_height: u32,
    ) -> Result<usize, InputError> {
        let needed = Plan::new(geometry, src_width, src_height)?.scratch_words();
        usize::try_from(needed)
            .ok()
            .filter(|words| *words <= isize::MAX as usize / 4)
            .ok_or(InputError::ScratchTooSmall {
                needed,
                given: isize::MAX as usize / 4,
            })
    }

    /// A preprocessor for one picture, which `kernels` resample; computes the horizontal weights into `scratch`, whose contents
    /// do not matter.
    ///
    /// # Errors
    /// When the geometry or the size is out of range, the width is odd where `format` has its pixels in pairs, or `scratch` is
    /// shorter than [`Preprocessor::scratch_len`].
    pub fn new(
        kernels: &'a dyn Kernels,
        geometry: &InputGeometry,
        src_width: u32,
        src_height: u32,
        format: PixelFormat,
        scratch: &'a mut [u32],
    ) -> Result<Self, InputError> {
        let plan = Plan::new(geometry, src_width, src_height)?;
        Self::with_plan(kernels, plan, src_width, src_height, format, scratch)
    }

    fn with_plan(
        kernels: &'a dyn Kernels,
        plan: Plan,
        src_width: u32,
        src_height: u32,
        format: PixelFormat,
        scratch: &'a mut [u32],
    ) -> Result<Self, InputError> {
        let multiple = format.width_multiple();
        if !src_width.is_multiple_of(multiple) {
            return Err(InputError::WidthMultiple {
                multiple,
                found: src_width,
            });
        }
        let given = scratch.len();
        let needed = plan.scratch_words();
        let too_small = InputError::ScratchTooSmall { needed, given };
        let mut rest = Scratch(scratch);
        let spans = rest.words(plan.columns.count as u64 * 2).ok_or(too_small)?;
        let coefficients = rest.sums(plan.coefficient_words()).ok_or(too_small)?;
        let out_row = rest.bytes(plan.out_row_bytes as u64).ok_or(too_small)?;
        let (row_count, sum_count) = match plan.vertical {
            Vertical::Ring => (plan.rows.taps as u64, plan.rows.taps as u64),
            Vertical::Sums => (1, OPEN_ROWS as u64 * plan.row_bytes as u64),
        };
        let rows = rest
            .bytes(plan.row_bytes as u64 * row_count)
            .ok_or(too_small)?;
        let sums = rest.sums(sum_count).ok_or(too_small)?;
        out_row.fill(0);
        Ok(Self {
            kernels,
            plan,
            format,
            source_row_bytes: src_width as usize * format.bytes_per_pixel(),
            source_height: src_height,
            rows_pushed: 0,
            next_row: 0,
            weight_sums: [0.0; OPEN_ROWS],
            columns: Columns::new(&plan.columns, spans, coefficients),
            out_row,
            rows,
            sums,
        })
    }

    /// Takes the next row of the picture and gives the sink every output row that it completes.
    ///
    /// # Errors
    /// When the row has the wrong length or comes after the last one; the state is then unchanged.
    pub fn push_row(&mut self, row: &[u8], sink: &mut dyn RowSink) -> Result<(), InputError> {
        if row.len() != self.source_row_bytes {
            return Err(InputError::RowLength {
                expected: self.source_row_bytes,
                found: row.len(),
            });
        }
        if self.rows_pushed == self.source_height {
            return Err(InputError::TooManyRows {
                expected: self.source_height,
            });
        }
        if self.rows_pushed == 0 {
            // The output row is still black.
            for y in 0..self.plan.rows.padding {
                sink.row(y, self.out_row);
            }
        }
        let source_row = self.rows_pushed;
        self.rows_pushed += 1;
        let waits_for_this = |next| self.plan.rows.window(next).start <= source_row;
        if self.next_row < self.plan.rows.count && waits_for_this(self.next_row) {
            match self.plan.vertical {
                Vertical::Ring => self.push_to_ring(source_row, row, sink),
                Vertical::Sums => self.push_to_sums(source_row, row, sink),
            }
        }
        Ok(())
    }

    /// Ends the picture: gives the sink the padding below it.
    ///
    /// # Errors
    /// [`InputError::RowsMissing`] when rows are missing.
    pub fn finish(self, sink: &mut dyn RowSink) -> Result<(), InputError> {
        if self.rows_pushed != self.source_height {
            return Err(InputError::RowsMissing {
                expected: self.source_height,
                found: self.rows_pushed,
            });
        }
        self.out_row.fill(0);
        for y in self.plan.rows.padding + self.plan.rows.count..self.plan.out_height {
            sink.row(y, self.out_row);
        }
        Ok(())
    }

    fn push_to_ring(&mut self, source_row: u32, row: &[u8], sink: &mut dyn RowSink) {
        let axis = &self.plan.rows;
        let slot = source_row as usize % axis.taps;
        if let Some(slot) = self.rows.chunks_exact_mut(self.plan.row_bytes).nth(slot) {
            self.columns.resample(self.kernels, self.format, row, slot);
        }
        while self.next_row < axis.count {
            let window = axis.window(self.next_row);
            if window.end() > source_row + 1 {
                break;
            }
            axis.coefficients(&window, self.sums);
            let start = self.plan.columns.padding * CHANNELS;
            let out = self
                .out_row
                .get_mut(start..start + self.plan.row_bytes)
                .unwrap_or_default();
            self.kernels.resample_columns_u8(ResampleColumnsU8 {
                ring: self.rows,
                first: window.start as usize % axis.taps,
                weights: self.sums.get(..window.len as usize).unwrap_or_default(),
                dst: out,
            });
            sink.row(axis.padding + self.next_row, self.out_row);
            self.next_row += 1;
        }
    }

    fn push_to_sums(&mut self, source_row: u32, row: &[u8], sink: &mut dyn RowSink) {
        let axis = &self.plan.rows;
        self.columns
            .resample(self.kernels, self.format, row, self.rows);
        for output in self.next_row..axis.count {
            let window = axis.window(output);
            if window.start > source_row {
                break;
            }
            let slot = output % OPEN_ROWS;
            let Some(sums) = self.sums.chunks_exact_mut(self.plan.row_bytes).nth(slot) else {
                break;
            };
            if window.start == source_row {
                sums.fill(ROUNDING);
                self.weight_sums[slot] = axis.weight_sum(&window);
            }
            let coefficient =
                axis.coefficient(&window, self.weight_sums[slot], source_row - window.start);
            self.kernels.add_weighted_u8(coefficient, self.rows, sums);
            if window.end() == source_row + 1 {
                let start = self.plan.columns.padding * CHANNELS;
                let out = self.out_row.get_mut(start..start + sums.len());
                self.kernels.clip_sums_u8(sums, out.unwrap_or_default());
                sink.row(axis.padding + output, self.out_row);
                self.next_row = output + 1;
            }
        }
    }
}

impl<'a> Columns<'a> {
    /// Computes the weights of every column of `axis` into the slices given for them.
    fn new(axis: &Axis, spans: &'a mut [u32], weights: &'a mut [i32]) -> Self {
        let spans = spans.as_chunks_mut::<2>().0;
        let per_column = spans.iter_mut().zip(weights.chunks_exact_mut(axis.taps));
        for (index, (span, weights)) in per_column.enumerate() {
            let window = axis.window(index);
            *span = [window.start, window.len];
            weights.fill(0);
            axis.coefficients(&window, weights);
        }
        Self {
            taps: axis.taps,
            spans,
            weights,
        }
    }

    /// Resamples one source row to `dst`, shape (columns, 3).
    fn resample(&self, kernels: &dyn Kernels, format: PixelFormat, row: &[u8], dst: &mut [u8]) {
        match format {
            PixelFormat::Rgb888 => self.resample_rgb(kernels, 0, row, 0, dst),
            _ => self.resample_tiles(kernels, format, row, dst),
        }
    }

    /// Resamples the columns from `column` on, as many as `dst` has, from pixels that begin with pixel `first` of the row.
    fn resample_rgb(
        &self,
        kernels: &dyn Kernels,
        first: u32,
        src: &[u8],
        column: usize,
        dst: &mut [u8],
    ) {
        let columns = column..column + dst.len() / CHANNELS;
        let weights = columns.start * self.taps..columns.end * self.taps;
        kernels.resample_row_u8(ResampleRowU8 {
            src,
            first,
            spans: self.spans.get(columns).unwrap_or_default(),
            taps: self.taps,
            weights: self.weights.get(weights).unwrap_or_default(),
            dst,
        });
    }

    /// Converts a tile of the row at a time and resamples the columns whose spans lie in it.
    fn resample_tiles(
        &self,
        kernels: &dyn Kernels,
        format: PixelFormat,
        row: &[u8],
        dst: &mut [u8],
    ) {
        let mut tile = [0; TILE_PIXELS * CHANNELS];
        let mut column = 0;
        while let Some(&[first, _]) = self.spans.get(column) {
            let end = first + TILE_PIXELS as u32;
            let spans = self.spans.iter().skip(column);
            let count = spans.take_while(|[start, len]| start + len <= end).count();
            let part = column * CHANNELS..(column + count.max(1)) * CHANNELS;
            let dst = dst.get_mut(part).unwrap_or_default();
            if count == 0 {
                self.resample_wide(format, row, column, dst);
            } else {
                format.to_rgb(row, first as usize, tile.as_chunks_mut().0);
                self.resample_rgb(kernels, first, &tile, column, dst);
            }
            column += count.max(1);
        }
    }

    /// Resamples one column whose span is longer than a tile.
    fn resample_wide(&self, format: PixelFormat, row: &[u8], column: usize, dst: &mut [u8]) {
        let span = self.spans.get(column).copied().unwrap_or_default();
        let [first, len] = span.map(|pixels| pixels as usize);
        let weights = column * self.taps..column * self.taps + len;
        let weights = self.weights.get(weights).unwrap_or_default();
        let mut tile = [[0; CHANNELS]; TILE_PIXELS];
        let mut sums = [ROUNDING; CHANNELS];
        for (index, weights) in weights.chunks(TILE_PIXELS).enumerate() {
            format.to_rgb(row, first + index * TILE_PIXELS, &mut tile);
            for (pixel, &weight) in tile.iter().zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(weight.wrapping_mul(sample.into()));
                }
            }
        }
        for (dst, sum) in dst.iter_mut().zip(sums) {
            *dst = clip8(sum);
        }
    }
}

/// The unused rest of the scratch, which typed parts are cut from.
struct Scratch<'a>(&'a mut [u32]);

impl<'a> Scratch<'a> {
    fn words(&mut self, count: u64) -> Option<&'a mut [u32]> {
        let count = usize::try_from(count).ok()?;
        let (taken, rest) = core::mem::take(&mut self.0).split_at_mut_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn sums(&mut self, count: u64) -> Option<&'a mut [i32]> {
        <[i32]>::mut_from_bytes(self.words(count)?.as_mut_bytes()).ok()
    }

    fn bytes(&mut self, count: u64) -> Option<&'a mut [u8]> {
        let bytes = self.words(count.div_ceil(4))?.as_mut_bytes();
        bytes.get_mut(..usize::try_from(count).ok()?)
    }
}

#[cfg(test)]
mod tests;
