//! When a device takes a picture: all the time, on a trigger, once, or never.
//!
//! [`Modes`] is a state machine without hardware: it is told what happened and says what to do next. [`PinTrigger`] turns the
//! level of a pin into triggers.

use embedded_hal::digital::InputPin;
pub use pinhole_protocol::LiveMode;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing; the device may sleep until something happens.
    Sleep,
    /// Take a frame and look for motion in it, without the model.
    Watch,
    /// Take a frame and classify it.
    Classify,
}

/// What happened since the last [`Modes::next`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triggers {
    /// The pin had its edge.
    pub pin: bool,
    /// A watched or classified frame moved.
    pub motion: bool,
}

/// Frames that a single shot tries before it gives up.
pub const SHOT_ATTEMPTS: u16 = 3;

/// The state machine.
#[derive(Clone, Copy, Debug)]
pub struct Modes {
    mode: LiveMode,
    /// Frames still to be classified for a trigger, or attempts of a shot.
    pending: u16,
}

impl Modes {
    /// Starts in a mode.
    pub const fn new(mode: LiveMode) -> Self {
        let mut modes = Self {
            mode: LiveMode::Idle,
            pending: 0,
        };
        modes.set(mode);
        modes
    }

    /// The mode.
    pub const fn mode(&self) -> LiveMode {
        self.mode
    }

    /// Changes the mode; what was pending is dropped. A second [`LiveMode::SingleShot`] is a second shot.
    pub const fn set(&mut self, mode: LiveMode) {
        self.mode = mode;
        self.pending = match mode {
            LiveMode::SingleShot => SHOT_ATTEMPTS,
            _ => 0,
        };
    }

    /// What to do next. A trigger while frames of an earlier one are pending starts their count anew.
    pub fn next(&mut self, triggers: Triggers) -> Action {
        match self.mode {
            LiveMode::Idle => Action::Sleep,
            LiveMode::Continuous | LiveMode::SingleShot => Action::Classify,
            LiveMode::OnPin { frames } => self.after(triggers.pin, frames, Action::Sleep),
            LiveMode::OnMotion { frames } => self.after(triggers.motion, frames, Action::Watch),
        }
    }

    fn after(&mut self, triggered: bool, frames: u16, otherwise: Action) -> Action {
        if triggered {
            self.pending = frames.max(1);
        }
        if self.pending > 0 {
            Action::Classify
        } else {
            otherwise
        }
    }

    /// A frame that was to be classified was, or failed. A failed frame is used up; a shot is tried [`SHOT_ATTEMPTS`] times.
    pub fn finished(&mut self, classified: bool) {
        self.pending = self.pending.saturating_sub(1);
        if self.mode == LiveMode::SingleShot && (classified || self.pending == 0) {
            self.set(LiveMode::Idle);
        }
    }
}

/// Which change of a pin is a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// From low to high.
    Rising,
    /// From high to low, as of a button that pulls to ground.
    Falling,
}

/// A pin, read now and then, with its bounces left out.
#[derive(Debug)]
pub struct PinTrigger<P> {
    pin: P,
    edge: Edge,
    /// Readings that have to agree before a level counts.
    readings: u8,
    /// The level that counts; none at the start.
    level: Option<bool>,
    candidate: bool,
    agreeing: u8,
}

impl<P: InputPin> PinTrigger<P> {
    /// A level counts after `readings` that agree; 0 counts as 1. The level at the start is no edge.
    pub const fn new(pin: P, edge: Edge, readings: u8) -> Self {
        Self {
            pin,
            edge,
            readings: if readings == 0 { 1 } else { readings },
            level: None,
            candidate: false,
            agreeing: 0,
        }
    }

