//! The class bank `bank.phc`: class names, their embeddings, and how cosines become logits and a rejection.
//!
//! Specification: `docs/bank-format.md`. [`ClassBank::load`] checks a file once, in time proportional to its length and
//! over any bytes; what it returns reads the file in place and cannot fail. [`BankSpec`] writes the same bytes for the
//! same classes; [`write_slot`] writes one class into a spare slot of a bank in flash.
//!
//! Not here: scoring (see [`crate::score`]), flash access, and text encoders.

mod edit;
mod error;
mod layout;
mod write;

use layout::{HEADER_BYTES, Header, Layout, SLOT_HEAD_BYTES, SlotHead, file_crc, slot_crc};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

pub use edit::{Change, EditError, EditedBank};
pub use error::{BankError, WriteError};
pub use layout::{ALIGNMENT, MAGIC, MAX_SPARE_SLOTS, SLOT_COMMITTED, SLOT_FREE, VERSION};
pub use write::{BankSpec, ClassSpec, SlotImage, quantise_embedding, write_slot};

/// Largest absolute value of `logit_scale` and `logit_bias`; with [`TEMPERATURE_RANGE`] it keeps every score finite.
pub const MAX_LOGIT_PARAMETER: f32 = 1e4;

/// Range of the temperature of the energy.
pub const TEMPERATURE_RANGE: core::ops::RangeInclusive<f32> = 1e-3..=1e4;

/// How far `scale * |embedding|` may be from 1.
const LENGTH_TOLERANCE: f32 = 1e-3;

/// A checked class bank, read in place.
#[derive(Clone, Copy, Debug)]
pub struct ClassBank<'a> {
    header: &'a Header,
    layout: Layout,
    order: &'a [U32], // (class_count of the header): slots by ascending name
    templates: &'a str,
    slots: &'a [u8], // (slot_count, slot_bytes)
    class_count: usize,
    damaged_slots: usize,
}

/// One class of a bank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class<'a> {
    /// The name, as the person typed it; unique in the bank, 1 byte or more.
    pub name: &'a str,
    /// The direction of the class, times `1 / scale`; shape (dim).
    pub embedding: &'a [i8],
    /// Makes the embedding a vector of length 1; finite and above zero.
    pub scale: f32,
}

impl<'a> ClassBank<'a> {
    /// Length of the bank at the start of `bytes`, for a reader that has a flash partition and not a file.
    ///
    /// # Errors
    /// When there is no header of this version, or the bank is longer than `bytes`.
    pub fn file_bytes(bytes: &[u8]) -> Result<usize, BankError> {
        let header = read_header(bytes)?;
        let needed = header.file_bytes.get() as usize;
        if needed > bytes.len() {
            return Err(BankError::Truncated {
                needed,
                found: bytes.len(),
            });
        }
        Ok(needed)
    }

    /// Checks everything about a bank; takes time proportional to the length.
    ///
    /// # Errors
    /// The first thing that is wrong. Changing any byte that a writer wrote, or cutting the file, gives an error.
    pub fn load(bytes: &'a [u8]) -> Result<Self, BankError> {
        let mut bank = Self::load_written(bytes)?;
        bank.class_count = bank.check_slots()?;
        bank.check_names()?;
        Ok(bank)
    }

    /// As [`ClassBank::load`], for a bank that a device adds classes to: spare slots are taken up to the first one that holds
    /// no sound class. What a power cut left behind there costs itself alone; [`ClassBank::damaged_slots`] counts it.
    ///
    /// # Errors
    /// The first thing that is wrong with what the writer wrote.
    pub fn load_in_flash(bytes: &'a [u8]) -> Result<Self, BankError> {
        let mut bank = Self::load_written(bytes)?;
        while bank.spare_is_class(bank.class_count) {
            bank.class_count += 1;
        }
        let behind = bank.class_count..bank.layout.slot_count;
        bank.damaged_slots = behind.filter(|index| !bank.slot_is_free(*index)).count();
        Ok(bank)
    }

