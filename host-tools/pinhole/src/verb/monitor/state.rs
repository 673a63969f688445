//! What the monitor knows of a board, without a terminal.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use pinhole_device::{CameraStatus, LiveFrame, LiveMode, LiveStatus, LogLevel, Picture, Pushed};

use super::words;

/// The mode for people.
pub(crate) fn mode(status: &LiveStatus) -> String {
    match status.mode {
        LiveMode::Idle => "idle".into(),
        LiveMode::Continuous => "all frames".into(),
        LiveMode::SingleShot => "one frame".into(),
        LiveMode::OnPin { frames } => format!("{frames} frames after an edge of the pin"),
        LiveMode::OnMotion { frames } => format!("{frames} frames after motion"),
    }
}

/// The camera for people.
pub(crate) fn camera(status: &LiveStatus) -> &'static str {
    match status.camera {
        CameraStatus::Off => "camera not asked yet",
        CameraStatus::Running => "camera runs",
        CameraStatus::Restarting => "camera is started again",
        CameraStatus::GivenUp => "camera given up",
    }
}

/// Names of the classes that were seen.
#[derive(Default)]
pub(super) struct Names(BTreeMap<u32, String>);

impl Names {
    /// Takes the names that come with a frame.
    pub(super) fn learn(&mut self, frame: &LiveFrame) {
        for class in &frame.top {
            self.0.insert(class.class_index, class.name.clone());
        }
    }

    /// The name, or the place in the bank of a class that was among the best of no frame.
    pub(super) fn of(&self, class_index: u32) -> String {
        let known = self.0.get(&class_index).cloned();
        known.unwrap_or_else(|| format!("class {class_index}"))
    }
}

/// Lines of the log that are kept.
const LINES: usize = 200;
/// Over which time the frame rate is taken.
const WINDOW: Duration = Duration::from_secs(3);

/// Everything that is drawn.
pub(super) struct State {
    pub(super) board: String,
    pub(super) frame: Option<LiveFrame>,
    pub(super) picture: Option<Picture>,
    pub(super) shows_picture: bool,
    pub(super) status: Option<LiveStatus>,
    pub(super) names: Names,
    /// Newest last.
    pub(super) lines: VecDeque<(LogLevel, String)>,
    /// Times and numbers of the frames of the last [`WINDOW`].
    recent: VecDeque<(Instant, u32)>,
    /// Frames that were shown.
    pub(super) shown: u64,
}

impl State {
    pub(super) fn new(board: &str) -> Self {
        Self {
            board: board.into(),
            frame: None,
            picture: None,
            shows_picture: true,
            status: None,
            names: Names::default(),
            lines: VecDeque::new(),
            recent: VecDeque::new(),
            shown: 0,
        }
    }

    /// Takes what the board pushed.
    pub(super) fn take(&mut self, pushed: Pushed, now: Instant) {
        match pushed {
            Pushed::Frame(frame) => {
                self.names.learn(&frame);
                for event in &frame.events {
                    let line = format!("frame {}: {}", frame.frame, words(event, &self.names));
                    self.say(LogLevel::Info, line);
                }
                self.recent.push_back((now, frame.frame));
                while self
                    .recent
                    .front()
                    .is_some_and(|(then, _)| now - *then > WINDOW)
                {
                    self.recent.pop_front();
                }
                self.shown += 1;
                self.frame = Some(frame);
            }
            Pushed::Picture(picture) => self.picture = Some(picture),
            Pushed::Log(level, text) => self.say(level, text),
        }
    }

    pub(super) fn say(&mut self, level: LogLevel, text: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back((level, text));
    }

    /// Frames a second that the board classified; those that it did not push count too.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let (Some((start, first)), Some((end, last))) = (self.recent.front(), self.recent.back())
        else {
            return 0.0;
        };
        let seconds = (*end - *start).as_secs_f64();
        if seconds == 0.0 || now - *end > WINDOW {
            return 0.0;
        }
        f64::from(last.wrapping_sub(*first)) / seconds
    }

    /// Why no frame comes.
    pub(super) fn why_quiet(status: &LiveStatus) -> String {
        let mut words = format!("no frame comes; mode: {}; {}", mode(status), camera(status));
        if !status.fault.is_empty() {
            words = format!("{words}; {}", status.fault);
        }
        if status.errors[4] > 0 {
            words += "; nothing to classify with: pinhole board slots says why";
        }
        words
    }
}