    /// Reads the pin; true when it had its edge.
    ///
    /// # Errors
    /// Those of the pin.
    pub fn poll(&mut self) -> Result<bool, P::Error> {
        let high = self.pin.is_high()?;
        self.agreeing = if self.candidate == high {
            self.agreeing.saturating_add(1)
        } else {
            1
        };
        self.candidate = high;
        if self.agreeing < self.readings || self.level == Some(high) {
            return Ok(false);
        }
        let had_a_level = self.level.replace(high).is_some();
        Ok(had_a_level && high == (self.edge == Edge::Rising))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::vec::Vec;

    const NONE: Triggers = Triggers {
        pin: false,
        motion: false,
    };
    const PIN: Triggers = Triggers { pin: true, ..NONE };
    const MOTION: Triggers = Triggers {
        motion: true,
        ..NONE
    };

    #[test]
    fn idle_sleeps_and_continuous_classifies_whatever_happens() {
        for triggers in [NONE, PIN, MOTION] {
            assert_eq!(Modes::new(LiveMode::Idle).next(triggers), Action::Sleep);
            let mut modes = Modes::new(LiveMode::Continuous);
            for classified in [true, false, true] {
                assert_eq!(modes.next(triggers), Action::Classify);
                modes.finished(classified);
            }
            assert_eq!(modes.mode(), LiveMode::Continuous);
        }
    }

    #[test]
    fn a_single_shot_ends_with_its_frame_and_after_three_failures() {
        let mut modes = Modes::new(LiveMode::SingleShot);
        assert_eq!(modes.next(NONE), Action::Classify);
        modes.finished(true);
        assert_eq!(
            (modes.mode(), modes.next(PIN)),
            (LiveMode::Idle, Action::Sleep)
        );
        modes.set(LiveMode::SingleShot);
        for left in [2, 1, 0] {
            assert_eq!(modes.next(NONE), Action::Classify);
            modes.finished(false);
            assert_eq!(modes.mode() == LiveMode::Idle, left == 0);
        }
        assert_eq!(modes.next(NONE), Action::Sleep);
    }

    #[test]
    fn a_pin_starts_its_frames_and_starts_them_anew() {
        let mut modes = Modes::new(LiveMode::OnPin { frames: 2 });
        assert_eq!(modes.next(MOTION), Action::Sleep);
        let mut classified = 0;
        for triggers in [PIN, NONE, NONE, PIN, PIN, NONE, NONE] {
            if modes.next(triggers) == Action::Classify {
                classified += 1;
                modes.finished(true);
            }
        }
        assert_eq!(classified, 2 + 3);
    }

    #[test]
    fn motion_is_watched_for_and_then_classified() {
        let mut modes = Modes::new(LiveMode::OnMotion { frames: 0 });
        assert_eq!(modes.next(PIN), Action::Watch);
        assert_eq!(modes.next(MOTION), Action::Classify);
        modes.finished(false);
        assert_eq!(modes.next(NONE), Action::Watch);
    }

    #[test]
    fn a_new_mode_drops_what_was_pending() {
        let mut modes = Modes::new(LiveMode::OnPin { frames: 9 });
        assert_eq!(modes.next(PIN), Action::Classify);
        modes.set(LiveMode::OnMotion { frames: 9 });
        assert_eq!(modes.next(NONE), Action::Watch);
    }

    /// What the readings of `levels` give.
    fn edges(edge: Edge, readings: u8, levels: &str) -> Vec<bool> {
        let expected = levels.chars().map(|level| {
            Transaction::get(if level == '1' {
                State::High
            } else {
                State::Low
            })
        });
        let mut pin = Mock::new(&expected.collect::<Vec<_>>());
        let mut trigger = PinTrigger::new(pin.clone(), edge, readings);
        let found = levels.chars().map(|_| trigger.poll().unwrap()).collect();
        pin.done();
        found
    }

    #[test]
    fn an_edge_triggers_once_and_bounces_do_not() {
        let at =
            |edges: Vec<bool>| -> Vec<usize> { (0..edges.len()).filter(|at| edges[*at]).collect() };
        assert_eq!(at(edges(Edge::Rising, 1, "1101100")), [3]);
        assert_eq!(at(edges(Edge::Falling, 1, "1101100")), [2, 5]);
        assert_eq!(at(edges(Edge::Falling, 0, "00")), []);
        assert_eq!(at(edges(Edge::Rising, 3, "00010110111101000")), [10]);
        // Levels that alternate at the start are none.
        assert_eq!(at(edges(Edge::Rising, 3, "0101011100")), []);
    }

    #[test]
    fn a_fault_of_the_pin_is_told() {
        let fault = MockError::Io(std::io::ErrorKind::NotConnected);
        let expected = [Transaction::get(State::High).with_error(fault.clone())];
        let mut pin = Mock::new(&expected);
        assert_eq!(
            PinTrigger::new(pin.clone(), Edge::Rising, 1).poll(),
            Err(fault)
        );
        pin.done();
    }
}
