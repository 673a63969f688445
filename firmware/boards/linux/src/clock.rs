//! Time of the system, in microseconds.

use pinhole_firmware::live::Clock;
use std::time::{Duration, Instant};

/// How long a pause is: short beside a frame, long beside a look at the line.
const PAUSE: Duration = Duration::from_millis(2);

/// Microseconds since the start.
pub(crate) struct Monotonic(Instant);

impl Monotonic {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Monotonic {
    fn ticks(&mut self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    fn ticks_per_second(&self) -> u32 {
        1_000_000
    }

    fn pause(&mut self) {
        std::thread::sleep(PAUSE);
    }
}
