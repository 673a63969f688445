//! Public keys, their ids, and the request that puts another key in the place of a provisioned one.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::SignatureFault;

/// Bytes of a public key, and of the seed of a private one.
pub const KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes of SHA-256 of a public key that a trailer names it by.
pub const KEY_ID_BYTES: usize = 16;

/// What a request for another key begins with, so that no signed file is one.
const ROTATION_DOMAIN: &[u8; 24] = b"pinhole key rotation v1\0";

/// What the answer to a challenge begins with, so that it is neither a signed file nor a request for another key.
const SESSION_DOMAIN: &[u8; 24] = b"pinhole line session v1\0";

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;

/// A public key of Ed25519 that is fit for strict verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// [`SignatureFault::BadKey`] when they are no point of the curve or one of small order.
    pub fn parse(bytes: &[u8; KEY_BYTES]) -> Result<Self, SignatureFault> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| SignatureFault::BadKey)?;
        if key.is_weak() {
            return Err(SignatureFault::BadKey);
        }
        Ok(Self(key))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// The first bytes of its SHA-256.
    pub fn id(&self) -> [u8; KEY_ID_BYTES] {
        let digest: [u8; 32] = Sha256::digest(self.as_bytes()).into();
        *digest.first_chunk().unwrap_or(&[0; KEY_ID_BYTES])
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// [`SignatureFault::Wrong`].
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), SignatureFault> {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .map_err(|_| SignatureFault::Wrong)
    }

    /// Checks a request, signed by this key, that `new` takes its place.
    ///
    /// # Errors
    /// [`SignatureFault::Wrong`].
    pub fn verify_rotation(
        &self,
        new: &PublicKey,
        counter: u32,
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), SignatureFault> {
        self.verify(&rotation_message(self, new, counter), signature)
    }

    /// Checks the answer to a challenge.
    ///
    /// # Errors
    /// [`SignatureFault::Wrong`].
    pub fn verify_session(
        &self,
        session: u32,
        nonce: &[u8; NONCE_BYTES],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), SignatureFault> {
        self.verify(&session_message(session, nonce), signature)
    }
}

/// What the holder of a key signs to be let in: a domain, the number of the session, the nonce.
pub fn session_message(session: u32, nonce: &[u8; NONCE_BYTES]) -> [u8; 60] {
    let mut message = [0; 60];
    let parts: [&[u8]; 3] = [SESSION_DOMAIN, &session.to_le_bytes(), nonce];
    crate::trailer::join(&mut message, &parts);
    message
}

/// What the old key signs so that the new one takes its place: a domain, the counter, the old and the new key.
pub fn rotation_message(old: &PublicKey, new: &PublicKey, counter: u32) -> [u8; 92] {
    let mut message = [0; 92];
    let parts: [&[u8]; 4] = [
        ROTATION_DOMAIN,
        &counter.to_le_bytes(),
        old.as_bytes(),
        new.as_bytes(),
    ];
    crate::trailer::join(&mut message, &parts);
    message
}
