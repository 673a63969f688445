//! Sizes and formats of frames.

use pinhole_runtime::preprocess::{BayerPattern, PixelFormat};

/// What the bytes of a frame mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameFormat {
    /// Rows of pixels that stand for themselves.
    Pixels(PixelFormat),
    /// Rows of a mosaic with 8 bits a sample.
    Bayer(BayerPattern),
    /// A file of unknown length: only for a board with a [`super::Decoder`].
    Jpeg,
}

impl FrameFormat {
    /// The least significant byte first.
    pub const RGB565: Self = Self::Pixels(PixelFormat::Rgb565);
    /// The most significant byte first, the order of OmniVision's sensors.
    pub const RGB565_BE: Self = Self::Pixels(PixelFormat::Rgb565Be);
    /// Luminance first.
    pub const YUYV: Self = Self::Pixels(PixelFormat::Yuyv);
    /// Blue difference first.
    pub const UYVY: Self = Self::Pixels(PixelFormat::Uyvy);
    /// Luminance alone.
    pub const GREY8: Self = Self::Pixels(PixelFormat::Grey8);

    /// Bytes of one pixel; 0 for JPEG, which has no rows.
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Pixels(format) => format.bytes_per_pixel(),
            Self::Bayer(_) => 1,
            Self::Jpeg => 0,
        }
    }

    /// As errors and logs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pixels(PixelFormat::Rgb888) => "rgb888",
            Self::Pixels(PixelFormat::Rgb565) => "rgb565",
            Self::Pixels(PixelFormat::Rgb565Be) => "rgb565 big-endian",
            Self::Pixels(PixelFormat::Yuyv) => "yuv422 yuyv",
            Self::Pixels(PixelFormat::Uyvy) => "yuv422 uyvy",
            Self::Pixels(PixelFormat::Grey8) => "grey8",
            Self::Pixels(_) => "pixels of another format",
            Self::Bayer(BayerPattern::Rggb) => "bayer rggb",
            Self::Bayer(BayerPattern::Grbg) => "bayer grbg",
            Self::Bayer(BayerPattern::Gbrg) => "bayer gbrg",
            Self::Bayer(BayerPattern::Bggr) => "bayer bggr",
            Self::Jpeg => "jpeg",
        }
    }
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize {
    /// Pixels of a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl FrameSize {
    /// 640×480.
    pub const VGA: Self = Self::new(640, 480);
    /// 320×240.
    pub const QVGA: Self = Self::new(320, 240);
    /// 160×120.
    pub const QQVGA: Self = Self::new(160, 120);
    /// 96×96, from the middle.
    pub const SQUARE_96: Self = Self::new(96, 96);

    /// A size of any sides; a camera says whether it has it.
    pub const fn new(width: u16, height: u16) -> Self {
        Self { width, height }
    }
}

/// What a camera is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Size of a frame.
    pub size: FrameSize,
    /// Format of a frame.
    pub format: FrameFormat,
}

impl Configuration {
    /// Bytes of a row, without padding; 0 for JPEG.
    pub const fn row_bytes(self) -> usize {
        self.size.width as usize * self.format.bytes_per_pixel()
    }

    /// Rows of a frame.
    pub const fn rows(self) -> u32 {
        self.size.height as u32
    }
}
