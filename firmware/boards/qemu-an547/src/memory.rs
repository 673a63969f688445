//! The memory that `memory.x` sets apart, as slices.

use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};
use pinhole_firmware::{Memory, bank_image, model_image};

/// A symbol of the linker script: its address is its value.
type Symbol = u8;

unsafe extern "C" {
    static __model_start: Symbol;
    static __model_bytes: Symbol;
    static __bank_start: Symbol;
    static __bank_bytes: Symbol;
    static __arena_start: Symbol;
    static __arena_bytes: Symbol;
    static __scratch_start: Symbol;
    static __scratch_bytes: Symbol;
}

/// All of it, once.
pub(crate) fn take() -> Option<Memory<'static>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // Addresses alone: to the compiler each symbol is a byte, and what lies behind it is memory that it knows nothing of.
    let (model, model_bytes) = (
        (&raw const __model_start).addr(),
        (&raw const __model_bytes).addr(),
    );
    let (bank, bank_bytes) = (
        (&raw const __bank_start).addr(),
        (&raw const __bank_bytes).addr(),
    );
    let (arena, arena_bytes) = (
        (&raw const __arena_start).addr(),
        (&raw const __arena_bytes).addr(),
    );
    let (scratch, scratch_bytes) = (
        (&raw const __scratch_start).addr(),
        (&raw const __scratch_bytes).addr(),
    );
    // SAFETY: `memory.x` sets MODEL apart; it is memory, nothing writes to it, and every byte is a `u8`.
    let model = unsafe { slice::from_raw_parts(with_exposed_provenance(model), model_bytes) };
    // SAFETY: As for MODEL.
    let bank = unsafe { slice::from_raw_parts(with_exposed_provenance(bank), bank_bytes) };
    // SAFETY: `memory.x` sets ARENA apart, nothing else refers to it, and `TAKEN` lets one caller come here.
    let arena =
        unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(arena), arena_bytes) };
    let words = scratch_bytes / size_of::<u32>();
    // SAFETY: As for ARENA; SCRATCH starts at a multiple of 4, and every word is a `u32`.
    let scratch = unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(scratch), words) };
    Some(Memory {
        model: model_image(model),
        bank: bank_image(bank),
        arena,
        scratch,
    })
}
