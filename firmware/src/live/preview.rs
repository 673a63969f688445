//! A frame made small for whoever watches: single pixels of it, taken as its rows come by.

use crate::camera::{
    Camera, CameraError, Configuration, Control, FrameFormat, FrameSink, MotionGrid, rows_of,
};
use pinhole_protocol::MAX_PREVIEW_BYTES;
use pinhole_runtime::preprocess::{PixelFormat, yuv_to_rgb};

/// Most pixels of a row.
const WIDTH: u32 = 48;
/// Most rows.
const HEIGHT: u32 = 36;

/// The pixels, in RGB565 with the least significant byte first.
#[derive(Debug)]
pub(crate) struct Preview {
    pixels: [u8; MAX_PREVIEW_BYTES],
    width: u8,
    height: u8,
    /// Rows that are here.
    rows: u8,
    next_row: u32,
}

impl Preview {
    pub(crate) const fn new() -> Self {
        Self {
            pixels: [0; MAX_PREVIEW_BYTES],
            width: 0,
            height: 0,
            rows: 0,
            next_row: 0,
        }
    }

    /// A frame begins. One of JPEG gives no pixels.
    pub(crate) fn begin(&mut self, configuration: Configuration) {
        let (width, height) = (
            u32::from(configuration.size.width),
            configuration.rows().max(1),
        );
        let is_wide = width * HEIGHT >= height * WIDTH;
        let (small_width, small_height) = if is_wide {
            let small = width.min(WIDTH);
            (small, (height * small / width.max(1)).max(1))
        } else {
            let small = height.min(HEIGHT);
            ((width * small / height).max(1), small)
        };
        (self.width, self.height) = (small_width as u8, small_height as u8);
        if configuration.row_bytes() == 0 {
            (self.width, self.height) = (0, 0);
        }
        (self.rows, self.next_row) = (0, 0);
    }

    /// Takes whole rows of the frame.
    fn band(&mut self, configuration: Configuration, bytes: &[u8]) -> Result<(), CameraError> {
        if self.height == 0 {
            return Ok(());
        }
        let (width, height) = (u32::from(configuration.size.width), configuration.rows());
        for row in rows_of(configuration, bytes)? {
            let wanted = middle(self.rows, height, self.height);
            if self.rows < self.height && self.next_row == wanted {
                let start = usize::from(self.rows) * usize::from(self.width) * 2;
                let place = self.pixels.get_mut(start..).unwrap_or_default();
                for (x, pixel) in (0..self.width).zip(place.as_chunks_mut().0) {
                    let at = middle(x, width, self.width) as usize;
                    *pixel = pixel_at(configuration.format, row, at).to_le_bytes();
                }
                self.rows += 1;
            }
            self.next_row += 1;
        }
        Ok(())
    }

    /// The pixels of a frame that came whole.
    pub(crate) fn pixels(&self) -> Option<(u8, u8, &[u8])> {
        let bytes = usize::from(self.width) * usize::from(self.height) * 2;
        let pixels = self.pixels.get(..bytes)?;
        let is_whole = self.height > 0 && self.rows == self.height;
        is_whole.then_some((self.width, self.height, pixels))
    }
}

/// The middle of part `at` of `parts`, in `0..of`.
fn middle(at: u8, of: u32, parts: u8) -> u32 {
    (2 * u32::from(at) + 1) * of / (2 * u32::from(parts.max(1)))
}

/// A pixel of a row as RGB565; of a mosaic its sample as grey.
fn pixel_at(format: FrameFormat, row: &[u8], x: usize) -> u16 {
    let chunk = |bytes: usize, at: usize| row.get(at * bytes..(at + 1) * bytes);
    let of_pair = |order: [usize; 4]| {
        let pair = chunk(4, x / 2).unwrap_or(&[0; 4]);
        let [y0, u, y1, v] = order.map(|at| pair.get(at).copied().unwrap_or_default());
        rgb565(yuv_to_rgb(if x.is_multiple_of(2) { y0 } else { y1 }, u, v))
    };
    let word = || match chunk(2, x) {
        Some(&[low, high]) => [low, high],
        _ => [0; 2],
    };
    match format {
        FrameFormat::Pixels(PixelFormat::Rgb888) => match chunk(3, x) {
            Some(&[red, green, blue]) => rgb565([red, green, blue]),
            _ => 0,
        },
        FrameFormat::Pixels(PixelFormat::Rgb565) => u16::from_le_bytes(word()),
        FrameFormat::Pixels(PixelFormat::Rgb565Be) => u16::from_be_bytes(word()),
        FrameFormat::Pixels(PixelFormat::Yuyv) => of_pair([0, 1, 2, 3]),
        FrameFormat::Pixels(PixelFormat::Uyvy) => of_pair([1, 0, 3, 2]),
        _ => rgb565([row.get(x).copied().unwrap_or_default(); 3]),
    }
}

fn rgb565([red, green, blue]: [u8; 3]) -> u16 {
    u16::from(red >> 3) << 11 | u16::from(green >> 2) << 5 | u16::from(blue >> 3)
}

/// A camera whose rows are seen on their way: by the preview, and by the grid of motion where there is one.
pub(crate) struct Seen<'a> {
    pub(crate) camera: &'a mut dyn Camera,
    pub(crate) preview: Option<&'a mut Preview>,
    pub(crate) motion: Option<&'a mut MotionGrid>,
}

impl Camera for Seen<'_> {
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        self.camera.configure(configuration)
    }

    fn configuration(&self) -> Option<Configuration> {
        self.camera.configuration()
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        self.camera.control(control)
    }

    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let configuration = self.camera.configuration();
        self.camera.frame(&mut SeenSink {
            configuration: configuration.ok_or(CameraError::NotConfigured)?,
            preview: self.preview.as_deref_mut(),
            motion: self.motion.as_deref_mut(),
            sink,
        })
    }
}

struct SeenSink<'a> {
    configuration: Configuration,
    preview: Option<&'a mut Preview>,
    motion: Option<&'a mut MotionGrid>,
    sink: &'a mut dyn FrameSink,
}

impl FrameSink for SeenSink<'_> {
    fn band(&mut self, first_row: u32, bytes: &[u8]) -> Result<(), CameraError> {
        if let Some(motion) = &mut self.motion {
            motion.band(first_row, bytes)?;
        }
        if let Some(preview) = &mut self.preview {
            preview.band(self.configuration, bytes)?;
        }
        self.sink.band(first_row, bytes)
    }
}

/// Takes rows and keeps nothing: for a frame in which only motion is looked for.
pub(crate) struct Nothing;

impl FrameSink for Nothing {
    fn band(&mut self, _: u32, _: &[u8]) -> Result<(), CameraError> {
        Ok(())
    }
}
