//! What host and device say to each other, as postcard 1 encodes it (<https://postcard.jamesmunns.com/wire-format>).
//!
//! A picture goes from the host to the device in chunks, and each chunk is acknowledged by the number of bytes received so
//! far. So a board needs room for one chunk and no frame, a line without flow control loses nothing, and after a damaged
//! chunk the host sends again from where the device is.

use crate::live::{
    LiveMode, LiveResult, LiveStatus, LogLevel, LogLine, OperatorTimes, Preview, Reports, Smoothing,
};
use crate::manage::{Challenge, Classes, Kind, NewClass, SelfTest, Slots, Statistics, Which};
use crate::{
    KEY_BYTES, MAX_BODY_BYTES, MAX_CHUNK_BYTES, MAX_EMBEDDING, MAX_LABEL_BYTES, MAX_NAME_BYTES,
    MAX_TEXT_BYTES, MAX_TOP, PROTOCOL_VERSION, SIGNATURE_BYTES,
};
use core::fmt;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Host to device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Who are you? Answered by [`Reply::Info`].
    Hello,
    /// A picture begins; one that was not ended is dropped. Answered by [`Reply::Received`] 0.
    Begin(Begin),
    /// The next bytes of the picture, rows from the top, without padding. Answered by [`Reply::Received`].
    Rows {
        /// Bytes of the picture before these.
        offset: u32,
        /// At most [`MAX_CHUNK_BYTES`]; may begin and end inside a row.
        bytes: &'a [u8],
    },
    /// The picture is complete. Answered by [`Reply::Classified`].
    End,
    /// Stop serving; a board that cannot, stays. Answered by [`Reply::Received`] 0.
    Shutdown,
    /// Numbers of the storage. Answered by [`Reply::Statistics`].
    Statistics,
    /// The class names from this index on. Answered by [`Reply::Classes`].
    ListClasses {
        /// The index of the first one.
        from: u32,
    },
    /// Add a class to the bank. Answered by [`Reply::Received`] 0.
    AddClass(NewClass<'a>),
    /// Take a class away. Answered by [`Reply::Received`] 0.
    RemoveClass {
        /// At most [`MAX_NAME_BYTES`].
        name: &'a str,
    },
    /// Give a class of this name another embedding. Answered by [`Reply::Received`] 0.
    ReplaceClass(NewClass<'a>),
    /// A file comes into the slot that is not run from. Answered by [`Reply::Received`]: how many bytes of this very file
    /// are here already.
    BeginUpload {
        /// What it is.
        kind: Kind,
        /// Its length, the signature included.
        bytes: u32,
        /// CRC-32/ISO-HDLC of all of it.
        crc32: u32,
    },
    /// The next bytes of the upload. Answered by [`Reply::Received`].
    UploadChunk {
        /// Bytes of the upload before these.
        offset: u32,
        /// At most [`MAX_CHUNK_BYTES`].
        bytes: &'a [u8],
    },
    /// The upload is complete: verify it. Answered by [`Reply::Received`], all of its bytes.
    FinishUpload,
    /// Drop the upload, verified or not. Answered by [`Reply::Received`] 0.
    CancelUpload,
    /// Take verified uploads into use. Answered by [`Reply::Received`] 0.
    Activate {
        /// Which.
        which: Which,
    },
    /// Run from the other slot. Answered by [`Reply::Received`] 0.
    SelectSlot {
        /// Of what.
        kind: Kind,
        /// 0 for A, 1 for B.
        slot: u8,
    },
    /// What the slots hold. Answered by [`Reply::Slots`].
    Slots,
    /// Set the reject threshold that takes the place of the bank's, or take it away. Answered by [`Reply::Received`] 0.
    SetThreshold {
        /// The energy above which a picture is in no class.
        threshold: Option<f32>,
    },
    /// Run the golden input of the model. Answered by [`Reply::SelfTested`].
    SelfTest,
    /// A nonce, for the key of the device to sign. Answered by [`Reply::Challenge`].
    Challenge,
    /// The nonce, signed: the device takes changes from then on. Answered by [`Reply::Received`] 0.
    Authenticate {
        /// Ed25519, [`SIGNATURE_BYTES`], over the message of `docs/signing.md`.
        signature: &'a [u8],
    },
    /// Give a device its first key. Answered by [`Reply::Received`] 0.
    Provision {
        /// The public key.
        key: [u8; KEY_BYTES],
    },
    /// Put another key in the place of the device's. Answered by [`Reply::Received`] 0.
    ReplaceKey {
        /// The public key.
        key: [u8; KEY_BYTES],
        /// At least the one that [`Reply::Challenge`] says.
        counter: u32,
        /// By the key that is replaced, [`SIGNATURE_BYTES`], over the message of `docs/signing.md`.
        signature: &'a [u8],
    },
    /// Start again. Answered by [`Reply::Received`] 0; one that cannot, stays.
    Reboot,
    /// Change when frames of the camera are classified; starts a camera that was given up. Answered by
    /// [`Reply::Received`] 0.
    SetMode {
        /// The mode.
        mode: LiveMode,
    },
    /// Change how results are smoothed; averages begin anew. Answered by [`Reply::Received`] 0.
    SetSmoothing(Smoothing),
    /// Say what is pushed between the replies. Answered by [`Reply::Received`] 0.
    SetReports(Reports),
    /// Say which log lines are made. Answered by [`Reply::Received`] 0.
    SetLog {
        /// The last level that is.
        level: LogLevel,
    },
    /// Counters of frames and of the camera. Answered by [`Reply::LiveStatus`].
    LiveStatus,
    /// Run the model once and time its operators from this one on. Answered by [`Reply::OperatorTimes`].
    OperatorTimes {
        /// The first one.
        from: u32,
    },
}

/// What a picture looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// How a row encodes its pixels.
    pub layout: PixelLayout,
    /// How many classes the answer ranks, at most [`MAX_TOP`].
    pub top: u8,
}

