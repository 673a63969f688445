//! Writes a bank into a buffer of the caller, without a heap; the same input gives the same bytes.

use super::layout::{
    ALIGNMENT, CRC, CRC_OF_SLOT_STARTS, HEADER_BYTES, Header, MAGIC, MAX_SPARE_SLOTS,
    SLOT_COMMITTED, SLOT_HEAD_BYTES, SlotHead, VERSION, file_crc, slot_crc,
};
use super::{BankError, ClassBank, WriteError, length};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Bytes that a name field has at least, so that a device can add a class with a longer name than the first ones.
const MIN_NAME_CAPACITY: usize = 64;

/// A class to be written.
#[derive(Clone, Copy, Debug)]
pub struct ClassSpec<'a> {
    /// Unique, 1 byte or more.
    pub name: &'a str,
    /// Of any length above zero; only the direction counts.
    pub embedding: &'a [f32], // (dim)
}

/// What becomes a bank.
#[derive(Clone, Copy, Debug)]
pub struct BankSpec<'a> {
    /// The encoder pair that made the embeddings.
    pub embedding_space_id: [u8; 16],
    /// Elements of every embedding.
    pub dim: u16,
    /// The classes; their place here is their index.
    pub classes: &'a [ClassSpec<'a>],
    /// Factor from a cosine to a logit.
    pub logit_scale: f32,
    /// Added to the scaled cosine.
    pub logit_bias: f32,
    /// Temperature of the energy.
    pub temperature: f32,
    /// Energy above which a picture is in no class; positive infinity never rejects.
    pub reject_threshold: f32,
    /// The templates that made the embeddings, one a line.
    pub templates: &'a str,
    /// Flash page that no slot may straddle, a power of two; 0 packs the slots tightly.
    pub page_bytes: u32,
    /// Slots left free for classes that a device adds.
    pub spare_slots: u32,
}

impl BankSpec<'_> {
    /// Bytes of the bank.
    ///
    /// # Errors
    /// When the bank would be too large or has too many spare slots.
    pub fn bytes_len(&self) -> Result<usize, WriteError> {
        Ok(self.header()?.file_bytes.get() as usize)
    }

    /// Writes the bank; `dst` must have exactly [`BankSpec::bytes_len`] bytes.
    ///
    /// # Errors
    /// When a class is unsound, a name occurs twice, a number is out of range, or `dst` has another length. `dst` is then
    /// not a bank.
    pub fn write_into(&self, dst: &mut [u8]) -> Result<(), WriteError> {
        let header = self.header()?;
        let layout = header.layout().ok_or(WriteError::TooLarge)?;
        if dst.len() != layout.file_bytes {
            return Err(WriteError::DestinationLength {
                expected: layout.file_bytes,
                found: dst.len(),
            });
        }
        let (written, spare) = dst.split_at_mut(layout.written_end);
        spare.fill(0xff);
        let (sections, slots) = written.split_at_mut(layout.slots_offset);
        sections.fill(0);
        if let Some(templates) = sections.get_mut(HEADER_BYTES..layout.templates_end) {
            templates.copy_from_slice(self.templates.as_bytes());
        }
        if let Some(order) = sections.get_mut(layout.order_offset..layout.order_end) {
            self.write_order(order);
        }
        for (index, (class, slot)) in (0u32..).zip(
            self.classes
                .iter()
                .zip(slots.chunks_exact_mut(layout.slot_bytes)),
        ) {
            write_class(index, class, layout.dim, layout.name_capacity, slot)?;
        }
        if let Some(field) = written.get_mut(..HEADER_BYTES) {
            field.copy_from_slice(header.as_bytes());
        }
        let crc = file_crc(written);
        if let Ok((header, _)) = Header::mut_from_prefix(written) {
            header.crc.set(crc);
        }
        ClassBank::load(dst).map_err(WriteError::Refused)?;
        Ok(())
    }

    /// The header with everything but the checksum.
    fn header(&self) -> Result<Header, WriteError> {
        if self.spare_slots > MAX_SPARE_SLOTS {
            return Err(WriteError::TooManySpareSlots {
                max: MAX_SPARE_SLOTS,
                found: self.spare_slots,
            });
        }
        let longest = self
            .classes
            .iter()
            .map(|class| class.name.len())
            .max()
            .unwrap_or(0);
        let name_capacity = longest.max(MIN_NAME_CAPACITY).next_multiple_of(ALIGNMENT);
        let mut slot_bytes = (SLOT_HEAD_BYTES + name_capacity + usize::from(self.dim))
            .next_multiple_of(ALIGNMENT) as u64;
        let mut slots_alignment = ALIGNMENT as u64;
        if self.page_bytes != 0 {
            // A power of two either divides the page or is a multiple of it.
            slot_bytes = slot_bytes.next_power_of_two();
            slots_alignment = slots_alignment.max(u64::from(self.page_bytes));
        }
        let class_count = self.classes.len() as u64;
        let order_offset =
            (HEADER_BYTES as u64 + self.templates.len() as u64).next_multiple_of(ALIGNMENT as u64);
        let slots_offset = (order_offset + class_count * 4).next_multiple_of(slots_alignment);
        let slot_count = class_count + u64::from(self.spare_slots);
        let file_bytes = slots_offset + slot_count * slot_bytes;

        let wide = |value: u64| {
            u32::try_from(value)
                .map(U32::new)
                .map_err(|_| WriteError::TooLarge)
        };
        let mut header = Header::new_zeroed();
        header.magic = MAGIC;
        header.version.set(VERSION);
        header.header_bytes.set(HEADER_BYTES as u16);
        header.file_bytes = wide(file_bytes)?;
        header.embedding_space_id = self.embedding_space_id;
        header.dim.set(self.dim);
        header
            .name_capacity
            .set(u16::try_from(name_capacity).map_err(|_| WriteError::TooLarge)?);
        header.class_count = wide(class_count)?;
        header.slot_count = wide(slot_count)?;
        header.slot_bytes = wide(slot_bytes)?;
        header.slots_offset = wide(slots_offset)?;
        header.order_offset = wide(order_offset)?;
        header.templates_offset = wide(HEADER_BYTES as u64)?;
        header.templates_bytes = wide(self.templates.len() as u64)?;
        header.logit_scale.set(self.logit_scale);
        header.logit_bias.set(self.logit_bias);
        header.temperature.set(self.temperature);
        header.reject_threshold.set(self.reject_threshold);
        Ok(header)
    }

    /// Lists the classes by ascending name. Two equal names stay apart by index, for the reader to refuse.
    fn write_order(&self, bytes: &mut [u8]) {
        let Ok(order) = <[U32]>::mut_from_bytes(bytes) else {
            return;
        };
        for (entry, index) in order.iter_mut().zip(0..) {
            entry.set(index);
        }
        order.sort_unstable_by_key(|index| {
            let index = index.get();
            (
                self.classes.get(index as usize).map(|class| class.name),
                index,
            )
        });
    }
}

