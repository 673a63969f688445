//! What a host says to a device that looks for itself, and what such a device says: results, pictures and log lines between
//! the replies, counters, times of operators.
//!
//! A device pushes only what [`Reports`] asked for. A pushed message is a reply with the sequence number
//! [`crate::NO_SEQUENCE`] and one of the kinds [`crate::Reply::is_pushed`], which answer no request.

use crate::{
    MAX_EVENTS, MAX_NAME_BYTES, MAX_PREVIEW_BYTES, MAX_TEXT_BYTES, MAX_TIMES, MAX_TOP, MessageFault,
};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::message::at_most;

/// When frames of the camera are classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveMode {
    /// Never.
    Idle,
    /// All frames.
    Continuous,
    /// One frame, then [`LiveMode::Idle`].
    SingleShot,
    /// After each edge of a pin.
    OnPin {
        /// Frames classified for an edge; 0 counts as 1.
        frames: u16,
    },
    /// After each motion.
    OnMotion {
        /// Frames classified for a motion; 0 counts as 1.
        frames: u16,
    },
}

/// How results are smoothed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothing {
    /// Weight of the newest frame, above 0 and at most 1; 1 takes each frame for itself.
    pub alpha: f32,
    /// Average at which a class is present.
    pub enter: f32,
    /// Average below which a present class is gone; less than `enter`.
    pub leave: f32,
    /// The leading class is replaced by one whose average is higher by more than this; at least 0.
    pub margin: f32,
    /// Frames for which a change has to last before it is told; 0 counts as 1.
    pub frames: u8,
}

impl Default for Smoothing {
    /// For probabilities: a quarter of each frame, 0.5 and 0.3, two frames.
    fn default() -> Self {
        Self {
            alpha: 0.25,
            enter: 0.5,
            leave: 0.3,
            margin: 0.1,
            frames: 2,
        }
    }
}

/// What is pushed; all of it off at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// Every so many results are pushed; 0 for none. One with an event is pushed in any case when it is not 0.
    pub every: u16,
    /// With every so many frames that are classified a small picture is pushed; 0 for none.
    pub preview_every: u16,
    /// Log lines are pushed up to the level of [`crate::Request::SetLog`].
    pub log: bool,
}

/// Which log lines a device makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LogLevel {
    /// None.
    Off,
    /// What needs somebody.
    Error,
    /// What the device helped itself out of.
    Warn,
    /// What it does.
    Info,
}

/// What changed in front of the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LiveEvent {
    /// A class is in front of the camera.
    Appeared {
        /// Its place in the bank.
        class_index: u32,
    },
    /// It no longer is.
    Disappeared {
        /// Its place in the bank.
        class_index: u32,
    },
    /// Another class leads among those that are present.
    Changed {
        /// The one that led.
        from: u32,
        /// The one that leads.
        to: u32,
    },
    /// Frames show none of the classes.
    Rejecting,
    /// They do again.
    Accepting,
    /// Something moved.
    Motion {
        /// Cells of the grid that changed, of 192.
        cells: u16,
    },
}

/// A class in a live result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveClass<'a> {
    /// Its place in the bank.
    pub class_index: u32,
    /// Cosine of this frame and the class.
    pub cosine: f32,
    /// Softmax over all classes of the bank, of this frame.
    pub probability: f32,
    /// The average of its probabilities.
    pub average: f32,
    /// Whether it is in front of the camera.
    pub present: bool,
    /// Its name, cut to [`MAX_NAME_BYTES`].
    pub name: &'a str,
}

/// What a frame of the camera showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveResult<'a> {
    /// Number of the frame among those classified, from 1.
    pub frame: u32,
    /// From the start of the capture to the score, in ticks.
    pub latency_ticks: u32,
    /// Of it, the run of the model.
    pub run_ticks: u32,
    /// Ticks of a second.
    pub ticks_per_second: u32,
    /// CRC-32/ISO-HDLC of the int8 embedding as bytes.
    pub embedding_crc32: u32,
    /// Energy of the logits.
    pub energy: f32,
    /// In no class.
    pub rejected: bool,
    /// The class that leads among those present.
    pub leader: Option<u32>,
    /// What changed with this frame.
    pub events: Vec<LiveEvent, MAX_EVENTS>,
    /// The best classes of this frame, falling.
    #[serde(borrow)]
    pub top: Vec<LiveClass<'a>, MAX_TOP>,
}

impl LiveResult<'_> {
    pub(crate) fn check(&self) -> Result<(), MessageFault> {
        let mut top = self.top.iter();
        top.try_for_each(|class| at_most("name", class.name.len(), MAX_NAME_BYTES))
    }
}

/// A frame, made small: single pixels of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview<'a> {
    /// Number of the frame, that of its result.
    pub frame: u32,
    /// Pixels of a row.
    pub width: u8,
    /// Rows.
    pub height: u8,
    /// RGB565, the least significant byte first, rows from the top; at most [`MAX_PREVIEW_BYTES`].
    pub pixels: &'a [u8],
}

impl Preview<'_> {
    pub(crate) fn check(&self) -> Result<(), MessageFault> {
        at_most("preview", self.pixels.len(), MAX_PREVIEW_BYTES)
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its level.
    pub level: LogLevel,
    /// For people.
    pub text: String<MAX_TEXT_BYTES>,
}

/// How a camera is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CameraStatus {
    /// No frame was asked for yet.
    Off,
    /// It gives frames.
    Running,
    /// It failed, and is started again when its pause is over.
    Restarting,
    /// It was started again too often; a request that sets the mode tries anew.
    GivenUp,
}

/// Latencies of the frames classified, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Ticks of a second.
    pub ticks_per_second: u32,
    /// Half of the frames took no longer; likewise the others. At most an eighth too long.
    pub p50: u32,
    /// 90 of 100.
    pub p90: u32,
    /// 99 of 100.
    pub p99: u32,
    /// The longest.
    pub max: u32,
}

/// Memory that was touched at some time, and how much there is of it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryMark {
    /// Touched.
    pub used: u32,
    /// All of it.
    pub bytes: u32,
}

/// Counters of a device that looks for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// The mode.
    pub mode: LiveMode,
    /// The camera.
    pub camera: CameraStatus,
    /// How results are smoothed.
    pub smoothing: Smoothing,
    /// Since the start.
    pub uptime_ms: u64,
    /// Frames classified.
    pub frames: u32,
    /// Of them, frames in no class.
    pub rejects: u32,
    /// Errors: camera control, frame, timeout, format, model, line, storage.
    pub errors: [u32; 7],
    /// Times that the camera was started again.
    pub restarts: u32,
    /// Latencies.
    pub latency: Latency,
    /// The stack, where the board can tell.
    pub stack: Option<MemoryMark>,
    /// The arena.
    pub arena: MemoryMark,
    /// The last fault of the camera, empty when there was none.
    pub fault: String<MAX_TEXT_BYTES>,
}

/// How long operators of the model take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorTimes {
    /// Ticks of a second.
    pub ticks_per_second: u32,
    /// Operators of the model.
    pub total: u32,
    /// The first one here.
    pub from: u32,
    /// Ticks of each from there on.
    pub ticks: Vec<u32, MAX_TIMES>,
}
