//! Models and class banks in NOR flash: two slots of each, a journal that says which of them are in use, and changes that a
//! power cut at any byte leaves done or not done. Specified in `docs/storage.md`, signatures in `docs/signing.md`.
//!
//! [`Storage::open`] finds what to run with and writes nothing; models and banks are read in place. Whatever lies in the
//! flash, it returns in a time that the partitions bound. Uploads go to the slot that is not run from, are verified whole
//! ([`Storage::finish`]) and taken by one record ([`Storage::activate`]).
//!
//! Not here: flash drivers, and who may ask for what over a line.

mod check;
mod classes;
mod fault;
mod flash;
mod journal;
mod keys;
mod layout;
mod state;
mod upload;

use check::{Checker, Running, refused};
use flash::{Device, PAGE_BYTES};
use journal::Journal;
use pinhole_runtime::bank::ClassBank;
use pinhole_signing::PublicKey;
use state::State;

pub use fault::{NoFile, SlotFault, StorageError};
pub use flash::MappedFlash;
pub use layout::{Layout, LayoutFault};
pub use pinhole_signing::Kind;
pub use state::{SlotStatus, Upload};

/// What a board says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A key in the firmware: only what it signed is taken, and nothing over a line replaces it.
    pub key: Option<PublicKey>,
    /// Bytes of the arena, for models to be refused that need more.
    pub arena_bytes: usize,
}

/// Which verified uploads are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activate {
    /// The model.
    Model,
    /// The class bank.
    Bank,
    /// Both at once: a model of another embedding space with its bank.
    Both,
}

/// What a slot is to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The slot that is run from: 0 for A, 1 for B; nothing when neither is, or when the factory bank is.
    pub running: Option<u8>,
    /// What was recorded of A and B.
    pub status: [SlotStatus; 2],
}

/// Numbers of the storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Sectors erased in the life of the device. What happened since the last record of the journal is lost by a power cut.
    pub erases: u32,
    /// Writes to the flash, counted in the same way.
    pub writes: u32,
    /// Classes of the bank.
    pub classes: usize,
    /// Slots for classes that are free.
    pub free_slots: usize,
    /// Spare slots that hold no sound class and are not free: the next change of the bank that copies it frees them.
    pub damaged_slots: usize,
}

/// The storage of a board.
#[derive(Debug)]
pub struct Storage<F> {
    device: Device<F>,
    layout: Layout,
    options: Options,
    journal: Journal,
    state: State,
    running: Running,
    /// The end of an upload that does not fill a page yet.
    page: [u8; PAGE_BYTES],
    page_len: usize,
    /// Bytes of the upload that came, the ones in `page` included.
    received: u32,
}

impl<F: MappedFlash> Storage<F> {
    /// Finds what to run with: of the model and of the bank the active slot, or else the other one; then, of the bank, the
    /// one that came with the firmware. Writes nothing. [`Storage::model`] and [`Storage::bank`] say what was found.
    ///
    /// # Errors
    /// [`StorageError::Layout`]; whatever lies in the flash is no error here.
    pub fn open(
        flash: F,
        layout: Layout,
        options: Options,
    ) -> Result<Self, StorageError<F::Error>> {
        layout.check(&flash).map_err(StorageError::Layout)?;
        let device = Device::new(flash);
        let (journal, mut state) = Journal::open(&device, layout.state.clone());
        state.upload = state
            .upload
            .filter(|upload| upload.fits(&layout) && !state.is_good(upload));
        let checker = Checker {
            device: &device,
            layout: &layout,
            options: &options,
            key: options.key.as_ref().or(state.key.as_ref()),
            retired_key: state.retired_key.as_ref(),
        };
        let running = checker.running(&state);
        let received = state
            .upload
            .map_or(0, |upload| upload.kept(F::ERASE_SIZE as u32));
        Ok(Self {
            device,
            layout,
            options,
            journal,
            state,
            running,
            page: [0xff; PAGE_BYTES],
            page_len: 0,
            received,
        })
    }

    /// The flash.
    pub fn into_flash(self) -> F {
        self.device.into_inner()
    }

    /// The model to run, in place, without its signature. `Model::load` takes it.
    ///
    /// # Errors
    /// What is wrong with each slot.
    pub fn model(&self) -> Result<&[u8], &NoFile> {
        self.file(Kind::Model)
    }

    /// The bank to run with, in place, without its signature. `ClassBank::load_in_flash` takes it; it belongs to the model.
    ///
    /// # Errors
    /// What is wrong with each slot.
    pub fn bank(&self) -> Result<&[u8], &NoFile> {
        self.file(Kind::Bank)
    }

    fn file(&self, kind: Kind) -> Result<&[u8], &NoFile> {
        match self.running.found(kind) {
            Some(found) => Ok(self.device.bytes(found.start, found.bytes as usize)),
            None => Err(self.running.missing(kind)),
        }
    }

