//! What can go wrong with a camera.

use super::{Configuration, DecodeError};
use core::fmt;
use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use pinhole_runtime::preprocess::InputError;

/// A setting of [`super::Control`], as errors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Exposure in lines.
    ExposureLines,
    /// Gain in sixteenths.
    Gain,
    /// Largest gain of the automatic control.
    GainCeiling,
    /// Gains of red, green and blue.
    WhiteBalance,
    /// Divider of the clock.
    ClockDivider,
    /// Test pattern of the sensor.
    TestPattern,
    /// Mirror or flip.
    Orientation,
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::ExposureLines => "exposure in lines",
            Self::Gain => "gain in sixteenths",
            Self::GainCeiling => "gain ceiling",
            Self::WhiteBalance => "white balance in sixty-fourths",
            Self::ClockDivider => "clock divider",
            Self::TestPattern => "test pattern",
            Self::Orientation => "mirror or flip",
        }
    }
}

/// Why a camera did not do what was asked.
///
/// Registers of a sensor with banks (OV2640) have the bank in their high byte: `0x0112` is register `0x12` of bank 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum CameraError {
    /// Nobody answered on the bus.
    NoAcknowledge {
        /// I2C address, 7 bits.
        address: u8,
        /// Register of the transfer.
        register: u16,
        /// Whether the address or a byte after it was not answered.
        source: NoAcknowledgeSource,
    },
    /// The bus failed in another way.
    Bus {
        /// I2C address, 7 bits.
        address: u8,
        /// Register of the transfer.
        register: u16,
        /// What the bus said.
        kind: ErrorKind,
    },
    /// Another chip answers at the address.
    WrongChip {
        /// I2C address, 7 bits.
        address: u8,
        /// Identity that the driver is for.
        expected: u16,
        /// Identity read.
        found: u16,
    },
    /// A reset or power-down pin could not be set.
    Pin,
    /// The camera does not have this format at this size.
    FormatNotSupported {
        /// What was asked for.
        asked: Configuration,
    },
    /// The camera does not have this size.
    SizeNotSupported {
        /// What was asked for.
        asked: Configuration,
    },
    /// The sensor cannot do this.
    ControlNotSupported {
        /// The setting.
        setting: Setting,
    },
    /// The value is beyond what the sensor takes.
    OutOfRange {
        /// The setting.
        setting: Setting,
        /// Value found.
        found: u16,
        /// Smallest value.
        min: u16,
        /// Largest value.
        max: u16,
    },
    /// Frames were asked for before [`super::Camera::configure`] succeeded.
    NotConfigured,
    /// The frame ended early.
    ShortFrame {
        /// Rows of a frame.
        expected: u32,
        /// Rows that came.
        found: u32,
    },
    /// No row came in time.
    Timeout {
        /// Rows of a frame.
        expected: u32,
        /// Rows that came.
        found: u32,
    },
    /// Rows came faster than they were taken.
    Overrun {
        /// Rows that were taken.
        found: u32,
    },
    /// A band does not begin where the last one ended.
    BandOrder {
        /// Row that is next.
        expected: u32,
        /// Row given.
        found: u32,
    },
    /// The frame is JPEG and the board has no decoder.
    NoDecoder,
    /// The decoder refused the frame.
    Decoder(DecodeError),
    /// The preprocessing refused the frame.
    Input(InputError),
}

impl From<InputError> for CameraError {
    fn from(fault: InputError) -> Self {
        Self::Input(fault)
    }
}

impl fmt::Display for CameraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoAcknowledge {
                address,
                register,
                source,
            } => {
                let who = match source {
                    NoAcknowledgeSource::Address => "the address",
                    NoAcknowledgeSource::Data => "a byte",
                    NoAcknowledgeSource::Unknown => "the address or a byte",
                };
                write!(
                    f,
                    "camera {address:#04x} did not acknowledge {who} at register {register:#06x}; check wiring, power and clock"
                )
            }
            Self::Bus {
                address,
                register,
                kind,
            } => write!(
                f,
                "camera {address:#04x} at register {register:#06x}: {kind}"
            ),
            Self::WrongChip {
                address,
                expected,
                found,
            } => write!(
                f,
                "chip {found:#06x} at {address:#04x}, expected {expected:#06x}; choose the driver of the sensor that is fitted"
            ),
            Self::Pin => f.write_str("a reset or power-down pin of the camera could not be set"),
            Self::FormatNotSupported { asked } => write!(
                f,
                "the camera has no {} at {}x{}",
                asked.format.name(),
                asked.size.width,
                asked.size.height
            ),
            Self::SizeNotSupported { asked } => write!(
                f,
                "the camera has no size of {}x{}",
                asked.size.width, asked.size.height
            ),
            Self::ControlNotSupported { setting } => {
                write!(f, "the camera has no {}", setting.name())
            }
            Self::OutOfRange {
                setting,
                found,
                min,
                max,
            } => write!(
                f,
                "{} {found}, the camera takes {min} to {max}",
                setting.name()
            ),
            Self::NotConfigured => f.write_str("the camera is not configured"),
            Self::ShortFrame { expected, found } => {
                write!(f, "the frame ended after {found} of {expected} rows")
            }
            Self::Timeout { expected, found } => write!(
                f,
                "no row in time after {found} of {expected}; check the pixel clock and the sync pins"
            ),
            Self::Overrun { found } => write!(
                f,
                "rows were lost after row {found}; use a larger clock divider or a smaller frame"
            ),
            Self::BandOrder { expected, found } => {
                write!(f, "a band begins with row {found}, expected {expected}")
            }
            Self::NoDecoder => f.write_str(
                "the frame is jpeg and this board has no decoder; choose rgb565 or yuv422",
            ),
            Self::Decoder(fault) => write!(f, "jpeg: {fault}"),
            Self::Input(fault) => write!(f, "{fault}"),
        }
    }
}

impl core::error::Error for CameraError {}
