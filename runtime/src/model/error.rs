//! What can be wrong with a model file. Every variant carries what was found and what was expected.

use super::op::OpKind;
use super::op_fault::OpFault;
use core::fmt;

/// Why [`super::Model::load`] refuses a file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes do not start at a 16-byte boundary.
    Misaligned {
        /// Address of the first byte modulo 16.
        remainder: usize,
    },
    /// The file ends early.
    Truncated {
        /// Bytes of the whole file.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// This is no model file.
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The file was written by a newer packer, or its version is 0.
    NewerVersion {
        /// Version of the file.
        found: u16,
        /// Version that this runtime reads.
        supported: u16,
    },
    /// The weights lie in a way that this runtime does not know.
    Layout {
        /// The byte found.
        found: u8,
    },
    /// The model kind is unknown.
    Kind {
        /// The byte found.
        found: u8,
    },
    /// The bytes changed after the file was packed.
    BadChecksum {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A header field is out of range.
    Header {
        /// Name of the field.
        field: HeaderField,
    },
    /// A section is out of place.
    Section {
        /// Which one.
        section: SectionName,
        /// What is wrong with it.
        reason: SectionFault,
    },
    /// A value is unsound.
    Value {
        /// Its index.
        index: usize,
        /// What is wrong with it.
        reason: ValueFault,
    },
    /// An operator is unsound.
    Op {
        /// Its index.
        index: usize,
        /// Its [`OpKind`] code.
        kind: u16,
        /// What is wrong with it.
        reason: OpFault,
    },
    /// The arena size is not the peak of the plan.
    Arena {
        /// In the header.
        stored: u64,
        /// Of the plan.
        computed: u64,
    },
    /// The lower bound of the arena is not that of the operators.
    LowerBound {
        /// In the header.
        stored: u64,
        /// Of the operators.
        computed: u64,
    },
    /// The multiply-accumulates are not those of the operators.
    Macs {
        /// In the header.
        stored: u64,
        /// Of the operators.
        computed: u64,
    },
    /// An operator overwrites a value that is still needed.
    Liveness {
        /// The operator that writes.
        op: usize,
        /// The value that is needed later.
        value: usize,
    },
}

/// A field of the header, named in [`LoadError::Header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderField {
    /// `reserved`
    Reserved,
    /// `logit_scale`
    LogitScale,
    /// `logit_bias`
    LogitBias,
    /// `max_tokens`
    MaxTokens,
    /// `padding_tokens`
    PaddingTokens,
    /// `golden_input`
    GoldenInput,
    /// `inputs`
    Inputs,
    /// `outputs`
    Outputs,
    /// `geometry`
    Geometry,
}

/// A section of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SectionName {
    /// Values.
    Values,
    /// Operators.
    Ops,
    /// Weights, tables, constants.
    Data,
    /// Vocabulary.
    Vocabulary,
    /// Names.
    Names,
    /// Self-check.
    Golden,
    /// Signature.
    Signature,
}

/// What is wrong with a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SectionFault {
    /// The offset is no multiple of 16, or an empty section has one.
    Offset {
        /// The offset found.
        found: u32,
    },
    /// It begins before the previous one ends.
    Overlap {
        /// The smallest offset allowed.
        expected: u32,
        /// The offset found.
        found: u32,
    },
    /// It ends after the file.
    End {
        /// End of the section.
        found: u64,
        /// End of the file.
        file_bytes: u64,
    },
    /// Its length is not that of its contents.
    Length {
        /// Bytes expected: of one record, or of the contents.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// It holds more records than allowed, or none.
    Count {
        /// Records found.
        found: usize,
        /// Most records allowed.
        limit: usize,
    },
    /// It is not text, or has the wrong number of lines.
    Text,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ValueFault {
    /// Unknown element type.
    DType {
        /// The byte found.
        found: u8,
    },
    /// The rank is not within 1..=4.
    Rank {
        /// The byte found.
        found: u8,
    },
    /// The place is neither arena nor data.
    Place {
        /// The byte found.
        found: u8,
    },
    /// A reserved field is not zero.
    Reserved,
    /// A dimension is 0, not 1 beyond the rank, or the bytes do not fit 32 bits.
    Shape {
        /// Which dimension.
        dimension: usize,
        /// The dimension found.
        found: u32,
    },
    /// `dynamic` is neither 0 nor 1, or the value cannot be dynamic.
    Dynamic {
        /// The byte found.
        found: u8,
    },
    /// The leading dimension of a dynamic value is not `max_tokens`.
    Tokens {
        /// `max_tokens` of the header.
        expected: u32,
        /// The dimension found.
        found: u32,
    },
    /// The offset is no multiple of 16.
    Offset {
        /// The offset found.
        found: u32,
    },
    /// The value ends after its arena or data section, or begins before it.
    Bounds {
        /// End of the value.
        end: u64,
        /// End of what it lies in.
        limit: u64,
    },
    /// The scale is not finite, negative, or not 0 for a type without scale, or 0 where it is needed.
    Scale {
        /// The scale found.
        found: f32,
    },
    /// The zero point does not fit the type.
    ZeroPoint {
        /// The zero point found.
        found: i32,
    },
    /// `storage` is no owner of the same bytes.
    Storage {
        /// The index found.
        found: u16,
    },
    /// No operator writes it and it is no model input.
    NeverWritten,
    /// More than one operator writes it, or one writes a model input.
    WrittenTwice {
        /// The second operator that writes it.
        op: usize,
    },
    /// It overlaps another model input.
    InputsOverlap {
        /// The other one.
        other: usize,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Misaligned { remainder } => {
                write!(
                    f,
                    "the model starts {remainder} bytes after a 16-byte boundary"
                )
            }
            Self::Truncated { needed, given } => {
                write!(f, "the model has {needed} bytes, {given} given")
            }
            Self::BadMagic { found } => {
                write!(
                    f,
                    "not a model file: it begins with \"{}\", expected \"PHM1\"",
                    found.escape_ascii()
                )
            }
            Self::NewerVersion { found, supported } => {
                write!(
                    f,
                    "model format version {found}, this runtime reads version {supported}"
                )
            }
            Self::Layout { found } => {
                write!(
                    f,
                    "weight layout {found} is unknown, expected 0 (generic) or 1 (aarch64)"
                )
            }
            Self::Kind { found } => write!(f, "model kind {found} is unknown, expected 0 to 2"),
            Self::BadChecksum { stored, computed } => {
                write!(
                    f,
                    "checksum {stored:08x} in the header, {computed:08x} over the bytes"
                )
            }
            Self::Header { field } => write!(f, "header field {field} is out of range"),
            Self::Section { section, reason } => write!(f, "section {section}: {reason}"),
            Self::Value { index, reason } => write!(f, "value {index}: {reason}"),
            Self::Op {
                index,
                kind,
                reason,
            } => match OpKind::from_u16(kind) {
                Some(kind) => write!(f, "operator {index} ({}): {reason}", kind.name()),
                None => write!(f, "operator {index} (kind {kind}): {reason}"),
            },
            Self::Arena { stored, computed } => {
                write!(
                    f,
                    "arena of {stored} bytes in the header, the plan needs {computed}"
                )
            }
            Self::LowerBound { stored, computed } => {
                write!(
                    f,
                    "arena lower bound of {stored} bytes in the header, the operators have {computed}"
                )
            }
            Self::Macs { stored, computed } => {
                write!(
                    f,
                    "{stored} multiply-accumulates in the header, the operators have {computed}"
                )
            }
            Self::Liveness { op, value } => {
                write!(
                    f,
                    "operator {op} overwrites value {value}, which is still needed"
                )
            }
        }
    }
}

