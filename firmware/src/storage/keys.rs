//! The key whose files a device takes.

use pinhole_signing::{KEY_BYTES, PublicKey, SIGNATURE_BYTES};

use super::flash::MappedFlash;
use super::state::place;
use super::{Checker, Kind, Storage, StorageError, refused};

impl<F: MappedFlash> Storage<F> {
    /// Gives a device its key. From then on it takes and runs only what the key signed, in the order of the counters, so
    /// that what it runs now has to be signed already.
    ///
    /// # Errors
    /// When it has a key, the bytes are none, or the model or bank that it runs is not signed by it.
    pub fn provision(&mut self, key: &[u8; KEY_BYTES]) -> Result<(), StorageError<F::Error>> {
        if self.key().is_some() {
            return Err(StorageError::KeyExists);
        }
        let key = PublicKey::parse(key).map_err(StorageError::Key)?;
        let mut next = self.settled();
        let checker = Checker {
            key: Some(&key),
            ..self.checker()
        };
        for kind in [Kind::Model, Kind::Bank] {
            if let Some(slot) = self.running.slot(kind) {
                let found = match kind {
                    Kind::Model => checker.model(slot).map(|(found, _)| found),
                    Kind::Bank => checker.bank(slot, None),
                };
                let found = found.map_err(refused::<F>(kind))?;
                next.counters[place(kind)] = found.counter.unwrap_or(0);
            }
        }
        next.key = Some(key);
        self.append(next)?;
        self.running = self.checker().running(&self.state);
        Ok(())
    }

    /// Puts another key in the place of the device's, by a request that the old one signed
    /// (`pinhole_signing::rotation_message`). What lies in the slots still runs; uploads have to be signed by the new key.
    ///
    /// # Errors
    /// When there is no key in the journal, or the request is not signed by it or not newer than the last one.
    pub fn replace_key(
        &mut self,
        key: &[u8; KEY_BYTES],
        counter: u32,
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), StorageError<F::Error>> {
        let old = match (&self.options.key, &self.state.key) {
            (None, Some(old)) => *old,
            _ => return Err(StorageError::NoKey),
        };
        let new = PublicKey::parse(key).map_err(StorageError::Key)?;
        old.verify_rotation(&new, counter, signature)
            .map_err(StorageError::Key)?;
        let expected = self.key_counter();
        if counter < expected {
            return Err(StorageError::OldRequest {
                expected,
                found: counter,
            });
        }
        let mut next = self.settled();
        next.key = Some(new);
        next.retired_key = Some(old);
        next.key_counter = counter;
        self.append(next)
    }
}
