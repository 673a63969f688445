//! One picture file as 8-bit RGB: PNG, JPEG, WebP, BMP, GIF and PNM, under stated limits.
//!
//! What it does: the format is told by the first bytes, never by the file name; the EXIF orientation is applied;
//! transparency is composited on white; grey and 16-bit samples become 8-bit RGB; of an animation the first frame is
//! taken. What it does not: no resizing, no colour management.
//!
//! A side may have up to [`MAX_SIDE`] pixels and decoding may hold up to [`MAX_DECODE_BYTES`]; 20,000 x 20,000 in RGB
//! or RGBA fits. The decoder's buffer is narrowed to RGB in place, so that such a picture is never in memory twice.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::DataError;

/// The longest side that is decoded, in pixels.
pub const MAX_SIDE: u32 = 20_000;

/// The most memory that decoding one picture may hold, in bytes.
pub const MAX_DECODE_BYTES: u64 = 2 << 30;

/// A JPEG is held in memory while it is checked and decoded; a longer file is refused.
const MAX_JPEG_FILE_BYTES: u64 = 1 << 30;

const EXPECTED: &str = "a PNG, JPEG, WebP, BMP, GIF or PNM picture";

/// Decodes a picture file to upright RGB.
///
/// # Errors
/// [`DataError::Picture`] names the file, what was found and what was expected: a folder, an empty file, a file of
/// another kind, a truncated or broken picture, one beyond the limits. [`DataError::Io`] where the file cannot be read.
pub fn load_picture(path: impl AsRef<Path>) -> Result<RgbImage, DataError> {
    let path = path.as_ref();
    let (mut reader, file_bytes) = open(path)?;
    let format = sniff(path, &mut reader)?;
    if format != ImageFormat::Jpeg {
        return decode(path, reader, format);
    }
    if file_bytes > MAX_JPEG_FILE_BYTES {
        let found = format!("a JPEG file of {file_bytes} bytes");
        return Err(refused(
            path,
            &found,
            &format!("at most {MAX_JPEG_FILE_BYTES} bytes"),
        ));
    }
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|e| DataError::io("read", path, e))?;
    decode_jpeg(path, &bytes)
}

/// Decodes a picture that lies in memory, as [`load_picture`] does one in a file; `place` names it in errors.
///
/// # Errors
/// [`DataError::Picture`] as [`load_picture`].
pub fn decode_picture(place: impl AsRef<Path>, bytes: &[u8]) -> Result<RgbImage, DataError> {
    let place = place.as_ref();
    match format_of_bytes(place, bytes)? {
        ImageFormat::Jpeg => decode_jpeg(place, bytes),
        format => decode(place, Cursor::new(bytes), format),
    }
}

fn decode_jpeg(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    // The JPEG decoder fills the missing part of a cut file with grey and calls it success.
    if !jpeg_is_complete(bytes) {
        let found = format!("a JPEG file cut off after {} bytes", bytes.len());
        return Err(refused(path, &found, "its end marker"));
    }
    decode(path, Cursor::new(bytes), ImageFormat::Jpeg)
}

/// The format that the first bytes of a file tell, if it is one that can be decoded.
///
/// # Errors
/// [`DataError::Picture`] where it is not, [`DataError::Io`] where the file cannot be read.
pub fn format_of(path: &Path) -> Result<ImageFormat, DataError> {
    sniff(path, &mut open(path)?.0)
}

/// Reads the header only: the format and the size are fine, the rest may still be broken.
///
/// # Errors
/// As [`load_picture`], of what the header tells.
pub fn check_header(path: &Path) -> Result<(), DataError> {
    let (mut reader, _) = open(path)?;
    let format = sniff(path, &mut reader)?;
    let size = ImageReader::with_format(reader, format).into_dimensions();
    let (width, height) = size.map_err(|e| broken(path, format, &e))?;
    check_size(path, width, height)
}

/// Whether a file name ends as those of pictures do.
pub fn is_named_like_a_picture(path: &Path) -> bool {
    const ENDINGS: [&str; 10] = [
        "png", "jpg", "jpeg", "webp", "bmp", "gif", "pnm", "ppm", "pgm", "pbm",
    ];
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| {
        ENDINGS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(ending))
    })
}

