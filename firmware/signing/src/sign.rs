//! Signing, on a host.

use core::fmt;
use ed25519_dalek::{Signer, SigningKey};
use pinhole_runtime::bank::{self, BankError, ClassBank};
use pinhole_runtime::model::{self, format};
use sha2::{Digest, Sha256};
use std::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

use crate::trailer::{TRAILER_MAGIC, TRAILER_VERSION, message};
use crate::{
    KEY_BYTES, Kind, NONCE_BYTES, PublicKey, SIGNATURE_BYTES, Trailer, rotation_message,
    session_message,
};

/// Why a file is not signed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SignFault {
    /// The file is neither a model nor a class bank.
    UnknownFile {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// The file has another length than its header says; a signed file is longer.
    Length {
        /// Bytes that the header says.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The bytes of the model are not those that were written.
    ModelChecksum {
        /// Checksum in the header.
        expected: u32,
        /// Checksum of the bytes.
        found: u32,
    },
    /// The bank is refused.
    Bank(BankError),
    /// A spare slot of the bank is not blank. A device signs nothing: classes that one added have to be written by a host.
    SpareSlotNotBlank {
        /// The slot.
        index: usize,
    },
}

impl fmt::Display for SignFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownFile { found } => write!(
                f,
                "the file starts with {found:02x?}, expected a model ({:02x?}) or a class bank ({:02x?})",
                format::MAGIC,
                bank::MAGIC
            ),
            Self::Length { expected, found } => write!(
                f,
                "the file has {found} bytes, its header says {expected}: sign the file that has no signature yet"
            ),
            Self::ModelChecksum { expected, found } => write!(
                f,
                "the model is damaged: checksum {found:08x}, its header says {expected:08x}"
            ),
            Self::Bank(error) => error.fmt(f),
            Self::SpareSlotNotBlank { index } => write!(
                f,
                "slot {index} of the class bank was filled on a device: write the bank anew with `pinhole embed`"
            ),
        }
    }
}

impl core::error::Error for SignFault {}

/// The signed file: `file` and its trailer. `seed` is the private key (RFC 8032, 32 bytes); `counter` is at least that of
/// the file that devices have, and higher so that they never go back to it. The same input gives the same bytes.
///
/// # Errors
/// When the file is no sound model or bank, or a bank whose spare slots are not blank.
pub fn sign(file: &[u8], seed: &[u8; KEY_BYTES], counter: u32) -> Result<Vec<u8>, SignFault> {
    let kind = check(file)?;
    let key = SigningKey::from_bytes(seed);
    let hash: [u8; 32] = Sha256::digest(file).into();
    let file_bytes = file.len() as u32;
    let signature = key.sign(&message(kind, counter, file_bytes, &hash));
    let trailer = Trailer {
        magic: TRAILER_MAGIC,
        version: TRAILER_VERSION.into(),
        kind: kind as u8,
        reserved: 0,
        counter: counter.into(),
        file_bytes: file_bytes.into(),
        key_id: public_key(seed).id(),
        signature: signature.to_bytes(),
    };
    Ok([file, trailer.as_bytes()].concat())
}

/// The public key of a private one.
pub fn public_key(seed: &[u8; KEY_BYTES]) -> PublicKey {
    let key = SigningKey::from_bytes(seed).verifying_key();
    PublicKey::parse(key.as_bytes()).expect("clamping makes a scalar that no small order divides")
}

/// The signature that makes a device put `new` in the place of the key of `old_seed`.
pub fn sign_rotation(
    old_seed: &[u8; KEY_BYTES],
    new: &PublicKey,
    counter: u32,
) -> [u8; SIGNATURE_BYTES] {
    let message = rotation_message(&public_key(old_seed), new, counter);
    SigningKey::from_bytes(old_seed).sign(&message).to_bytes()
}

/// The answer to a challenge of a device whose key is that of `seed`.
pub fn sign_session(
    seed: &[u8; KEY_BYTES],
    session: u32,
    nonce: &[u8; NONCE_BYTES],
) -> [u8; SIGNATURE_BYTES] {
    let message = session_message(session, nonce);
    SigningKey::from_bytes(seed).sign(&message).to_bytes()
}

/// What the file is, when it is sound and as its writer left it.
fn check(file: &[u8]) -> Result<Kind, SignFault> {
    let found = *file.first_chunk::<4>().unwrap_or(&[0; 4]);
    match found {
        format::MAGIC => check_model(file).map(|()| Kind::Model),
        bank::MAGIC => check_bank(file).map(|()| Kind::Bank),
        found => Err(SignFault::UnknownFile { found }),
    }
}

fn check_model(file: &[u8]) -> Result<(), SignFault> {
    let found = file.len();
    let Ok((header, _)) = format::Header::ref_from_prefix(file) else {
        let expected = size_of::<format::Header>();
        return Err(SignFault::Length { expected, found });
    };
    let expected = header.file_bytes.get() as usize;
    if expected != found {
        return Err(SignFault::Length { expected, found });
    }
    let (expected, found) = (header.crc32.get(), model::checksum(file));
    if expected != found {
        return Err(SignFault::ModelChecksum { expected, found });
    }
    Ok(())
}

fn check_bank(file: &[u8]) -> Result<(), SignFault> {
    let found = file.len();
    let expected = ClassBank::file_bytes(file).map_err(SignFault::Bank)?;
    if expected != found {
        return Err(SignFault::Length { expected, found });
    }
    let bank = ClassBank::load(file).map_err(SignFault::Bank)?;
    let spare = file.get(bank.written_bytes()..).unwrap_or_default();
    match spare.iter().position(|byte| *byte != 0xff) {
        Some(offset) => Err(SignFault::SpareSlotNotBlank {
            index: bank.written_count() + offset / bank.slot_bytes(),
        }),
        None => Ok(()),
    }
}
