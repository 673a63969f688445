//! Log lines, where a board carries them out.

macro_rules! info {
    ($($argument:tt)*) => {{
        #[cfg(feature = "defmt")]
        defmt::info!($($argument)*);
    }};
}

macro_rules! warn_display {
    ($text:literal, $value:expr) => {{
        #[cfg(feature = "defmt")]
        defmt::warn!($text, defmt::Display2Format(&$value));
        #[cfg(not(feature = "defmt"))]
        let _ = &$value;
    }};
}

pub(crate) use {info, warn_display};
