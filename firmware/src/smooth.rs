//! Results of single frames, smoothed to what is in front of the camera.
//!
//! Each class that was seen has an exponential average of its scores (Brown 1956, "Exponential smoothing for predicting demand").
//! A class is present once its average has reached one threshold, and gone once it has fallen below a lower one, each for a
//! number of frames; what changed comes out as events.
//!
//! A bank may hold more classes than there is RAM for averages. The table has `CLASSES` places, for the classes with the highest
//! averages: a class that is not in it counts as one with an average of 0. When a class comes and the table is full, it takes the
//! place of the class with the lowest average that is not present, if its own would be higher; a class that is present keeps its
//! place. [`Smoother::turned_away`] counts the scores that found none.

use heapless::Vec;
pub use pinhole_protocol::{LiveEvent, Smoothing};

/// Scores beyond this count as this.
const SCORE_LIMIT: f32 = 1e6;

/// Why settings are refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SmoothError {
    /// The weight is not above 0 and at most 1.
    Alpha {
        /// Weight found.
        found: f32,
    },
    /// The thresholds are not finite, or `leave` is not below `enter`.
    Thresholds {
        /// Average at which a class is present.
        enter: f32,
        /// Average below which it is gone.
        leave: f32,
    },
    /// The margin is not finite and at least 0.
    Margin {
        /// Margin found.
        found: f32,
    },
}

impl core::fmt::Display for SmoothError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Alpha { found } => {
                write!(
                    f,
                    "smoothing weight {found}, expected above 0 and at most 1"
                )
            }
            Self::Thresholds { enter, leave } => write!(
                f,
                "thresholds enter {enter} and leave {leave}, expected finite numbers with leave below enter"
            ),
            Self::Margin { found } => {
                write!(f, "margin {found}, expected a finite number of at least 0")
            }
        }
    }
}

impl core::error::Error for SmoothError {}

/// The score of one class in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Index of the class in the bank.
    pub class_index: u32,
    /// Probability or cosine; a number that is not finite counts as 0.
    pub score: f32,
}

/// A class in the table.
#[derive(Clone, Copy, Debug)]
struct Tracked {
    class_index: u32,
    average: f32,
    present: bool,
    /// Frames for which the average was beyond the threshold that it has to cross.
    beyond: u8,
}

/// The averages of up to `CLASSES` classes, 16 bytes each.
#[derive(Clone, Debug)]
pub struct Smoother<const CLASSES: usize> {
    settings: Smoothing,
    table: Vec<Tracked, CLASSES>,
    leader: Option<u32>,
    /// Frames for which another class led by more than the margin.
    behind: u8,
    rejecting: bool,
    /// Frames for which the verdict was the other one.
    opposed: u8,
    turned_away: u32,
}

impl<const CLASSES: usize> Default for Smoother<CLASSES> {
    /// With [`Smoothing::default`].
    fn default() -> Self {
        Self::blank(Smoothing::default())
    }
}

impl<const CLASSES: usize> Smoother<CLASSES> {
    fn blank(settings: Smoothing) -> Self {
        Self {
            settings: Smoothing {
                frames: settings.frames.max(1),
                ..settings
            },
            table: Vec::new(),
            leader: None,
            behind: 0,
            rejecting: false,
            opposed: 0,
            turned_away: 0,
        }
    }

    /// Nothing was seen yet.
    ///
    /// # Errors
    /// See [`SmoothError`].
    pub fn new(settings: Smoothing) -> Result<Self, SmoothError> {
        let Smoothing {
            alpha,
            enter,
            leave,
            margin,
            frames: _,
        } = settings;
        // Written so that a NaN is refused.
        if !(alpha > 0.0 && alpha <= 1.0) {
            return Err(SmoothError::Alpha { found: alpha });
        }
        if !(enter.is_finite() && leave.is_finite() && leave < enter) {
            return Err(SmoothError::Thresholds { enter, leave });
        }
        if !(margin.is_finite() && margin >= 0.0) {
            return Err(SmoothError::Margin { found: margin });
        }
        Ok(Self::blank(settings))
    }

    /// Takes the result of a frame and tells `event` what changed: classes that left, then those that came, then the leader.
    ///
    /// A class without a score has 0, and so have all classes of a rejected frame. Of a class that is named twice the first score
    /// counts.
    pub fn update(
        &mut self,
        scores: &[ClassScore],
        rejected: bool,
        event: &mut dyn FnMut(LiveEvent),
    ) {
        self.judge(rejected, event);
        let scores = if rejected { &[] } else { scores };
        self.average(scores);
        self.cross(false, event);
        self.cross(true, event);
        self.lead(event);
    }

    /// The class that leads among those that are present.
    pub fn leader(&self) -> Option<u32> {
        self.leader
    }

    /// Whether the frames show none of the classes.
    pub fn is_rejecting(&self) -> bool {
        self.rejecting
    }

