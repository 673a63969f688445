//! The journal of the state: records of one length, one behind the other over two or more erase sectors, of which the sound
//! one with the highest sequence number is the state.
//!
//! A record holds the whole state, so that each change is one record and thereby there or not there. A sector is erased only
//! when the newest record lies in another one; what a torn erase leaves there has a lower sequence number or no checksum
//! that fits. A record is never written where something lies already.

use core::ops::Range;
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use embedded_storage::nor_flash::NorFlash;
use zerocopy::IntoBytes;

use super::StorageError;
use super::flash::{Device, MappedFlash, PAGE_BYTES};
use super::state::{Record, State};

/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = size_of::<Record>();

pub(super) static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// Where the next record goes.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    range: Range<u32>,
    /// The sector of the newest record, counted from the first one; `None` before the first record.
    sector: Option<u32>,
    /// The next place in that sector, counted in records.
    place: u32,
    /// The highest sequence number that was ever tried.
    sequence: u64,
}

/// Bytes from one record to the next.
fn stride<F: NorFlash>() -> usize {
    RECORD_BYTES.next_multiple_of(F::WRITE_SIZE)
}

fn places<F: NorFlash>() -> u32 {
    (F::ERASE_SIZE / stride::<F>()) as u32
}

impl Journal {
    /// The newest state of a flash, or the one before the first record. Takes time proportional to the partition.
    pub(super) fn open<F: MappedFlash>(device: &Device<F>, range: Range<u32>) -> (Self, State) {
        let mut journal = Self {
            range,
            sector: None,
            place: 0,
            sequence: 0,
        };
        let mut newest = State::default();
        for sector in 0..journal.sectors::<F>() {
            for place in 0..places::<F>() {
                let bytes = device.bytes(journal.offset::<F>(sector, place), RECORD_BYTES);
                let Some((sequence, state)) = Record::read(bytes) else {
                    continue;
                };
                if journal.sector.is_none() || sequence > journal.sequence {
                    journal.sector = Some(sector);
                    journal.place = place + 1;
                    journal.sequence = sequence;
                    newest = state;
                }
            }
        }
        (journal, newest)
    }

    fn sectors<F: NorFlash>(&self) -> u32 {
        (self.range.len() / F::ERASE_SIZE) as u32
    }

    fn offset<F: NorFlash>(&self, sector: u32, place: u32) -> u32 {
        self.range.start + sector * F::ERASE_SIZE as u32 + place * stride::<F>() as u32
    }

    /// Makes a state the newest one.
    ///
    /// # Errors
    /// When no sector takes it; the state before it is the newest one then.
    pub(super) fn append<F: MappedFlash>(
        &mut self,
        device: &mut Device<F>,
        state: &State,
    ) -> Result<(), StorageError<F::Error>> {
        if let Some(sector) = self.sector
            && self.append_in(device, state, sector)?
        {
            return Ok(());
        }
        let sectors = self.sectors::<F>();
        let (first, others) = match self.sector {
            Some(sector) => (sector + 1, sectors - 1),
            None => (0, sectors),
        };
        for step in 0..others {
            let sector = (first + step) % sectors;
            if device.erase(self.offset::<F>(sector, 0)).is_err() {
                continue;
            }
            let before = (self.sector, self.place);
            (self.sector, self.place) = (Some(sector), 0);
            if self.append_in(device, state, sector)? {
                return Ok(());
            }
            (self.sector, self.place) = before;
        }
        Err(StorageError::StateWornOut)
    }

    /// Tries the places that are left in a sector.
    fn append_in<F: MappedFlash>(
        &mut self,
        device: &mut Device<F>,
        state: &State,
        sector: u32,
    ) -> Result<bool, StorageError<F::Error>> {
        while self.place < places::<F>() {
            let offset = self.offset::<F>(sector, self.place);
            self.place += 1;
            if !device.is_blank(offset, stride::<F>()) {
                continue;
            }
            // What was tried and failed may still be there: two records never have one number.
            self.sequence = self
                .sequence
                .checked_add(1)
                .ok_or(StorageError::StateWornOut)?;
            let mut page = [0xff; PAGE_BYTES];
            let record = state.record(self.sequence);
            let (head, _) = page.split_at_mut(RECORD_BYTES);
            head.copy_from_slice(record.as_bytes());
            let bytes = page.get(..stride::<F>()).unwrap_or_default();
            if device.program(offset, bytes).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
