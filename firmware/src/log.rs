//! Log lines, where a board carries them out, up to a level that a host may change.

use core::sync::atomic::{AtomicU8, Ordering};
use pinhole_protocol::LogLevel;

/// The last level that is logged; one for the whole program, as the log is.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

pub(crate) fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

pub(crate) fn is_on(level: LogLevel) -> bool {
    level != LogLevel::Off && level as u8 <= LEVEL.load(Ordering::Relaxed)
}

macro_rules! info {
    ($($argument:tt)*) => {{
        #[cfg(feature = "defmt")]
        if crate::log::is_on(pinhole_protocol::LogLevel::Info) {
            defmt::info!($($argument)*);
        }
    }};
}

macro_rules! warn_display {
    ($text:literal, $value:expr) => {{
        #[cfg(feature = "defmt")]
        if crate::log::is_on(pinhole_protocol::LogLevel::Warn) {
            defmt::warn!($text, defmt::Display2Format(&$value));
        }
        #[cfg(not(feature = "defmt"))]
        let _ = &$value;
    }};
}

pub(crate) use {info, warn_display};

/// A line of a level that is on.
pub(crate) fn line(level: LogLevel, text: &str) {
    let _ = (level, text);
    #[cfg(feature = "defmt")]
    match level {
        LogLevel::Off => {}
        LogLevel::Error => defmt::error!("{=str}", text),
        LogLevel::Warn => defmt::warn!("{=str}", text),
        LogLevel::Info => defmt::info!("{=str}", text),
    }
}
