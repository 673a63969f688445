//! The regions that `memory.x` of a board sets apart, as slices.

use core::ptr::with_exposed_provenance_mut;
use core::slice;

/// A symbol of the linker script: its address is its value.
type Symbol = u8;

unsafe extern "C" {
    static __nor_start: Symbol;
    static __nor_bytes: Symbol;
}

/// Memory of a board.
pub(crate) struct Memory {
    /// What stands for flash.
    pub(crate) nor: &'static mut [u8],
    pub(crate) rest: regions::Regions,
}

/// All of it, once.
pub(crate) fn take() -> Option<Memory> {
    let rest = regions::take()?;
    // An address alone: to the compiler the symbol is a byte, and what lies behind it is memory that it knows nothing of.
    let (nor, nor_bytes) = (
        (&raw const __nor_start).addr(),
        (&raw const __nor_bytes).addr(),
    );
    // SAFETY: `memory.x` sets NOR apart; it is RAM, nothing else refers to it, every byte is a `u8`, and `regions::take` lets
    // one caller come here.
    let nor = unsafe { slice::from_raw_parts_mut(with_exposed_provenance_mut(nor), nor_bytes) };
    Some(Memory { nor, rest })
}
