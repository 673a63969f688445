//! What follows a signed file, and its verification piece by piece.

use sha2::{Digest, Sha256};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{KEY_ID_BYTES, PublicKey, SIGNATURE_BYTES, SignatureFault};

/// First four bytes of a trailer.
pub(crate) const TRAILER_MAGIC: [u8; 4] = *b"PHSG";
/// The version of trailers that this crate reads and writes.
pub(crate) const TRAILER_VERSION: u16 = 1;
/// Bytes of a trailer.
pub const TRAILER_BYTES: usize = size_of::<Trailer>();

/// What every signed message begins with, so that a signature for another purpose is none of a file.
const DOMAIN: &[u8; 23] = b"pinhole signed file v1\0";
/// Domain, kind, counter, length and SHA-256.
pub(crate) const MESSAGE_BYTES: usize = DOMAIN.len() + 1 + 4 + 4 + 32;

/// What a signed file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `model.phm`.
    Model = 1,
    /// `bank.phc`.
    Bank = 2,
}

impl Kind {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Bank => "class bank",
        }
    }
}

/// The bytes behind a signed file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Trailer {
    pub(crate) magic: [u8; 4],
    pub(crate) version: U16,
    pub(crate) kind: u8,
    pub(crate) reserved: u8,
    pub(crate) counter: U32,
    pub(crate) file_bytes: U32,
    pub(crate) key_id: [u8; KEY_ID_BYTES],
    pub(crate) signature: [u8; SIGNATURE_BYTES],
}

const _: () = assert!(TRAILER_BYTES == 96);

impl Trailer {
    /// Whether bytes begin as a trailer does.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&TRAILER_MAGIC)
    }

    /// The trailer at the start of `bytes`, for a file of a kind and length. Says nothing of the signature.
    ///
    /// # Errors
    /// When there is none of this version, or it belongs to another kind or length.
    pub fn parse(bytes: &[u8], kind: Kind, file_bytes: u32) -> Result<&Self, SignatureFault> {
        let Ok((trailer, _)) = Self::ref_from_prefix(bytes) else {
            return Err(SignatureFault::Unsigned);
        };
        match trailer.magic {
            TRAILER_MAGIC => {}
            [0xff, 0xff, 0xff, 0xff] => return Err(SignatureFault::Unsigned),
            found => return Err(SignatureFault::NotATrailer { found }),
        }
        let found = trailer.version.get();
        if found != TRAILER_VERSION {
            return Err(SignatureFault::Version { found });
        }
        if trailer.reserved != 0 {
            return Err(SignatureFault::ReservedNotZero);
        }
        if trailer.kind != kind as u8 {
            return Err(SignatureFault::Kind {
                expected: kind,
                found: trailer.kind,
            });
        }
        if trailer.file_bytes.get() != file_bytes {
            return Err(SignatureFault::Length {
                expected: file_bytes,
                found: trailer.file_bytes.get(),
            });
        }
        Ok(trailer)
    }

    /// The counter that only grows.
    pub fn counter(&self) -> u32 {
        self.counter.get()
    }
}

/// Takes a signed file piece by piece.
#[derive(Clone, Debug)]
pub struct Verifier<'a> {
    kind: Kind,
    key: &'a PublicKey,
    trailer: &'a Trailer,
    hash: Sha256,
}

impl<'a> Verifier<'a> {
    /// For a file of a kind and length whose trailer begins at `trailer`; the file itself comes after, through
    /// [`Verifier::update`].
    ///
    /// # Errors
    /// As [`Trailer::parse`], or when another key signed.
    pub fn new(
        kind: Kind,
        file_bytes: u32,
        trailer: &'a [u8],
        key: &'a PublicKey,
    ) -> Result<Self, SignatureFault> {
        let trailer = Trailer::parse(trailer, kind, file_bytes)?;
        let id = key.id();
        if trailer.key_id != id {
            return Err(SignatureFault::OtherKey {
                expected: short(&id),
                found: short(&trailer.key_id),
            });
        }
        Ok(Self {
            kind,
            key,
            trailer,
            hash: Sha256::new(),
        })
    }

    /// The next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    /// The next bytes of the file are those of erased flash: the spare slots of a bank, whatever a device put there since.
    pub fn update_blank(&mut self, count: usize) {
        const BLANK: [u8; 64] = [0xff; 64];
        for _ in 0..count / BLANK.len() {
            self.hash.update(BLANK);
        }
        self.hash
            .update(BLANK.get(..count % BLANK.len()).unwrap_or_default());
    }

    /// Whether the key signed these bytes; returns the counter.
    ///
    /// # Errors
    /// [`SignatureFault::Wrong`].
    pub fn finish(self) -> Result<u32, SignatureFault> {
        let (counter, file_bytes) = (self.trailer.counter, self.trailer.file_bytes);
        let message = message(
            self.kind,
            counter.get(),
            file_bytes.get(),
            &self.hash.finalize().into(),
        );
        self.key.verify(&message, &self.trailer.signature)?;
        Ok(counter.get())
    }
}

/// What is signed.
pub(crate) fn message(
    kind: Kind,
    counter: u32,
    file_bytes: u32,
    hash: &[u8; 32],
) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    let parts: [&[u8]; 5] = [
        DOMAIN,
        &[kind as u8],
        &counter.to_le_bytes(),
        &file_bytes.to_le_bytes(),
        hash,
    ];
    join(&mut message, &parts);
    message
}

/// Writes parts one after the other; they fit.
pub(crate) fn join(mut dst: &mut [u8], parts: &[&[u8]]) {
    for part in parts {
        let Some((head, rest)) = dst.split_at_mut_checked(part.len()) else {
            return;
        };
        head.copy_from_slice(part);
        dst = rest;
    }
}

/// The first bytes of a key's id, as messages write them.
fn short(id: &[u8; KEY_ID_BYTES]) -> u32 {
    u32::from_be_bytes(*id.first_chunk().unwrap_or(&[0; 4]))
}
