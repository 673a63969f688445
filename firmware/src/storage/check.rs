//! Whether a slot can be run from: the file, its signature, and that bank and model belong together.

use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use pinhole_runtime::bank::ClassBank;
use pinhole_signing::{Kind, PublicKey, SignatureFault, TRAILER_BYTES, Trailer, Verifier};

use super::flash::{Device, MappedFlash};
use super::state::{SlotStatus, State, place};
use super::{Layout, NoFile, Options, SlotFault, StorageError};
use crate::load::{Fault, ModelFacts, bank_image, model_image};

/// A file that is sound, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// 0 or 1; `None` for the bank that came with the firmware.
    pub(super) slot: Option<u8>,
    pub(super) start: u32,
    /// Of the file, without the trailer.
    pub(super) bytes: u32,
    /// Of the trailer, where there is one.
    pub(super) counter: Option<u32>,
}

impl Found {
    /// Bytes of the file and its trailer.
    pub(super) fn total(&self) -> u32 {
        let trailer = self.counter.map_or(0, |_| TRAILER_BYTES as u32);
        self.bytes + trailer
    }
}

/// What a device runs with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Running {
    pub(super) model: Option<(Found, ModelFacts)>,
    pub(super) bank: Option<Found>,
    /// What is wrong with the places that were looked at before.
    pub(super) passed_over: [NoFile; 2], // (kind)
}

impl Running {
    pub(super) fn facts(&self) -> Option<&ModelFacts> {
        self.model.as_ref().map(|(_, facts)| facts)
    }

    pub(super) fn found(&self, kind: Kind) -> Option<Found> {
        match kind {
            Kind::Model => self.model.map(|(found, _)| found),
            Kind::Bank => self.bank,
        }
    }

    pub(super) fn slot(&self, kind: Kind) -> Option<u8> {
        self.found(kind)?.slot
    }

    pub(super) fn missing(&self, kind: Kind) -> &NoFile {
        &self.passed_over[place(kind)]
    }
}

/// What slots are checked with.
#[derive(Clone, Copy)]
pub(super) struct Checker<'a, F> {
    pub(super) device: &'a Device<F>,
    pub(super) layout: &'a Layout,
    pub(super) options: &'a Options,
    pub(super) key: Option<&'a PublicKey>,
    /// The key before it, for files that lie in a slot already.
    pub(super) retired_key: Option<&'a PublicKey>,
}