/// How the bytes of a row encode its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PixelLayout {
    /// Three bytes: red, green, blue.
    Rgb888,
    /// Two bytes, least significant first: 5 bits red, 6 green, 5 blue from the top.
    Rgb565,
    /// As `Rgb565` with the most significant byte first.
    Rgb565Be,
    /// One byte of luminance.
    Grey8,
}

/// Device to host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
// A message lives on the stack of a loop, once.
#[allow(clippy::large_enum_variant)]
pub enum Reply<'a> {
    /// See [`Request::Hello`].
    #[serde(borrow)]
    Info(Info<'a>),
    /// Bytes of the picture or of the upload that the device has; 0 where a request has only to be done.
    Received(u32),
    /// See [`Request::End`].
    Classified(Classified<'a>),
    /// The request was not done.
    Failed(Failure),
    /// See [`Request::Statistics`].
    Statistics(Statistics),
    /// See [`Request::ListClasses`].
    Classes(Classes<'a>),
    /// See [`Request::Slots`].
    Slots(Slots),
    /// See [`Request::SelfTest`].
    SelfTested(SelfTest),
    /// See [`Request::Challenge`].
    Challenge(Challenge),
    /// See [`Request::LiveStatus`].
    LiveStatus(LiveStatus),
    /// See [`Request::OperatorTimes`].
    OperatorTimes(OperatorTimes),
    /// Pushed: what a frame of the camera showed.
    Live(LiveResult<'a>),
    /// Pushed: a frame, made small.
    Preview(Preview<'a>),
    /// Pushed: a line of the log.
    Log(LogLine),
}

impl Reply<'_> {
    /// Whether the message answers no request.
    pub fn is_pushed(&self) -> bool {
        matches!(self, Self::Live(_) | Self::Preview(_) | Self::Log(_))
    }
}

/// A device and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info<'a> {
    /// The board, as `--board` spells it; at most [`MAX_LABEL_BYTES`].
    pub board: &'a str,
    /// The kernel set; at most [`MAX_LABEL_BYTES`].
    pub kernels: &'a str,
    /// Length of the model file.
    pub model_bytes: u32,
    /// CRC-32 in the model's header.
    pub model_crc32: u32,
    /// RAM that a run of the model takes.
    pub arena_bytes: u32,
    /// RAM that the board has for it.
    pub arena_capacity_bytes: u32,
    /// RAM that the board has for preparing a picture.
    pub scratch_capacity_bytes: u32,
    /// The embedding space of model and bank.
    pub embedding_space: [u8; 16],
    /// Elements of an embedding.
    pub dim: u32,
    /// Classes in the bank.
    pub class_count: u32,
}

/// What a picture shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classified<'a> {
    /// The int8 embedding as bytes; at most [`MAX_EMBEDDING`].
    pub embedding: &'a [u8],
    /// The best classes, falling.
    #[serde(borrow)]
    pub top: Vec<TopClass<'a>, MAX_TOP>,
    /// Energy of the logits.
    pub energy: f32,
    /// In no class.
    pub rejected: bool,
}

/// A class in the ranking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopClass<'a> {
    /// Its place in the bank.
    pub class_index: u32,
    /// Cosine of picture and class.
    pub cosine: f32,
    /// Softmax over all classes of the bank.
    pub probability: f32,
    /// Its name, cut to [`MAX_NAME_BYTES`].
    pub name: &'a str,
}

