//! A device that looks for itself: a camera, when its frames are taken, and what is made of their results.
//!
//! [`Live`] holds what outlives a frame: the mode, averages, counters, how the camera is. A board joins it from the parts that
//! it has and gives it to [`crate::App::serve_live`], which takes a frame whenever no request waits. `docs/cameras.md` says in
//! which states a camera can be, and what the watchdog sees of them.

mod care;
mod preview;
mod requests;

pub(crate) use care::{Care, State};
pub use care::{FIRST_PAUSE_MS, FRAMES_BEFORE_RESTART, RESTART_LIMIT};
pub(crate) use preview::{Nothing, Preview, Seen};

use crate::camera::{Camera, CameraError, Configuration, Decoder, MotionGrid, MotionSettings};
use crate::modes::{Action, Modes, PinTrigger, Triggers};
use crate::smooth::{SmoothError, Smoother};
use crate::stats::{ErrorClass, FrameFinished, FrameWatchdog, NothingDue, Statistics, Watchdog};
use embedded_hal::digital::InputPin;
use pinhole_protocol::{LiveMode, Reports, Smoothing};

/// Classes whose averages are kept, 16 bytes each.
const TRACKED: usize = 16;

/// The time of a board.
pub trait Clock {
    /// Ticks since some moment: microseconds, cycles, instructions. They never fall.
    fn ticks(&mut self) -> u64;

    /// Ticks of a second, above 0.
    fn ticks_per_second(&self) -> u32;

    /// There is nothing to do until the line, a pin or time brings something. May sleep, for 10 ms at most.
    fn pause(&mut self) {}
}

/// Something that asks for frames: a pin, see [`PinTrigger`].
pub trait Trigger {
    /// Whether it asked since the last call.
    ///
    /// # Errors
    /// When it cannot be read.
    fn poll(&mut self) -> Result<bool, TriggerFault>;
}

/// A trigger could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerFault;

impl<P: InputPin> Trigger for PinTrigger<P> {
    fn poll(&mut self) -> Result<bool, TriggerFault> {
        Self::poll(self).map_err(|_| TriggerFault)
    }
}

/// A stack that was painted, see [`crate::stats::PAINT`].
pub trait Stack {
    /// Bytes of it that were used at some time, see [`crate::stats::stack_high_water_bytes`].
    fn used_bytes(&self) -> usize;
    /// All of its bytes.
    fn bytes(&self) -> usize;
}

/// A camera, and what a board has beside it.
pub struct Live<'a> {
    pub(crate) camera: &'a mut dyn Camera,
    pub(crate) configuration: Configuration,
    pub(crate) decoder: Option<&'a mut dyn Decoder>,
    pub(crate) clock: &'a mut dyn Clock,
    watchdog: Option<FrameWatchdog<&'a mut dyn Watchdog>>,
    trigger: Option<&'a mut dyn Trigger>,
    stack: Option<&'a dyn Stack>,
    pub(crate) care: Care,
    pub(crate) modes: Modes,
    /// What the frame that is due is for.
    pub(crate) action: Action,
    /// Motion in the last frame, for the next decision.
    moved: bool,
    /// There is nothing to classify with until something changes.
    blind: bool,
    pub(crate) motion: MotionGrid,
    smoothing: Smoothing,
    pub(crate) smoother: Smoother<TRACKED>,
    pub(crate) statistics: Statistics,
    pub(crate) reports: Reports,
    pub(crate) preview: Preview,
    /// Frames since the last result that was pushed, and since the last preview.
    since: [u16; 2],
}

/// What comes next, when no request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A frame.
    Frame(Action),
    /// Nothing until time passes or something happens.
    Later,
    /// Nothing until a request comes.
    Request,
}

impl<'a> Live<'a> {
    /// A camera that is asked for nothing yet: [`LiveMode::Idle`].
    ///
    /// The scratch of [`crate::Memory`] has to hold [`crate::camera::Feed::scratch_len`] words for `configuration`.
    pub fn new(
        camera: &'a mut dyn Camera,
        configuration: Configuration,
        clock: &'a mut dyn Clock,
    ) -> Self {
        let smoothing = Smoothing::default();
        let now_ms = millis(clock) as u32;
        Self {
            camera,
            configuration,
            decoder: None,
            clock,
            watchdog: None,
            trigger: None,
            stack: None,
            care: Care::new(),
            modes: Modes::new(LiveMode::Idle),
            action: Action::Sleep,
            moved: false,
            blind: false,
            motion: MotionGrid::new(MotionSettings::default()),
            smoothing,
            smoother: Smoother::default(),
            statistics: Statistics::new(now_ms),
            reports: Reports::default(),
            preview: Preview::new(),
            since: [0; 2],
        }
    }

    /// With a decoder, for a camera that sends JPEG.
    #[must_use]
    pub fn with_decoder(mut self, decoder: &'a mut dyn Decoder) -> Self {
        self.decoder = Some(decoder);
        self
    }

