//! The pixel layouts that a camera or a decoder delivers, as 8-bit RGB.

/// How the bytes of one source row encode its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Three bytes: red, green, blue.
    Rgb888,
    /// Two bytes, least significant first: 5 bits red, 6 green, 5 blue from the top.
    Rgb565,
    /// As [`PixelFormat::Rgb565`] with the most significant byte first, as OmniVision sensors send it.
    Rgb565Be,
    /// One byte of luminance, which becomes all three channels.
    Grey8,
}

impl PixelFormat {
    /// Bytes of one pixel.
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Rgb888 => 3,
            Self::Rgb565 | Self::Rgb565Be => 2,
            Self::Grey8 => 1,
        }
    }
}

/// Widens 5, 6 and 5 bits to 8 by repeating the top bits, so that full scale stays full scale.
pub(super) fn rgb565_to_rgb(pixel: u16) -> [u8; 3] {
    let red = (pixel >> 11) as u8 & 0x1f;
    let green = (pixel >> 5) as u8 & 0x3f;
    let blue = pixel as u8 & 0x1f;
    [
        red << 3 | red >> 2,
        green << 2 | green >> 4,
        blue << 3 | blue >> 2,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rgb565_keeps_black_white_and_the_primaries() {
        assert_eq!(rgb565_to_rgb(0x0000), [0, 0, 0]);
        assert_eq!(rgb565_to_rgb(0xffff), [255, 255, 255]);
        assert_eq!(rgb565_to_rgb(0xf800), [255, 0, 0]);
        assert_eq!(rgb565_to_rgb(0x07e0), [0, 255, 0]);
        assert_eq!(rgb565_to_rgb(0x001f), [0, 0, 255]);
    }
}