/// Opens a plain file and tells its length; a pipe would block for ever, a device may have no end.
fn open(path: &Path) -> Result<(BufReader<File>, u64), DataError> {
    let metadata = fs::metadata(path).map_err(|e| DataError::io("read", path, e))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() {
            "a folder"
        } else {
            "a pipe or a device"
        };
        return Err(refused(path, found, "a picture file"));
    }
    let file = File::open(path).map_err(|e| DataError::io("read", path, e))?;
    Ok((BufReader::new(file), metadata.len()))
}

fn sniff(path: &Path, reader: &mut BufReader<File>) -> Result<ImageFormat, DataError> {
    let start = reader
        .fill_buf()
        .map_err(|e| DataError::io("read", path, e))?;
    format_of_bytes(path, start)
}

/// The format that the first bytes of a picture tell, if it is one that can be decoded; `path` names it in errors.
///
/// # Errors
/// [`DataError::Picture`] where it is not.
pub fn format_of_bytes(path: &Path, start: &[u8]) -> Result<ImageFormat, DataError> {
    if start.is_empty() {
        return Err(refused(path, "an empty file", EXPECTED));
    }
    match image::guess_format(start) {
        Ok(
            format @ (ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Gif
            | ImageFormat::Pnm),
        ) => Ok(format),
        Ok(other) => Err(refused(
            path,
            &format!("a picture in the format {other:?}"),
            EXPECTED,
        )),
        Err(_) => Err(refused(path, &describe(start), EXPECTED)),
    }
}

/// Says what a foreign file begins with.
fn describe(start: &[u8]) -> String {
    let start = &start[..start.len().min(12)];
    match std::str::from_utf8(start) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => {
            format!("text that begins with `{}`", text.escape_debug())
        }
        _ => {
            let bytes: Vec<_> = start.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("data that begins with {}", bytes.join(" "))
        }
    }
}

fn check_size(path: &Path, width: u32, height: u32) -> Result<(), DataError> {
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        let expected = format!("between 1 and {MAX_SIDE} pixels a side");
        return Err(refused(
            path,
            &format!("{width} x {height} pixels"),
            &expected,
        ));
    }
    Ok(())
}

fn decode<R: BufRead + Seek>(
    path: &Path,
    reader: R,
    format: ImageFormat,
) -> Result<RgbImage, DataError> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    let mut reader = ImageReader::with_format(reader, format);
    reader.limits(limits);
    let mut decoder = reader
        .into_decoder()
        .map_err(|e| broken(path, format, &e))?;
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    let color = decoder.color_type();
    // A broken EXIF block is no reason to refuse the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let needed = peak_bytes(decoder.total_bytes(), width, height, color, orientation);
    if needed > MAX_DECODE_BYTES {
        let found = format!(
            "{width} x {height} pixels of {color:?} to be decoded and turned upright, which takes {needed} bytes"
        );
        return Err(refused(
            path,
            &found,
            &format!("at most {MAX_DECODE_BYTES} bytes"),
        ));
    }
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder
        .read_image(&mut pixels)
        .map_err(|e| broken(path, format, &e))?;
    let rgb = to_rgb(path, pixels, color)?;
    let picture = RgbImage::from_raw(width, height, rgb)
        .ok_or_else(|| refused(path, "fewer pixels than its header says", "a whole picture"))?;
    if orientation == Orientation::NoTransforms {
        return Ok(picture);
    }
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// The memory held at once: the decoder's buffer, and beside it an RGB copy where one has to be made.
fn peak_bytes(
    decoded: u64,
    width: u32,
    height: u32,
    color: ColorType,
    orientation: Orientation,
) -> u64 {
    let rgb = 3 * u64::from(width) * u64::from(height);
    let widened = if color.bytes_per_pixel() < 3 {
        decoded + rgb
    } else {
        decoded
    };
    let turned = match orientation {
        Orientation::NoTransforms | Orientation::Rotate180 => 0,
        Orientation::FlipHorizontal | Orientation::FlipVertical => 0,
        _ => 2 * rgb,
    };
    widened.max(turned)
}

