//! What the boards with an STM32 share: the watchdog, the caches, and the camera interface.
#![no_std]

pub mod cache;
#[cfg(feature = "dcmi")]
pub mod dcmi;

use embassy_stm32::Peri;
use embassy_stm32::wdg::{IndependentWatchdog, Instance};
use pinhole_firmware::stats::Watchdog;

/// The independent watchdog, which runs on a clock of its own and cannot be stopped.
pub struct Independent<T: Instance + 'static>(IndependentWatchdog<'static, T>);

impl<T: Instance + 'static> Independent<T> {
    /// Starts it.
    pub fn start(watchdog: Peri<'static, T>, time_us: u32) -> Self {
        let mut watchdog = IndependentWatchdog::new(watchdog, time_us);
        watchdog.unleash();
        Self(watchdog)
    }
}

impl<T: Instance + 'static> Watchdog for Independent<T> {
    fn feed(&mut self) {
        self.0.pet();
    }
}
