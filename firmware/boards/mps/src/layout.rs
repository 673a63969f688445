//! What lies where in the flash of a board: a partition table that follows from the size of the flash alone.
//!
//! The host has this file too, and makes images of a flash by it.

use core::ops::Range;
use pinhole_firmware::storage::Layout;

/// Bytes of the partition for what a device keeps of itself.
const STATE_BYTES: u32 = 64 << 10;
/// Bytes of each of two partitions for class banks.
const BANK_BYTES: u32 = 512 << 10;
/// What partitions are multiples of.
const SECTOR_BYTES: u32 = 4096;

/// The layout of a flash of `flash_bytes`: models get what the others leave, nothing where they leave nothing. No board has
/// a bank that came with the firmware.
pub fn layout(flash_bytes: u32) -> Layout {
    let rest = flash_bytes.saturating_sub(STATE_BYTES + 2 * BANK_BYTES);
    let model_bytes = rest / 2 / SECTOR_BYTES * SECTOR_BYTES;
    let state = after(0, STATE_BYTES);
    let bank_a = after(state.end, BANK_BYTES);
    let bank_b = after(bank_a.end, BANK_BYTES);
    let model_a = after(bank_b.end, model_bytes);
    let model_b = after(model_a.end, model_bytes);
    Layout {
        state,
        models: [model_a, model_b],
        banks: [bank_a, bank_b],
        factory_bank: None,
    }
}

const fn after(start: u32, bytes: u32) -> Range<u32> {
    start..start + bytes
}
