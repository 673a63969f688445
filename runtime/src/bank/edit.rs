//! A bank with one class more, less or other, as bytes that can be made piece by piece from the bank that there is: for a
//! device that copies a bank from one place in flash to another and has no room for a whole one.
//!
//! Sound classes keep their order, and spare slots that hold none are left out: the copy of a bank with a torn slot has
//! none. What the writer wrote stays byte for byte, unless one of its own classes is removed or replaced.

use super::layout::{CRC, CRC_FIELD, HEADER_BYTES, Header, Layout, MAX_SPARE_SLOTS, SLOT_FREE};
use super::write::{SlotImage, copy_overlap};
use super::{BankError, ClassBank};
use core::fmt;
use zerocopy::IntoBytes;

/// What becomes of a bank.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The same classes.
    Compact,
    /// One class more, behind the others.
    Add(SlotImage<'a>),
    /// The class at this index is left out.
    Remove(usize),
    /// Another class in the place of the one at this index.
    Replace(usize, SlotImage<'a>),
}

/// Why a bank cannot become another one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum EditError {
    /// The bank is refused.
    Bank(BankError),
    /// Every slot holds a class.
    Full {
        /// Slots of the bank.
        slots: usize,
    },
    /// There is no class of this index.
    NoSuchClass {
        /// The index asked for.
        index: usize,
        /// Classes of the bank.
        classes: usize,
    },
    /// A bank has at least one class.
    LastClass,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bank(error) => error.fmt(f),
            Self::Full { slots } => write!(
                f,
                "all {slots} slots of the class bank hold a class: remove one, or make the bank with more spare slots"
            ),
            Self::NoSuchClass { index, classes } => {
                write!(f, "there is no class {index}, the class bank has {classes}")
            }
            Self::LastClass => f.write_str("a class bank cannot lose its only class"),
        }
    }
}

impl core::error::Error for EditError {}

/// Spare slots that hold a sound class, one bit each.
type Spares = [u32; MAX_SPARE_SLOTS as usize / 32];

/// The bank that a [`Change`] makes.
#[derive(Clone, Copy, Debug)]
pub struct EditedBank<'a> {
    change: Change<'a>,
    header: Header,
    source: Layout,
    target: Layout,
    spares: Spares,
    kept: usize,
    touches_written: bool,
}

impl<'a> EditedBank<'a> {
    /// The bank `bytes`, changed. Takes time proportional to the length.
    ///
    /// # Errors
    /// When the bank is refused, or cannot be changed so.
    pub fn new(bytes: &[u8], change: Change<'a>) -> Result<Self, EditError> {
        let bank = ClassBank::load_in_flash(bytes).map_err(EditError::Bank)?;
        let spares = sound_spares(&bank);
        let classes = bank.layout.class_count
            + spares
                .iter()
                .map(|w| w.count_ones() as usize)
                .sum::<usize>();
        let mut kept = classes;
        let mut touches_written = false;
        match change {
            Change::Compact => {}
            Change::Add(_) if classes >= bank.layout.slot_count => {
                return Err(EditError::Full { slots: classes });
            }
            Change::Add(_) => {}
            Change::Remove(index) | Change::Replace(index, _) => {
                // A class behind a damaged slot cannot be seen, and so not be meant.
                if index >= bank.class_count {
                    let classes = bank.class_count;
                    return Err(EditError::NoSuchClass { index, classes });
                }
                touches_written = index < bank.layout.class_count;
            }
        }
        let mut header = *bank.header;
        if let Change::Remove(index) = change {
            kept -= 1;
            if kept == 0 {
                return Err(EditError::LastClass);
            }
            if index < bank.layout.class_count {
                // The first added class takes the place of the only one that the writer put in.
                let written = (bank.layout.class_count - 1).max(1);
                let slots = bank
                    .layout
                    .slot_count
                    .min(written + MAX_SPARE_SLOTS as usize);
                let bytes = bank.layout.slots_offset + slots * bank.layout.slot_bytes;
                header.class_count.set(written as u32);
                header.slot_count.set(slots as u32);
                header.file_bytes.set(bytes as u32);
            }
        }
        let target = header
            .layout()
            .ok_or(EditError::Bank(BankError::BadLayout))?;
        let mut edited = Self {
            change,
            header,
            source: bank.layout,
            target,
            spares,
            kept,
            touches_written,
        };
        if touches_written {
            edited.header.crc.set(edited.crc(bytes));
        }
        Ok(edited)
    }

    /// Bytes of the changed bank.
    pub fn bytes_len(&self) -> usize {
        self.target.file_bytes
    }

    /// Whether what the writer wrote is changed, so that a signature of it no longer fits.
    pub fn touches_written(&self) -> bool {
        self.touches_written
    }

