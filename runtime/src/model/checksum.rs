//! CRC-32/ISO-HDLC of a model file, over everything but the stored checksum itself.

use crc::{CRC_32_ISO_HDLC, Crc};

/// A large table where there is memory to spare: text encoders have tens of megabytes.
#[cfg(feature = "std")]
type Table = crc::Table<16>;
#[cfg(not(feature = "std"))]
type Table = crc::Table<1>;

static CRC: Crc<u32, Table> = Crc::<u32, Table>::new(&CRC_32_ISO_HDLC);

/// The [`super::format::Header::crc32`] of a file: over its bytes `[0, 12)` and `[16, file_bytes)`, one after the other.
pub fn checksum(file: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(file.get(..12).unwrap_or(file));
    digest.update(file.get(16..).unwrap_or(&[]));
    digest.finalize()
}
