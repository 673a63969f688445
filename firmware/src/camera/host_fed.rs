//! A camera whose rows a host sends.

use super::{Camera, CameraError, Configuration, Control, FrameSink};
use embedded_io::{Error, ErrorKind, Read};
use pinhole_runtime::preprocess::InputError;

/// Takes the rows of each frame from a line: from the top, without padding, one frame after the other.
///
/// The line is a stream of pixels; framing and replies are its own business.
#[derive(Debug)]
pub struct HostFed<'a, L> {
    line: L,
    row: &'a mut [u8],
    configuration: Option<Configuration>,
}

impl<'a, L: Read> HostFed<'a, L> {
    /// A camera that joins what the line gives to rows in `row`, which has to hold one.
    pub fn new(line: L, row: &'a mut [u8]) -> Self {
        Self {
            line,
            row,
            configuration: None,
        }
    }

    /// The line again.
    pub fn into_line(self) -> L {
        self.line
    }
}

impl<L: Read> Camera for HostFed<'_, L> {
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        self.configuration = None;
        let expected = configuration.row_bytes();
        if expected == 0 {
            return Err(CameraError::FormatNotSupported {
                asked: configuration,
            });
        }
        let found = self.row.len();
        if found < expected {
            return Err(InputError::RowLength { expected, found }.into());
        }
        self.configuration = Some(configuration);
        Ok(())
    }

    fn configuration(&self) -> Option<Configuration> {
        self.configuration
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        Err(CameraError::ControlNotSupported {
            setting: control.setting(),
        })
    }

    /// A line that times out gives [`CameraError::Timeout`], one that ends or fails [`CameraError::ShortFrame`].
    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let configuration = self.configuration.ok_or(CameraError::NotConfigured)?;
        let row = self.row.get_mut(..configuration.row_bytes());
        let row = row.unwrap_or_default();
        let expected = configuration.rows();
        for found in 0..expected {
            let mut filled = 0;
            while let Some(rest) = row.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match self.line.read(rest) {
                    Ok(0) => return Err(CameraError::ShortFrame { expected, found }),
                    Ok(count) => filled += count,
                    Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
                    Err(fault) if fault.kind() == ErrorKind::TimedOut => {
                        return Err(CameraError::Timeout { expected, found });
                    }
                    Err(_) => return Err(CameraError::ShortFrame { expected, found }),
                }
            }
            sink.band(found, row)?;
        }
        Ok(())
    }
}
