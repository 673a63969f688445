//! What a host sets and asks of a device that looks for itself.

use super::{Live, State};
use crate::camera::MotionGrid;
use crate::modes::Modes;
use crate::smooth::SmoothError;
use crate::stats::ErrorClass;
use core::fmt;
use pinhole_protocol::{
    CameraStatus, Latency, LiveMode, LiveStatus, MemoryMark, Reports, Smoothing,
};

/// Why a setting is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refused {
    NoTrigger,
    NoMotion,
    Smoothing(SmoothError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTrigger => f.write_str("the board has no pin that starts frames"),
            Self::NoMotion => {
                f.write_str("motion is not seen in frames of this size or format of the camera")
            }
            Self::Smoothing(fault) => fault.fmt(f),
        }
    }
}

impl Live<'_> {
    /// Changes the mode; a camera that was given up is started anew.
    pub(crate) fn set_mode(&mut self, mode: LiveMode) -> Result<(), Refused> {
        let mut grid = MotionGrid::new(Default::default());
        match mode {
            LiveMode::OnPin { .. } if self.trigger.is_none() => return Err(Refused::NoTrigger),
            LiveMode::OnMotion { .. } if grid.begin(self.configuration).is_err() => {
                return Err(Refused::NoMotion);
            }
            _ => {}
        }
        self.modes = Modes::new(mode);
        self.moved = false;
        self.blind = false;
        self.care.forgive();
        Ok(())
    }

    pub(crate) fn set_smoothing(&mut self, smoothing: Smoothing) -> Result<(), Refused> {
        self.smooth(smoothing).map_err(Refused::Smoothing)
    }

    pub(crate) fn set_reports(&mut self, reports: Reports) {
        self.reports = reports;
        self.since = [0; 2];
    }

    /// The counters; `arena` is what was touched of it, and all of it.
    pub(crate) fn status(&mut self, arena: MemoryMark) -> LiveStatus {
        self.now_ms();
        let statistics = &self.statistics;
        let latency = statistics.latency();
        LiveStatus {
            mode: self.modes.mode(),
            camera: match self.care.state() {
                State::Off => CameraStatus::Off,
                State::Running => CameraStatus::Running,
                State::Resting { .. } => CameraStatus::Restarting,
                State::GivenUp => CameraStatus::GivenUp,
            },
            smoothing: self.smoothing,
            uptime_ms: statistics.uptime_ms(),
            frames: statistics.frames(),
            rejects: statistics.rejects(),
            errors: ErrorClass::ALL.map(|class| statistics.errors(class)),
            restarts: self.care.restarts(),
            latency: Latency {
                ticks_per_second: self.clock.ticks_per_second(),
                p50: latency.percentile(50),
                p90: latency.percentile(90),
                p99: latency.percentile(99),
                max: latency.max(),
            },
            stack: self.stack.map(|stack| MemoryMark {
                used: stack.used_bytes() as u32,
                bytes: stack.bytes() as u32,
            }),
            arena,
            fault: self.care.fault().clone(),
        }
    }
}