    /// Checks what the writer wrote, and leaves the spare slots out.
    fn load_written(bytes: &'a [u8]) -> Result<Self, BankError> {
        let header = read_header(bytes)?;
        let needed = Self::file_bytes(bytes)?;
        if bytes.len() > needed {
            return Err(BankError::TrailingBytes {
                expected: needed,
                found: bytes.len(),
            });
        }
        let layout = header.layout().ok_or(BankError::BadLayout)?;
        if layout.class_count == 0 {
            return Err(BankError::NoClasses);
        }
        check_header(header, &layout, bytes)?;
        let part = |range| bytes.get(range).ok_or(BankError::BadLayout);
        let templates =
            core::str::from_utf8(part(HEADER_BYTES..layout.templates_end)?).map_err(|error| {
                BankError::BadTemplates {
                    valid_bytes: error.valid_up_to(),
                }
            })?;
        let order = <[U32]>::ref_from_bytes(part(layout.order_offset..layout.order_end)?)
            .map_err(|_| BankError::BadLayout)?;
        let bank = Self {
            header,
            layout,
            order,
            templates,
            slots: part(layout.slots_offset..layout.file_bytes)?,
            class_count: layout.class_count,
            damaged_slots: 0,
        };
        for index in 0..layout.class_count {
            bank.check_committed(index)?;
        }
        bank.check_order()?;
        Ok(bank)
    }

    /// Refuses a bank whose embeddings come from another encoder.
    ///
    /// # Errors
    /// [`BankError::OtherEmbeddingSpace`].
    pub fn check_space(&self, expected: &[u8; 16]) -> Result<(), BankError> {
        let found = self.header.embedding_space_id;
        if found != *expected {
            return Err(BankError::OtherEmbeddingSpace {
                expected: *expected,
                found,
            });
        }
        Ok(())
    }