impl core::error::Error for LoadError {}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "reserved (zeros)",
            Self::LogitScale => "logit_scale (finite, at least 0)",
            Self::LogitBias => "logit_bias (finite)",
            Self::MaxTokens => "max_tokens (0 exactly when no value is dynamic)",
            Self::PaddingTokens => "padding_tokens (fewer than max_tokens, or 0)",
            Self::GoldenInput => "golden_input (0, or 1 beside a section golden of a model whose inputs are all i8)",
            Self::Inputs => "inputs (1 to 4 different arena values that own their bytes)",
            Self::Outputs => "outputs (1 to 4 arena values)",
            Self::Geometry => "geometry (that of the first input, with a usable mean and std; zeros for a text encoder)",
        })
    }
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Values => "values",
            Self::Ops => "ops",
            Self::Data => "data",
            Self::Vocabulary => "vocabulary",
            Self::Names => "names",
            Self::Golden => "golden",
            Self::Signature => "signature",
        })
    }
}

impl fmt::Display for SectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Offset { found } => write!(
                f,
                "offset {found}, expected a multiple of 16, and 0 when empty"
            ),
            Self::Overlap { expected, found } => {
                write!(f, "begins at {found}, expected {expected} or more")
            }
            Self::End { found, file_bytes } => {
                write!(f, "ends at {found}, the file at {file_bytes}")
            }
            Self::Length { expected, found } => write!(f, "{found} bytes, expected {expected}"),
            Self::Count { found, limit } => write!(f, "{found} records, expected 1 to {limit}"),
            Self::Text => f.write_str("expected one line of text for each value and operator"),
        }
    }
}

impl fmt::Display for ValueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DType { found } => write!(f, "element type {found} is unknown, expected 1 to 5"),
            Self::Rank { found } => write!(f, "rank {found}, expected 1 to 4"),
            Self::Place { found } => write!(f, "place {found}, expected 0 (arena) or 1 (data)"),
            Self::Reserved => f.write_str("a reserved field is not zero"),
            Self::Shape { dimension, found } => {
                write!(
                    f,
                    "dimension {dimension} is {found}; dimensions are 1 or more, 1 beyond the rank, and their product fits 32 bits"
                )
            }
            Self::Dynamic { found } => {
                write!(f, "dynamic is {found}, expected 0, or 1 for an arena value")
            }
            Self::Tokens { expected, found } => {
                write!(f, "{found} tokens, expected max_tokens {expected}")
            }
            Self::Offset { found } => write!(f, "offset {found}, expected a multiple of 16"),
            Self::Bounds { end, limit } => write!(
                f,
                "ends at {end}, expected to lie within its section or arena, which ends at {limit}"
            ),
            Self::Scale { found } => write!(
                f,
                "scale {found}, expected a finite one, positive where it is used, 0 for floats and ids"
            ),
            Self::ZeroPoint { found } => write!(f, "zero point {found} does not fit the type"),
            Self::Storage { found } => {
                write!(f, "storage {found} is not an owner of the same bytes")
            }
            Self::NeverWritten => f.write_str("no operator writes it and it is no model input"),
            Self::WrittenTwice { op } => write!(f, "operator {op} writes it a second time"),
            Self::InputsOverlap { other } => write!(f, "overlaps model input {other}"),
        }
    }
}
