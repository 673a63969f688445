//! What can be set while a camera runs.

use super::{CameraError, Setting};

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// How long a row is exposed.
    Exposure(Exposure),
    /// How much its signal is amplified.
    Gain(Gain),
    /// Colour of the light.
    WhiteBalance(WhiteBalance),
    /// Left and right exchanged.
    Mirror(bool),
    /// Top and bottom exchanged.
    Flip(bool),
    /// The sensor's own test picture in place of the scene.
    TestPattern(bool),
    /// Divider of the clock, from 1; a larger one makes frame rate and pixel clock lower. What it divides is the sensor's, see
    /// `docs/cameras.md`.
    ClockDivider(u8),
}

impl Control {
    /// The setting, as errors name it.
    pub const fn setting(self) -> Setting {
        match self {
            Self::Exposure(_) => Setting::ExposureLines,
            Self::Gain(_) => Setting::Gain,
            Self::WhiteBalance(_) => Setting::WhiteBalance,
            Self::Mirror(_) | Self::Flip(_) => Setting::Orientation,
            Self::TestPattern(_) => Setting::TestPattern,
            Self::ClockDivider(_) => Setting::ClockDivider,
        }
    }
}

/// Exposure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// The sensor decides.
    Auto,
    /// A number of line periods.
    Lines(u16),
}

/// Gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The sensor decides, up to a factor that is a power of two.
    Auto {
        /// Largest factor.
        ceiling: u8,
    },
    /// A factor in sixteenths: 16 is 1.
    Sixteenths(u16),
}

/// White balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhiteBalance {
    /// The sensor decides.
    Auto,
    /// Factors in sixty-fourths: 64 is 1.
    Manual {
        /// Factor of red.
        red: u8,
        /// Factor of green.
        green: u8,
        /// Factor of blue.
        blue: u8,
    },
}

/// `found` when it lies in `min..=max`.
pub(super) fn within(setting: Setting, found: u16, min: u16, max: u16) -> Result<u16, CameraError> {
    if (min..=max).contains(&found) {
        Ok(found)
    } else {
        Err(CameraError::OutOfRange {
            setting,
            found,
            min,
            max,
        })
    }
}

/// The exponent of a gain ceiling, which has to be a power of two of at most `max`.
pub(super) fn ceiling_exponent(ceiling: u8, min: u8, max: u8) -> Result<u8, CameraError> {
    let setting = Setting::GainCeiling;
    let found = within(setting, ceiling.into(), min.into(), max.into())?;
    if !found.is_power_of_two() {
        return Err(CameraError::OutOfRange {
            setting,
            found,
            min: min.into(),
            max: max.into(),
        });
    }
    Ok(found.trailing_zeros() as u8)
}

/// A gain as OmniVision's 8-bit registers have it: bits 7 to 4 double once each, bits 3 to 0 add sixteenths of that.
pub(super) fn omnivision_gain(sixteenths: u16) -> Result<u8, CameraError> {
    let mut rest = within(Setting::Gain, sixteenths, 16, 31 * 16)?;
    let mut doublings = 0u8;
    while rest >= 32 {
        rest /= 2;
        doublings = doublings << 1 | 0x10;
    }
    Ok(doublings | (rest - 16) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The meaning of the register, written the other way round.
    fn factor(register: u8) -> u16 {
        (16 + u16::from(register & 15)) << (register >> 4).count_ones()
    }

    #[test]
    fn a_gain_is_the_largest_that_is_not_above_what_was_asked() {
        for asked in 16..=31 * 16 {
            let found = factor(omnivision_gain(asked).unwrap());
            assert!(
                found <= asked && u32::from(asked - found) * 16 < u32::from(asked),
                "{asked} {found}"
            );
        }
        assert!(omnivision_gain(15).is_err() && omnivision_gain(497).is_err());
    }

    #[test]
    fn a_ceiling_is_a_power_of_two_within_the_limits() {
        assert_eq!(ceiling_exponent(128, 2, 128), Ok(7));
        for bad in [0, 1, 3, 129] {
            assert!(matches!(
                ceiling_exponent(bad, 2, 128),
                Err(CameraError::OutOfRange {
                    min: 2,
                    max: 128,
                    ..
                })
            ));
        }
    }
}
