//! Debug hints that enter a region of the counter, `tests/tcg-count`.
//!
//! A hint does nothing on a CPU. The barrier before it ends the block that QEMU translates, so that the hint begins one, and
//! what ran before it is counted to the region before.

use core::arch::asm;

/// The hint that enters the region after the present one.
const NEXT: u32 = 15;

/// What runs from here on belongs to region `REGION`, below 15, until the next mark.
pub(crate) fn enter<const REGION: u32>() {
    // SAFETY: A barrier and a hint: neither changes a register or memory.
    unsafe {
        asm!("isb", "dbg #{region}", region = const REGION, options(nostack, preserves_flags))
    };
}

/// What runs from here on belongs to the region after the present one.
pub(crate) fn enter_next() {
    enter::<NEXT>();
}
