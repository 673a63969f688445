//! Classes that come and go on the device.
//!
//! A new class is programmed into a free slot of the bank, its state last. Every other change, and a new class where the next
//! slot is not blank, copies the bank into the other slot and switches by one record.

use pinhole_runtime::bank::{Change, ClassBank, EditError, EditedBank, SlotImage};
use pinhole_signing::{Kind, TRAILER_BYTES};

use super::check::Found;
use super::flash::{MappedFlash, PAGE_BYTES};
use super::state::SlotStatus;
use super::{SlotFault, Storage, StorageError, refused, threshold_place};

/// The head of a slot, which is programmed last (`docs/bank-format.md`).
const HEAD_BYTES: usize = 32;
/// The state of a slot, which makes it a class.
const STATE_BYTES: usize = 4;

impl<F: MappedFlash> Storage<F> {
    /// Adds a class: `embedding` is its direction, shape (dim); its scale follows from it. A power cut leaves the bank
    /// without the class or with it.
    ///
    /// # Errors
    /// When there is no bank, the name exists or is too long, the embedding has another length or none, or no slot is free.
    pub fn add_class(
        &mut self,
        name: &str,
        embedding: &[i8],
    ) -> Result<(), StorageError<F::Error>> {
        let found = self.running.bank.ok_or(StorageError::NoBank)?;
        let bank = self.loaded(&found)?;
        if let Some(index) = bank.find(name) {
            return Err(StorageError::ClassExists { index });
        }
        let image = SlotImage::new(&bank, name, embedding).map_err(StorageError::Class)?;
        if let Some(at) = self.free_place(&found, &bank) {
            let settled = self.settled();
            if settled != self.state {
                self.append(settled)?;
            }
            if self.program_slot(at, &image).is_ok() {
                return Ok(());
            }
            // The slot is worn out or torn now: the copy leaves it out.
        }
        self.rewrite(Change::Add(image))
    }

    /// Takes a class away. A power cut leaves the bank with it or without it.
    ///
    /// # Errors
    /// When there is no such class, it is the only one, or it is in the signed part of the bank of a device with a key.
    pub fn remove_class(&mut self, name: &str) -> Result<(), StorageError<F::Error>> {
        let index = self.changeable(name)?;
        self.rewrite(Change::Remove(index))
    }

    /// Gives a class another embedding, shape (dim). A power cut leaves the old one or the new one.
    ///
    /// # Errors
    /// As [`Storage::remove_class`], or when the embedding does not fit the bank.
    pub fn replace_class(
        &mut self,
        name: &str,
        embedding: &[i8],
    ) -> Result<(), StorageError<F::Error>> {
        let index = self.changeable(name)?;
        let found = self.running.bank.ok_or(StorageError::NoBank)?;
        let bank = self.loaded(&found)?;
        let image = SlotImage::new(&bank, name, embedding).map_err(StorageError::Class)?;
        self.rewrite(Change::Replace(index, image))
    }

    /// Copies the bank into the other slot without what power cuts left in it.
    ///
    /// # Errors
    /// When there is no bank, or the other slot cannot take it.
    pub fn compact(&mut self) -> Result<(), StorageError<F::Error>> {
        self.rewrite(Change::Compact)
    }

