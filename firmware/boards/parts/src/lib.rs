//! Logic of the boards with chips that needs no chip: what lies where in a flash, a driver of serial NOR flash over a
//! controller, and which words of a ring that DMA fills may be taken.
//!
//! `cargo test -p parts` in `firmware/boards` tests it on the host.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

#[path = "../../mps/src/layout.rs"]
pub mod layout;
pub mod ring;
pub mod serial_nor;