    /// The average of a class; 0 for one that is not in the table.
    pub fn average_of(&self, class_index: u32) -> f32 {
        let tracked = self.table.iter().find(|t| t.class_index == class_index);
        tracked.map_or(0.0, |t| t.average)
    }

    /// Whether a class is present.
    pub fn is_present(&self, class_index: u32) -> bool {
        let mut present = self.table.iter().filter(|t| t.present);
        present.any(|t| t.class_index == class_index)
    }

    /// Scores that found no place in the table.
    pub fn turned_away(&self) -> u32 {
        self.turned_away
    }

    /// Forgets everything, without events: for a new bank.
    pub fn reset(&mut self) {
        self.table.clear();
        (self.leader, self.behind) = (None, 0);
        (self.rejecting, self.opposed) = (false, 0);
        self.turned_away = 0;
    }

    fn judge(&mut self, rejected: bool, event: &mut dyn FnMut(LiveEvent)) {
        if !lasts(
            &mut self.opposed,
            rejected != self.rejecting,
            self.settings.frames,
        ) {
            return;
        }
        self.rejecting = rejected;
        event(if rejected {
            LiveEvent::Rejecting
        } else {
            LiveEvent::Accepting
        });
    }

    fn average(&mut self, scores: &[ClassScore]) {
        let alpha = self.settings.alpha;
        for tracked in &mut self.table {
            let of_class = scores.iter().find(|s| s.class_index == tracked.class_index);
            let score = of_class.map_or(0.0, |s| finite(s.score));
            tracked.average += alpha * (score - tracked.average);
        }
        for (at, found) in scores.iter().enumerate() {
            let known = |class| self.table.iter().any(|t| t.class_index == class);
            let twice = scores
                .iter()
                .take(at)
                .any(|s| s.class_index == found.class_index);
            if !twice && !known(found.class_index) {
                self.admit(found.class_index, alpha * finite(found.score));
            }
        }
    }

    fn admit(&mut self, class_index: u32, average: f32) {
        // A class that has nothing to say needs no place.
        if average <= 0.0 {
            return;
        }
        let new = Tracked {
            class_index,
            average,
            present: false,
            beyond: 0,
        };
        let Err(new) = self.table.push(new) else {
            return;
        };
        let absent = self.table.iter_mut().filter(|t| !t.present);
        let lowest = absent.min_by(|one, other| one.average.total_cmp(&other.average));
        match lowest.filter(|lowest| lowest.average < new.average) {
            Some(lowest) => *lowest = new,
            None => self.turned_away = self.turned_away.saturating_add(1),
        }
    }

    /// Classes that are absent (`coming`) or present cross their threshold.
    fn cross(&mut self, coming: bool, event: &mut dyn FnMut(LiveEvent)) {
        let settings = self.settings;
        for tracked in self.table.iter_mut().filter(|t| t.present != coming) {
            let beyond = if coming {
                tracked.average >= settings.enter
            } else {
                tracked.average < settings.leave
            };
            if lasts(&mut tracked.beyond, beyond, settings.frames) {
                tracked.present = coming;
                let class_index = tracked.class_index;
                event(if coming {
                    LiveEvent::Appeared { class_index }
                } else {
                    LiveEvent::Disappeared { class_index }
                });
            }
        }
    }

    fn lead(&mut self, event: &mut dyn FnMut(LiveEvent)) {
        let present = self.table.iter().filter(|t| t.present);
        let best = present.max_by(|one, other| {
            // Of equal averages the first class of the bank leads.
            let by_average = one.average.total_cmp(&other.average);
            by_average.then(other.class_index.cmp(&one.class_index))
        });
        let best = best.map(|t| (t.class_index, t.average));
        let led = self.leader.filter(|leader| self.is_present(*leader));
        let (Some((best, average)), Some(leader)) = (best, led) else {
            // The leader left, which was told; another that is present takes its place at once.
            if let (Some((to, _)), Some(from)) = (best, self.leader) {
                event(LiveEvent::Changed { from, to });
            }
            self.leader = best.map(|(class_index, _)| class_index);
            self.behind = 0;
            return;
        };
        let overtaken = average > self.average_of(leader) + self.settings.margin;
        if lasts(
            &mut self.behind,
            best != leader && overtaken,
            self.settings.frames,
        ) {
            self.leader = Some(best);
            event(LiveEvent::Changed {
                from: leader,
                to: best,
            });
        }
    }
}

/// Counts frames for which `condition` holds; true when they are enough, and the count starts anew.
fn lasts(count: &mut u8, condition: bool, frames: u8) -> bool {
    *count = if condition {
        count.saturating_add(1)
    } else {
        0
    };
    let enough = *count >= frames;
    if enough {
        *count = 0;
    }
    enough
}

/// A score that averages can be built of: they stay finite.
fn finite(score: f32) -> f32 {
    if score.is_finite() {
        score.clamp(-SCORE_LIMIT, SCORE_LIMIT)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests;
