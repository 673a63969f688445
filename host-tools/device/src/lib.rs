//! Boards as the host sees them: which there are, what this machine lacks to use one, and pictures in, embeddings out.
//!
//! [`ReadyBoard::start`] runs a board's firmware under QEMU with a model and a bank in the partitions of its flash, a file
//! of this machine, and speaks `pinhole-protocol` with it. Nothing is computed here: what a
//! [`BoardResult`] holds was computed by the device.
//!
//! The board `linux` is a process of this machine, with the same flash and the same protocol.
//!
//! A board that runs already is spoken with over a serial port or a socket: [`RunningBoard::connect`].
//!
//! [`RunningBoard`] is one that need not be ready: what it holds is told and changed through [`Link`].
//!
//! [`count()`] runs a model on an emulated CPU and counts its instructions, [`fingerprints`] says which embeddings it computes
//! there, [`layer_fingerprints`] what each of its layers does.
//!
//! Not here: what is in models and banks, but for the arena that a model needs; picture files.

mod board;
mod cpu;
mod elf;
mod embedding;
mod error;
mod firmware;
mod flash;
mod flashing;
mod image;
mod keys;
#[path = "../../../firmware/boards/mps/src/layout.rs"]
#[expect(
    unreachable_pub,
    reason = "its function is one of the library of the boards"
)]
mod layout;
mod link;
mod live;
mod logs;
mod manage;
mod ready;
mod running;
mod wire;

pub use board::{
    BoardSpec, Flashing, Missing, ProbeWrites, Programmer, available, board, boards,
    boards_run_here, emulated_boards, nearest,
};
pub use cpu::{Counted, Cpu, Instructions, count, counter_available, cpu, cpus};
pub use embedding::{
    Fingerprints, fingerprint, fingerprints, layer_fingerprint, layer_fingerprints,
};
pub use error::DeviceError;
pub use firmware::build_firmware;
pub use flashing::{Files, Kept};
pub use image::{FlashImage, ImageFormat, Section};
pub use link::{BoardClass, BoardInfo, BoardResult, Link, RgbRows};
pub use live::{LiveFrame, LiveFrameClass, Picture, Pushed};
pub use manage::{BoardClasses, BoardSlots, BoardStatistics, BoardUpload, SlotsOfKind, kind_of};
pub use pinhole_firmware::storage::Layout;
pub use pinhole_protocol::{
    CameraStatus, ErrorCode, Kind, LiveEvent, LiveMode, LiveStatus, LogLevel, MemoryMark, Reports,
    SelfTest, SlotStatus, Smoothing, Which,
};
pub use ready::{BAUD, Options, ReadyBoard};
pub use running::RunningBoard;
pub use wire::{Wire, serial_ports};
