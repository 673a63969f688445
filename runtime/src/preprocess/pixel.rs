//! The pixel layouts that a camera or a decoder delivers, as 8-bit RGB.

/// How the bytes of one source row encode its pixels.
///
/// Bayer mosaics are not here, since one pixel needs its neighbours above and below: see [`super::Demosaic`].
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
    /// Four bytes for two pixels: luminance, blue difference, luminance, red difference; see [`yuv_to_rgb`]. Even widths only.
    Yuyv,
    /// Four bytes for two pixels: blue difference, luminance, red difference, luminance. Even widths only.
    Uyvy,
}

impl PixelFormat {
    /// Bytes of one pixel; of two pixels, halved, where they share their colour.
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Rgb888 => 3,
            Self::Rgb565 | Self::Rgb565Be | Self::Yuyv | Self::Uyvy => 2,
            Self::Grey8 => 1,
        }
    }

    /// Pixels that share a sample, so that the width of a picture has to be a multiple of it.
    pub const fn width_multiple(self) -> u32 {
        match self {
            Self::Rgb888 | Self::Rgb565 | Self::Rgb565Be | Self::Grey8 => 1,
            Self::Yuyv | Self::Uyvy => 2,
        }
    }

    /// The pixels of `row` from `first` on, as many as `dst` has and the row goes on.
    pub(super) fn to_rgb(self, row: &[u8], first: usize, dst: &mut [[u8; 3]]) {
        match self {
            Self::Rgb888 => each(row, first, dst, |rgb: [u8; 3]| rgb),
            Self::Rgb565 => each(row, first, dst, |word| {
                rgb565_to_rgb(u16::from_le_bytes(word))
            }),
            Self::Rgb565Be => each(row, first, dst, |word| {
                rgb565_to_rgb(u16::from_be_bytes(word))
            }),
            Self::Grey8 => each(row, first, dst, |[grey]: [u8; 1]| [grey; 3]),
            Self::Yuyv => pairs(row, first, dst, |[y0, u, y1, v]| [y0, y1, u, v]),
            Self::Uyvy => pairs(row, first, dst, |[u, y0, v, y1]| [y0, y1, u, v]),
        }
    }
}

fn each<const BYTES: usize>(
    row: &[u8],
    first: usize,
    dst: &mut [[u8; 3]],
    to_rgb: impl Fn([u8; BYTES]) -> [u8; 3],
) {
    let pixels = row.as_chunks::<BYTES>().0.get(first..).unwrap_or_default();
    for (rgb, pixel) in dst.iter_mut().zip(pixels) {
        *rgb = to_rgb(*pixel);
    }
}

/// Pixels that share their colour by two; `split` gives both luminances, then blue and red difference.
fn pairs(row: &[u8], first: usize, dst: &mut [[u8; 3]], split: impl Fn([u8; 4]) -> [u8; 4]) {
    let pairs = row.as_chunks::<4>().0.get(first / 2..).unwrap_or_default();
    let (mut dst, mut pairs) = (dst, pairs);
    // A span may begin with the second pixel of a pair.
    if first % 2 == 1
        && let (Some((rgb, rest)), Some((pair, further))) = (
            core::mem::take(&mut dst).split_first_mut(),
            pairs.split_first(),
        )
    {
        let [_, y1, u, v] = split(*pair);
        *rgb = yuv_to_rgb(y1, u, v);
        (dst, pairs) = (rest, further);
    }
    for (rgb, pair) in dst.chunks_mut(2).zip(pairs) {
        let [y0, y1, u, v] = split(*pair);
        for (rgb, y) in rgb.iter_mut().zip([y0, y1]) {
            *rgb = yuv_to_rgb(y, u, v);
        }
    }
}

/// Widens 5, 6 and 5 bits to 8 by repeating the top bits, so that full scale stays full scale.
pub fn rgb565_to_rgb(pixel: u16) -> [u8; 3] {
    let red = (pixel >> 11) as u8 & 0x1f;
    let green = (pixel >> 5) as u8 & 0x3f;
    let blue = pixel as u8 & 0x1f;
    [
        red << 3 | red >> 2,
        green << 2 | green >> 4,
        blue << 3 | blue >> 2,
    ]
}

/// Luminance, blue difference `u` and red difference `v`, each over the whole byte, as RGB.
///
/// The matrix of ITU-R BT.601 over full range, as in JFIF 1.02: 1.402, 0.344136, 0.714136 and 1.772 in 16 fractional bits,
/// rounded to nearest and clamped, so that every machine gives the same bits. The sensors of `pinhole-firmware` are set to
/// this range; a source with luminance in 16..=235 comes out with less contrast.
pub fn yuv_to_rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let y = (i32::from(y) << 16) + HALF;
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    let clamp = |fixed: i32| (fixed >> 16).clamp(0, 255) as u8;
    [
        clamp(y + 91_881 * v),
        clamp(y - 22_554 * u - 46_802 * v),
        clamp(y + 116_130 * u),
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

    #[test]
    fn every_yuv_triple_is_the_rounded_value_of_bt_601() {
        for y in 0..=255u8 {
            for u in 0..=255u8 {
                for v in 0..=255u8 {
                    let (yf, uf, vf) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
                    // From Kr = 0.299 and Kb = 0.114 themselves, not from the rounded matrix.
                    let (kr, kb) = (0.299, 0.114);
                    let kg = 1.0 - kr - kb;
                    let red = yf + 2.0 * (1.0 - kr) * vf;
                    let blue = yf + 2.0 * (1.0 - kb) * uf;
                    let green =
                        yf - 2.0 * (1.0 - kb) * kb / kg * uf - 2.0 * (1.0 - kr) * kr / kg * vf;
                    for (found, real) in yuv_to_rgb(y, u, v).iter().zip([red, green, blue]) {
                        let error = (f64::from(*found) - real.clamp(0.0, 255.0)).abs();
                        assert!(error < 0.502, "{y} {u} {v}: {found} {real}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_span_that_begins_within_a_pair_takes_the_colour_of_the_pair() {
        let row = [10, 100, 20, 200, 30, 90, 40, 50];
        let mut whole = [[0; 3]; 4];
        PixelFormat::Yuyv.to_rgb(&row, 0, &mut whole);
        assert_eq!(whole[1], yuv_to_rgb(20, 100, 200));
        for first in 0..=5 {
            for len in 0..=5 {
                let mut part = [[7; 3]; 5];
                PixelFormat::Yuyv.to_rgb(&row, first, &mut part[..len]);
                for (index, rgb) in part.iter().enumerate() {
                    let expected = if index < len {
                        whole.get(first + index)
                    } else {
                        None
                    };
                    assert_eq!(rgb, expected.unwrap_or(&[7; 3]), "{first} {len}");
                }
            }
        }
        let swapped = [100, 10, 200, 20, 90, 30, 50, 40];
        let mut uyvy = [[0; 3]; 4];
        PixelFormat::Uyvy.to_rgb(&swapped, 0, &mut uyvy);
        assert_eq!(uyvy, whole);
    }
}
