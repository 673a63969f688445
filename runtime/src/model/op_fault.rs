//! What can be wrong with one operator.

use super::format::DType;
use core::fmt;

/// The operand number of an operator's output in an [`OpFault`].
pub const OUTPUT: u8 = 4;

/// What is wrong with an operator. Operands 0 to 3 are its inputs, [`OUTPUT`] is its output.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OpFault {
    /// The kind is unknown.
    UnknownKind,
    /// A reserved field, or the rest of `params`, is not zero.
    Reserved,
    /// An operand is missing.
    MissingOperand {
        /// Which one.
        operand: u8,
    },
    /// There are more inputs than the kind takes.
    ExtraInput {
        /// The first too many.
        operand: u8,
    },
    /// No value has this index.
    NoSuchValue {
        /// Which operand.
        operand: u8,
        /// The index found.
        found: u16,
        /// Number of values.
        count: usize,
    },
    /// The output is a constant.
    OutputIsConstant,
    /// Wrong element type.
    DType {
        /// Which operand.
        operand: u8,
        /// The type needed.
        expected: DType,
        /// The type found.
        found: DType,
    },
    /// Wrong number or size of dimensions.
    Extent {
        /// Which operand.
        operand: u8,
        /// What was compared.
        what: &'static str,
        /// The size needed.
        expected: usize,
        /// The size found.
        found: usize,
    },
    /// A stretch of data has the wrong length.
    DataLength {
        /// Index into `data`.
        role: u8,
        /// Bytes needed.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// A stretch of data is misaligned or outside of the data section.
    DataBounds {
        /// Index into `data`.
        role: u8,
        /// Its offset.
        offset: u32,
    },
    /// There is more data than the kind takes.
    ExtraData {
        /// Index into `data`.
        role: u8,
    },
    /// A parameter is out of range.
    Parameter {
        /// Its name.
        what: &'static str,
        /// The number found.
        found: i64,
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A float parameter is out of range.
    FloatParameter {
        /// Its name.
        what: &'static str,
        /// The number found.
        found: f32,
    },
    /// A number of one channel is out of range.
    Channel {
        /// Its name.
        what: &'static str,
        /// Which channel.
        channel: usize,
        /// The number found.
        found: i64,
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// What fills packed weights up to whole groups is not zero.
    Padding {
        /// Output channel.
        channel: usize,
        /// Input.
        input: usize,
    },
    /// Scale or zero point of an operand differ from the output's, where they must be equal.
    Quantisation {
        /// Which operand.
        operand: u8,
    },
    /// The scale of an operand is needed and is 0.
    Scale {
        /// Which operand.
        operand: u8,
    },
    /// An operand is dynamic, or is not, where the kind does not allow it.
    Dynamic {
        /// Which operand.
        operand: u8,
    },
    /// Scratch has the wrong length.
    ScratchLength {
        /// Bytes needed.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Scratch is misaligned, outside of the arena, or has an offset and no length.
    ScratchBounds {
        /// Its offset.
        offset: u32,
    },
    /// A size does not fit the machine.
    Overflow,
    /// An operand is read before it is written.
    ReadBeforeWrite {
        /// Which operand.
        operand: u8,
    },
}

/// Names an operand.
struct Operand(u8);

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            OUTPUT => f.write_str("output"),
            slot => write!(f, "input {slot}"),
        }
    }
}

impl fmt::Display for OpFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownKind => f.write_str("unknown kind"),
            Self::Reserved => f.write_str("a reserved byte is not zero"),
            Self::MissingOperand { operand } => write!(f, "{} is missing", Operand(operand)),
            Self::ExtraInput { operand } => write!(f, "{} is one too many", Operand(operand)),
            Self::NoSuchValue {
                operand,
                found,
                count,
            } => {
                write!(f, "{} is value {found} of {count}", Operand(operand))
            }
            Self::OutputIsConstant => f.write_str("the output is a constant"),
            Self::DType {
                operand,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{} is {}, expected {}",
                    Operand(operand),
                    found.name(),
                    expected.name()
                )
            }
            Self::Extent {
                operand,
                what,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{} has {what} {found}, expected {expected}",
                    Operand(operand)
                )
            }
            Self::DataLength {
                role,
                expected,
                found,
            } => {
                write!(f, "data {role} has {found} bytes, expected {expected}")
            }
            Self::DataBounds { role, offset } => {
                write!(
                    f,
                    "data {role} at {offset} is misaligned or outside of the data section"
                )
            }
            Self::ExtraData { role } => write!(f, "data {role} is one too many"),
            Self::Parameter {
                what,
                found,
                min,
                max,
            } => {
                write!(f, "{what} is {found}, expected {min} to {max}")
            }
            Self::FloatParameter { what, found } => write!(f, "{what} {found} is out of range"),
            Self::Channel {
                what,
                channel,
                found,
                min,
                max,
            } => {
                write!(
                    f,
                    "{what} of channel {channel} is {found}, expected {min} to {max}"
                )
            }
            Self::Padding { channel, input } => {
                write!(
                    f,
                    "padding of the weights at channel {channel}, input {input} is not zero"
                )
            }
            Self::Quantisation { operand } => {
                write!(
                    f,
                    "scale or zero point of {} differ from the output's",
                    Operand(operand)
                )
            }
            Self::Scale { operand } => write!(f, "{} has no scale", Operand(operand)),
            Self::Dynamic { operand } => {
                write!(
                    f,
                    "{} is dynamic, or is not, where this operator cannot follow",
                    Operand(operand)
                )
            }
            Self::ScratchLength { expected, found } => {
                write!(f, "scratch has {found} bytes, expected {expected}")
            }
            Self::ScratchBounds { offset } => {
                write!(
                    f,
                    "scratch at {offset} is misaligned or outside of the arena"
                )
            }
            Self::Overflow => f.write_str("a size does not fit this machine"),
            Self::ReadBeforeWrite { operand } => {
                write!(f, "{} is read before it is written", Operand(operand))
            }
        }
    }
}