/// Quantises and writes one class; the slot has the geometry of the bank and is checked.
fn write_class(
    index: u32,
    class: &ClassSpec<'_>,
    dim: usize,
    name_capacity: usize,
    slot: &mut [u8],
) -> Result<(), WriteError> {
    if class.embedding.len() != dim {
        return Err(WriteError::Dimension {
            index,
            expected: dim,
            found: class.embedding.len(),
        });
    }
    slot.fill(0);
    let start = SLOT_HEAD_BYTES + name_capacity;
    let bytes = slot.get_mut(start..start + dim).unwrap_or_default();
    let quantised = <[i8]>::mut_from_bytes(bytes).unwrap_or_default();
    let scale =
        quantise_embedding(class.embedding, quantised).ok_or(WriteError::NoDirection { index })?;
    finish_slot(index, class.name, scale, name_capacity, slot)
}

/// Writes a class into one slot of an existing bank, for a device that adds a class.
///
/// `slot` has [`ClassBank::slot_bytes`] bytes. In flash, write everything from byte 32 on first and the first 32 bytes last.
///
/// # Errors
/// When the lengths do not fit the bank or the embedding has no direction. That the name is new is for the caller to check
/// with [`ClassBank::find`].
pub fn write_slot(
    bank: &ClassBank<'_>,
    name: &str,
    embedding: &[i8],
    slot: &mut [u8],
) -> Result<(), WriteError> {
    if slot.len() != bank.slot_bytes() {
        return Err(WriteError::DestinationLength {
            expected: bank.slot_bytes(),
            found: slot.len(),
        });
    }
    SlotImage::new(bank, name, embedding)?.fill(0, slot);
    Ok(())
}

/// The bytes of a slot that holds a class, piece by piece, for a device that has no room for a whole slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotImage<'a> {
    head: SlotHead,
    name: &'a [u8],
    embedding: &'a [i8], // (dim)
    name_capacity: usize,
    slot_bytes: usize,
}

