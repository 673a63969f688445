//! The self-check of a packed model: an input and the outputs that every device must give (`docs/model-format.md`).
//!
//! Only models of integers get one: floats agree between kernel sets within tolerances and not in every bit.

use pinhole_runtime::interpreter::{AlignedBytes, InputError, Interpreter};
use pinhole_runtime::kernel;
use pinhole_runtime::model::format::{ALIGN_BYTES, DType, Header, Section};
use pinhole_runtime::model::{GOLDEN_GENERATED, GOLDEN_STORED, GoldenInput, LoadError, Model};
use zerocopy::IntoBytes;

/// The seed of inputs that are generated; any other would do.
const SEED: u32 = 1;

/// Why a model gets no self-check.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenFault {
    /// The file does not load.
    #[error("{0}")]
    Load(LoadError),
    /// It computes in floats.
    #[error("the model computes in floats, whose last bits differ from one CPU to another")]
    Floats,
    /// Its input is no int8 of a fixed size.
    #[error("the model takes {found}, expected i8 of a fixed size")]
    Input {
        /// The type of an input.
        found: &'static str,
    },
    /// The input that was given has another length.
    #[error("the golden input has {found} bytes, the model takes {expected}")]
    Length {
        /// Bytes of all inputs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// It cannot be run here.
    #[error("{0}")]
    Run(InputError),
}

/// The model without its self-check.
///
/// # Errors
/// When it does not load.
pub fn without_golden(file: &[u8]) -> Result<Vec<u8>, GoldenFault> {
    let file = AlignedBytes::from_slice(file);
    let model = Model::load(&file).map_err(GoldenFault::Load)?;
    let mut header = *model.header();
    let golden = header.golden;
    let mut bytes = file[..header.file_bytes.get() as usize].to_vec();
    if golden.bytes.get() > 0 {
        // It is the last section: signatures follow the file.
        let before = [
            header.values,
            header.ops,
            header.data,
            header.vocabulary,
            header.names,
        ];
        let ends = before.map(|section| section.offset.get() + section.bytes.get());
        bytes.truncate(ends.into_iter().max().unwrap_or(0) as usize);
    }
    header.golden = Section::default();
    header.golden_input = GOLDEN_STORED;
    seal(&mut bytes, header);
    Ok(bytes)
}

/// The model with the self-check of an input, the bytes of all inputs in turn; of one that devices generate from a seed when
/// it is left out. Takes the place of the one that the file has.
///
/// # Errors
/// When the file does not load, or the bits of its outputs are not the same on every device.
pub fn with_golden(file: &[u8], input: Option<&[u8]>) -> Result<Vec<u8>, GoldenFault> {
    let mut bytes = without_golden(file)?;
    let plain = AlignedBytes::from_slice(&bytes);
    let model = Model::load(&plain).map_err(GoldenFault::Load)?;
    let input_bytes = check(&model)?;
    let (source, front, input) = match input {
        Some(input) => (GOLDEN_STORED, input, GoldenInput::Stored(input)),
        None => {
            let input = GoldenInput::Generated {
                seed: SEED,
                bytes: input_bytes,
            };
            (GOLDEN_GENERATED, &SEED.to_le_bytes()[..], input)
        }
    };
    let found = input.bytes().count();
    if found != input_bytes {
        return Err(GoldenFault::Length {
            expected: input_bytes,
            found,
        });
    }
    let output = outputs(&model, &input).map_err(GoldenFault::Run)?;
    bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), 0);
    let mut header = *model.header();
    header.golden = Section {
        offset: (bytes.len() as u32).into(),
        bytes: ((front.len() + output.len()) as u32).into(),
    };
    header.golden_input = source;
    bytes.extend_from_slice(front);
    bytes.extend_from_slice(&output);
    seal(&mut bytes, header);
    Model::load(&AlignedBytes::from_slice(&bytes)).map_err(GoldenFault::Load)?;
    Ok(bytes)
}

/// The bytes of all inputs.
fn check(model: &Model<'_>) -> Result<usize, GoldenFault> {
    let values = (0..model.values().len()).map(|index| model.value(index));
    let mut computed = values.filter(|value| !value.constant);
    if computed.any(|value| matches!(value.dtype, DType::F16 | DType::F32)) {
        return Err(GoldenFault::Floats);
    }
    let mut total = 0;
    for value in model.inputs().map(|index| model.value(index)) {
        if value.dtype != DType::I8 || value.dynamic {
            let found = value.dtype.name();
            return Err(GoldenFault::Input { found });
        }
        total += value.bytes;
    }
    Ok(total)
}

/// By the fastest kernel set that reads the file's layout; all have the same bits.
fn outputs(model: &Model<'_>, input: &GoldenInput<'_>) -> Result<Vec<u8>, InputError> {
    let kernels = kernel::detect_for(model.weight_layout());
    let mut arena = AlignedBytes::zeroed(model.arena_bytes());
    let mut interpreter = Interpreter::new(model, &mut arena, kernels)?;
    let mut bytes = input.bytes();
    for index in 0..model.inputs().len() {
        let room = interpreter.input_bytes_mut(index)?;
        room.iter_mut()
            .zip(&mut bytes)
            .for_each(|(to, from)| *to = from);
    }
    interpreter.run();
    let mut all = Vec::new();
    for index in 0..model.outputs().len() {
        all.extend_from_slice(interpreter.output_bytes(index)?);
    }
    Ok(all)
}

/// Writes the header with length and checksum.
fn seal(bytes: &mut [u8], mut header: Header) {
    header.file_bytes = (bytes.len() as u32).into();
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    header.crc32 = pinhole_runtime::model::checksum(bytes).into();
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
}
