//! From a picture file to fingerprints of its embedding or of every layer, without the standard library:
//! `firmware/boards/guest` has this file too.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Display;

use pinhole_runtime::interpreter::{Interpreter, Observer};
use pinhole_runtime::kernel::Kernels;
use pinhole_runtime::model::Model;
use pinhole_runtime::preprocess::{PixelFormat, Preprocessor, S8Sink};

/// A binary portable pixmap with 8-bit channels, its fields separated by one blank or line end each.
pub(crate) struct Picture<'a> {
    width: u32,
    height: u32,
    pixels: &'a [u8], // (height, width, 3)
}

impl<'a> Picture<'a> {
    /// Reads `P6 WIDTH HEIGHT 255` and the pixels; `None` for anything else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = bytes.splitn(5, u8::is_ascii_whitespace);
        let is_pixmap = fields.next()? == b"P6";
        let mut number = || core::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (width, height, maximum): (u32, u32, u32) = (number()?, number()?, number()?);
        let pixels = fields.next()?;
        let bytes = u64::from(width) * u64::from(height) * 3;
        (is_pixmap && maximum == 255 && width > 0 && pixels.len() as u64 == bytes).then_some(Self {
            width,
            height,
            pixels,
        })
    }
}

/// The fingerprint of a picture's embedding.
///
/// # Errors
/// When the model is no int8 image encoder or the picture has a size that it does not take.
pub(crate) fn fingerprint(
    model: &Model<'_>,
    kernels: &dyn Kernels,
    interpreter: &mut Interpreter<'_, '_>,
    picture: &Picture<'_>,
) -> Result<u64, String> {
    write(model, kernels, interpreter, picture)?;
    interpreter.run();
    let embedding = interpreter.output_s8(0).map_err(text)?;
    Ok(hash(embedding.iter().map(|&value| value as u8)))
}

/// The fingerprint of what each operator writes, in the order of execution.
///
/// # Errors
/// As [`fingerprint`].
pub(crate) fn layers(
    model: &Model<'_>,
    kernels: &dyn Kernels,
    interpreter: &mut Interpreter<'_, '_>,
    picture: &Picture<'_>,
) -> Result<Vec<u64>, String> {
    write(model, kernels, interpreter, picture)?;
    let mut hashes = Hashes(Vec::new());
    interpreter.run_observed(&mut hashes);
    Ok(hashes.0)
}

/// Hashes every output.
struct Hashes(Vec<u64>);

impl Observer for Hashes {
    fn after_op(&mut self, _op: usize, _value: usize, output: &[u8]) {
        self.0.push(hash(output.iter().copied()));
    }
}

/// The 64-bit FNV-1a hash.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Resizes a picture and writes it into the model's input.
fn write(
    model: &Model<'_>,
    kernels: &dyn Kernels,
    interpreter: &mut Interpreter<'_, '_>,
    picture: &Picture<'_>,
) -> Result<(), String> {
    let geometry = model.geometry().ok_or("it is no image encoder")?;
    let input = model.inputs().next().map(|value| model.value(value));
    let input = input.ok_or("it has no input")?;
    let words =
        Preprocessor::scratch_len(&geometry, picture.width, picture.height).map_err(text)?;
    let mut scratch = vec![0u32; words];
    let (width, height, format) = (picture.width, picture.height, PixelFormat::Rgb888);
    let mut preprocessor =
        Preprocessor::new(kernels, &geometry, width, height, format, &mut scratch).map_err(text)?;
    let destination = interpreter.input_s8_mut(0).map_err(text)?;
    let mut sink = S8Sink::new(
        kernels,
        &geometry,
        input.scale,
        input.zero_point,
        destination,
    )
    .map_err(text)?;
    for row in picture.pixels.chunks_exact(width as usize * 3) {
        preprocessor.push_row(row, &mut sink).map_err(text)?;
    }
    preprocessor.finish(&mut sink).map_err(text)
}

fn text(error: impl Display) -> String {
    format!("{error}")
}