impl<'a> SlotImage<'a> {
    /// A class for a slot of `bank`.
    ///
    /// # Errors
    /// As [`write_slot`].
    pub fn new(
        bank: &ClassBank<'_>,
        name: &'a str,
        embedding: &'a [i8],
    ) -> Result<Self, WriteError> {
        let index = bank.class_count() as u32;
        if embedding.len() != bank.dim() {
            return Err(WriteError::Dimension {
                index,
                expected: bank.dim(),
                found: embedding.len(),
            });
        }
        let length = length(embedding);
        if length == 0.0 {
            return Err(WriteError::NoDirection { index });
        }
        let max = bank.name_capacity();
        if name.is_empty() || name.len() > max {
            return Err(WriteError::NameLength {
                index,
                max,
                found: name.len(),
            });
        }
        if name.contains('\0') {
            return Err(WriteError::Refused(BankError::BadName { index }));
        }
        let mut head = SlotHead::new_zeroed();
        head.state.set(SLOT_COMMITTED);
        head.scale.set(1.0 / length);
        head.name_bytes.set(name.len() as u16);
        let mut image = Self {
            head,
            name: name.as_bytes(),
            embedding,
            name_capacity: max,
            slot_bytes: bank.slot_bytes(),
        };
        let crc = image.crc();
        image.head.crc.set(crc);
        Ok(image)
    }

    /// Bytes of the slot.
    pub fn bytes_len(&self) -> usize {
        self.slot_bytes
    }

    /// Fills `dst` with the bytes of the slot from `offset` on; beyond the end of the slot with zeros.
    pub fn fill(&self, offset: usize, dst: &mut [u8]) {
        dst.fill(0);
        let parts = [
            (0, self.head.as_bytes()),
            (SLOT_HEAD_BYTES, self.name),
            (
                SLOT_HEAD_BYTES + self.name_capacity,
                self.embedding.as_bytes(),
            ),
        ];
        for (start, part) in parts {
            copy_overlap(start, part, offset, dst);
        }
    }

    fn crc(&self) -> u32 {
        let mut digest = CRC.digest();
        let mut piece = [0; 64];
        let mut offset = CRC_OF_SLOT_STARTS;
        while offset < self.slot_bytes {
            let len = piece.len().min(self.slot_bytes - offset);
            let piece = piece.get_mut(..len).unwrap_or_default();
            self.fill(offset, piece);
            digest.update(piece);
            offset += len;
        }
        digest.finalize()
    }
}

/// Copies what `part`, which begins at `start`, and `dst`, which begins at `offset`, have in common.
pub(super) fn copy_overlap(start: usize, part: &[u8], offset: usize, dst: &mut [u8]) {
    let from = start.max(offset);
    let until = (start + part.len()).min(offset + dst.len());
    if from >= until {
        return;
    }
    if let (Some(dst), Some(part)) = (
        dst.get_mut(from - offset..until - offset),
        part.get(from - start..until - start),
    ) {
        dst.copy_from_slice(part);
    }
}

/// Writes the name and the head of a slot whose embedding is in place.
fn finish_slot(
    index: u32,
    name: &str,
    scale: f32,
    name_capacity: usize,
    slot: &mut [u8],
) -> Result<(), WriteError> {
    if name.is_empty() || name.len() > name_capacity {
        return Err(WriteError::NameLength {
            index,
            max: name_capacity,
            found: name.len(),
        });
    }
    if let Some(field) = slot.get_mut(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + name.len()) {
        field.copy_from_slice(name.as_bytes());
    }
    if let Ok((head, _)) = SlotHead::mut_from_prefix(slot) {
        head.state.set(SLOT_COMMITTED);
        head.scale.set(scale);
        head.name_bytes.set(name.len() as u16);
    }
    let crc = slot_crc(slot);
    if let Ok((head, _)) = SlotHead::mut_from_prefix(slot) {
        head.crc.set(crc);
    }
    Ok(())
}

/// Quantises the direction of `embedding` to int8 and returns the scale that gives it length 1.
///
/// The largest element becomes 127. The scale is `1 / |dst|` and not the quantisation step, so that the cosine of two
/// quantised embeddings is that of the integers. Nothing when the embedding is zero or not finite. Both slices have one
/// length, at most 65,535.
pub fn quantise_embedding(embedding: &[f32], dst: &mut [i8]) -> Option<f32> {
    let mut largest = 0.0f32;
    for element in embedding {
        if !element.is_finite() {
            return None;
        }
        largest = largest.max(element.abs());
    }
    if largest == 0.0 {
        return None;
    }
    for (quantised, element) in dst.iter_mut().zip(embedding) {
        // The quotient is within -1..=1, so that neither a huge nor a subnormal element overflows.
        *quantised = libm::roundf(element / largest * 127.0) as i8;
    }
    let length = length(dst);
    (length > 0.0).then(|| 1.0 / length)
}
