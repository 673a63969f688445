//! Signatures of models and class banks: who may say what a board computes. Specified in `docs/signing.md`.
//!
//! A signed file is the file and a [`Trailer`] behind it: Ed25519 (RFC 8032, strict verification) over what the file is for,
//! a counter that only grows, its length and its SHA-256. [`Verifier`] takes the file piece by piece as it lies in flash;
//! [`sign`], for hosts, makes the signed file.
//!
//! Not here: where keys are kept, and which counters a device accepts, which its storage knows.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

mod fault;
mod key;
#[cfg(feature = "std")]
mod sign;
mod trailer;

pub use fault::SignatureFault;
pub use key::{
    KEY_BYTES, KEY_ID_BYTES, NONCE_BYTES, PublicKey, SIGNATURE_BYTES, rotation_message,
    session_message,
};
#[cfg(feature = "std")]
pub use sign::{SignFault, public_key, sign, sign_rotation, sign_session};
pub use trailer::{Kind, TRAILER_BYTES, Trailer, Verifier};
