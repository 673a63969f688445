//! The regions that `memory.x` of a board sets apart for the application, as slices: `ARENA` and `SCRATCH`.
#![no_std]

use core::ptr::with_exposed_provenance_mut;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

/// A symbol of the linker script: its address is its value.
type Symbol = u8;

unsafe extern "C" {
    static __arena_start: Symbol;
    static __arena_bytes: Symbol;
    static __scratch_start: Symbol;
    static __scratch_bytes: Symbol;
}

/// Memory of a board.
#[derive(Debug)]
pub struct Regions {
    /// For the values of a run.
    pub arena: &'static mut [u8],
    /// For the preparation of a picture.
    pub scratch: &'static mut [u32],
}

/// All of it, once.
pub fn take() -> Option<Regions> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // Addresses alone: to the compiler each symbol is a byte, and what lies behind it is memory that it knows nothing of.
    let (arena, arena_bytes) = (
        (&raw const __arena_start).addr(),
        (&raw const __arena_bytes).addr(),
    );
    let (scratch, scratch_bytes) = (
        (&raw const __scratch_start).addr(),
        (&raw const __scratch_bytes).addr(),
    );
    let words = scratch_bytes / size_of::<u32>();
    // SAFETY: `memory.x` sets ARENA apart; it is RAM, nothing else refers to it, every byte is a `u8`, and `TAKEN` lets one
    // caller come here.
    let arena =
        unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(arena), arena_bytes) };
    // SAFETY: As for ARENA; SCRATCH starts at a multiple of 4, and every word is a `u32`.
    let scratch = unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(scratch), words) };
    Some(Regions { arena, scratch })
}
