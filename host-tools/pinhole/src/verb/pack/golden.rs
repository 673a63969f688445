//! The golden embedding of a model: which input it is of, and packed models that get another one.

use std::path::{Path, PathBuf};

use pinhole_data::load_picture;
use pinhole_pack::{GoldenFault, with_golden, without_golden};
use pinhole_runtime::interpreter::AlignedBytes;
use pinhole_runtime::kernel;
use pinhole_runtime::model::{Model, format};

use crate::encoder::{ImageEncoder, LoadedModel};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::{json as json_line, say};

/// Which golden embedding a model gets.
#[derive(clap::Args, Clone)]
#[group(id = "golden choices")]
pub(crate) struct Golden {
    /// Leave out the golden embedding.
    #[arg(long, conflicts_with = "golden")]
    no_golden: bool,
    /// Make the golden embedding of a picture, which the file then holds.
    #[arg(long, value_name = "PICTURE")]
    golden: Option<PathBuf>,
}

/// A model with its golden embedding, or without.
pub(crate) struct WithGolden {
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// Of its section golden.
    pub(crate) golden_bytes: usize,
}

/// What a packed model became.
#[derive(serde::Serialize)]
struct Renewed {
    file_bytes: usize,
    golden_bytes: usize,
}

impl Golden {
    /// Puts the golden embedding into a model. One that computes in floats stays without, unless a picture was named.
    pub(crate) fn put(&self, name: &Path, model: Vec<u8>) -> Outcome<WithGolden> {
        let refused = |fault: GoldenFault| {
            Failure::new(format_args!("{}: {fault}", name.display())).help(match fault {
                GoldenFault::Load(_) => "pinhole inspect FILE says what a file is",
                _ => "leave out --golden: only a model of integers, as pinhole quantize makes it, gets a golden embedding",
            })
        };
        let bytes = match &self.golden {
            _ if self.no_golden => without_golden(&model).map_err(refused)?,
            Some(picture) => {
                let input = input(name, &model, picture)?;
                with_golden(&model, Some(&input)).map_err(refused)?
            }
            None => match with_golden(&model, None) {
                Ok(bytes) => bytes,
                Err(GoldenFault::Load(error)) => return Err(refused(GoldenFault::Load(error))),
                Err(_) => without_golden(&model).map_err(refused)?,
            },
        };
        let file = AlignedBytes::from_slice(&bytes);
        let model = Model::load(&file).map_err(|error| refused(GoldenFault::Load(error)))?;
        let golden_bytes = model.header().golden.bytes.get() as usize;
        Ok(WithGolden {
            bytes,
            golden_bytes,
        })
    }
}

/// The model's input for a picture.
fn input(name: &Path, model: &[u8], picture: &Path) -> Outcome<Vec<u8>> {
    let model = AlignedBytes::from_slice(model);
    let loaded = LoadedModel::from_bytes(name.display(), model, kernel::detect())?;
    let encoder = ImageEncoder::new(name.display(), loaded)?;
    encoder.session().input_bytes(&load_picture(picture)?)
}

/// Gives a packed model another golden embedding.
pub(super) fn renew(golden: &Golden, model: &Path, out: &Path, json: bool) -> Outcome {
    let given = files::read(model)?;
    let loaded = AlignedBytes::from_slice(&given);
    Model::load(&loaded).map_err(|error| crate::failure::refused_model(model.display(), &error))?;
    expect_unsigned(model, &given)?;
    let renewed = golden.put(model, given)?;
    files::write(out, &renewed.bytes)?;
    if json {
        return json_line(&Renewed {
            file_bytes: renewed.bytes.len(),
            golden_bytes: renewed.golden_bytes,
        });
    }
    say!("{}: {} bytes", out.display(), renewed.bytes.len());
    print(renewed.golden_bytes);
    Ok(())
}

/// A signature would not fit the new bytes.
fn expect_unsigned(name: &Path, given: &[u8]) -> Outcome {
    let length = std::mem::offset_of!(format::Header, file_bytes);
    let expected = given.get(length..).and_then(|rest| rest.first_chunk());
    let expected = expected.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
    if expected == given.len() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{}: found {} bytes, expected the {expected} of the model without a signature",
        name.display(),
        given.len()
    ))
    .help("take the file that was signed, and sign the new one: pinhole sign"))
}

/// How the golden embedding is told.
pub(super) fn print(golden_bytes: usize) {
    match golden_bytes {
        0 => say!("no golden embedding"),
        bytes => say!("golden embedding for self-tests, {bytes} bytes"),
    }
}
