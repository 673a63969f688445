//! The self-check of a model: an input, stored or generated, and the outputs that it must give (`docs/model-format.md`,
//! section golden).
//!
//! A generated input is made by the linear congruential generator of Knuth and Lewis as Press et al. print it ("Numerical
//! Recipes", 2nd ed. 1992, section 7.1), so that a device stores a seed and not a picture.

use super::error::{HeaderField, LoadError, SectionFault, SectionName};
use super::format::DType;
use super::{Model, check};

/// The input is in the file.
pub const GOLDEN_STORED: u8 = 0;
/// The input is generated.
pub const GOLDEN_GENERATED: u8 = 1;

/// Bytes of a seed.
const SEED_BYTES: usize = 4;
const MULTIPLIER: u32 = 1_664_525;
const INCREMENT: u32 = 1_013_904_223;

/// The self-check of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Golden<'a> {
    /// What goes in.
    pub input: GoldenInput<'a>,
    /// The bytes of every output in turn, which must come out.
    pub output: &'a [u8],
}

/// The bytes of every input of a model in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoldenInput<'a> {
    /// As they are in the file.
    Stored(&'a [u8]),
    /// From the generator.
    Generated {
        /// Its state at the start.
        seed: u32,
        /// How many there are.
        bytes: usize,
    },
}

impl<'a> GoldenInput<'a> {
    /// The bytes.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + use<'a> {
        let (stored, seed, generated): (&[u8], _, _) = match *self {
            Self::Stored(bytes) => (bytes, 0, 0),
            Self::Generated { seed, bytes } => (&[], seed, bytes),
        };
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
            // The low bits of such a generator have short periods.
            Some((*state >> 24) as u8)
        };
        let generated = (0..generated).scan(seed, move |state, _| next(state));
        stored.iter().copied().chain(generated)
    }
}

/// Where the parts of a section are.
#[derive(Clone, Copy)]
pub(super) struct Split {
    /// Bytes in front of the outputs.
    pub(super) front: usize,
    /// Tokens of a model with dynamic values, 0 without.
    pub(super) tokens: usize,
    /// Bytes of all inputs, when they are generated.
    generated: Option<usize>,
}

impl<'a> Model<'a> {
    /// The self-check, when the file has one.
    pub fn golden(&self) -> Option<Golden<'a>> {
        let split = split(self).ok()??;
        let section = self.section(self.header.golden);
        let (front, output) = section.split_at_checked(split.front)?;
        let input = match split.generated {
            None => GoldenInput::Stored(front),
            Some(bytes) => GoldenInput::Generated {
                seed: u32::from_le_bytes(*front.first_chunk()?),
                bytes,
            },
        };
        Some(Golden { input, output })
    }

    /// Tokens of the self-check of a model with dynamic values.
    pub fn golden_tokens(&self) -> Option<usize> {
        split(self).ok()?.map(|split| split.tokens)
    }
}

/// Proves the section; `None` when there is none.
pub(super) fn split(model: &Model<'_>) -> Result<Option<Split>, LoadError> {
    let found = model.header.golden.bytes.get();
    match model.header.golden_input {
        GOLDEN_STORED if found == 0 => Ok(None),
        GOLDEN_STORED => check::golden_split(model).map(|(front, tokens)| {
            Some(Split {
                front,
                tokens,
                generated: None,
            })
        }),
        GOLDEN_GENERATED if found > 0 => generated_split(model).map(Some),
        _ => Err(LoadError::Header {
            field: HeaderField::GoldenInput,
        }),
    }
}

/// A seed and the outputs: integers alone, since only those have the same bits on every device, and no tokens.
fn generated_split(model: &Model<'_>) -> Result<Split, LoadError> {
    let mut inputs = model.inputs().map(|index| model.value(index));
    if inputs.any(|value| value.dtype != DType::I8 || value.dynamic) {
        let field = HeaderField::GoldenInput;
        return Err(LoadError::Header { field });
    }
    let total = |indices: &mut dyn Iterator<Item = usize>| {
        indices
            .map(|index| model.value(index).bytes as u64)
            .sum::<u64>()
    };
    let expected = SEED_BYTES as u64 + total(&mut model.outputs());
    let found = u64::from(model.header.golden.bytes.get());
    if found != expected {
        return Err(LoadError::Section {
            section: SectionName::Golden,
            reason: SectionFault::Length { expected, found },
        });
    }
    Ok(Split {
        front: SEED_BYTES,
        tokens: 0,
        // Inputs are different values of one arena, whose length is a `u32`.
        generated: Some(total(&mut model.inputs()) as usize),
    })
}