    /// With a watchdog that runs already. Finished frames feed it, and waiting while no frame is due.
    #[must_use]
    pub fn with_watchdog(mut self, watchdog: &'a mut dyn Watchdog) -> Self {
        self.watchdog = Some(FrameWatchdog::new(watchdog));
        self
    }

    /// With a pin for [`LiveMode::OnPin`].
    #[must_use]
    pub fn with_trigger(mut self, trigger: &'a mut dyn Trigger) -> Self {
        self.trigger = Some(trigger);
        self
    }

    /// With a stack that was painted.
    #[must_use]
    pub fn with_stack(mut self, stack: &'a dyn Stack) -> Self {
        self.stack = Some(stack);
        self
    }

    /// With other limits of motion.
    #[must_use]
    pub fn with_motion(mut self, settings: MotionSettings) -> Self {
        self.motion = MotionGrid::new(settings);
        self
    }

    /// In another mode at the start. One that the board cannot have ([`LiveMode::OnPin`] without a trigger) takes no frames.
    #[must_use]
    pub fn in_mode(mut self, mode: LiveMode) -> Self {
        self.modes.set(mode);
        self
    }

    /// The counters.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The mode.
    pub fn mode(&self) -> LiveMode {
        self.modes.mode()
    }

    pub(crate) fn now_ms(&mut self) -> u64 {
        let now = millis(self.clock);
        self.statistics.tick(now as u32);
        now
    }

    /// What comes next. Feeds the watchdog when no frame is due.
    pub(crate) fn next(&mut self) -> Due {
        let now = self.now_ms();
        let pin = self.pin();
        let motion = core::mem::take(&mut self.moved);
        let action = match self.blind {
            true => Action::Sleep,
            false => self.modes.next(Triggers { pin, motion }),
        };
        if let Some(nothing) = NothingDue::of(action) {
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.rest(nothing);
            }
            // A watchdog has to be fed meanwhile, and a pin to be looked at.
            let polls = self.watchdog.is_some() || matches!(self.mode(), LiveMode::OnPin { .. });
            return if polls { Due::Later } else { Due::Request };
        }
        match self.care.state() {
            State::GivenUp if self.watchdog.is_none() => Due::Request,
            State::GivenUp => Due::Later,
            State::Resting { until_ms } if now < until_ms => Due::Later,
            _ => Due::Frame(action),
        }
    }

    fn pin(&mut self) -> bool {
        if !matches!(self.modes.mode(), LiveMode::OnPin { .. }) {
            return false;
        }
        let Some(trigger) = &mut self.trigger else {
            return false;
        };
        trigger.poll().unwrap_or_else(|TriggerFault| {
            self.statistics.error(ErrorClass::CameraControl);
            false
        })
    }

    /// Whether waiting for a host has to end at some time: it would keep frames or a watchdog from their turn.
    pub(crate) fn is_impatient(&self) -> bool {
        self.watchdog.is_some() || self.modes.mode() != LiveMode::Idle
    }

    /// A frame moved, or did not.
    pub(crate) fn ended_motion(&mut self, moved: bool) {
        self.moved = moved;
    }

    pub(crate) fn feed(&mut self, finished: FrameFinished) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(finished);
        }
    }

    /// Counts a frame; whether its result is pushed.
    pub(crate) fn reports_now(&mut self, has_event: bool) -> bool {
        let [results, previews] = &mut self.since;
        (*results, *previews) = (results.saturating_add(1), previews.saturating_add(1));
        let every = self.reports.every;
        let now = every > 0 && (has_event || *results >= every);
        if now {
            *results = 0;
        }
        now
    }

    /// Whether the frame that was counted last is pushed as a picture.
    pub(crate) fn previews_now(&mut self) -> bool {
        let [_, previews] = &mut self.since;
        let every = self.reports.preview_every;
        let now = every > 0 && *previews >= every;
        if now {
            *previews = 0;
        }
        now
    }

    /// There is nothing to classify with; true when that is news.
    pub(crate) fn go_blind(&mut self) -> bool {
        let news = !core::mem::replace(&mut self.blind, true);
        if news {
            self.statistics.error(ErrorClass::Model);
        }
        news
    }

    /// Model or bank may be others now: averages of the old classes mean nothing.
    pub(crate) fn changed(&mut self) {
        self.blind = false;
        self.smoother.reset();
    }

    /// A camera failed.
    pub(crate) fn failed(&mut self, fault: &CameraError) {
        self.statistics.error(ErrorClass::from(fault));
        let now = self.now_ms();
        self.care.failed(fault, now);
    }

    fn smooth(&mut self, settings: Smoothing) -> Result<(), SmoothError> {
        self.smoother = Smoother::new(settings)?;
        self.smoothing = settings;
        Ok(())
    }
}

fn millis(clock: &mut dyn Clock) -> u64 {
    let ticks = u128::from(clock.ticks()) * 1000;
    (ticks / u128::from(clock.ticks_per_second().max(1))) as u64
}
