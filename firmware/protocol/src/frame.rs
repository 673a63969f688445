//! Frames on a line: `COBS(version, sequence, body, crc32) 0`.
//!
//! COBS is Cheshire and Baker 1999, "Consistent Overhead Byte Stuffing": no byte inside a frame is zero, so that a zero
//! ends a frame wherever a receiver starts to listen. The checksum is CRC-32/ISO-HDLC over what is before it, least
//! significant byte first. A reply has the sequence number of its request, so that a late one is not taken for another's.
//! Bytes that are no frame cost at most the frame in which they lie.

use crate::{MAX_BODY_BYTES, PROTOCOL_VERSION};
use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc, Table};

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// Version and sequence.
const HEAD_BYTES: usize = 2;
const CRC_BYTES: usize = 4;
/// Bytes of the largest frame before stuffing.
const MAX_PLAIN_BYTES: usize = HEAD_BYTES + MAX_BODY_BYTES + CRC_BYTES;
/// A stuffed block is its length and up to this many bytes that are not zero.
const MAX_BLOCK_BYTES: usize = 254;

/// The sequence number of a reply to a frame that was damaged, whose own number is not known.
pub const NO_SEQUENCE: u8 = 0;
/// The sequence number of the first request, and of the one after 255.
pub const FIRST_SEQUENCE: u8 = 1;

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameFault {
    /// It has no room for a version and a checksum, or ends inside a block.
    Cut {
        /// Bytes of it.
        bytes: usize,
    },
    /// It is longer than any frame.
    TooLong,
    /// The checksum does not match.
    Checksum {
        /// The one in the frame.
        stored: u32,
        /// The one of its bytes.
        computed: u32,
    },
    /// It is of another protocol version.
    Version {
        /// That version.
        found: u8,
    },
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cut { bytes } => write!(f, "a frame was cut off after {bytes} bytes"),
            Self::TooLong => write!(f, "a frame is longer than {MAX_PLAIN_BYTES} bytes"),
            Self::Checksum { stored, computed } => write!(
                f,
                "a frame has checksum {stored:08x}, its bytes have {computed:08x}"
            ),
            Self::Version { found } => write!(
                f,
                "protocol version {found}, this side speaks version {PROTOCOL_VERSION}"
            ),
        }
    }
}

impl core::error::Error for FrameFault {}

/// What a decoder knows after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The frame is not complete.
    Incomplete,
    /// A frame is complete: [`Decoder::body`].
    Complete,
    /// A frame ended and is refused; the next one begins.
    Refused(FrameFault),
}

/// Takes frames out of a stream of bytes, however it is cut up.
#[derive(Debug)]
pub struct Decoder {
    plain: [u8; MAX_PLAIN_BYTES],
    len: usize,
    /// Bytes of the current block that are still to come.
    block_left: usize,
    /// The block ends with a zero that stuffing removed, unless the frame ends there.
    zero_after_block: bool,
    too_long: bool,
    /// Nothing of the frame was seen yet.
    at_start: bool,
    body_len: usize,
    sequence: u8,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a frame.
    pub const fn new() -> Self {
        Self {
            plain: [0; MAX_PLAIN_BYTES],
            len: 0,
            block_left: 0,
            zero_after_block: false,
            too_long: false,
            at_start: true,
            body_len: 0,
            sequence: NO_SEQUENCE,
        }
    }

    /// Takes bytes up to the end of a frame; returns how many were taken, and what that makes.
    ///
    /// All bytes are taken when the status is [`Status::Incomplete`]. Empty frames, which a zero makes before a frame to
    /// end noise, are skipped.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, Status) {
        for (taken, &byte) in (1..).zip(bytes) {
            if byte != 0 {
                self.accept(byte);
            } else if !self.at_start {
                return (taken, self.end_frame());
            }
        }
        (bytes.len(), Status::Incomplete)
    }

    /// The body of the frame that the last [`Decoder::take`] completed.
    pub fn body(&self) -> &[u8] {
        self.plain
            .get(HEAD_BYTES..HEAD_BYTES + self.body_len)
            .unwrap_or_default()
    }

    /// The sequence number of the last frame; [`NO_SEQUENCE`] when it was refused.
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    fn accept(&mut self, byte: u8) {
        self.at_start = false;
        if self.block_left > 0 {
            self.block_left -= 1;
            self.push(byte);
            return;
        }
        if self.zero_after_block {
            self.push(0);
        }
        self.block_left = usize::from(byte) - 1;
        self.zero_after_block = self.block_left < MAX_BLOCK_BYTES;
    }

    fn push(&mut self, byte: u8) {
        match self.plain.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.too_long = true,
        }
    }

    /// Checks the frame and starts the next one, whose bytes overwrite it.
    fn end_frame(&mut self) -> Status {
        let (len, block_left, too_long) = (self.len, self.block_left, self.too_long);
        self.len = 0;
        self.block_left = 0;
        self.zero_after_block = false;
        self.too_long = false;
        self.at_start = true;
        self.body_len = 0;
        self.sequence = NO_SEQUENCE;
        if too_long {
            return Status::Refused(FrameFault::TooLong);
        }
        let cut = Status::Refused(FrameFault::Cut { bytes: len });
        let frame = self.plain.get(..len).unwrap_or_default();
        let Some((covered, stored)) = frame.split_last_chunk::<CRC_BYTES>() else {
            return cut;
        };
        let Some((&[version, sequence], body)) = covered.split_first_chunk::<HEAD_BYTES>() else {
            return cut;
        };
        let (stored, computed) = (u32::from_le_bytes(*stored), CRC.checksum(covered));
        if block_left > 0 {
            cut
        } else if stored != computed {
            Status::Refused(FrameFault::Checksum { stored, computed })
        } else if version != PROTOCOL_VERSION {
            Status::Refused(FrameFault::Version { found: version })
        } else {
            self.body_len = body.len();
            self.sequence = sequence;
            Status::Complete
        }
    }
}

/// Stuffs the bytes of one frame into blocks and hands each block to a writer.
#[derive(Debug)]
struct Encoder<W> {
    /// The length of the block, then its bytes.
    block: [u8; 1 + MAX_BLOCK_BYTES],
    len: usize,
    write: W,
}

impl<E, W: FnMut(&[u8]) -> Result<(), E>> Encoder<W> {
    fn new(write: W) -> Self {
        Self {
            block: [0; 1 + MAX_BLOCK_BYTES],
            len: 0,
            write,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), E> {
        for &byte in bytes {
            if byte == 0 {
                self.flush()?;
                continue;
            }
            self.len += 1;
            if let Some(place) = self.block.get_mut(self.len) {
                *place = byte;
            }
            if self.len == MAX_BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), E> {
        self.block[0] = self.len as u8 + 1;
        (self.write)(self.block.get(..=self.len).unwrap_or_default())?;
        self.len = 0;
        Ok(())
    }
}

/// Writes `body` as a frame, in pieces of at most 255 bytes; the last piece is the zero.
///
/// # Errors
/// Those of `write`.
pub fn encode<E>(
    sequence: u8,
    body: &[u8],
    write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let head = [PROTOCOL_VERSION, sequence];
    let mut digest = CRC.digest();
    digest.update(&head);
    digest.update(body);
    let mut encoder = Encoder::new(write);
    encoder.put(&head)?;
    encoder.put(body)?;
    encoder.put(&digest.finalize().to_le_bytes())?;
    encoder.flush()?;
    (encoder.write)(&[0])
}