impl<F: MappedFlash> Checker<'_, F> {
    /// The active slot, then the other one, then the factory bank; of banks the first that suits the model.
    pub(super) fn running(&self, state: &State) -> Running {
        let mut running = Running {
            model: None,
            bank: None,
            passed_over: [Kind::Model, Kind::Bank].map(NoFile::new),
        };
        let [model_faults, bank_faults] = &mut running.passed_over;
        for slot in order(state, Kind::Model) {
            match usable(state, Kind::Model, slot).and_then(|()| self.model(slot)) {
                Ok(found) => {
                    running.model = Some(found);
                    break;
                }
                Err(fault) => model_faults.slots[usize::from(slot & 1)] = fault,
            }
        }
        let facts = running.model.as_ref().map(|(_, facts)| facts);
        for slot in order(state, Kind::Bank) {
            match usable(state, Kind::Bank, slot).and_then(|()| self.bank(slot, facts)) {
                Ok(found) => {
                    running.bank = Some(found);
                    return running;
                }
                Err(fault) => bank_faults.slots[usize::from(slot & 1)] = fault,
            }
        }
        let factory = self.layout.factory_bank.as_ref();
        match factory.map(|range| self.factory_bank(range, facts)) {
            Some(Ok(found)) => running.bank = Some(found),
            Some(Err(fault)) => bank_faults.factory = Some(fault),
            None => {}
        }
        running
    }

    fn partition(&self, range: &Range<u32>) -> &[u8] {
        self.device.bytes(range.start, range.len())
    }

    /// The model of a slot.
    pub(super) fn model(&self, slot: u8) -> Result<(Found, ModelFacts), SlotFault> {
        let range = &self.layout.models[usize::from(slot & 1)];
        let partition = self.partition(range);
        let file = model_image(partition);
        let facts = ModelFacts::load(file, self.options.arena_bytes).map_err(SlotFault::File)?;
        let counter = self.signature(Kind::Model, partition, file.len(), file.len())?;
        let found = Found {
            slot: Some(slot),
            start: range.start,
            bytes: file.len() as u32,
            counter,
        };
        Ok((found, facts))
    }

    /// The bank of a slot, for a model.
    pub(super) fn bank(&self, slot: u8, facts: Option<&ModelFacts>) -> Result<Found, SlotFault> {
        let range = &self.layout.banks[usize::from(slot & 1)];
        let partition = self.partition(range);
        let file = bank_image(partition);
        let written = check_bank(file, facts)?.written_bytes();
        let counter = self.signature(Kind::Bank, partition, file.len(), written)?;
        Ok(Found {
            slot: Some(slot),
            start: range.start,
            bytes: file.len() as u32,
            counter,
        })
    }

    /// The bank that came with the firmware, and is trusted as the firmware is.
    fn factory_bank(
        &self,
        range: &Range<u32>,
        facts: Option<&ModelFacts>,
    ) -> Result<Found, SlotFault> {
        let file = bank_image(self.partition(range));
        check_bank(file, facts)?;
        Ok(Found {
            slot: None,
            start: range.start,
            bytes: file.len() as u32,
            counter: None,
        })
    }

    /// The counter of the trailer behind a file, where there is one; verified when the device has a key. Behind the first
    /// `written` bytes, the file is taken for blank.
    fn signature(
        &self,
        kind: Kind,
        partition: &[u8],
        file_bytes: usize,
        written: usize,
    ) -> Result<Option<u32>, SlotFault> {
        let (file, behind) = partition
            .split_at_checked(file_bytes)
            .unwrap_or((partition, &[]));
        let Some(key) = self.key else {
            let trailer = Trailer::parse(behind, kind, file_bytes as u32);
            return Ok(trailer.ok().map(Trailer::counter));
        };
        let with = |key| Verifier::new(kind, file_bytes as u32, behind, key);
        let verifier = match (with(key), self.retired_key) {
            (Err(SignatureFault::OtherKey { .. }), Some(retired)) => with(retired),
            (verifier, _) => verifier,
        };
        let mut verifier = verifier.map_err(SlotFault::Signature)?;
        verifier.update(file.get(..written).unwrap_or(file));
        verifier.update_blank(file_bytes.saturating_sub(written));
        let counter = verifier.finish().map_err(SlotFault::Signature)?;
        Ok(Some(counter))
    }

    /// Whether what lies in a slot is exactly an upload of `total` bytes that may be activated: not older than what the
    /// device had, and, with a key, a bank as it was signed.
    pub(super) fn upload(
        &self,
        state: &State,
        found: &Found,
        kind: Kind,
        total: u32,
    ) -> Result<(), SlotFault> {
        if found.total() != total {
            return Err(SlotFault::Length {
                expected: found.total(),
                found: total,
            });
        }
        self.not_rolled_back(state, found, kind)?;
        if self.key.is_some() && kind == Kind::Bank {
            let file = self.device.bytes(found.start, found.bytes as usize);
            let bank = check_bank(file, None)?;
            let written = bank.written_bytes();
            let spare = file.get(written..).unwrap_or_default();
            if let Some(position) = spare.iter().position(|byte| *byte != 0xff) {
                let offset = written + position;
                return Err(SlotFault::SpareSlotNotBlank { offset });
            }
        }
        Ok(())
    }

    pub(super) fn not_rolled_back(
        &self,
        state: &State,
        found: &Found,
        kind: Kind,
    ) -> Result<(), SlotFault> {
        let (expected, counter) = (state.counter(kind), found.counter.unwrap_or(0));
        if self.key.is_some() && counter < expected {
            return Err(SlotFault::RolledBack {
                expected,
                found: counter,
            });
        }
        Ok(())
    }
}

/// The active slot and the other one.
fn order(state: &State, kind: Kind) -> [u8; 2] {
    let active = state.pair(kind).active;
    [active, 1 - active]
}

fn usable(state: &State, kind: Kind, slot: u8) -> Result<(), SlotFault> {
    match state.pair(kind).status(slot) {
        SlotStatus::Good => Ok(()),
        SlotStatus::Void => Err(SlotFault::Void),
        SlotStatus::Ready => Err(SlotFault::NotActivated),
    }
}

fn check_bank<'a>(file: &'a [u8], facts: Option<&ModelFacts>) -> Result<ClassBank<'a>, SlotFault> {
    let bank = ClassBank::load_in_flash(file).map_err(|error| SlotFault::File(Fault::Bank(error)));
    let bank = bank?;
    if let Some(facts) = facts {
        facts.check_bank(&bank).map_err(SlotFault::File)?;
    }
    Ok(bank)
}

/// An error of the storage for a slot that is refused.
pub(super) fn refused<F: NorFlash>(kind: Kind) -> impl Fn(SlotFault) -> StorageError<F::Error> {
    move |fault| StorageError::Refused { kind, fault }
}
