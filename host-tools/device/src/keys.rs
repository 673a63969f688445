//! What a host says to a board that has a key, or gets one (`docs/signing.md`).

use crate::DeviceError;
use crate::link::{Link, received};
use pinhole_protocol::{Challenge, Reply, Request};
use pinhole_signing::{KEY_BYTES, PublicKey, sign_rotation, sign_session};
use std::io::{Read, Write};

impl<S: Read + Write> Link<S> {
    /// Shows the board the private key of its public one, so that it takes changes until it starts again.
    ///
    /// # Errors
    /// When the board has no key or another one, or no source of nonces.
    pub fn unlock(&mut self, seed: &[u8; KEY_BYTES]) -> Result<(), DeviceError> {
        self.answer_challenge(seed).map(drop)
    }

    /// Gives a board its first key. What it runs has to be signed by it.
    ///
    /// # Errors
    /// When the board has a key, or runs what the key did not sign.
    pub fn provision(&mut self, key: &PublicKey) -> Result<(), DeviceError> {
        let key = *key.as_bytes();
        self.ask("provision", &Request::Provision { key }, received)
            .map(drop)
    }

    /// Puts another key in the place of the board's, whose seed is `old`. What lies in the slots runs on.
    ///
    /// # Errors
    /// When the board has another key, or one in its firmware.
    pub fn replace_key(
        &mut self,
        old: &[u8; KEY_BYTES],
        key: &PublicKey,
    ) -> Result<(), DeviceError> {
        let counter = self.answer_challenge(old)?.key_counter;
        let request = Request::ReplaceKey {
            key: *key.as_bytes(),
            counter,
            signature: &sign_rotation(old, key, counter),
        };
        self.ask("provision", &request, received).map(drop)
    }

    /// Has the board start again. It answers before it does. An emulated one reads its flash file again, and needs one that is
    /// not temporary.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn reboot(&mut self) -> Result<(), DeviceError> {
        self.ask("reboot", &Request::Reboot, received).map(drop)
    }

    /// What was asked and answered.
    fn answer_challenge(&mut self, seed: &[u8; KEY_BYTES]) -> Result<Challenge, DeviceError> {
        let challenge = self.ask("challenge", &Request::Challenge, |reply| match reply {
            Reply::Challenge(challenge) => Some(*challenge),
            _ => None,
        })?;
        let signature = sign_session(seed, challenge.session, &challenge.nonce);
        let request = Request::Authenticate {
            signature: &signature,
        };
        self.ask("unlock", &request, received)?;
        Ok(challenge)
    }
}
