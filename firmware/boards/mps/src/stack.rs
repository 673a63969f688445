//! The stack, painted from its lowest word up to where it is in use, so that its deepest place is known later.

use core::ptr::with_exposed_provenance_mut;
use pinhole_firmware::live::Stack;
use pinhole_firmware::stats::{PAINT, stack_high_water_bytes};

unsafe extern "C" {
    /// The end of the statics, by cortex-m-rt: the stack must not reach it.
    static __sheap: u8;
    /// Where the stack begins, by cortex-m-rt.
    static _stack_start: u8;
}

/// Bytes below the stack pointer that are left as they are: frames of the functions that paint.
const MARGIN_BYTES: usize = 256;

/// The painted stack.
pub(crate) struct PaintedStack {
    bottom: usize,
    top: usize,
}

impl PaintedStack {
    /// Paints what is not in use. Interrupts must not be enabled yet.
    pub(crate) fn paint() -> Self {
        let stack = Self {
            bottom: (&raw const __sheap).addr(),
            top: (&raw const _stack_start).addr(),
        };
        let in_use = cortex_m::register::msp::read() as usize;
        for address in (stack.bottom..in_use.saturating_sub(MARGIN_BYTES)).step_by(size_of::<u32>())
        {
            let word = with_exposed_provenance_mut::<u32>(address);
            // SAFETY: From the end of the statics, a multiple of 4, to below the frames in use there is RAM that nothing
            // else refers to: no interrupt is enabled, and this function needs less than the margin.
            unsafe { word.write_volatile(PAINT) };
        }
        stack
    }
}

impl Stack for PaintedStack {
    fn used_bytes(&self) -> usize {
        let words = (self.bottom..self.top).step_by(size_of::<u32>());
        stack_high_water_bytes(words.map(|address| {
            let word = with_exposed_provenance_mut::<u32>(address);
            // SAFETY: A word of the stack's RAM, aligned since `__sheap` is; reading one that is in use changes nothing.
            unsafe { word.read_volatile() }
        }))
    }

    fn bytes(&self) -> usize {
        self.top - self.bottom
    }
}
