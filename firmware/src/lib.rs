//! The device application, generic over its hardware: frames come in over a line or from a camera, what they show goes out.
//!
//! [`App`] holds a [`storage::Storage`], whose model and class bank it reads in place, and never a whole picture: each row
//! goes through the preprocessing of the runtime as it comes. Lines are `embedded-io` 0.7 streams, so that the same code runs
//! over a UART, over USB, and over an array in a test.
//!
//! Not here: registers, memory maps and interrupts, which are a board's, under `firmware/boards`. No heap, and no panic
//! path reachable from a line, a model or a bank.
#![no_std]
#![deny(unsafe_code)]

pub mod camera;
pub mod live;
pub mod modes;
pub mod smooth;
pub mod stats;

mod app;
mod load;
mod log;
mod picture;
mod port;
pub mod storage;

pub use app::{App, Memory, NonceSource, Served};
pub use live::{FIRST_PAUSE_MS, FRAMES_BEFORE_RESTART, Live, RESTART_LIMIT};
pub use load::{Fault, NotReady, bank_image, model_image};
