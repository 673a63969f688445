//! The records of `bank.phc` version 1 and where they lie; `docs/bank-format.md` is the specification.

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use zerocopy::little_endian::{F32, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First four bytes of every bank.
pub const MAGIC: [u8; 4] = *b"PHC1";

/// The format version that this crate reads and writes.
pub const VERSION: u16 = 1;

/// Sections and slots start at multiples of this.
pub const ALIGNMENT: usize = 16;

/// Most slots that can be left for classes that a device adds.
pub const MAX_SPARE_SLOTS: u32 = 256;

/// [`SlotHead::state`] of a slot that holds a class.
pub const SLOT_COMMITTED: u32 = u32::from_le_bytes(*b"CLAS");

/// [`SlotHead::state`] of a slot in erased flash.
pub const SLOT_FREE: u32 = u32::MAX;

pub(super) const HEADER_BYTES: usize = size_of::<Header>();
pub(super) const SLOT_HEAD_BYTES: usize = size_of::<SlotHead>();

/// The checksum of a slot covers it from here to its end.
pub(super) const CRC_OF_SLOT_STARTS: usize = 8;

/// Where the checksum lies in the header; it covers the bytes before and after itself.
pub(super) const CRC_FIELD: core::ops::Range<usize> = 12..16;

pub(super) static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// The first 128 bytes of a bank.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 4],
    pub(super) version: U16,
    pub(super) header_bytes: U16,
    pub(super) file_bytes: U32,
    pub(super) crc: U32,
    pub(super) embedding_space_id: [u8; 16],
    pub(super) dim: U16,
    pub(super) name_capacity: U16,
    /// Classes that the writer put in; the checksum covers them.
    pub(super) class_count: U32,
    /// Slots in the file; the ones past `class_count` are for the device.
    pub(super) slot_count: U32,
    pub(super) slot_bytes: U32,
    pub(super) slots_offset: U32,
    pub(super) order_offset: U32,
    pub(super) templates_offset: U32,
    pub(super) templates_bytes: U32,
    pub(super) logit_scale: F32,
    pub(super) logit_bias: F32,
    pub(super) temperature: F32,
    pub(super) reject_threshold: F32,
    pub(super) signature_offset: U32,
    pub(super) signature_bytes: U32,
    pub(super) reserved: [u8; 40],
}

/// The first 32 bytes of a slot; written last, so that a slot becomes a class at once.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SlotHead {
    pub(super) state: U32,
    /// Of the bytes of the slot from 8 to its end.
    pub(super) crc: U32,
    pub(super) scale: F32,
    pub(super) name_bytes: U16,
    pub(super) reserved: [u8; 18],
}

const _: () = assert!(HEADER_BYTES == 128 && SLOT_HEAD_BYTES == 32);

/// The checksum of a bank whose written part is `bytes`, its own field left out.
pub(super) fn file_crc(bytes: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(bytes.get(..CRC_FIELD.start).unwrap_or_default());
    digest.update(bytes.get(CRC_FIELD.end..).unwrap_or_default());
    digest.finalize()
}

/// The checksum of a slot.
pub(super) fn slot_crc(slot: &[u8]) -> u32 {
    CRC.checksum(slot.get(CRC_OF_SLOT_STARTS..).unwrap_or_default())
}

/// Lengths and offsets that follow from the header, all of them within the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) dim: usize,
    pub(super) name_capacity: usize,
    pub(super) slot_bytes: usize,
    pub(super) class_count: usize,
    pub(super) slot_count: usize,
    pub(super) templates_end: usize,
    pub(super) order_offset: usize,
    pub(super) order_end: usize,
    pub(super) slots_offset: usize,
    /// Where the slots that the writer filled end, and with them what the checksum covers.
    pub(super) written_end: usize,
    pub(super) file_bytes: usize,
}

impl Header {
    /// The layout, or nothing when some section overlaps, is not aligned or leaves the file.
    pub(super) fn layout(&self) -> Option<Layout> {
        let wide = |field: U32| u64::from(field.get());
        let (dim, name_capacity) = (
            u64::from(self.dim.get()),
            u64::from(self.name_capacity.get()),
        );
        let (class_count, slot_count) = (wide(self.class_count), wide(self.slot_count));
        let slot_bytes = wide(self.slot_bytes);
        let templates_end = wide(self.templates_offset) + wide(self.templates_bytes);
        let order_end = wide(self.order_offset) + class_count * 4;
        let written_end = class_count
            .checked_mul(slot_bytes)?
            .checked_add(wide(self.slots_offset))?;
        let file_end = slot_count
            .checked_mul(slot_bytes)?
            .checked_add(wide(self.slots_offset))?;
        let aligned = |offset: u64| offset.is_multiple_of(ALIGNMENT as u64);
        let sound = dim > 0
            && name_capacity > 0
            && aligned(name_capacity)
            && aligned(slot_bytes)
            && slot_bytes >= SLOT_HEAD_BYTES as u64 + name_capacity + dim
            && self.templates_offset.get() as usize == HEADER_BYTES
            && wide(self.order_offset) == templates_end.next_multiple_of(ALIGNMENT as u64)
            && wide(self.slots_offset) >= order_end
            && aligned(wide(self.slots_offset))
            && slot_count >= class_count
            && slot_count - class_count <= u64::from(MAX_SPARE_SLOTS)
            && file_end == wide(self.file_bytes);
        if !sound {
            return None;
        }
        Some(Layout {
            dim: dim as usize,
            name_capacity: name_capacity as usize,
            slot_bytes: slot_bytes as usize,
            class_count: class_count as usize,
            slot_count: slot_count as usize,
            templates_end: templates_end as usize,
            order_offset: self.order_offset.get() as usize,
            order_end: order_end as usize,
            slots_offset: self.slots_offset.get() as usize,
            written_end: written_end as usize,
            file_bytes: file_end as usize,
        })
    }
}
