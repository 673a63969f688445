//! Tests of `picture`: every format whole and cut, every sample layout, the limits, and files that are no pictures.

use std::path::PathBuf;

use image::{ExtendedColorType, ImageEncoder, Rgb, Rgba, RgbaImage};
use tempfile::TempDir;

use super::*;

const FORMATS: [(&str, ImageFormat); 6] = [
    ("png", ImageFormat::Png),
    ("jpg", ImageFormat::Jpeg),
    ("webp", ImageFormat::WebP),
    ("bmp", ImageFormat::Bmp),
    ("gif", ImageFormat::Gif),
    ("ppm", ImageFormat::Pnm),
];

fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 7_u32;
    RgbImage::from_fn(width, height, |_, _| {
        Rgb([0; 3].map(|_: u8| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }))
    })
}

fn written(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).expect("temp file");
    path
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("encode");
    bytes.into_inner()
}

fn found_and_expected(path: &Path) -> (String, String) {
    match load_picture(path) {
        Err(DataError::Picture {
            path: named,
            found,
            expected,
        }) => {
            assert_eq!(named, path);
            (found, expected)
        }
        other => panic!(
            "expected a picture error for {}, got {other:?}",
            path.display()
        ),
    }
}

#[test]
fn every_format_is_read_whatever_the_file_is_called() {
    let dir = TempDir::new().expect("temp dir");
    let picture = noise(33, 21);
    for (name, format) in FORMATS {
        let path = written(&dir, &format!("{name}.data"), &encoded(&picture, format));
        let loaded = load_picture(&path).expect(name);
        assert_eq!(loaded.dimensions(), (33, 21), "{name}");
        if matches!(name, "png" | "webp" | "bmp" | "ppm") {
            assert_eq!(loaded, picture, "{name} is lossless");
        }
    }
}

#[test]
fn a_picture_cut_at_any_quarter_is_refused() {
    let dir = TempDir::new().expect("temp dir");
    for (name, format) in FORMATS {
        let bytes = encoded(&noise(64, 48), format);
        for quarter in 0..4 {
            let cut = &bytes[..bytes.len() * quarter / 4];
            let path = written(&dir, &format!("cut{quarter}.{name}"), cut);
            let (found, _) = found_and_expected(&path);
            assert!(!found.is_empty(), "{name} cut at {quarter}/4");
        }
    }
}

#[test]
fn a_jpeg_without_its_last_bytes_is_refused_though_the_decoder_would_fill_it_with_grey() {
    let dir = TempDir::new().expect("temp dir");
    let bytes = encoded(&noise(64, 48), ImageFormat::Jpeg);
    let path = written(&dir, "cut.jpg", &bytes[..bytes.len() - 40]);
    let (found, expected) = found_and_expected(&path);
    assert_eq!(
        found,
        format!("a JPEG file cut off after {} bytes", bytes.len() - 40)
    );
    assert_eq!(expected, "its end marker");
    // Padding behind the end marker is common and harmless.
    let mut padded = bytes;
    padded.extend([0; 100]);
    assert!(load_picture(written(&dir, "padded.jpg", &padded)).is_ok());
}

#[test]
fn what_is_no_picture_is_named() {
    let dir = TempDir::new().expect("temp dir");
    let (found, expected) = found_and_expected(dir.path());
    assert_eq!(
        (found.as_str(), expected.as_str()),
        ("a folder", "a picture file")
    );
    let (found, expected) = found_and_expected(&written(&dir, "empty.png", b""));
    assert_eq!(
        (found.as_str(), expected.as_str()),
        ("an empty file", EXPECTED)
    );
    let (found, _) = found_and_expected(&written(&dir, "notes.png", b"Dear reader,\nhello"));
    assert_eq!(found, "text that begins with `Dear reader,`");
    let (found, _) = found_and_expected(&written(&dir, "elf.jpg", b"\x7fELF\x02\x01"));
    assert_eq!(found, "data that begins with 7f 45 4c 46 02 01");
    let (found, _) = found_and_expected(&written(&dir, "scan.png", b"II*\0\x08\0\0\0"));
    assert_eq!(found, "a picture in the format Tiff");
    #[cfg(unix)]
    assert_eq!(
        found_and_expected(Path::new("/dev/null")).0,
        "a pipe or a device"
    );
    let missing = load_picture(dir.path().join("none.png")).expect_err("missing");
    assert!(missing.to_string().contains("none.png"), "{missing}");
}

#[test]
fn transparency_is_composited_on_white() {
    let dir = TempDir::new().expect("temp dir");
    let rgba = RgbaImage::from_fn(3, 1, |x, _| Rgba([200, 0, 100, [0, 128, 255][x as usize]]));
    let path = dir.path().join("stamp.png");
    rgba.save(&path).expect("save");
    let loaded = load_picture(&path).expect("load");
    assert_eq!(loaded.get_pixel(0, 0).0, [255, 255, 255]);
    assert_eq!(loaded.get_pixel(1, 0).0, [227, 127, 177]);
    assert_eq!(loaded.get_pixel(2, 0).0, [200, 0, 100]);
}

