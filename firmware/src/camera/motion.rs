//! Motion, by the difference of two frames on a small grid of mean luminances. No frame is kept.
//!
//! A cell has changed when its mean moved by more than a threshold, after the shift that all cells share is taken off: a lamp
//! that is switched on, or a step of the exposure control, moves every cell and is not motion.

use super::test_pattern::luminance;
use super::{CameraError, Configuration, FrameFormat, FrameSize, rows_of};
use pinhole_runtime::preprocess::{PixelFormat, rgb565_to_rgb};

/// Cells of a row of the grid.
const COLUMNS: usize = 16;
/// Rows of the grid.
const ROWS: usize = 12;

/// When motion is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MotionSettings {
    /// A cell has changed when its mean luminance moved by more than this, in 0..=255.
    pub threshold: u8,
    /// Cells that have to change, of 192.
    pub cells: u16,
    /// After motion was reported, none is reported for this long.
    pub hold_off_ms: u32,
}

impl Default for MotionSettings {
    /// 12 of 255 steps in 3 cells, once a second.
    fn default() -> Self {
        Self {
            threshold: 12,
            cells: 3,
            hold_off_ms: 1000,
        }
    }
}

/// What a frame showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Motion {
    /// Cells that changed since the frame before; 0 for the first frame.
    pub changed: u16,
    /// Enough cells changed, and the hold-off is over.
    pub moved: bool,
}

/// The means of a frame and of the one before.
#[derive(Clone, Debug)]
pub struct MotionGrid {
    settings: MotionSettings,
    configuration: Option<Configuration>,
    /// Of the cells of the grid row being added.
    sums: [u32; COLUMNS],
    next_row: u32,
    current: [[u8; COLUMNS]; ROWS],
    before: Option<[[u8; COLUMNS]; ROWS]>,
    reported_ms: Option<u32>,
}

impl MotionGrid {
    /// A grid that has seen no frame.
    pub const fn new(settings: MotionSettings) -> Self {
        Self {
            settings,
            configuration: None,
            sums: [0; COLUMNS],
            next_row: 0,
            current: [[0; COLUMNS]; ROWS],
            before: None,
            reported_ms: None,
        }
    }

    /// A frame begins. One of another configuration than the last has none before it.
    ///
    /// # Errors
    /// [`CameraError::FormatNotSupported`] for JPEG, [`CameraError::SizeNotSupported`] for a frame with fewer pixels than cells or
    /// more than 4,096 a side.
    pub fn begin(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        let asked = configuration;
        if configuration.row_bytes() == 0 {
            return Err(CameraError::FormatNotSupported { asked });
        }
        let FrameSize { width, height } = configuration.size;
        // A sum of a cell stays below 2^32: 4096 / 16 * 4096 / 12 pixels of 255.
        let fits = |side: u16, cells: usize| (cells..=4096).contains(&usize::from(side));
        if !fits(width, COLUMNS) || !fits(height, ROWS) {
            return Err(CameraError::SizeNotSupported { asked });
        }
        if self.configuration != Some(configuration) {
            self.before = None;
        }
        self.configuration = Some(configuration);
        self.sums = [0; COLUMNS];
        self.next_row = 0;
        Ok(())
    }

    /// Takes a band of the frame.
    ///
    /// # Errors
    /// [`CameraError::NotConfigured`] before [`MotionGrid::begin`], [`CameraError::BandOrder`], [`CameraError::Input`].
    pub fn band(&mut self, first_row: u32, bytes: &[u8]) -> Result<(), CameraError> {
        let configuration = self.configuration.ok_or(CameraError::NotConfigured)?;
        if first_row != self.next_row {
            return Err(CameraError::BandOrder {
                expected: self.next_row,
                found: first_row,
            });
        }
        for row in rows_of(configuration, bytes)? {
            self.add_row(configuration, row);
        }
        Ok(())
    }

