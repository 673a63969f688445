//! NOR flash in memory, by the rules of real one (JEDEC serial NOR, JESD216): erasing a sector sets its bits, programming
//! only clears bits, and what is there can be read in place.
//!
//! Every change goes through to a [`Keep`] at once, before the call returns: what is kept at any moment is what a flash
//! would have after a power cut. Nothing here knows of a CPU, and the host tests it (`host-tools/device/tests/flash.rs`).

use core::fmt::Debug;
use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
    check_erase, check_read, check_write,
};

/// The smallest stretch that can be erased.
pub const SECTOR_BYTES: usize = 4096;
/// The smallest stretch that can be programmed.
pub const WORD_BYTES: usize = 4;
/// A byte that is erased.
pub const BLANK: u8 = 0xff;

/// Where the bytes of a flash outlive its memory.
pub trait Keep {
    /// Why it cannot keep them.
    type Error: Debug;

    /// Keeps `bytes`, which are now at `offset` of the flash.
    ///
    /// # Errors
    /// When they are not kept.
    fn keep(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// A flash.
#[derive(Debug)]
pub struct Nor<'a, K> {
    cells: &'a mut [u8],
    keep: K,
}

/// Why a flash did not do as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NorError<E> {
    /// The range is not one of this flash, or not of whole words or sectors.
    Range(NorFlashErrorKind),
    /// Memory has changed, what is kept has not, or not wholly.
    Keep(E),
}

impl<E: Debug> NorFlashError for NorError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Range(kind) => *kind,
            Self::Keep(_) => NorFlashErrorKind::Other,
        }
    }
}

impl<E> From<NorFlashErrorKind> for NorError<E> {
    fn from(kind: NorFlashErrorKind) -> Self {
        Self::Range(kind)
    }
}

impl<'a, K: Keep> Nor<'a, K> {
    /// A flash of which `cells` is what it holds now; a part of a sector at the end is not used.
    pub fn new(cells: &'a mut [u8], keep: K) -> Self {
        let bytes = cells.len() / SECTOR_BYTES * SECTOR_BYTES;
        let (cells, _) = cells.split_at_mut(bytes);
        Self { cells, keep }
    }

    /// The whole flash, as the CPU sees it.
    pub fn mapped(&self) -> &[u8] {
        self.cells
    }

    /// Changes cells of a range that was checked, and has them kept.
    fn change(
        &mut self,
        offset: usize,
        bytes: usize,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), NorError<K::Error>> {
        let range = offset..offset + bytes;
        let cells = self
            .cells
            .get_mut(range)
            .ok_or(NorFlashErrorKind::OutOfBounds)?;
        change(cells);
        self.keep.keep(offset as u32, cells).map_err(NorError::Keep)
    }
}

impl<K: Keep> ErrorType for Nor<'_, K> {
    type Error = NorError<K::Error>;
}

impl<K: Keep> ReadNorFlash for Nor<'_, K> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len())?;
        let cells = self.cells.get(offset as usize..).unwrap_or_default();
        for (byte, cell) in bytes.iter_mut().zip(cells) {
            *byte = *cell;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }
}

impl<K: Keep> NorFlash for Nor<'_, K> {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = SECTOR_BYTES;

    /// Sector by sector, so that a cut leaves sectors that are erased and sectors that are as they were.
    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to)?;
        for offset in (from as usize..to as usize).step_by(SECTOR_BYTES) {
            self.change(offset, SECTOR_BYTES, |cells| cells.fill(BLANK))?;
        }
        Ok(())
    }

    /// Clears the bits that are 0 in `bytes`; a bit that is 0 stays so, whatever `bytes` say.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len())?;
        self.change(offset as usize, bytes.len(), |cells| {
            for (cell, byte) in cells.iter_mut().zip(bytes) {
                *cell &= byte;
            }
        })
    }
}

// A word may be programmed again: it is the AND of both.
impl<K: Keep> MultiwriteNorFlash for Nor<'_, K> {}
