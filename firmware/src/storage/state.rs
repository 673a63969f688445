//! What a device remembers, and the record that holds all of it.

use pinhole_signing::{KEY_BYTES, Kind, PublicKey};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Layout;
use super::journal::CRC;

/// First four bytes of a record.
const MAGIC: [u8; 4] = *b"PHST";
const VERSION: u16 = 1;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotStatus {
    /// Nothing that was verified: it is written to, or was.
    Void = 0,
    /// What was verified, or what was there before the first record: to run, or to fall back to.
    Good = 1,
    /// A verified upload that waits for its activation.
    Ready = 2,
}

/// The two slots of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// 0 or 1.
    pub(super) active: u8,
    pub(super) status: [SlotStatus; 2],
}

impl Pair {
    const FRESH: Self = Self {
        active: 0,
        status: [SlotStatus::Good; 2],
    };

    pub(super) fn status(&self, slot: u8) -> SlotStatus {
        self.status[usize::from(slot & 1)]
    }

    pub(super) fn set(&mut self, slot: u8, status: SlotStatus) {
        self.status[usize::from(slot & 1)] = status;
    }
}

/// A file that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// What it is.
    pub kind: Kind,
    /// The slot that it goes to, 0 or 1.
    pub slot: u8,
    /// Its bytes, the trailer included.
    pub total_bytes: u32,
    /// CRC-32/ISO-HDLC of all of them, by which it is recognised and proved.
    pub crc32: u32,
    /// Bytes that a restart does not lose.
    pub kept_bytes: u32,
}

impl Upload {
    /// Whether its slot holds so much.
    pub(super) fn fits(&self, layout: &Layout) -> bool {
        self.total_bytes as usize <= layout.slot(self.kind, self.slot).len()
    }

    /// What is here after a restart: whole sectors, or all of it.
    pub(super) fn kept(&self, sector_bytes: u32) -> u32 {
        match self.kept_bytes == self.total_bytes {
            true => self.total_bytes,
            false => self.kept_bytes - self.kept_bytes % sector_bytes,
        }
    }
}

/// Everything that a device remembers beside models and banks. Each change writes all of it, in one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct State {
    pub(super) pairs: [Pair; 2], // (kind): model, bank
    /// No file with a lower counter is taken.
    pub(super) counters: [u32; 2], // (kind)
    pub(super) key: Option<PublicKey>,
    /// The key before it: what it signed and lies in a slot still runs.
    pub(super) retired_key: Option<PublicKey>,
    /// Of the last request for another key.
    pub(super) key_counter: u32,
    pub(super) upload: Option<Upload>,
    /// Reject thresholds of bank A, bank B and the factory bank that take the place of their own.
    pub(super) thresholds: [Option<f32>; 3],
    pub(super) erases: u32,
    pub(super) writes: u32,
}

/// A record as it lies in flash.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Record {
    magic: [u8; 4],
    version: U16,
    /// 1: a key; 2: an upload; 4: a retired key.
    flags: U16,
    sequence: U64,
    pairs: [[u8; 4]; 2],
    counters: [U32; 2],
    key: [u8; KEY_BYTES],
    retired_key: [u8; KEY_BYTES],
    key_counter: U32,
    upload_kind: u8,
    upload_slot: u8,
    zeros: [u8; 2],
    upload_total: U32,
    upload_crc32: U32,
    upload_kept: U32,
    /// Bits of a float, or of a NaN for none.
    thresholds: [U32; 3],
    erases: U32,
    writes: U32,
    reserved: [u8; 20],
    /// CRC-32/ISO-HDLC of what is before it.
    crc: U32,
}

const FLAG_KEY: u16 = 1;
const FLAG_UPLOAD: u16 = 2;
const FLAG_RETIRED_KEY: u16 = 4;
const CRC_OFFSET: usize = core::mem::offset_of!(Record, crc);

impl Default for State {
    /// Without a record, what lies in the slots is tried: images that came with the firmware.
    fn default() -> Self {
        Self {
            pairs: [Pair::FRESH; 2],
            counters: [0; 2],
            key: None,
            retired_key: None,
            key_counter: 0,
            upload: None,
            thresholds: [None; 3],
            erases: 0,
            writes: 0,
        }
    }
}

/// The place of a kind in the arrays of a state.
pub(super) fn place(kind: Kind) -> usize {
    match kind {
        Kind::Model => 0,
        Kind::Bank => 1,
    }
}

