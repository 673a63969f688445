//! What a device tells of its work: how long frames take, how many there were, what went wrong, how much memory was touched.

use crate::camera::CameraError;
use crate::modes::Action;

/// Steps of the histogram in one doubling.
const STEPS: u32 = 8;
const STEP_BITS: u32 = STEPS.ilog2();
/// Values below [`STEPS`] have a bucket each, and each doubling from there to 2³² has [`STEPS`].
const BUCKETS: usize = ((32 - STEP_BITS + 1) * STEPS) as usize;

/// Counts of durations on a logarithmic scale, eight steps a doubling: 960 bytes, whatever comes.
///
/// The unit is the caller's, microseconds or cycles.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u32; BUCKETS],
    count: u32,
    max: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// Nothing was counted.
    pub const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            count: 0,
            max: 0,
        }
    }

    /// Counts a duration. Counts stop at the largest number.
    pub fn add(&mut self, value: u32) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count = count.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.max = self.max.max(value);
    }

    /// Durations counted.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The longest one; 0 when none was counted.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// The duration that `percent` of all do not exceed, rounded up to the end of its step: at most an eighth too long.
    ///
    /// 0 when none was counted; `percent` above 100 counts as 100.
    pub fn percentile(&self, percent: u8) -> u32 {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = (total * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return last_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u32) -> usize {
    let Some(exponent) = value.checked_ilog2().filter(|e| *e >= STEP_BITS) else {
        return value as usize;
    };
    let step = value >> (exponent - STEP_BITS) & (STEPS - 1);
    ((exponent - STEP_BITS + 1) * STEPS + step) as usize
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u32 {
    let bucket = bucket as u32;
    let Some(doublings) = (bucket / STEPS).checked_sub(1) else {
        return bucket;
    };
    let first = u64::from(STEPS + bucket % STEPS) << doublings;
    (first + (1 << doublings) - 1).min(u64::from(u32::MAX)) as u32
}

/// Kinds of errors that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The camera's bus or pins, or another chip than expected.
    CameraControl,
    /// A frame that ended early or lost rows.
    Frame,
    /// No row in time.
    Timeout,
    /// A frame of a size or format that cannot be taken.
    Format,
    /// The model or the class bank.
    Model,
    /// The line to the host.
    Line,
    /// Storage.
    Storage,
}

impl ErrorClass {
    /// All of them, in the order of [`Statistics::errors`].
    pub const ALL: [Self; 7] = [
        Self::CameraControl,
        Self::Frame,
        Self::Timeout,
        Self::Format,
        Self::Model,
        Self::Line,
        Self::Storage,
    ];
}

impl From<&CameraError> for ErrorClass {
    fn from(fault: &CameraError) -> Self {
        match fault {
            CameraError::Timeout { .. } => Self::Timeout,
            CameraError::ShortFrame { .. }
            | CameraError::Overrun { .. }
            | CameraError::BandOrder { .. } => Self::Frame,
            CameraError::FormatNotSupported { .. }
            | CameraError::SizeNotSupported { .. }
            | CameraError::NoDecoder
            | CameraError::Decoder(_)
            | CameraError::Input(_) => Self::Format,
            _ => Self::CameraControl,
        }
    }
}

/// A frame went through to its end; the only key to [`FrameWatchdog::feed`].
#[derive(Debug)]
#[must_use = "the watchdog is fed with it"]
pub struct FrameFinished(());

/// The counters of a device.
#[derive(Clone, Debug)]
pub struct Statistics {
    latency: Histogram,
    frames: u32,
    rejects: u32,
    errors: [u32; ErrorClass::ALL.len()],
    last_ms: u32,
    uptime_ms: u64,
}

impl Statistics {
    /// Counters at zero at the start of the device; `now_ms` is a clock that may wrap.
    pub const fn new(now_ms: u32) -> Self {
        Self {
            latency: Histogram::new(),
            frames: 0,
            rejects: 0,
            errors: [0; ErrorClass::ALL.len()],
            last_ms: now_ms,
            uptime_ms: 0,
        }
    }

    /// Counts a frame that was classified.
    pub fn frame_finished(&mut self, latency: u32, rejected: bool) -> FrameFinished {
        self.latency.add(latency);
        self.frames = self.frames.saturating_add(1);
        self.rejects = self.rejects.saturating_add(rejected.into());
        FrameFinished(())
    }

    /// Counts an error.
    pub fn error(&mut self, class: ErrorClass) {
        if let Some(count) = self.errors.get_mut(class as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Follows the clock; has to be called more often than it wraps, which takes 49 days in milliseconds.
    pub fn tick(&mut self, now_ms: u32) {
        self.uptime_ms += u64::from(now_ms.wrapping_sub(self.last_ms));
        self.last_ms = now_ms;
    }

    /// Latencies of the frames.
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// Frames classified.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Frames that showed none of the classes.
    pub fn rejects(&self) -> u32 {
        self.rejects
    }

    /// Errors of a class.
    pub fn errors(&self, class: ErrorClass) -> u32 {
        self.errors.get(class as usize).copied().unwrap_or_default()
    }

    /// Time since [`Statistics::new`], up to the last [`Statistics::tick`].
    pub fn uptime_ms(&self) -> u64 {
        self.uptime_ms
    }
}

/// A timer that resets the device unless it is fed.
pub trait Watchdog {
    /// Starts its time anew.
    fn feed(&mut self);
}

impl<W: Watchdog + ?Sized> Watchdog for &mut W {
    fn feed(&mut self) {
        W::feed(self);
    }
}

/// No frame is due, so that none can be late; the key to [`FrameWatchdog::rest`].
#[derive(Debug)]
#[must_use = "the watchdog is fed with it"]
pub struct NothingDue(());

impl NothingDue {
    /// When there is nothing to do; `None` when a frame is to be taken.
    pub fn of(action: Action) -> Option<Self> {
        (action == Action::Sleep).then_some(Self(()))
    }
}

/// A watchdog that only a finished frame feeds while frames are due: a loop that turns without getting one done is a fault too.
#[derive(Debug)]
pub struct FrameWatchdog<W>(W);

impl<W: Watchdog> FrameWatchdog<W> {
    /// Takes the timer, so that nobody else feeds it.
    pub const fn new(timer: W) -> Self {
        Self(timer)
    }

    /// Feeds it.
    pub fn feed(&mut self, _: FrameFinished) {
        self.0.feed();
    }

    /// Feeds it while the device waits for a reason to take a frame.
    pub fn rest(&mut self, _: NothingDue) {
        self.0.feed();
    }
}

/// What memory holds that was not touched.
pub const PAINT: u32 = 0x5aa5_c33c;

/// Paints an arena before its first use.
pub fn paint(words: &mut [u32]) {
    words.fill(PAINT);
}

/// Bytes of a painted stack that were used at some time; `words` are those of its range from the lowest address up.
///
/// A stack grows down, so that the words below its deepest place are still paint. The board reads them, since only it may look at
/// memory that is in use; it paints them before `main` or below its own frame. A word that is pushed and happens to be paint can
/// hide as deep as it is long.
pub fn stack_high_water_bytes(words: impl IntoIterator<Item = u32>) -> usize {
    let (mut total, mut untouched) = (0, None);
    for word in words {
        if word != PAINT && untouched.is_none() {
            untouched = Some(total);
        }
        total += 1;
    }
    (total - untouched.unwrap_or(total)) * size_of::<u32>()
}

/// Bytes of a painted arena up to the last one that was used at some time.
pub fn arena_high_water_bytes(words: &[u32]) -> usize {
    let last = words.iter().rposition(|word| *word != PAINT);
    last.map_or(0, |last| (last + 1) * size_of::<u32>())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn buckets_cover_every_number_in_order_and_without_a_gap() {
        let mut next = 0u64;
        for at in 0..BUCKETS {
            let last = u64::from(last_of(at));
            assert_eq!((bucket(next as u32), bucket(last as u32)), (at, at));
            next = last + 1;
        }
        assert_eq!(next, 1 << 32);
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        let empty = Histogram::new();
        assert_eq!(
            (empty.percentile(50), empty.max(), empty.count()),
            (0, 0, 0)
        );
    }

    #[test]
    fn counts_do_not_wrap() {
        let mut histogram = Histogram::new();
        histogram.counts[3] = u32::MAX;
        histogram.counts[5] = u32::MAX;
        histogram.count = u32::MAX;
        histogram.add(3);
        assert_eq!((histogram.count(), histogram.percentile(99)), (u32::MAX, 3));
        assert_eq!(histogram.percentile(50), 3);
    }

    #[test]
    fn statistics_count_by_kind_and_follow_a_clock_that_wraps() {
        let mut statistics = Statistics::new(u32::MAX - 10);
        let mut fed = Fed(0);
        let mut watchdog = FrameWatchdog::new(&mut fed);
        watchdog.feed(statistics.frame_finished(1000, false));
        watchdog.feed(statistics.frame_finished(3000, true));
        statistics.error(ErrorClass::Timeout);
        statistics.error(ErrorClass::from(&CameraError::Timeout {
            expected: 2,
            found: 1,
        }));
        statistics.error(ErrorClass::from(&CameraError::NoDecoder));
        statistics.tick(19);
        assert_eq!((statistics.frames(), statistics.rejects()), (2, 1));
        let errors = ErrorClass::ALL.map(|class| statistics.errors(class));
        assert_eq!(errors, [0, 0, 2, 1, 0, 0, 0]);
        assert_eq!(statistics.uptime_ms(), 30);
        assert_eq!((statistics.latency().max(), fed.0), (3000, 2));
    }

    struct Fed(u32);

    impl Watchdog for Fed {
        fn feed(&mut self) {
            self.0 += 1;
        }
    }

    #[test]
    fn high_water_marks_see_the_deepest_word() {
        let mut memory = vec![0; 16];
        paint(&mut memory);
        assert_eq!(arena_high_water_bytes(&memory), 0);
        assert_eq!(stack_high_water_bytes(memory.iter().copied()), 0);
        // A frame that left paint above its deepest word.
        (memory[9], memory[14]) = (1, 2);
        assert_eq!(stack_high_water_bytes(memory.iter().copied()), 7 * 4);
        assert_eq!(arena_high_water_bytes(&memory), 15 * 4);
        memory[0] = 3;
        assert_eq!(stack_high_water_bytes(memory.iter().copied()), 64);
    }

    proptest! {
        #[test]
        fn percentiles_are_at_most_an_eighth_above_the_sorted_ones(
            mut values in prop::collection::vec(any::<u32>().prop_flat_map(|v| 0..=v), 1..200), percent in 0u8..=100,
        ) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_unstable();
            let rank = (values.len() * usize::from(percent)).div_ceil(100).max(1);
            let exact = values[rank - 1];
            let found = histogram.percentile(percent);
            prop_assert!(found >= exact && u64::from(found - exact) * 8 <= u64::from(exact), "{} {}", found, exact);
            prop_assert_eq!(histogram.percentile(100), *values.last().unwrap());
        }
    }
}
