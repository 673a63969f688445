//! A camera that fails: how it is started again, and when that ends.

use crate::camera::CameraError;
use heapless::String;
use pinhole_protocol::{BoundedText, LogLevel, MAX_TEXT_BYTES};

/// Frames that may fail one after the other before the camera is started again.
pub const FRAMES_BEFORE_RESTART: u8 = 3;
/// Starts that may fail, or give no frame, one after the other before the camera is given up.
pub const RESTART_LIMIT: u8 = 5;
/// Pause before the first start, twice as long before each further one.
pub const FIRST_PAUSE_MS: u64 = 50;

/// How a camera is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It has to be configured before a frame.
    Off,
    /// It gives frames, or did.
    Running,
    /// It has to be configured, and not before this time.
    Resting {
        /// By the clock of [`super::Live`].
        until_ms: u64,
    },
    /// Nobody asks it any more.
    GivenUp,
}

/// The state of a camera, and its faults in a row.
#[derive(Debug)]
pub(crate) struct Care {
    state: State,
    /// Frames that failed since the last good one, or start.
    frames: u8,
    /// Starts since the last good frame.
    starts: u8,
    /// All starts after a fault.
    restarts: u32,
    fault: String<MAX_TEXT_BYTES>,
}

impl Care {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Off,
            frames: 0,
            starts: 0,
            restarts: 0,
            fault: String::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// The words of the last fault.
    pub(crate) fn fault(&self) -> &String<MAX_TEXT_BYTES> {
        &self.fault
    }

    /// Whether the camera has to be configured now; counts a start that follows a fault.
    pub(crate) fn starts(&mut self) -> bool {
        match self.state {
            State::Running | State::GivenUp => false,
            State::Off => true,
            State::Resting { .. } => {
                self.restarts = self.restarts.saturating_add(1);
                true
            }
        }
    }

    /// It is configured.
    pub(crate) fn started(&mut self) {
        self.state = State::Running;
        self.frames = 0;
    }

    /// A whole frame came.
    pub(crate) fn succeeded(&mut self) {
        (self.frames, self.starts) = (0, 0);
    }

    /// A start or a frame failed.
    pub(crate) fn failed(&mut self, fault: &CameraError, now_ms: u64) {
        self.fault = BoundedText::of(fault);
        self.frames = self.frames.saturating_add(1);
        let is_lost = match fault {
            // What a next frame may not have.
            CameraError::ShortFrame { .. }
            | CameraError::Timeout { .. }
            | CameraError::Overrun { .. }
            | CameraError::BandOrder { .. }
            | CameraError::Decoder(_) => self.state != State::Running,
            _ => true,
        };
        if !is_lost && self.frames < FRAMES_BEFORE_RESTART {
            return;
        }
        if self.starts >= RESTART_LIMIT {
            self.state = State::GivenUp;
            return;
        }
        let pause = FIRST_PAUSE_MS << self.starts;
        self.starts += 1;
        self.state = State::Resting {
            until_ms: now_ms.saturating_add(pause),
        };
    }

    /// How loud the last fault is, and what follows it.
    pub(crate) fn prospect(&self) -> (LogLevel, &'static str) {
        match self.state {
            State::GivenUp => (LogLevel::Error, "given up until the mode is set again"),
            State::Resting { .. } => (LogLevel::Warn, "it is started again"),
            State::Off | State::Running => (LogLevel::Warn, "the next frame is tried"),
        }
    }

    /// Somebody asks for frames anew.
    pub(crate) fn forgive(&mut self) {
        if self.state == State::GivenUp {
            self.state = State::Off;
        }
        (self.frames, self.starts) = (0, 0);
    }
}
