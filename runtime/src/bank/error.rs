//! What can be wrong with a bank, and with what should become one.

use core::fmt;

/// Why [`super::ClassBank::load`] refuses a file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum BankError {
    /// The file does not start with `PHC1`.
    NotABank {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The file is of another version of the format.
    UnsupportedVersion {
        /// Version of the file.
        found: u16,
        /// The version that is read.
        supported: u16,
    },
    /// The file is shorter than its header says, or than a header.
    Truncated {
        /// Bytes that the file should have.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The file is longer than its header says.
    TrailingBytes {
        /// Bytes that the file should have.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The lengths, counts and offsets of the header do not fit together.
    BadLayout,
    /// The bank holds no class.
    NoClasses,
    /// A byte that version 1 keeps zero is not.
    ReservedNotZero {
        /// Its offset in the file.
        offset: usize,
    },
    /// The bytes are not those that were written.
    BadChecksum {
        /// Checksum in the header.
        expected: u32,
        /// Checksum of the bytes.
        found: u32,
    },
    /// A number of the header is not finite or not in its range.
    BadNumber {
        /// The field's name in the specification.
        field: &'static str,
        /// The number.
        found: f32,
    },
    /// The templates are not UTF-8.
    BadTemplates {
        /// Bytes that are.
        valid_bytes: usize,
    },
    /// A slot is neither free nor a class, is free before `class_count`, or a class after a free slot.
    BadSlotState {
        /// The slot.
        index: u32,
        /// The state found.
        found: u32,
    },
    /// The bytes of a slot are not those that were written.
    BadSlotChecksum {
        /// The slot.
        index: u32,
    },
    /// A name is empty, longer than its field, or not UTF-8, or something follows it.
    BadName {
        /// The slot.
        index: u32,
    },
    /// The embedding, multiplied by its scale, does not have length 1.
    NotUnitLength {
        /// The slot.
        index: u32,
        /// Its length.
        found: f32,
    },
    /// Two classes have one name.
    DuplicateName {
        /// The slot of one of them.
        index: u32,
    },
    /// The order table does not list the names in ascending order.
    BadOrder {
        /// The entry of the table.
        index: u32,
    },
    /// The bank belongs to another encoder.
    OtherEmbeddingSpace {
        /// The space of the encoder.
        expected: [u8; 16],
        /// The space of the bank.
        found: [u8; 16],
    },
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotABank { found } => {
                write!(
                    f,
                    "not a class bank: starts with {found:02x?}, expected {:02x?}",
                    super::MAGIC
                )
            }
            Self::UnsupportedVersion { found, supported } => {
                write!(
                    f,
                    "class bank of version {found}, this program reads version {supported}"
                )
            }
            Self::Truncated { needed, found } => {
                write!(f, "class bank needs {needed} bytes, found {found}")
            }
            Self::TrailingBytes { expected, found } => {
                write!(f, "class bank has {expected} bytes, found {found}")
            }
            Self::BadLayout => write!(
                f,
                "offsets and counts of the class bank contradict each other"
            ),
            Self::NoClasses => write!(f, "class bank holds no class"),
            Self::ReservedNotZero { offset } => {
                write!(f, "reserved byte {offset} of the class bank is not zero")
            }
            Self::BadChecksum { expected, found } => {
                write!(
                    f,
                    "class bank is damaged: checksum {expected:#010x} expected, {found:#010x} found"
                )
            }
            Self::BadNumber { field, found } => {
                write!(f, "{field} of the class bank is {found}, out of range")
            }
            Self::BadTemplates { valid_bytes } => {
                write!(
                    f,
                    "templates of the class bank are not UTF-8 after {valid_bytes} bytes"
                )
            }
            Self::BadSlotState { index, found } => write!(
                f,
                "class slot {index} has the unexpected state {found:#010x}"
            ),
            Self::BadSlotChecksum { index } => write!(f, "class slot {index} is damaged"),
            Self::BadName { index } => write!(f, "class slot {index} has no sound name"),
            Self::NotUnitLength { index, found } => {
                write!(
                    f,
                    "embedding of class slot {index} has length {found}, expected 1"
                )
            }
            Self::DuplicateName { index } => {
                write!(f, "class slot {index} has a name that occurs twice")
            }
            Self::BadOrder { index } => {
                write!(f, "entry {index} of the order table is not in order")
            }
            Self::OtherEmbeddingSpace { expected, found } => write!(
                f,
                "class bank belongs to embedding space {found:02x?}, the encoder to {expected:02x?}"
            ),
        }
    }
}

impl core::error::Error for BankError {}

/// Why a bank or a slot cannot be written.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum WriteError {
    /// The bank would be longer than a 32-bit length can say.
    TooLarge,
    /// The destination is not exactly as long as the bank or the slot.
    DestinationLength {
        /// Bytes that are written.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// More spare slots than a bank can have.
    TooManySpareSlots {
        /// The most that a bank can have.
        max: u32,
        /// Slots asked for.
        found: u32,
    },
    /// An embedding does not have the dimension of the bank.
    Dimension {
        /// The class.
        index: u32,
        /// The dimension of the bank.
        expected: usize,
        /// The dimension found.
        found: usize,
    },
    /// An embedding is zero, infinite or not a number, and therefore has no direction.
    NoDirection {
        /// The class.
        index: u32,
    },
    /// A name is empty or too long.
    NameLength {
        /// The class.
        index: u32,
        /// The most bytes that a name of this bank can have.
        max: usize,
        /// Bytes of the name.
        found: usize,
    },
    /// The bank would be refused when it is read.
    Refused(BankError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge => write!(f, "class bank would be longer than {} bytes", u32::MAX),
            Self::DestinationLength { expected, found } => {
                write!(f, "destination must have {expected} bytes, has {found}")
            }
            Self::TooManySpareSlots { max, found } => {
                write!(f, "{found} spare slots, at most {max} are possible")
            }
            Self::Dimension {
                index,
                expected,
                found,
            } => {
                write!(
                    f,
                    "embedding of class {index} has {found} dimensions, expected {expected}"
                )
            }
            Self::NoDirection { index } => {
                write!(f, "embedding of class {index} is zero or not finite")
            }
            Self::NameLength { index, max, found } => {
                write!(
                    f,
                    "name of class {index} has {found} bytes, expected 1 to {max}"
                )
            }
            Self::Refused(error) => write!(f, "class bank would be refused: {error}"),
        }
    }
}

impl core::error::Error for WriteError {}