    /// Fills `dst` with the bytes of the changed bank from `offset` on; beyond its end with those of erased flash. `bytes` is
    /// the bank that [`EditedBank::new`] was given.
    pub fn fill(&self, bytes: &[u8], offset: usize, dst: &mut [u8]) {
        dst.fill(0xff);
        if !self.touches_written {
            let written = bytes.get(..self.source.written_end).unwrap_or_default();
            copy_overlap(0, written, offset, dst);
        } else {
            self.fill_sections(bytes, offset, dst);
        }
        let (slot_bytes, start) = (self.target.slot_bytes, self.target.slots_offset);
        let first = offset.saturating_sub(start) / slot_bytes;
        let end = offset + dst.len();
        for index in first..self.target.slot_count {
            let at = start + index * slot_bytes;
            if at >= end {
                return;
            }
            self.fill_slot(bytes, index, at, offset, dst);
        }
    }

    /// Header, templates and order table of a bank whose written classes change.
    fn fill_sections(&self, bytes: &[u8], offset: usize, dst: &mut [u8]) {
        let sections = self.target.slots_offset.saturating_sub(offset);
        dst.get_mut(..sections.min(dst.len()))
            .unwrap_or_default()
            .fill(0);
        copy_overlap(0, self.header.as_bytes(), offset, dst);
        let templates = bytes.get(HEADER_BYTES..self.source.templates_end);
        copy_overlap(HEADER_BYTES, templates.unwrap_or_default(), offset, dst);
        let order = bytes.get(self.source.order_offset..self.source.order_end);
        let (entries, _) = order.unwrap_or_default().as_chunks::<4>();
        let entries = entries.iter().map(|entry| u32::from_le_bytes(*entry));
        let mut at = self.target.order_offset;
        let removed = match self.change {
            Change::Remove(index) if self.source.class_count > 1 => Some(index as u32),
            _ => None,
        };
        for entry in entries.filter(|entry| Some(*entry) != removed) {
            let moved = entry - u32::from(removed.is_some_and(|removed| entry > removed));
            copy_overlap(at, &moved.to_le_bytes(), offset, dst);
            at += 4;
        }
    }

    /// The part of slot `index`, which begins at `at`, that `dst` takes in.
    fn fill_slot(&self, bytes: &[u8], index: usize, at: usize, offset: usize, dst: &mut [u8]) {
        let from = at.max(offset);
        let until = (at + self.target.slot_bytes).min(offset + dst.len());
        let Some(part) = dst.get_mut(from - offset..until - offset) else {
            return;
        };
        match self.change {
            Change::Add(image) if index == self.kept => image.fill(from - at, part),
            Change::Replace(replaced, image) if index == replaced => image.fill(from - at, part),
            _ if index < self.kept => {
                let start =
                    self.source.slots_offset + self.from(index) * self.source.slot_bytes + from
                        - at;
                let copied = bytes.get(start..start + part.len());
                if let Some(copied) = copied {
                    part.copy_from_slice(copied);
                }
            }
            _ => part.fill(0xff),
        }
    }

    /// The slot of the source that slot `index` below `kept` is a copy of.
    fn from(&self, index: usize) -> usize {
        let index = match self.change {
            Change::Remove(removed) if index >= removed => index + 1,
            _ => index,
        };
        let Some(spare) = index.checked_sub(self.source.class_count) else {
            return index;
        };
        let sound = (0..MAX_SPARE_SLOTS as usize).filter(|spare| is_set(&self.spares, *spare));
        self.source.class_count + sound.into_iter().nth(spare).unwrap_or(spare)
    }

    /// The checksum of the changed bank.
    fn crc(&self, bytes: &[u8]) -> u32 {
        let mut digest = CRC.digest();
        let mut piece = [0; 128];
        let mut offset = 0;
        while offset < self.target.written_end {
            let len = piece.len().min(self.target.written_end - offset);
            let piece = piece.get_mut(..len).unwrap_or_default();
            self.fill(bytes, offset, piece);
            match offset {
                0 => {
                    digest.update(piece.get(..CRC_FIELD.start).unwrap_or_default());
                    digest.update(piece.get(CRC_FIELD.end..).unwrap_or_default());
                }
                _ => digest.update(piece),
            }
            offset += len;
        }
        digest.finalize()
    }
}

fn is_set(spares: &Spares, spare: usize) -> bool {
    spares
        .get(spare / 32)
        .is_some_and(|word| word >> (spare % 32) & 1 == 1)
}

/// The spare slots that hold a class; of two with one name the first.
fn sound_spares(bank: &ClassBank<'_>) -> Spares {
    let mut spares = Spares::default();
    for spare in 0..bank.layout.slot_count - bank.layout.class_count {
        let index = bank.layout.class_count + spare;
        let name = bank.name_bytes(index);
        let seen = (bank.layout.class_count..index).any(|before| {
            is_set(&spares, before - bank.layout.class_count) && bank.name_bytes(before) == name
        });
        let sound = index < bank.class_count
            || bank.state(index) != SLOT_FREE && !seen && bank.spare_is_class(index);
        if let (true, Some(word)) = (sound, spares.get_mut(spare / 32)) {
            *word |= 1 << (spare % 32);
        }
    }
    spares
}