    fn loaded(&self, found: &Found) -> Result<ClassBank<'_>, StorageError<F::Error>> {
        let bytes = self.device.bytes(found.start, found.bytes as usize);
        ClassBank::load_in_flash(bytes).map_err(|error| StorageError::Edit(EditError::Bank(error)))
    }

    /// The index of a class that may be changed.
    fn changeable(&self, name: &str) -> Result<usize, StorageError<F::Error>> {
        let found = self.running.bank.ok_or(StorageError::NoBank)?;
        let bank = self.loaded(&found)?;
        let index = bank.find(name).ok_or(StorageError::NoSuchClass)?;
        if self.key().is_some() && index < bank.written_count() {
            return Err(StorageError::SignedClass { index });
        }
        Ok(index)
    }

    /// Where a class can be programmed: the first free slot, when it is blank, no write unit of it is another's, and nothing
    /// lies behind it.
    fn free_place(&self, found: &Found, bank: &ClassBank<'_>) -> Option<u32> {
        let slot = bank.slot_offset(bank.class_count())?;
        let at = found.start + u32::try_from(slot).ok()?;
        let unit = F::WRITE_SIZE;
        let apart = unit <= HEAD_BYTES
            && (at as usize).is_multiple_of(unit)
            && bank.slot_bytes().is_multiple_of(unit);
        let blank = self.device.is_blank(at, bank.slot_bytes());
        (found.slot.is_some() && apart && blank && bank.damaged_slots() == 0).then_some(at)
    }

    /// Programs a slot from its end to its state.
    fn program_slot(
        &mut self,
        at: u32,
        image: &SlotImage<'_>,
    ) -> Result<(), StorageError<F::Error>> {
        let mut piece = [0; PAGE_BYTES];
        let mut offset = HEAD_BYTES;
        while offset < image.bytes_len() {
            let len = PAGE_BYTES.min(image.bytes_len() - offset);
            let piece = piece.get_mut(..len).unwrap_or_default();
            image.fill(offset, piece);
            self.device.program(at + offset as u32, piece)?;
            offset += len;
        }
        let mut head = [0; HEAD_BYTES];
        image.fill(0, &mut head);
        let (last, first) = head.split_at(STATE_BYTES.max(F::WRITE_SIZE).min(HEAD_BYTES));
        self.device.program(at + last.len() as u32, first)?;
        self.device.program(at, last)
    }

    /// Copies the bank, changed, into the other slot and switches to it.
    fn rewrite(&mut self, change: Change<'_>) -> Result<(), StorageError<F::Error>> {
        let source = self.running.bank.ok_or(StorageError::NoBank)?;
        let bytes = self.device.bytes(source.start, source.bytes as usize);
        let edited = EditedBank::new(bytes, change).map_err(StorageError::Edit)?;
        if source.slot.is_none() && self.key().is_some() {
            // A copy of the factory bank would be a bank that nobody signed.
            let fault = SlotFault::Signature(pinhole_signing::SignatureFault::Unsigned);
            let kind = Kind::Bank;
            return Err(StorageError::Refused { kind, fault });
        }
        let target = self.spare_slot(Kind::Bank);
        let held = self
            .state
            .upload
            .is_some_and(|upload| upload.kind == Kind::Bank);
        if held || self.ready_slot(Kind::Bank).is_some() {
            return Err(StorageError::UploadOpen);
        }
        let trailer = match source.counter {
            Some(_) if !edited.touches_written() => TRAILER_BYTES,
            _ => 0,
        };
        let total = edited.bytes_len() + trailer;
        let range = self.layout.slot(Kind::Bank, target);
        if total > range.len() {
            return Err(StorageError::TooLong {
                limit: range.len() as u32,
                found: total as u32,
            });
        }
        let mut next = self.settled();
        next.pair_mut(Kind::Bank).set(target, SlotStatus::Void);
        if next != self.state {
            self.append(next)?;
        }
        self.copy(&source, &edited, total, target)?;
        self.switch_to_copy(&source, target)
    }

    fn copy(
        &mut self,
        source: &Found,
        edited: &EditedBank<'_>,
        total: usize,
        target: u8,
    ) -> Result<(), StorageError<F::Error>> {
        let start = self.layout.slot(Kind::Bank, target).start;
        let mut page = [0xff; PAGE_BYTES];
        let mut offset = 0;
        while offset < total {
            if offset.is_multiple_of(F::ERASE_SIZE) {
                self.device.erase(start + offset as u32)?;
            }
            let bytes = self.device.bytes(source.start, source.total() as usize);
            let (file, trailer) = bytes
                .split_at_checked(source.bytes as usize)
                .unwrap_or((bytes, &[]));
            edited.fill(file, offset, &mut page);
            if total > edited.bytes_len() {
                overlay(edited.bytes_len(), trailer, offset, &mut page);
            }
            self.device.program(start + offset as u32, &page)?;
            offset += PAGE_BYTES;
        }
        let len = self.layout.slot(Kind::Bank, target).len();
        self.device.end_file(start, total, len)
    }

    fn switch_to_copy(&mut self, source: &Found, target: u8) -> Result<(), StorageError<F::Error>> {
        let checker = self.checker();
        let found = checker
            .bank(target, self.running.facts())
            .map_err(refused::<F>(Kind::Bank))?;
        let mut next = self.settled();
        next.pair_mut(Kind::Bank).active = target;
        next.pair_mut(Kind::Bank).set(target, SlotStatus::Good);
        next.thresholds[usize::from(target)] = next.thresholds[threshold_place(source.slot)];
        self.append(next)?;
        self.running.bank = Some(found);
        Ok(())
    }
}

/// Copies what `part`, which begins at `start`, and `page`, which begins at `offset`, have in common.
fn overlay(start: usize, part: &[u8], offset: usize, page: &mut [u8]) {
    for (index, byte) in part.iter().enumerate() {
        let place = (start + index).checked_sub(offset);
        if let Some(to) = place.and_then(|place| page.get_mut(place)) {
            *to = *byte;
        }
    }
}