    /// Identifies the encoder pair whose embeddings can be compared with these.
    pub fn embedding_space_id(&self) -> &'a [u8; 16] {
        &self.header.embedding_space_id
    }

    /// Elements of an embedding; 1 or more.
    pub fn dim(&self) -> usize {
        self.layout.dim
    }

    /// Classes in the bank, the ones that a device added included; 1 or more.
    pub fn class_count(&self) -> usize {
        self.class_count
    }

    /// Slots in the bank; the ones from [`ClassBank::class_count`] on are free.
    pub fn slot_count(&self) -> usize {
        self.layout.slot_count
    }

    /// Spare slots behind the last class that are not free: a class that was not written to its end, or one that rotted.
    /// Always 0 after [`ClassBank::load`].
    pub fn damaged_slots(&self) -> usize {
        self.damaged_slots
    }

    /// Classes that the writer put in: those whose bytes the checksum of the file, and a signature, cover.
    pub fn written_count(&self) -> usize {
        self.layout.class_count
    }

    /// Where the spare slots begin, in bytes from the start of the file; what is before them never changes.
    pub fn written_bytes(&self) -> usize {
        self.layout.written_end
    }

    /// Bytes of one slot.
    pub fn slot_bytes(&self) -> usize {
        self.layout.slot_bytes
    }

    /// Where a slot starts in the file.
    pub fn slot_offset(&self, index: usize) -> Option<usize> {
        (index < self.layout.slot_count)
            .then(|| self.layout.slots_offset + index * self.layout.slot_bytes)
    }

    /// Most bytes of a name.
    pub fn name_capacity(&self) -> usize {
        self.layout.name_capacity
    }

    /// Factor from a cosine to a logit; finite, above zero.
    pub fn logit_scale(&self) -> f32 {
        self.header.logit_scale.get()
    }

    /// Added to the scaled cosine; finite.
    pub fn logit_bias(&self) -> f32 {
        self.header.logit_bias.get()
    }

    /// Temperature of the energy; finite, above zero.
    pub fn temperature(&self) -> f32 {
        self.header.temperature.get()
    }

    /// A picture whose energy is above this is in no class; positive infinity never rejects.
    pub fn reject_threshold(&self) -> f32 {
        self.header.reject_threshold.get()
    }

    /// The templates that the classes were embedded with, one a line.
    pub fn templates(&self) -> &'a str {
        self.templates
    }

    /// The class at `index`, if there is one.
    pub fn class(&self, index: usize) -> Option<Class<'a>> {
        if index >= self.class_count {
            return None;
        }
        let slot = self.slot(index);
        let (head, _) = SlotHead::ref_from_prefix(slot).ok()?;
        Some(Class {
            name: core::str::from_utf8(self.name_bytes(index)).ok()?,
            embedding: self.embedding(slot),
            scale: head.scale.get(),
        })
    }

    /// All classes, in the order of their index.
    pub fn classes(&self) -> impl ExactSizeIterator<Item = Class<'a>> + use<'a> {
        let bank = *self;
        let none = Class {
            name: "",
            embedding: &[],
            scale: 1.0,
        };
        (0..bank.class_count).map(move |index| bank.class(index).unwrap_or(none))
    }

    /// The embeddings of all classes, by index: bytes that begin with the first one, and from the beginning of one to that of
    /// the next.
    pub(crate) fn embeddings(&self) -> (&'a [i8], usize) {
        let first = SLOT_HEAD_BYTES + self.layout.name_capacity;
        let bytes = self.slots.get(first..).unwrap_or_default();
        let bytes = <[i8]>::ref_from_bytes(bytes).unwrap_or_default();
        (bytes, self.layout.slot_bytes)
    }

    /// [`Class::scale`] of the class at `index`; 1 beyond the last slot.
    pub(crate) fn scale(&self, index: usize) -> f32 {
        SlotHead::ref_from_prefix(self.slot(index)).map_or(1.0, |(head, _)| head.scale.get())
    }

    /// The index of the class of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let name = name.as_bytes();
        let listed = self
            .order
            .binary_search_by(|index| self.name_bytes(index.get() as usize).cmp(name));
        match listed {
            Ok(entry) => self.order.get(entry).map(|index| index.get() as usize),
            Err(_) => (self.layout.class_count..self.class_count)
                .find(|index| self.name_bytes(*index) == name),
        }
    }

    fn slot(&self, index: usize) -> &'a [u8] {
        let slot = index
            .checked_mul(self.layout.slot_bytes)
            .and_then(|start| self.slots.get(start..start + self.layout.slot_bytes));
        slot.unwrap_or_default()
    }

    fn embedding(&self, slot: &'a [u8]) -> &'a [i8] {
        let start = SLOT_HEAD_BYTES + self.layout.name_capacity;
        let bytes = slot.get(start..start + self.layout.dim).unwrap_or_default();
        <[i8]>::ref_from_bytes(bytes).unwrap_or_default()
    }

    /// The bytes of a name, cut to the length of its field.
    fn name_bytes(&self, index: usize) -> &'a [u8] {
        let slot = self.slot(index);
        let len = SlotHead::ref_from_prefix(slot)
            .map_or(0, |(head, _)| usize::from(head.name_bytes.get()));
        slot.get(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + len.min(self.layout.name_capacity))
            .unwrap_or_default()
    }

    /// Checks every spare slot and returns how many slots hold a class: a prefix of all slots.
    fn check_slots(&self) -> Result<usize, BankError> {
        let mut classes = self.layout.class_count;
        for index in self.layout.class_count..self.layout.slot_count {
            if self.slot_is_free(index) {
                continue;
            }
            if classes != index {
                return Err(self.bad_state(index));
            }
            self.check_committed(index)?;
            classes += 1;
        }
        Ok(classes)
    }

    /// Checks that a slot holds a sound class.
    fn check_committed(&self, index: usize) -> Result<(), BankError> {
        let (head, _) =
            SlotHead::ref_from_prefix(self.slot(index)).map_err(|_| BankError::BadLayout)?;
        match head.state.get() {
            SLOT_COMMITTED => self.check_class(index, head),
            _ => Err(self.bad_state(index)),
        }
    }

    fn state(&self, index: usize) -> u32 {
        SlotHead::ref_from_prefix(self.slot(index)).map_or(0, |(head, _)| head.state.get())
    }

    fn slot_is_free(&self, index: usize) -> bool {
        self.state(index) == SLOT_FREE
    }

    fn bad_state(&self, index: usize) -> BankError {
        BankError::BadSlotState {
            index: index as u32,
            found: self.state(index),
        }
    }

    /// Whether a spare slot holds a sound class whose name is not that of a class before `class_count`.
    fn spare_is_class(&self, index: usize) -> bool {
        (self.layout.class_count..self.layout.slot_count).contains(&index)
            && self.check_committed(index).is_ok()
            && core::str::from_utf8(self.name_bytes(index))
                .is_ok_and(|name| self.find(name).is_none())
    }

    fn check_class(&self, index: usize, head: &SlotHead) -> Result<(), BankError> {
        let slot = self.slot(index);
        let index = index as u32;
        if slot_crc(slot) != head.crc.get() {
            return Err(BankError::BadSlotChecksum { index });
        }
        let reserved_offset = self.layout.slots_offset + index as usize * self.layout.slot_bytes;
        check_zero(
            &head.reserved,
            reserved_offset + SLOT_HEAD_BYTES - head.reserved.len(),
        )?;
        let embedding_end = SLOT_HEAD_BYTES + self.layout.name_capacity + self.layout.dim;
        check_zero(
            slot.get(embedding_end..).unwrap_or_default(),
            reserved_offset + embedding_end,
        )?;

        let field = slot
            .get(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + self.layout.name_capacity)
            .unwrap_or_default();
        let name_is_sound = field
            .split_at_checked(usize::from(head.name_bytes.get()))
            .is_some_and(|(name, rest)| {
                !name.is_empty()
                    && !name.contains(&0)
                    && core::str::from_utf8(name).is_ok()
                    && rest.iter().all(|byte| *byte == 0)
            });
        if !name_is_sound {
            return Err(BankError::BadName { index });
        }
        let length = head.scale.get() * length(self.embedding(slot));
        // False for a scale that is not a number; a negative scale cannot give a length near 1.
        let is_unit = (length - 1.0).abs() <= LENGTH_TOLERANCE;
        if !is_unit {
            return Err(BankError::NotUnitLength {
                index,
                found: length,
            });
        }
        Ok(())
    }

    /// Checks that no name of the writer occurs twice.
    ///
    /// The order table lists as many slots as there are written classes. If the names along it strictly ascend, then no
    /// slot and no name is listed twice, and so every class is listed.
    fn check_order(&self) -> Result<(), BankError> {
        let mut before: &[u8] = &[];
        for (entry, index) in self.order.iter().enumerate() {
            let index = index.get();
            let name = self.name_bytes(index as usize);
            if index as usize >= self.layout.class_count || name < before {
                return Err(BankError::BadOrder {
                    index: entry as u32,
                });
            }
            if name == before {
                return Err(BankError::DuplicateName { index });
            }
            before = name;
        }
        Ok(())
    }

    /// Checks that no added class has a name that occurs before it; they are few, and looked up one by one.
    fn check_names(&self) -> Result<(), BankError> {
        for index in self.layout.class_count..self.class_count {
            let name = core::str::from_utf8(self.name_bytes(index)).unwrap_or_default();
            // The first class of that name is another one when there are two.
            if self.find(name) != Some(index) {
                return Err(BankError::DuplicateName {
                    index: index as u32,
                });
            }
        }
        Ok(())
    }
}

