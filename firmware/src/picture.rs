//! One picture on its way from chunks of bytes to the input of the model.

use pinhole_protocol::{Begin, PixelLayout};
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::preprocess::{
    InputError, InputGeometry, MAX_SOURCE_SIDE, PixelFormat, Preprocessor, RowSink,
};
use zerocopy::IntoBytes;

/// Joins chunks to rows and pushes each row into the preprocessing. A row that lies whole in a chunk is not copied.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    preprocessor: Preprocessor<'a>,
    /// A row that has begun in an earlier chunk.
    row: &'a mut [u8], // (row_bytes)
    row_filled: usize,
    received: u32,
    bytes: u32,
}

impl<'a> Picture<'a> {
    /// A picture of which nothing came yet; `scratch` holds one row and what the preprocessing needs.
    pub(crate) fn new(
        kernels: &'a dyn Kernels,
        begin: &Begin,
        geometry: &InputGeometry,
        scratch: &'a mut [u32],
    ) -> Result<Self, InputError> {
        let (width, height) = (begin.width, begin.height);
        let sides = 1..=MAX_SOURCE_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(InputError::SourceSize { width, height });
        }
        let format = format(begin.layout);
        let row_bytes = width as usize * format.bytes_per_pixel();
        let bytes = u32::try_from(row_bytes as u64 * u64::from(height))
            .map_err(|_| InputError::SourceSize { width, height })?;
        let row_words = row_bytes.div_ceil(size_of::<u32>());
        let needed = Preprocessor::scratch_len(geometry, width, height)? as u64 + row_words as u64;
        let given = scratch.len();
        let (row, scratch) = scratch
            .split_at_mut_checked(row_words)
            .filter(|_| needed <= given as u64)
            .ok_or(InputError::ScratchTooSmall { needed, given })?;
        Ok(Self {
            preprocessor: Preprocessor::new(kernels, geometry, width, height, format, scratch)?,
            row: row.as_mut_bytes().get_mut(..row_bytes).unwrap_or_default(),
            row_filled: 0,
            received: 0,
            bytes,
        })
    }

    /// Bytes that came.
    pub(crate) fn received(&self) -> u32 {
        self.received
    }

    /// Bytes that the picture has.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Takes the next bytes.
    pub(crate) fn push(
        &mut self,
        mut chunk: &[u8],
        sink: &mut dyn RowSink,
    ) -> Result<(), InputError> {
        self.received = self.received.saturating_add(chunk.len() as u32);
        while !chunk.is_empty() {
            let missing = self.row.len() - self.row_filled;
            let (part, rest) = chunk.split_at(chunk.len().min(missing));
            if part.len() == self.row.len() {
                self.preprocessor.push_row(part, sink)?;
            } else {
                self.fill(part, sink)?;
            }
            chunk = rest;
        }
        Ok(())
    }

    /// All rows came.
    pub(crate) fn finish(self, sink: &mut dyn RowSink) -> Result<(), InputError> {
        self.preprocessor.finish(sink)
    }

    fn fill(&mut self, part: &[u8], sink: &mut dyn RowSink) -> Result<(), InputError> {
        let end = self.row_filled + part.len();
        if let Some(place) = self.row.get_mut(self.row_filled..end) {
            place.copy_from_slice(part);
        }
        self.row_filled = end;
        if self.row_filled == self.row.len() {
            self.row_filled = 0;
            self.preprocessor.push_row(self.row, sink)?;
        }
        Ok(())
    }
}

fn format(layout: PixelLayout) -> PixelFormat {
    match layout {
        PixelLayout::Rgb888 => PixelFormat::Rgb888,
        PixelLayout::Rgb565 => PixelFormat::Rgb565,
        PixelLayout::Rgb565Be => PixelFormat::Rgb565Be,
        PixelLayout::Grey8 => PixelFormat::Grey8,
    }
}