/// A request that was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// Bytes of the picture or of the upload that the device has, where one is open.
    pub received: u32,
    /// For people.
    pub text: String<MAX_TEXT_BYTES>,
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The frame was damaged on the way: send it again.
    Damaged,
    /// The frame has another protocol version.
    Version,
    /// The message is not one of this version.
    Unknown,
    /// The chunk does not continue the picture or the upload: send from `received`.
    Offset,
    /// There is no open picture.
    NoPicture,
    /// The picture is of a size that the board cannot take.
    Picture,
    /// The model is refused.
    Model,
    /// The bank is refused, or belongs to another model.
    Bank,
    /// The board has too little RAM for the model.
    Memory,
    /// The class is refused: its name, its embedding, or that it exists or does not exist.
    Class,
    /// The upload is refused, or there is none.
    Upload,
    /// The storage refuses.
    Storage,
    /// The flash does not keep what is written.
    Flash,
    /// The device has a key, and takes changes from nobody who has not shown that they hold it.
    Locked,
    /// A key or a signature is refused, or there is no nonce.
    Key,
    /// The board has no camera, no pin for this mode, or refuses the settings.
    Live,
}

/// Text that is cut where its room ends, at a character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoundedText(String<MAX_TEXT_BYTES>);

impl BoundedText {
    /// The text of `value`, cut.
    pub fn of(value: &dyn fmt::Display) -> String<MAX_TEXT_BYTES> {
        let mut text = Self::default();
        // Only a `Display` that fails by itself could end early, and then what it wrote is what there is.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{value}"));
        text.0
    }
}

impl fmt::Write for BoundedText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = self.0.capacity() - self.0.len();
        // `cut` returns what fits.
        let _ = self.0.push_str(cut(part, room));
        Ok(())
    }
}

/// The longest beginning of `text` of at most `bytes` that ends at a character.
pub fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes))
        .unwrap_or_default()
}

/// Why a body is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageFault {
    /// The bytes are no message of this version.
    Malformed,
    /// The message is followed by bytes.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A field is longer than the protocol allows.
    TooLong {
        /// The field.
        field: &'static str,
        /// Its limit.
        limit: usize,
        /// Its length.
        found: usize,
    },
}

impl fmt::Display for MessageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Malformed => {
                write!(
                    f,
                    "the message is unknown to protocol version {PROTOCOL_VERSION}"
                )
            }
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the message"),
            Self::TooLong {
                field,
                limit,
                found,
            } => write!(f, "{field} has {found} bytes, at most {limit} are allowed"),
        }
    }
}

impl core::error::Error for MessageFault {}

/// A message of one of the two directions.
pub trait Message<'a>: Serialize + Deserialize<'a> {
    /// Checks the lengths of the fields.
    ///
    /// # Errors
    /// [`MessageFault::TooLong`].
    fn check(&self) -> Result<(), MessageFault>;
}