#[test]
fn grey_and_16_bit_samples_become_8_bit_rgb() {
    let dir = TempDir::new().expect("temp dir");
    let wide = |values: &[u16]| {
        values
            .iter()
            .flat_map(|v| v.to_ne_bytes())
            .collect::<Vec<u8>>()
    };
    let cases = [
        (ExtendedColorType::L8, vec![9], [9, 9, 9]),
        (ExtendedColorType::La8, vec![0, 51], [204; 3]),
        (ExtendedColorType::L16, wide(&[0x8080]), [0x80; 3]),
        (ExtendedColorType::La16, wide(&[0xffff, 0x1234]), [255; 3]),
        (
            ExtendedColorType::Rgb16,
            wide(&[0, 257, 65535]),
            [0, 1, 255],
        ),
        (
            ExtendedColorType::Rgba16,
            wide(&[0, 257, 514, 0xffff]),
            [0, 1, 2],
        ),
    ];
    for (color, pixel, expected) in cases {
        // Five pixels, so that narrowing in place moves more than the first one.
        let pixels = pixel.repeat(5);
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.write_image(&pixels, 5, 1, color).expect("encode");
        let loaded = load_picture(written(&dir, "p.png", &bytes)).expect("load");
        assert!(
            loaded.pixels().all(|p| p.0 == expected),
            "{color:?} {:?}",
            loaded.as_raw()
        );
    }
}

#[test]
fn the_exif_orientation_is_applied() {
    let dir = TempDir::new().expect("temp dir");
    let plain = encoded(
        &RgbImage::from_fn(16, 8, |x, _| Rgb([(x * 16) as u8; 3])),
        ImageFormat::Jpeg,
    );
    // An APP1 segment with one TIFF directory of one entry: tag 0x0112, type SHORT, one value.
    let mut turned = plain[..2].to_vec();
    turned.extend(b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
    turned.extend(&plain[2..]);
    let flat = load_picture(written(&dir, "flat.jpg", &plain)).expect("flat");
    let upright = load_picture(written(&dir, "turned.jpg", &turned)).expect("turned");
    assert_eq!(flat.dimensions(), (16, 8));
    assert_eq!(upright.dimensions(), (8, 16));
    assert_eq!(upright, image::imageops::rotate90(&flat));
}

#[test]
fn of_an_animation_the_first_frame_is_taken() {
    let dir = TempDir::new().expect("temp dir");
    let mut bytes = Vec::new();
    {
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
        for red in [250, 0] {
            let frame = RgbaImage::from_pixel(4, 4, Rgba([red, 0, 0, 255]));
            encoder
                .encode_frame(image::Frame::new(frame))
                .expect("frame");
        }
    }
    let loaded = load_picture(written(&dir, "a.gif", &bytes)).expect("load");
    assert_eq!(loaded.dimensions(), (4, 4));
    assert!(loaded.get_pixel(0, 0).0[0] > 200);
}

#[test]
fn one_pixel_is_enough() {
    let dir = TempDir::new().expect("temp dir");
    let path = written(&dir, "1.png", &encoded(&noise(1, 1), ImageFormat::Png));
    assert_eq!(load_picture(path).expect("load"), noise(1, 1));
}

/// A PNM header costs no disk, so the refusal must come before the pixels are asked for.
#[test]
fn a_picture_beyond_the_limits_is_refused_by_its_header() {
    let dir = TempDir::new().expect("temp dir");
    let (found, expected) = found_and_expected(&written(&dir, "w.ppm", b"P6 20001 1 255\n\0\0\0"));
    assert_eq!(found, "20001 x 1 pixels");
    assert_eq!(expected, "between 1 and 20000 pixels a side");
    let (found, expected) =
        found_and_expected(&written(&dir, "d.ppm", b"P6 20000 20000 65535\n\0"));
    assert!(found.contains("2400000000 bytes"), "{found}");
    assert_eq!(expected, "at most 2147483648 bytes");
}

#[test]
fn a_thumbnail_with_its_own_end_marker_does_not_hide_a_cut() {
    let plain = encoded(&noise(16, 8), ImageFormat::Jpeg);
    let mut bytes = plain[..2].to_vec();
    bytes.extend(b"\xff\xe1\x00\x06\xff\xd8\xff\xd9");
    bytes.extend(&plain[2..]);
    assert!(jpeg_is_complete(&bytes));
    assert!(!jpeg_is_complete(&bytes[..bytes.len() - 2]));
}

#[test]
fn a_picture_in_memory_is_decoded_as_one_in_a_file() {
    let dir = TempDir::new().expect("temp dir");
    for (ending, format) in FORMATS {
        let bytes = encoded(&noise(9, 5), format);
        let path = written(&dir, &format!("a.{ending}"), &bytes);
        let in_memory = decode_picture("shard.tar: a", &bytes).expect(ending);
        assert_eq!(in_memory, load_picture(&path).expect(ending), "{ending}");
    }
    let jpeg = encoded(&noise(9, 5), ImageFormat::Jpeg);
    for bytes in [&[][..], b"text", &jpeg[..jpeg.len() - 9]] {
        let error = decode_picture("shard.tar: a", bytes)
            .expect_err("broken")
            .to_string();
        assert!(error.starts_with("shard.tar: a is not"), "{error}");
    }
}