impl State {
    pub(super) fn pair(&self, kind: Kind) -> &Pair {
        &self.pairs[place(kind)]
    }

    pub(super) fn pair_mut(&mut self, kind: Kind) -> &mut Pair {
        &mut self.pairs[place(kind)]
    }

    /// Whether the slot of an upload holds something to run, which no record of this storage says.
    pub(super) fn is_good(&self, upload: &Upload) -> bool {
        self.pair(upload.kind).status(upload.slot) == SlotStatus::Good
    }

    pub(super) fn counter(&self, kind: Kind) -> u32 {
        self.counters[place(kind)]
    }

    /// The record of this state.
    pub(super) fn record(&self, sequence: u64) -> Record {
        let mut record = Record::new_zeroed();
        record.magic = MAGIC;
        record.version.set(VERSION);
        record.sequence.set(sequence);
        record.pairs = self.pairs.map(|pair| {
            let [a, b] = pair.status;
            [pair.active, a as u8, b as u8, 0]
        });
        record.counters = self.counters.map(U32::new);
        let mut flags = 0;
        if let Some(key) = &self.key {
            flags |= FLAG_KEY;
            record.key = *key.as_bytes();
        }
        if let Some(key) = &self.retired_key {
            flags |= FLAG_RETIRED_KEY;
            record.retired_key = *key.as_bytes();
        }
        record.key_counter.set(self.key_counter);
        if let Some(upload) = &self.upload {
            flags |= FLAG_UPLOAD;
            record.upload_kind = upload.kind as u8;
            record.upload_slot = upload.slot;
            record.upload_total.set(upload.total_bytes);
            record.upload_crc32.set(upload.crc32);
            record.upload_kept.set(upload.kept_bytes);
        }
        record.flags.set(flags);
        record.thresholds = self
            .thresholds
            .map(|threshold| U32::new(threshold.unwrap_or(f32::NAN).to_bits()));
        record.erases.set(self.erases);
        record.writes.set(self.writes);
        let crc = record.checksum();
        record.crc.set(crc);
        record
    }
}

impl Record {
    fn checksum(&self) -> u32 {
        CRC.checksum(self.as_bytes().get(..CRC_OFFSET).unwrap_or_default())
    }

    /// The sequence number and the state, when the record was written to its end.
    pub(super) fn read(bytes: &[u8]) -> Option<(u64, State)> {
        let (record, _) = Self::ref_from_prefix(bytes).ok()?;
        if record.magic != MAGIC
            || record.version.get() != VERSION
            || record.crc.get() != record.checksum()
        {
            return None;
        }
        let flags = record.flags.get();
        let key = match flags & FLAG_KEY {
            0 => None,
            _ => Some(PublicKey::parse(&record.key).ok()?),
        };
        let retired_key = match flags & FLAG_RETIRED_KEY {
            0 => None,
            _ => Some(PublicKey::parse(&record.retired_key).ok()?),
        };
        let upload = match flags & FLAG_UPLOAD {
            0 => None,
            _ => Some(record.upload()?),
        };
        let [models, banks] = record.pairs;
        let state = State {
            pairs: [pair(models)?, pair(banks)?],
            counters: record.counters.map(U32::get),
            key,
            retired_key,
            key_counter: record.key_counter.get(),
            upload,
            thresholds: record.thresholds.map(|bits| {
                let threshold = f32::from_bits(bits.get());
                (!threshold.is_nan()).then_some(threshold)
            }),
            erases: record.erases.get(),
            writes: record.writes.get(),
        };
        Some((record.sequence.get(), state))
    }

    fn upload(&self) -> Option<Upload> {
        let kind = [Kind::Model, Kind::Bank]
            .into_iter()
            .find(|kind| *kind as u8 == self.upload_kind)?;
        let (total_bytes, kept_bytes) = (self.upload_total.get(), self.upload_kept.get());
        (self.upload_slot < 2 && kept_bytes <= total_bytes).then(|| Upload {
            kind,
            slot: self.upload_slot,
            total_bytes,
            crc32: self.upload_crc32.get(),
            kept_bytes,
        })
    }
}

fn pair([active, a, b, zero]: [u8; 4]) -> Option<Pair> {
    let status = |byte: u8| {
        [SlotStatus::Void, SlotStatus::Good, SlotStatus::Ready]
            .get(usize::from(byte))
            .copied()
    };
    (active < 2 && zero == 0).then_some(())?;
    Some(Pair {
        active,
        status: [status(a)?, status(b)?],
    })
}