/// Samples in native byte order, as a decoder leaves them, to 8-bit RGB on white.
fn to_rgb(path: &Path, pixels: Vec<u8>, color: ColorType) -> Result<Vec<u8>, DataError> {
    Ok(match color {
        ColorType::Rgb8 => pixels,
        ColorType::L8 => widen::<1, 1>(&pixels),
        ColorType::La8 => widen::<2, 1>(&pixels),
        ColorType::L16 => widen::<1, 2>(&pixels),
        ColorType::Rgba8 => narrow::<4, 1>(pixels),
        ColorType::La16 => narrow::<2, 2>(pixels),
        ColorType::Rgb16 => narrow::<3, 2>(pixels),
        ColorType::Rgba16 => narrow::<4, 2>(pixels),
        _ => {
            return Err(refused(
                path,
                &format!("samples of {color:?}"),
                "samples of 8 or 16 bits",
            ));
        }
    })
}

/// Pixels of less than three bytes, into a new buffer.
fn widen<const CHANNELS: usize, const SAMPLE_BYTES: usize>(pixels: &[u8]) -> Vec<u8> {
    let step = CHANNELS * SAMPLE_BYTES;
    let mut rgb = Vec::with_capacity(pixels.len() / step * 3);
    for pixel in pixels.chunks_exact(step) {
        rgb.extend_from_slice(&rgb_of::<CHANNELS, SAMPLE_BYTES>(pixel));
    }
    rgb
}

/// Pixels of more than three bytes, where they lie: what is written never passes what is still to be read.
fn narrow<const CHANNELS: usize, const SAMPLE_BYTES: usize>(mut pixels: Vec<u8>) -> Vec<u8> {
    let step = CHANNELS * SAMPLE_BYTES;
    let count = pixels.len() / step;
    for i in 0..count {
        let rgb = rgb_of::<CHANNELS, SAMPLE_BYTES>(&pixels[i * step..][..step]);
        pixels[i * 3..][..3].copy_from_slice(&rgb);
    }
    pixels.truncate(count * 3);
    pixels
}

/// One pixel of 1 to 4 channels (grey, grey and alpha, RGB, RGBA) to RGB on white.
fn rgb_of<const CHANNELS: usize, const SAMPLE_BYTES: usize>(pixel: &[u8]) -> [u8; 3] {
    let sample = |i: usize| match SAMPLE_BYTES {
        1 => u32::from(pixel[i]),
        // 65535 is 255 * 257, so this rounds to the nearest 8-bit value.
        _ => (u32::from(u16::from_ne_bytes([pixel[2 * i], pixel[2 * i + 1]])) + 128) / 257,
    };
    let (rgb, alpha) = match CHANNELS {
        1 => ([sample(0); 3], 255),
        2 => ([sample(0); 3], sample(1)),
        3 => ([sample(0), sample(1), sample(2)], 255),
        _ => ([sample(0), sample(1), sample(2)], sample(3)),
    };
    rgb.map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

/// Whether the stream reaches its end marker: ITU-T T.81, annex B, walked marker by marker.
///
/// Searching for the marker's two bytes would find the one of an embedded thumbnail.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    let mut in_scan = false;
    while let Some(&byte) = bytes.get(at) {
        // Inside a scan any byte may come; between segments a file may have stray bytes, which decoders skip too.
        if byte != 0xff {
            at += 1;
            continue;
        }
        let Some(&marker) = bytes.get(at + 1) else {
            return false;
        };
        match marker {
            END_OF_IMAGE => return true,
            // Fill bytes, stuffed zeroes, restart markers and TEM stand alone.
            0xff => at += 1,
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                in_scan |= marker == START_OF_SCAN;
            }
        }
    }
    // A stream that stops before its first scan is the decoder's to refuse, with its own reason.
    !in_scan
}

fn refused(path: &Path, found: &str, expected: &str) -> DataError {
    DataError::Picture {
        path: path.to_path_buf(),
        found: found.into(),
        expected: expected.into(),
    }
}

fn broken(path: &Path, format: ImageFormat, error: &image::ImageError) -> DataError {
    if matches!(error, image::ImageError::Limits(_)) {
        let expected =
            format!("at most {MAX_SIDE} pixels a side and {MAX_DECODE_BYTES} bytes decoded");
        return refused(
            path,
            &format!("a {format:?} picture that is too large ({error})"),
            &expected,
        );
    }
    refused(
        path,
        &format!("a broken or cut {format:?} file ({error})"),
        "a whole picture",
    )
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
