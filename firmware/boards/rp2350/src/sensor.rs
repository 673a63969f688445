//! The sensor that is fitted: OV2640, or by a feature of the program OV7670 or HM01B0.

use pinhole_firmware::camera::{Configuration, FrameFormat, FrameSize};

#[cfg(feature = "hm01b0")]
pub use pinhole_firmware::camera::Hm01b0 as Fitted;
#[cfg(not(any(feature = "ov7670", feature = "hm01b0")))]
pub use pinhole_firmware::camera::Ov2640 as Fitted;
#[cfg(feature = "ov7670")]
pub use pinhole_firmware::camera::Ov7670 as Fitted;

/// The level of VSYNC between two frames. FVLD of an HM01B0 is high while a frame is sent.
pub const BLANK: bool = !cfg!(feature = "hm01b0");

/// A size that the CPU prepares as fast as the sensor sends it, in the order of bytes that both sensors of OmniVision have.
pub const PICTURE: Configuration = Configuration {
    size: FrameSize::QQVGA,
    format: match cfg!(feature = "hm01b0") {
        true => FrameFormat::GREY8,
        false => FrameFormat::RGB565_BE,
    },
};
