//! Cameras: what the application asks of one, and the drivers of four image sensors.
//!
//! A [`Camera`] hands a frame over in bands of whole rows, in the buffer that the hardware filled, and [`Feed`] pushes them into
//! the preprocessing of the runtime: a frame never lies in memory whole. A sensor over a parallel port is two parts, joined by
//! [`SensorCamera`]: a [`Sensor`], which is registers over I2C and the same on every board, and a [`RowPort`], which is the
//! board's DMA. [`TestPattern`] and [`HostFed`] are cameras without hardware.
//!
//! `docs/cameras.md` lists sizes, formats and sources of every register table, and says what was tested on a mock alone.

mod capture;
mod control;
mod error;
mod feed;
mod format;
mod host_fed;
mod link;
mod motion;
mod sensors;
mod test_pattern;

pub use capture::{PortFault, RowPort, Sensor, SensorCamera};
pub use control::{Control, Exposure, Gain, WhiteBalance};
pub use error::{CameraError, Setting};
pub use feed::{DecodeError, Decoder, Feed};
pub use format::{Configuration, FrameFormat, FrameSize};
pub use host_fed::HostFed;
pub use link::{NoPin, Pins};
pub use motion::{Motion, MotionGrid, MotionSettings};
pub use sensors::{Hm01b0, Ov2640, Ov5640, Ov7670};
pub use test_pattern::{Pattern, TestPattern};

use pinhole_runtime::preprocess::InputError;

/// Takes a frame in bands, in order from the top.
pub trait FrameSink {
    /// One or more whole rows, the first of them row `first_row` of the frame; of JPEG any part of the file, with 0.
    ///
    /// # Errors
    /// When the rows do not fit the frame; the camera then ends the frame and returns the error.
    fn band(&mut self, first_row: u32, bytes: &[u8]) -> Result<(), CameraError>;
}

/// A source of frames.
pub trait Camera {
    /// Powers the camera, proves that it is there, and sets size and format; may be called again to change them.
    ///
    /// # Errors
    /// See [`CameraError`]; the camera delivers nothing until a call succeeds.
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError>;

    /// What the last successful [`Camera::configure`] set.
    fn configuration(&self) -> Option<Configuration>;

    /// Changes exposure, gain and the like while the camera runs.
    ///
    /// # Errors
    /// [`CameraError::ControlNotSupported`], [`CameraError::OutOfRange`], those of the bus.
    fn control(&mut self, control: Control) -> Result<(), CameraError>;

    /// Waits for the next frame and gives all of its rows to `sink`.
    ///
    /// # Errors
    /// [`CameraError::NotConfigured`], [`CameraError::ShortFrame`], [`CameraError::Timeout`], those of `sink`. The camera can
    /// be asked for the next frame after any of them.
    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError>;
}

/// The rows that a band holds.
///
/// # Errors
/// [`InputError::RowLength`] when `bytes` is no whole number of rows.
pub(crate) fn rows_of(
    configuration: Configuration,
    bytes: &[u8],
) -> Result<core::slice::ChunksExact<'_, u8>, InputError> {
    let row_bytes = configuration.row_bytes();
    if row_bytes == 0 || !bytes.len().is_multiple_of(row_bytes) {
        return Err(InputError::RowLength {
            expected: row_bytes,
            found: bytes.len(),
        });
    }
    Ok(bytes.chunks_exact(row_bytes))
}
