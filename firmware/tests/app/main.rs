//! The application over a line in memory: what it answers to good, bad and noisy hosts.

#[path = "../../../runtime/tests/common/mod.rs"]
mod common;

#[allow(dead_code, reason = "not every test cuts the power")]
#[path = "../storage/chip.rs"]
mod chip;

mod board;
mod changes;
mod keys;
mod live;
mod pictures;
