//! A camera without a sensor: pictures that are computed, the same on every machine.

use super::{Camera, CameraError, Configuration, Control, FrameFormat, FrameSink};
use pinhole_runtime::preprocess::{BayerPattern, InputError, PixelFormat};

/// What a frame shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Eight bars: white, yellow, cyan, green, magenta, red, blue, black.
    ColourBars,
    /// Red from left to right, green from top to bottom, blue against both.
    Gradient,
    /// White and black squares with this many pixels a side; 0 counts as 1.
    Checker(u16),
    /// A white square on black that moves to the right with every frame and comes in again on the left.
    MovingBox {
        /// Pixels a side.
        side: u16,
        /// Pixels a frame.
        step: u16,
    },
}

/// Gives frames of a [`Pattern`] in every format but JPEG.
#[derive(Debug)]
pub struct TestPattern<'a> {
    pattern: Pattern,
    row: &'a mut [u8],
    configuration: Option<Configuration>,
    frame: u32,
}

impl<'a> TestPattern<'a> {
    /// A camera that computes each row into `row`, which has to hold one.
    pub fn new(pattern: Pattern, row: &'a mut [u8]) -> Self {
        Self {
            pattern,
            row,
            configuration: None,
            frame: 0,
        }
    }
}

impl Camera for TestPattern<'_> {
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        self.configuration = None;
        let expected = configuration.row_bytes();
        let paired = matches!(
            configuration.format,
            FrameFormat::Pixels(PixelFormat::Yuyv | PixelFormat::Uyvy)
        );
        if expected == 0 || paired && configuration.size.width % 2 == 1 {
            return Err(CameraError::FormatNotSupported {
                asked: configuration,
            });
        }
        let found = self.row.len();
        if found < expected {
            return Err(InputError::RowLength { expected, found }.into());
        }
        self.configuration = Some(configuration);
        self.frame = 0;
        Ok(())
    }

    fn configuration(&self) -> Option<Configuration> {
        self.configuration
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        Err(CameraError::ControlNotSupported {
            setting: control.setting(),
        })
    }

    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let configuration = self.configuration.ok_or(CameraError::NotConfigured)?;
        let row = self.row.get_mut(..configuration.row_bytes());
        let row = row.unwrap_or_default();
        for y in 0..configuration.size.height {
            let colour = |x| self.pattern.colour(configuration, self.frame, x, y);
            fill_row(configuration.format, y, row, colour);
            sink.band(y.into(), row)?;
        }
        self.frame = self.frame.wrapping_add(1);
        Ok(())
    }
}

impl Pattern {
    fn colour(self, configuration: Configuration, frame: u32, x: u16, y: u16) -> [u8; 3] {
        let size = configuration.size;
        let (width, height) = (u32::from(size.width), u32::from(size.height));
        let (column, row) = (u32::from(x), u32::from(y));
        let scaled = |at: u32, len: u32| (at * 255 / len.saturating_sub(1).max(1)) as u8;
        let black_or_white = |white: bool| if white { [255; 3] } else { [0; 3] };
        match self {
            Self::ColourBars => {
                let dark = column * 8 / width.max(1);
                [dark & 2, dark & 4, dark & 1].map(|off| if off == 0 { 255 } else { 0 })
            }
            Self::Gradient => {
                let (red, green) = (scaled(column, width), scaled(row, height));
                [
                    red,
                    green,
                    255 - ((u16::from(red) + u16::from(green)) / 2) as u8,
                ]
            }
            Self::Checker(side) => {
                let side = u32::from(side.max(1));
                black_or_white((column / side + row / side).is_multiple_of(2))
            }
            Self::MovingBox { side, step } => {
                let side = u32::from(side);
                let top = height.saturating_sub(side) / 2;
                // A division for each pixel takes long on a small CPU: most rows need none.
                if row.wrapping_sub(top) >= side {
                    return [0; 3];
                }
                let left = u64::from(frame) * u64::from(step) % u64::from(width.max(1));
                let from_left = (column + width - left as u32) % width.max(1);
                black_or_white(from_left < side)
            }
        }
    }
}

/// Encodes one row; `colour` gives the RGB of a column.
fn fill_row(format: FrameFormat, y: u16, row: &mut [u8], colour: impl Fn(u16) -> [u8; 3]) {
    // As many as a row can have.
    let columns = 0..u16::MAX;
    match format {
        FrameFormat::Pixels(PixelFormat::Rgb888) => {
            for (x, pixel) in columns.zip(row.as_chunks_mut().0) {
                *pixel = colour(x);
            }
        }
        FrameFormat::Pixels(PixelFormat::Rgb565) => {
            for (x, pixel) in columns.zip(row.as_chunks_mut().0) {
                *pixel = rgb565(colour(x)).to_le_bytes();
            }
        }
        FrameFormat::Pixels(PixelFormat::Rgb565Be) => {
            for (x, pixel) in columns.zip(row.as_chunks_mut().0) {
                *pixel = rgb565(colour(x)).to_be_bytes();
            }
        }
        FrameFormat::Pixels(PixelFormat::Yuyv) => {
            for (x, pair) in columns.step_by(2).zip(row.as_chunks_mut().0) {
                let [y0, y1, u, v] = pair_of(colour(x), colour(x + 1));
                *pair = [y0, u, y1, v];
            }
        }
        FrameFormat::Pixels(PixelFormat::Uyvy) => {
            for (x, pair) in columns.step_by(2).zip(row.as_chunks_mut().0) {
                let [y0, y1, u, v] = pair_of(colour(x), colour(x + 1));
                *pair = [u, y0, v, y1];
            }
        }
        FrameFormat::Bayer(pattern) => {
            for (x, sample) in columns.zip(row) {
                let [red, green, blue] = colour(x);
                *sample = match (pattern, y % 2 == 1, x % 2 == 1) {
                    (BayerPattern::Rggb, false, false)
                    | (BayerPattern::Grbg, false, true)
                    | (BayerPattern::Gbrg, true, false)
                    | (BayerPattern::Bggr, true, true) => red,
                    (BayerPattern::Rggb, true, true)
                    | (BayerPattern::Grbg, true, false)
                    | (BayerPattern::Gbrg, false, true)
                    | (BayerPattern::Bggr, false, false) => blue,
                    _ => green,
                };
            }
        }
        // Grey, and what `configure` refused.
        FrameFormat::Pixels(_) | FrameFormat::Jpeg => {
            for (x, pixel) in columns.zip(row) {
                *pixel = luminance(colour(x));
            }
        }
    }
}

fn rgb565([red, green, blue]: [u8; 3]) -> u16 {
    u16::from(red >> 3) << 11 | u16::from(green >> 2) << 5 | u16::from(blue >> 3)
}

/// Luminance of BT.601 in 8 fractional bits.
pub(super) fn luminance([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue);
    ((sum + 128) >> 8) as u8
}

/// Two luminances, then the colour differences of the mean of the two pixels.
fn pair_of(one: [u8; 3], other: [u8; 3]) -> [u8; 4] {
    let mean: [i32; 3] =
        core::array::from_fn(|at| (i32::from(one[at]) + i32::from(other[at]) + 1) / 2);
    let [red, green, blue] = mean;
    let byte = |fixed: i32| ((fixed + 128 * 256 + 128) >> 8).clamp(0, 255) as u8;
    [
        luminance(one),
        luminance(other),
        byte(-43 * red - 85 * green + 128 * blue),
        byte(128 * red - 107 * green - 21 * blue),
    ]
}