fn read_header(bytes: &[u8]) -> Result<&Header, BankError> {
    let truncated = BankError::Truncated {
        needed: HEADER_BYTES,
        found: bytes.len(),
    };
    let (magic, _) = bytes.split_first_chunk::<4>().ok_or(truncated)?;
    if *magic != MAGIC {
        return Err(BankError::NotABank { found: *magic });
    }
    let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| truncated)?;
    if header.version.get() != VERSION {
        return Err(BankError::UnsupportedVersion {
            found: header.version.get(),
            supported: VERSION,
        });
    }
    if usize::from(header.header_bytes.get()) != HEADER_BYTES {
        return Err(BankError::BadLayout);
    }
    Ok(header)
}

/// Checks the checksum, the numbers and the bytes that are zero.
fn check_header(header: &Header, layout: &Layout, bytes: &[u8]) -> Result<(), BankError> {
    let found = file_crc(bytes.get(..layout.written_end).unwrap_or_default());
    if found != header.crc.get() {
        return Err(BankError::BadChecksum {
            expected: header.crc.get(),
            found,
        });
    }
    // A signature is the business of a later version.
    let signature = HEADER_BYTES - header.reserved.len() - 8;
    for range in [
        signature..HEADER_BYTES,
        layout.templates_end..layout.order_offset,
        layout.order_end..layout.slots_offset,
    ] {
        check_zero(bytes.get(range.clone()).unwrap_or_default(), range.start)?;
    }
    check_numbers(header)
}

fn check_numbers(header: &Header) -> Result<(), BankError> {
    let logit_scale = header.logit_scale.get();
    let logit_bias = header.logit_bias.get();
    let temperature = header.temperature.get();
    let reject_threshold = header.reject_threshold.get();
    for (field, found, sound) in [
        (
            "logit_scale",
            logit_scale,
            logit_scale > 0.0 && logit_scale <= MAX_LOGIT_PARAMETER,
        ),
        (
            "logit_bias",
            logit_bias,
            logit_bias.abs() <= MAX_LOGIT_PARAMETER,
        ),
        (
            "temperature",
            temperature,
            TEMPERATURE_RANGE.contains(&temperature),
        ),
        (
            "reject_threshold",
            reject_threshold,
            !reject_threshold.is_nan(),
        ),
    ] {
        if !sound {
            return Err(BankError::BadNumber { field, found });
        }
    }
    Ok(())
}

fn check_zero(bytes: &[u8], offset: usize) -> Result<(), BankError> {
    match bytes.iter().position(|byte| *byte != 0) {
        Some(position) => Err(BankError::ReservedNotZero {
            offset: offset + position,
        }),
        None => Ok(()),
    }
}

/// Euclidean length of int8 elements; exact before the root, as 65,535 squares of 128 stay below 2^31.
fn length(embedding: &[i8]) -> f32 {
    let squares: u32 = embedding
        .iter()
        .map(|q| u32::from(q.unsigned_abs()).pow(2))
        .sum();
    libm::sqrtf(squares as f32)
}

#[cfg(test)]
mod tests;
