//! The integer kernels: one body over every set that this CPU can run against the scalar set, and the scalar set against
//! plain loops in 64 bits. Sizes 0..=67 and the layers of EfficientNet-Lite0, extremes, guards around everything written.
//! The modules need no more than `core`, `alloc` and `libm`: `firmware/boards/kernels` runs the same functions on emulated
//! boards.

extern crate alloc;

mod attention;
mod elementwise;
mod pixels;
mod products;
mod support;
mod transformer;
mod windows;
