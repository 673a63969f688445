//! Nonces of an emulated board, which has no generator of random numbers: those of the host, by semihosting.
//!
//! So whoever runs the emulator could choose them, as they could write the flash file. It is good for tests of the protocol and for
//! nothing that has to be kept from the owner of the host.

use pinhole_firmware::NonceSource;
use semihosting::fs::File;
use semihosting::io::Read;

/// Where the host has random bytes. A host without it lets nobody change a board that has a key.
const SOURCE: &core::ffi::CStr = c"/dev/urandom";

/// Random bytes of the host.
pub(crate) struct HostRandom;

impl NonceSource for HostRandom {
    fn nonce(&mut self) -> Option<[u8; 32]> {
        let mut nonce = [0; 32];
        let mut source = File::open(SOURCE).ok()?;
        source.read_exact(&mut nonce).ok()?;
        Some(nonce)
    }
}
