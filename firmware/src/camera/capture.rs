//! A sensor and the port that receives its rows, as one camera.

use super::{Camera, CameraError, Configuration, Control, DecodeError, FrameSink, rows_of};
use pinhole_runtime::preprocess::InputError;

/// The registers of an image sensor: everything but the pixels.
pub trait Sensor {
    /// Powers the sensor, checks its identity and writes its base settings.
    ///
    /// # Errors
    /// [`CameraError::NoAcknowledge`], [`CameraError::Bus`], [`CameraError::WrongChip`], [`CameraError::Pin`].
    fn start(&mut self) -> Result<(), CameraError>;

    /// Sets size and format.
    ///
    /// # Errors
    /// [`CameraError::SizeNotSupported`] and [`CameraError::FormatNotSupported`] before anything is written; those of the bus.
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError>;

    /// See [`Camera::control`].
    ///
    /// # Errors
    /// [`CameraError::ControlNotSupported`], [`CameraError::OutOfRange`], those of the bus.
    fn control(&mut self, control: Control) -> Result<(), CameraError>;
}

/// Why a port has no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortFault {
    /// Nothing came in time.
    Timeout,
    /// A buffer was overwritten before it was taken.
    Overrun,
}

/// What a board provides: a parallel port with DMA into a few rows of memory, at least two bands of it.
///
/// [`RowPort::next`] lends one band while the hardware fills the other.
pub trait RowPort {
    /// Waits for the start of a frame (VSYNC) and arms the port; `row_bytes` is 0 for JPEG.
    ///
    /// # Errors
    /// [`PortFault::Timeout`] when no frame starts.
    fn start(&mut self, row_bytes: usize, rows: u32) -> Result<(), PortFault>;

    /// Waits for the next whole rows, or for bytes of a JPEG file; nothing when the frame ended.
    ///
    /// # Errors
    /// See [`PortFault`].
    fn next(&mut self) -> Result<&[u8], PortFault>;

    /// Ends the frame, whether it is complete or not.
    fn stop(&mut self);
}

/// A sensor behind a port.
#[derive(Debug)]
pub struct SensorCamera<S, P> {
    sensor: S,
    port: P,
    started: bool,
    configuration: Option<Configuration>,
}

impl<S: Sensor, P: RowPort> SensorCamera<S, P> {
    /// Nothing is sent before [`Camera::configure`].
    pub const fn new(sensor: S, port: P) -> Self {
        Self {
            sensor,
            port,
            started: false,
            configuration: None,
        }
    }

    /// The parts again.
    pub fn into_parts(self) -> (S, P) {
        (self.sensor, self.port)
    }

    fn start_and_configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        if !self.started {
            self.sensor.start()?;
            self.started = true;
        }
        self.sensor.configure(configuration)
    }

    fn rows(
        &mut self,
        configuration: Configuration,
        sink: &mut dyn FrameSink,
    ) -> Result<(), CameraError> {
        let expected = configuration.rows();
        let mut found = 0;
        while found < expected {
            let band = self.port.next();
            let band = band.map_err(|fault| fault_of(fault, expected, found))?;
            if band.is_empty() {
                return Err(CameraError::ShortFrame { expected, found });
            }
            let rows = rows_of(configuration, band)?.len();
            let end = found.saturating_add(rows as u32);
            if end > expected {
                return Err(InputError::TooManyRows { expected }.into());
            }
            sink.band(found, band)?;
            found = end;
        }
        Ok(())
    }

    /// A file may be as long as its frame has pixels; a longer one is no file of this frame.
    fn file(
        &mut self,
        configuration: Configuration,
        sink: &mut dyn FrameSink,
    ) -> Result<(), CameraError> {
        let size = configuration.size;
        let limit = u32::from(size.width) * u32::from(size.height);
        let expected = configuration.rows();
        let mut length = 0u32;
        loop {
            let part = self.port.next();
            let part = part.map_err(|fault| fault_of(fault, expected, 0))?;
            if part.is_empty() && length == 0 {
                return Err(CameraError::ShortFrame { expected, found: 0 });
            }
            if part.is_empty() {
                return Ok(());
            }
            length = length.saturating_add(part.len() as u32);
            if length > limit {
                return Err(CameraError::Decoder(DecodeError::TooLong { limit }));
            }
            sink.band(0, part)?;
        }
    }
}

fn fault_of(fault: PortFault, expected: u32, found: u32) -> CameraError {
    match fault {
        PortFault::Timeout => CameraError::Timeout { expected, found },
        PortFault::Overrun => CameraError::Overrun { found },
    }
}

impl<S: Sensor, P: RowPort> Camera for SensorCamera<S, P> {
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        self.configuration = None;
        let configured = self.start_and_configure(configuration);
        match configured {
            Ok(()) => self.configuration = Some(configuration),
            // Nothing was written, the sensor need not start anew.
            Err(CameraError::SizeNotSupported { .. } | CameraError::FormatNotSupported { .. }) => {}
            Err(_) => self.started = false,
        }
        configured
    }

    fn configuration(&self) -> Option<Configuration> {
        self.configuration
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        if !self.started {
            return Err(CameraError::NotConfigured);
        }
        self.sensor.control(control)
    }

    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let configuration = self.configuration.ok_or(CameraError::NotConfigured)?;
        let (row_bytes, rows) = (configuration.row_bytes(), configuration.rows());
        let started = self.port.start(row_bytes, rows);
        let done = match started.map_err(|fault| fault_of(fault, rows, 0)) {
            Ok(()) if row_bytes == 0 => self.file(configuration, sink),
            Ok(()) => self.rows(configuration, sink),
            Err(fault) => Err(fault),
        };
        self.port.stop();
        done
    }
}