pub(crate) fn at_most(field: &'static str, found: usize, limit: usize) -> Result<(), MessageFault> {
    if found > limit {
        return Err(MessageFault::TooLong {
            field,
            limit,
            found,
        });
    }
    Ok(())
}

impl<'a> Message<'a> for Request<'a> {
    fn check(&self) -> Result<(), MessageFault> {
        match self {
            Self::Rows { bytes, .. } => at_most("rows", bytes.len(), MAX_CHUNK_BYTES),
            Self::Begin(begin) => at_most("top", usize::from(begin.top), MAX_TOP),
            Self::AddClass(class) | Self::ReplaceClass(class) => class.check(),
            Self::RemoveClass { name } => at_most("name", name.len(), MAX_NAME_BYTES),
            Self::UploadChunk { bytes, .. } => at_most("chunk", bytes.len(), MAX_CHUNK_BYTES),
            Self::Authenticate { signature } | Self::ReplaceKey { signature, .. } => {
                at_most("signature", signature.len(), SIGNATURE_BYTES)
            }
            Self::Hello
            | Self::End
            | Self::Shutdown
            | Self::Statistics
            | Self::ListClasses { .. }
            | Self::BeginUpload { .. }
            | Self::FinishUpload
            | Self::CancelUpload
            | Self::Activate { .. }
            | Self::SelectSlot { .. }
            | Self::Slots
            | Self::SetThreshold { .. }
            | Self::SelfTest
            | Self::Challenge
            | Self::Provision { .. }
            | Self::Reboot
            | Self::SetMode { .. }
            | Self::SetSmoothing(_)
            | Self::SetReports(_)
            | Self::SetLog { .. }
            | Self::LiveStatus
            | Self::OperatorTimes { .. } => Ok(()),
        }
    }
}

impl<'a> Message<'a> for Reply<'a> {
    fn check(&self) -> Result<(), MessageFault> {
        match self {
            Self::Info(info) => {
                at_most("board", info.board.len(), MAX_LABEL_BYTES)?;
                at_most("kernels", info.kernels.len(), MAX_LABEL_BYTES)
            }
            Self::Classified(classified) => {
                at_most("embedding", classified.embedding.len(), MAX_EMBEDDING)?;
                classified
                    .top
                    .iter()
                    .try_for_each(|class| at_most("name", class.name.len(), MAX_NAME_BYTES))
            }
            Self::Classes(classes) => classes.check(),
            Self::Live(result) => result.check(),
            Self::Preview(preview) => preview.check(),
            Self::LiveStatus(_)
            | Self::OperatorTimes(_)
            | Self::Log(_)
            | Self::Received(_)
            | Self::Failed(_)
            | Self::Statistics(_)
            | Self::Slots(_)
            | Self::SelfTested(_)
            | Self::Challenge(_) => Ok(()),
        }
    }
}

/// Decodes the body of a frame.
///
/// # Errors
/// [`MessageFault`]; bytes after the message are a fault.
pub fn decode<'a, M: Message<'a>>(body: &'a [u8]) -> Result<M, MessageFault> {
    let (message, rest) =
        postcard::take_from_bytes::<M>(body).map_err(|_| MessageFault::Malformed)?;
    if !rest.is_empty() {
        return Err(MessageFault::Trailing { bytes: rest.len() });
    }
    message.check()?;
    Ok(message)
}

/// Encodes a message into `room`; returns the part written.
///
/// # Errors
/// [`MessageFault::TooLong`].
pub fn body<'a, 'b, M: Message<'a>>(
    message: &M,
    room: &'b mut [u8; MAX_BODY_BYTES],
) -> Result<&'b [u8], MessageFault> {
    message.check()?;
    // The limits of the fields add up to less than the room, see `largest_messages_fit`.
    let written = postcard::to_slice(message, room).map_err(|_| MessageFault::TooLong {
        field: "message",
        limit: MAX_BODY_BYTES,
        found: MAX_BODY_BYTES + 1,
    })?;
    Ok(written)
}