    /// The frame is complete; `now_ms` is a clock that may wrap.
    ///
    /// An incomplete frame gives no motion and leaves the frame before it in its place.
    pub fn end(&mut self, now_ms: u32) -> Motion {
        let rows = self.configuration.map(Configuration::rows);
        if rows != Some(self.next_row) {
            return Motion::default();
        }
        let before = self.before.replace(self.current);
        let changed = before.map_or(0, |before| self.changed_since(&before));
        let since = self.reported_ms.map(|then| now_ms.wrapping_sub(then));
        let held = since.is_some_and(|since| since < self.settings.hold_off_ms);
        let moved = before.is_some() && changed >= self.settings.cells.max(1) && !held;
        if moved {
            self.reported_ms = Some(now_ms);
        }
        Motion { changed, moved }
    }

    /// Mean luminances of the last frame, from the top left; of a mosaic the means of its samples.
    pub fn means(&self) -> &[[u8; COLUMNS]; ROWS] {
        &self.current
    }

    fn add_row(&mut self, configuration: Configuration, row: &[u8]) {
        let FrameSize { width, height } = configuration.size;
        let (width, height) = (usize::from(width), usize::from(height));
        let y = self.next_row as usize;
        if y >= height {
            return;
        }
        for (column, sum) in self.sums.iter_mut().enumerate() {
            let pixels = column * width / COLUMNS..(column + 1) * width / COLUMNS;
            *sum += luminance_sum(configuration.format, row, pixels);
        }
        self.next_row += 1;
        // The row of cells `g` holds the rows from `g * height / ROWS` to before `(g + 1) * height / ROWS`.
        let grid_row = ((y + 1) * ROWS).div_ceil(height) - 1;
        if (grid_row + 1) * height / ROWS != y + 1 {
            return;
        }
        let top = grid_row * height / ROWS;
        let Some(means) = self.current.get_mut(grid_row) else {
            return;
        };
        for (column, (mean, sum)) in means.iter_mut().zip(&mut self.sums).enumerate() {
            let columns = (column + 1) * width / COLUMNS - column * width / COLUMNS;
            let count = (columns * (y + 1 - top)) as u32;
            *mean = (*sum / count.max(1)) as u8;
            *sum = 0;
        }
    }

    fn changed_since(&self, before: &[[u8; COLUMNS]; ROWS]) -> u16 {
        let shifts = || {
            let pairs = self.current.iter().flatten().zip(before.iter().flatten());
            pairs.map(|(now, then)| i32::from(*now) - i32::from(*then))
        };
        let common = shifts().sum::<i32>() / (COLUMNS * ROWS) as i32;
        let threshold = i32::from(self.settings.threshold);
        shifts()
            .filter(|shift| (shift - common).abs() > threshold)
            .count() as u16
    }
}

fn luminance_sum(format: FrameFormat, row: &[u8], pixels: core::ops::Range<usize>) -> u32 {
    let bytes = format.bytes_per_pixel();
    let part = row.get(pixels.start * bytes..pixels.end * bytes);
    let part = part.unwrap_or_default();
    let every = |first: usize, step: usize| {
        let bytes = part.iter().skip(first).step_by(step);
        bytes.map(|byte| u32::from(*byte)).sum()
    };
    let words = |to_u16: fn([u8; 2]) -> u16| {
        let words = part.as_chunks().0.iter();
        let pixels = words.map(|word| luminance(rgb565_to_rgb(to_u16(*word))));
        pixels.map(u32::from).sum()
    };
    match format {
        FrameFormat::Pixels(PixelFormat::Rgb888) => {
            let pixels = part.as_chunks().0.iter();
            pixels.map(|rgb| u32::from(luminance(*rgb))).sum()
        }
        FrameFormat::Pixels(PixelFormat::Rgb565) => words(u16::from_le_bytes),
        FrameFormat::Pixels(PixelFormat::Rgb565Be) => words(u16::from_be_bytes),
        FrameFormat::Pixels(PixelFormat::Yuyv) => every(0, 2),
        FrameFormat::Pixels(PixelFormat::Uyvy) => every(1, 2),
        FrameFormat::Pixels(_) | FrameFormat::Bayer(_) | FrameFormat::Jpeg => every(0, 1),
    }
}
