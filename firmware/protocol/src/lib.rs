//! The messages that host and device share, and how they become bytes on a serial line.
//!
//! Specified byte by byte in `docs/protocol.md`. A [`message`] is encoded by postcard; a [`frame`] is its version, a
//! sequence number, the message and a CRC-32, stuffed by COBS and ended by a zero. The host asks, the device answers each request with exactly
//! one reply, and pushes between them what the host asked it to report ([`live`]); every buffer is bounded, and no bytes from outside can do more than give a [`FrameFault`].
//!
//! Not here: transports, timeouts, and what the messages mean to a camera or a model.
#![no_std]
#![deny(unsafe_code)]

pub mod frame;
pub mod live;
pub mod manage;
pub mod message;

pub use frame::{Decoder, FIRST_SEQUENCE, FrameFault, NO_SEQUENCE, Status, encode};
pub use live::{
    CameraStatus, Latency, LiveClass, LiveEvent, LiveMode, LiveResult, LiveStatus, LogLevel,
    LogLine, MemoryMark, OperatorTimes, Preview, Reports, Smoothing,
};
pub use manage::{
    Challenge, Classes, Kind, NewClass, SelfTest, SlotPair, SlotStatus, Slots, Statistics, Upload,
    Which,
};
pub use message::{
    Begin, BoundedText, Classified, ErrorCode, Failure, Info, MessageFault, PixelLayout, Reply,
    Request, TopClass, body, decode,
};

/// Version of frames and messages. Host and device must have the same one; every frame begins with it.
pub const PROTOCOL_VERSION: u8 = 2;

/// Most bytes of an encoded message.
pub const MAX_BODY_BYTES: usize = 4096;

/// Most bytes in one [`Request::Rows`] or [`Request::UploadChunk`].
pub const MAX_CHUNK_BYTES: usize = 2048;

/// Most elements of an embedding in a [`Reply::Classified`].
pub const MAX_EMBEDDING: usize = 2048;

/// Most classes that a [`Reply::Classified`] ranks.
pub const MAX_TOP: usize = 8;

/// Most class names in one [`Reply::Classes`].
pub const MAX_LISTED: usize = 16;

/// Most bytes of a class name: in a reply a longer one is cut at a character, in a request it is refused.
pub const MAX_NAME_BYTES: usize = 128;

/// Most bytes of the text of an error.
pub const MAX_TEXT_BYTES: usize = 192;

/// Bytes of a public key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;

/// Most bytes of a board's or a kernel set's name.
pub const MAX_LABEL_BYTES: usize = 32;

/// Most events in one [`Reply::Live`].
pub const MAX_EVENTS: usize = 8;

/// Most bytes of the pixels of a [`Reply::Preview`].
pub const MAX_PREVIEW_BYTES: usize = 48 * 36 * 2;

/// Most operators in one [`Reply::OperatorTimes`].
pub const MAX_TIMES: usize = 128;