    /// Why a device does not run what it ran last, when it fell back to another slot or to the factory bank. The next record
    /// of the journal makes the slot that is run from the one that counts.
    pub fn fallback(&self, kind: Kind) -> Option<&SlotFault> {
        let active = self.state.pair(kind).active;
        let found = self.running.found(kind)?;
        let faults = self.running.missing(kind);
        (found.slot != Some(active)).then(|| &faults.slots[usize::from(active & 1)])
    }

    /// The reject threshold that takes the place of the bank's own, when one was set.
    pub fn threshold(&self) -> Option<f32> {
        let found = self.running.bank?;
        self.state.thresholds[threshold_place(found.slot)]
    }

    /// The slots of a kind.
    pub fn slots(&self, kind: Kind) -> Slots {
        Slots {
            running: self.running.slot(kind),
            status: self.state.pair(kind).status,
        }
    }

    /// The least counter that a signed file of a kind needs.
    pub fn counter(&self, kind: Kind) -> u32 {
        self.state.counter(kind)
    }

    /// The key whose files are taken; without one, all files are.
    pub fn key(&self) -> Option<&PublicKey> {
        self.options.key.as_ref().or(self.state.key.as_ref())
    }

    /// The least counter of a request to replace the key.
    pub fn key_counter(&self) -> u32 {
        self.state.key_counter.saturating_add(1)
    }

