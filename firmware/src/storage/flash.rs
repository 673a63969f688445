//! Flash that is read in place, and writes that are checked.

use embedded_storage::nor_flash::NorFlash;

use super::StorageError;

/// Bytes that are collected before they are programmed; a multiple of every write size that the storage works with.
pub(super) const PAGE_BYTES: usize = 256;

/// NOR flash that lies in the address space.
///
/// Erased bytes are `0xff`. [`MappedFlash::mapped`] must show what was written and erased before: a driver with a cache
/// between them empties it.
pub trait MappedFlash: NorFlash {
    /// The whole flash, from offset 0 on.
    fn mapped(&self) -> &[u8];
}

/// The flash and what was done to it since the start.
#[derive(Debug)]
pub(super) struct Device<F> {
    flash: F,
    pub(super) erases: u32,
    pub(super) writes: u32,
}

impl<F: MappedFlash> Device<F> {
    pub(super) fn new(flash: F) -> Self {
        Self {
            flash,
            erases: 0,
            writes: 0,
        }
    }

    pub(super) fn into_inner(self) -> F {
        self.flash
    }

    /// `len` bytes from `start` on; fewer where the flash ends.
    pub(super) fn bytes(&self, start: u32, len: usize) -> &[u8] {
        let rest = self.flash.mapped().get(start as usize..);
        let rest = rest.unwrap_or_default();
        rest.get(..len).unwrap_or(rest)
    }

    pub(super) fn is_blank(&self, start: u32, len: usize) -> bool {
        is_blank(self.bytes(start, len))
    }

    /// Erases the sector that begins at `start`, and proves it.
    pub(super) fn erase(&mut self, start: u32) -> Result<(), StorageError<F::Error>> {
        self.erases = self.erases.saturating_add(1);
        let end = start + F::ERASE_SIZE as u32;
        self.flash.erase(start, end).map_err(StorageError::Flash)?;
        if !self.is_blank(start, F::ERASE_SIZE) {
            return Err(StorageError::WornOut { offset: start });
        }
        Ok(())
    }

    /// Erases what follows a file of `file_bytes` that fills its last sector, in a slot of `slot_bytes`: the signature of
    /// the file before may lie there.
    pub(super) fn end_file(
        &mut self,
        start: u32,
        file_bytes: usize,
        slot_bytes: usize,
    ) -> Result<(), StorageError<F::Error>> {
        match file_bytes.is_multiple_of(F::ERASE_SIZE) && file_bytes < slot_bytes {
            true => self.erase(start + file_bytes as u32),
            false => Ok(()),
        }
    }

    /// Programs `bytes` at `start`, and proves it. Both are multiples of the write size, and the place is erased. Units
    /// that are blank stay erased: flash with error correction could not program them later.
    pub(super) fn program(
        &mut self,
        start: u32,
        bytes: &[u8],
    ) -> Result<(), StorageError<F::Error>> {
        let unit = F::WRITE_SIZE;
        let mut done = 0;
        while done < bytes.len() {
            let rest = bytes.get(done..).unwrap_or_default();
            let blank = rest.chunks(unit).take_while(|unit| is_blank(unit)).count() * unit;
            let rest = rest.get(blank..).unwrap_or_default();
            let run = rest.chunks(unit).take_while(|unit| !is_blank(unit)).count() * unit;
            let run = rest.get(..run).unwrap_or(rest);
            if !run.is_empty() {
                self.writes = self.writes.saturating_add(1);
                let at = start + (done + blank) as u32;
                self.flash.write(at, run).map_err(StorageError::Flash)?;
            }
            done += blank + run.len();
        }
        let found = self.bytes(start, bytes.len());
        match found.iter().zip(bytes).position(|(a, b)| a != b) {
            Some(position) => Err(StorageError::WornOut {
                offset: start + position as u32,
            }),
            None if found.len() < bytes.len() => Err(StorageError::WornOut { offset: start }),
            None => Ok(()),
        }
    }
}

/// Whether bytes are those of erased flash.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xff)
}
