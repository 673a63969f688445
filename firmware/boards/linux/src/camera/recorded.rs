//! Cameras whose frames lie in files: one size, one format, a pace, and no control of the exposure.

use super::Pace;
use crate::Opened;
use pinhole_firmware::camera::{Camera, CameraError, Configuration, Control, FrameSink};

/// Where frames come from.
pub(super) trait Frames {
    /// The camera starts, or starts again after a fault.
    ///
    /// # Errors
    /// Those of the file.
    fn start(&mut self) -> std::io::Result<()>;

    /// Gives the rows of the next frame, and of the first one after the last.
    ///
    /// # Errors
    /// When the file does not give a frame, or the sink does not take it.
    fn frame(&mut self, of: Configuration, sink: &mut dyn FrameSink) -> Result<(), CameraError>;
}

struct Recorded<F> {
    frames: F,
    configuration: Configuration,
    is_on: bool,
    pace: Pace,
}

/// The camera of frames that all have one configuration.
pub(super) fn camera(
    frames: impl Frames + 'static,
    configuration: Configuration,
    pace: Pace,
) -> Opened {
    let camera = Recorded {
        frames,
        configuration,
        is_on: false,
        pace,
    };
    (Box::new(camera), configuration)
}

impl<F: Frames> Camera for Recorded<F> {
    fn configure(&mut self, asked: Configuration) -> Result<(), CameraError> {
        self.is_on = false;
        if asked.format != self.configuration.format {
            return Err(CameraError::FormatNotSupported { asked });
        }
        if asked.size != self.configuration.size {
            return Err(CameraError::SizeNotSupported { asked });
        }
        self.frames
            .start()
            .map_err(|_| CameraError::NotConfigured)?;
        self.is_on = true;
        Ok(())
    }

    fn configuration(&self) -> Option<Configuration> {
        self.is_on.then_some(self.configuration)
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        Err(CameraError::ControlNotSupported {
            setting: control.setting(),
        })
    }

    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let configuration = self.configuration().ok_or(CameraError::NotConfigured)?;
        self.pace.wait();
        self.frames.frame(configuration, sink)
    }
}