    /// Numbers.
    pub fn statistics(&self) -> Statistics {
        let bank = self.bank().ok();
        let bank = bank.and_then(|bytes| ClassBank::load_in_flash(bytes).ok());
        let counted = |bank: ClassBank<'_>| {
            let free = bank.slot_count() - bank.class_count() - bank.damaged_slots();
            (bank.class_count(), free, bank.damaged_slots())
        };
        let (classes, free_slots, damaged_slots) = bank.map(counted).unwrap_or_default();
        Statistics {
            erases: self.state.erases.saturating_add(self.device.erases),
            writes: self.state.writes.saturating_add(self.device.writes),
            classes,
            free_slots,
            damaged_slots,
        }
    }

    /// Takes verified uploads into use, by one record. A power cut leaves all as it was, or all as it becomes.
    ///
    /// # Errors
    /// When there is no such upload, or model and bank would not belong together: upload the bank of a model with another
    /// embedding space before the model is activated, and activate both.
    pub fn activate(&mut self, which: Activate) -> Result<(), StorageError<F::Error>> {
        let kinds: &[Kind] = match which {
            Activate::Model => &[Kind::Model],
            Activate::Bank => &[Kind::Bank],
            Activate::Both => &[Kind::Model, Kind::Bank],
        };
        let mut next = self.settled();
        for kind in kinds {
            let slot = self.ready_slot(*kind).ok_or(StorageError::NoUpload)?;
            next.pair_mut(*kind).active = slot;
            next.pair_mut(*kind).set(slot, SlotStatus::Good);
            if next.upload.is_some_and(|upload| upload.kind == *kind) {
                next.upload = None;
            }
        }
        self.switch(next, kinds)
    }

    /// Runs from the other slot of a kind: 0 for A, 1 for B.
    ///
    /// # Errors
    /// When the slot holds nothing to run, or, on a device with a key, something older than what it ran.
    pub fn select(&mut self, kind: Kind, slot: u8) -> Result<(), StorageError<F::Error>> {
        if slot > 1 {
            return Err(StorageError::NoSuchSlot { slot });
        }
        let mut next = self.settled();
        next.pair_mut(kind).active = slot;
        self.switch(next, &[kind])
    }

    /// Makes `next` the state when the device runs the active slots of `kinds` with it, and has a bank if it had one.
    fn switch(&mut self, mut next: State, kinds: &[Kind]) -> Result<(), StorageError<F::Error>> {
        let checker = self.strict_checker();
        for kind in kinds {
            let slot = next.pair(*kind).active;
            if next.pair(*kind).status(slot) != SlotStatus::Good {
                let fault = SlotFault::Void;
                return Err(StorageError::Refused { kind: *kind, fault });
            }
            let found = match kind {
                Kind::Model => checker.model(slot).map(|(found, _)| found),
                Kind::Bank => checker.bank(slot, None),
            };
            let found = found.map_err(refused::<F>(*kind))?;
            checker
                .not_rolled_back(&next, &found, *kind)
                .map_err(refused::<F>(*kind))?;
            if checker.key.is_some() {
                let counter = &mut next.counters[state::place(*kind)];
                *counter = found.counter.unwrap_or(0).max(*counter);
            }
        }
        let running = self.checker().running(&next);
        // What is sound and not run from does not suit the model.
        let before = self.running.bank;
        let unsuited = match running.bank {
            _ if kinds.contains(&Kind::Bank) => Some(next.pair(Kind::Bank).active),
            None => before.and_then(|found| found.slot),
            Some(_) => None,
        };
        let missing = running.missing(Kind::Bank);
        let fault = match unsuited {
            Some(slot) if running.slot(Kind::Bank) == Some(slot) => None,
            Some(slot) => Some(missing.slots[usize::from(slot & 1)]),
            None if running.bank.is_none() && before.is_some() => missing.factory,
            None => None,
        };
        if let Some(fault) = fault {
            return Err(refused::<F>(Kind::Bank)(fault));
        }
        if let Some(slot) = running.slot(Kind::Bank) {
            next.pair_mut(Kind::Bank).active = slot;
        }
        self.append(next)?;
        self.running = running;
        Ok(())
    }

    /// Sets the reject threshold that takes the place of the bank's own, or takes it away again. It belongs to the bank that
    /// is run with, and goes with it.
    ///
    /// # Errors
    /// When it is not a number, or there is no bank.
    pub fn set_threshold(&mut self, threshold: Option<f32>) -> Result<(), StorageError<F::Error>> {
        if threshold.is_some_and(f32::is_nan) {
            return Err(StorageError::NotANumber);
        }
        let found = self.running.bank.ok_or(StorageError::NoBank)?;
        let mut next = self.settled();
        next.thresholds[threshold_place(found.slot)] = threshold;
        self.append(next)
    }

    /// Goes back to the bank that came with the firmware and forgets thresholds, uploads and both other banks. Models, key
    /// and counters stay.
    ///
    /// # Errors
    /// When there is no such bank, or it does not suit the model.
    pub fn factory_reset(&mut self) -> Result<(), StorageError<F::Error>> {
        if self.layout.factory_bank.is_none() {
            return Err(StorageError::NoFactoryBank);
        }
        let mut next = self.settled();
        next.thresholds = [None; 3];
        next.upload = None;
        next.pair_mut(Kind::Bank).status = [SlotStatus::Void; 2];
        for slot in 0..2 {
            if next.pair(Kind::Model).status(slot) == SlotStatus::Ready {
                next.pair_mut(Kind::Model).set(slot, SlotStatus::Void);
            }
        }
        let running = self.checker().running(&next);
        if let (None, Some(fault)) = (running.bank, running.missing(Kind::Bank).factory) {
            return Err(refused::<F>(Kind::Bank)(fault));
        }
        self.append(next)?;
        self.running = running;
        self.forget_received();
        Ok(())
    }

    /// Erases models, banks, thresholds and, at the very end, key and counters; the bank that came with the firmware stays.
    /// A power cut in between leaves a device that says what is missing and keeps its key: erase again.
    ///
    /// # Errors
    /// Those of the flash.
    pub fn erase_all(&mut self) -> Result<(), StorageError<F::Error>> {
        let mut next = self.state;
        for pair in &mut next.pairs {
            pair.status = [SlotStatus::Void; 2];
        }
        next.upload = None;
        next.thresholds = [None; 3];
        self.append(next)?;
        self.forget_received();
        self.running = self.checker().running(&self.state);
        let slots = self.layout.models.clone().into_iter();
        for range in slots.chain(self.layout.banks.clone()) {
            for start in range.step_by(F::ERASE_SIZE) {
                self.device.erase(start)?;
            }
        }
        let mut empty = State {
            erases: self.state.erases,
            writes: self.state.writes,
            ..State::default()
        };
        for pair in &mut empty.pairs {
            pair.status = [SlotStatus::Void; 2];
        }
        self.append(empty)?;
        self.running = self.checker().running(&self.state);
        Ok(())
    }

    fn checker(&self) -> Checker<'_, F> {
        Checker {
            device: &self.device,
            layout: &self.layout,
            options: &self.options,
            key: self.key(),
            retired_key: self.state.retired_key.as_ref(),
        }
    }

    /// For what is taken anew.
    fn strict_checker(&self) -> Checker<'_, F> {
        Checker {
            retired_key: None,
            ..self.checker()
        }
    }

    /// The state, with the slots that are run from as the active ones.
    fn settled(&self) -> State {
        let mut state = self.state;
        for kind in [Kind::Model, Kind::Bank] {
            if let Some(slot) = self.running.slot(kind) {
                state.pair_mut(kind).active = slot;
            }
        }
        state
    }

    /// The slot that is not run from.
    fn spare_slot(&self, kind: Kind) -> u8 {
        let used = self.running.slot(kind);
        1 - used.unwrap_or(self.state.pair(kind).active)
    }

    fn ready_slot(&self, kind: Kind) -> Option<u8> {
        let pair = self.state.pair(kind);
        (0..2).find(|slot| pair.status(*slot) == SlotStatus::Ready)
    }

    /// Makes `next` the state.
    fn append(&mut self, mut next: State) -> Result<(), StorageError<F::Error>> {
        next.erases = next
            .erases
            .saturating_add(core::mem::take(&mut self.device.erases));
        next.writes = next
            .writes
            .saturating_add(core::mem::take(&mut self.device.writes));
        // Counted even when the record fails.
        (self.state.erases, self.state.writes) = (next.erases, next.writes);
        self.journal.append(&mut self.device, &next)?;
        self.state = next;
        Ok(())
    }
}

/// The place of a bank's threshold in the state.
fn threshold_place(slot: Option<u8>) -> usize {
    slot.map_or(2, |slot| usize::from(slot & 1))
}
