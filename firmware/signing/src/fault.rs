//! Why a signature is refused.

use core::fmt;

use crate::trailer::{Kind, TRAILER_MAGIC, TRAILER_VERSION};

/// Why a file is not taken for signed by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureFault {
    /// Nothing follows the file.
    Unsigned,
    /// What follows the file is no trailer.
    NotATrailer {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// The trailer is of another version.
    Version {
        /// Version of the trailer.
        found: u16,
    },
    /// A byte that this version keeps zero is not.
    ReservedNotZero,
    /// The file was signed as something else.
    Kind {
        /// What the file is.
        expected: Kind,
        /// The byte of the trailer.
        found: u8,
    },
    /// The trailer belongs to a file of another length.
    Length {
        /// Bytes of the file.
        expected: u32,
        /// Bytes that the trailer says.
        found: u32,
    },
    /// Another key signed.
    OtherKey {
        /// First bytes of the id of the key that is expected.
        expected: u32,
        /// First bytes of the id in the trailer.
        found: u32,
    },
    /// The signature does not fit the file, or is malformed.
    Wrong,
    /// The bytes of a public key are no point of the curve, or one of small order.
    BadKey,
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unsigned => {
                f.write_str("not signed, and this device takes signed files: sign it with its key")
            }
            Self::NotATrailer { found } => write!(
                f,
                "the file is followed by {found:02x?}, expected a signature, {TRAILER_MAGIC:02x?}"
            ),
            Self::Version { found } => write!(
                f,
                "signature of version {found}, this program reads version {TRAILER_VERSION}"
            ),
            Self::ReservedNotZero => f.write_str("a reserved byte of the signature is not zero"),
            Self::Kind { expected, found } => write!(
                f,
                "signed as kind {found}, expected {} ({})",
                expected as u8,
                expected.name()
            ),
            Self::Length { expected, found } => write!(
                f,
                "the signature is of a file of {found} bytes, this one has {expected}"
            ),
            Self::OtherKey { expected, found } => write!(
                f,
                "signed by the key {found:08x}, expected the key {expected:08x}"
            ),
            Self::Wrong => f.write_str("the signature does not fit the file"),
            Self::BadKey => f.write_str("these bytes are no public key of Ed25519"),
        }
    }
}

impl core::error::Error for SignatureFault {}
