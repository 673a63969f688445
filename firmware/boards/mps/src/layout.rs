//! What lies where in the flash of a board: a partition table that follows from the size of the flash alone.
//!
//! The host has this file too, and makes images of a flash by it.

/// Bytes of the partition for what a device keeps of itself.
const STATE_BYTES: u32 = 64 << 10;
/// Bytes of each of two partitions for class banks.
const BANK_BYTES: u32 = 512 << 10;
/// What partitions are multiples of.
const SECTOR_BYTES: u32 = 4096;

/// A stretch of a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its first byte, from the start of the flash.
    pub offset: u32,
    /// Its length; most bytes of a file in it.
    pub bytes: u32,
}

impl Partition {
    /// The first byte behind it.
    pub const fn end(self) -> u32 {
        self.offset + self.bytes
    }

    /// Its part of a flash; `None` where the flash ends before it.
    pub fn of(self, flash: &[u8]) -> Option<&[u8]> {
        flash.get(self.offset as usize..self.end() as usize)
    }
}

/// The partitions of a flash, in their order. A file is in one of two partitions, so that its successor can be written
/// while it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What the device keeps of itself.
    pub state: Partition,
    /// Class banks.
    pub banks: [Partition; 2],
    /// Models.
    pub models: [Partition; 2],
}

impl Layout {
    /// The layout of a flash of `flash_bytes`: models get what the others leave, nothing where they leave nothing.
    pub const fn new(flash_bytes: u32) -> Self {
        let rest = flash_bytes.saturating_sub(STATE_BYTES + 2 * BANK_BYTES);
        let model_bytes = rest / 2 / SECTOR_BYTES * SECTOR_BYTES;
        let state = after(0, STATE_BYTES);
        let bank_a = after(state.end(), BANK_BYTES);
        let bank_b = after(bank_a.end(), BANK_BYTES);
        let model_a = after(bank_b.end(), model_bytes);
        let model_b = after(model_a.end(), model_bytes);
        Self {
            state,
            banks: [bank_a, bank_b],
            models: [model_a, model_b],
        }
    }
}

const fn after(offset: u32, bytes: u32) -> Partition {
    Partition { offset, bytes }
}
