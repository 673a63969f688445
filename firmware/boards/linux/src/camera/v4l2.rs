//! A camera that Linux drives (Video4Linux 2, <https://docs.kernel.org/userspace-api/media/v4l/v4l2.html>): frames in YUYV, mapped.

use super::Source;
use crate::Opened;
use pinhole_firmware::camera::{
    Camera, CameraError, Configuration, Control, FrameFormat, FrameSink, FrameSize,
};
use std::path::PathBuf;
use std::time::Duration;
use v4l::buffer::Type;
use v4l::io::traits::CaptureStream;
use v4l::prelude::{Device, MmapStream};
use v4l::video::Capture;
use v4l::{Format, FourCC};

/// Buffers that the driver fills while one is read.
const BUFFERS: u32 = 4;
/// How long a frame may take.
const PATIENCE: Duration = Duration::from_secs(2);

struct V4l2 {
    path: PathBuf,
    size: FrameSize,
    running: Option<Running>,
}

struct Running {
    configuration: Configuration,
    /// Bytes from a row to the next one.
    stride: usize,
    stream: MmapStream<'static>,
}

pub(super) fn open(source: &Source<'_>) -> Result<Opened, String> {
    let configuration = Configuration {
        size: source.size,
        format: FrameFormat::YUYV,
    };
    let camera = V4l2 {
        path: source.path.into(),
        size: source.size,
        running: None,
    };
    Ok((Box::new(camera), configuration))
}

impl V4l2 {
    fn start(&self, configuration: Configuration) -> std::io::Result<Option<Running>> {
        let device = Device::with_path(&self.path)?;
        let size = configuration.size;
        let asked = Format::new(size.width.into(), size.height.into(), FourCC::new(b"YUYV"));
        let given = device.set_format(&asked)?;
        if given.fourcc != asked.fourcc
            || (given.width, given.height) != (asked.width, asked.height)
        {
            return Ok(None);
        }
        let mut stream = MmapStream::with_buffers(&device, Type::VideoCapture, BUFFERS)?;
        stream.set_timeout(PATIENCE);
        Ok(Some(Running {
            configuration,
            stride: (given.stride as usize).max(configuration.row_bytes()),
            stream,
        }))
    }
}

impl Camera for V4l2 {
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        // The device is given back first: a second opening of it would be busy.
        self.running = None;
        let asked = configuration;
        if configuration.format != FrameFormat::YUYV || configuration.size != self.size {
            return Err(CameraError::FormatNotSupported { asked });
        }
        self.running = self.start(configuration).map_err(|fault| {
            eprintln!("warning: {}: {fault}", self.path.display());
            CameraError::NotConfigured
        })?;
        match self.running {
            Some(_) => Ok(()),
            None => Err(CameraError::FormatNotSupported { asked }),
        }
    }

    fn configuration(&self) -> Option<Configuration> {
        self.running.as_ref().map(|running| running.configuration)
    }

    fn control(&mut self, control: Control) -> Result<(), CameraError> {
        Err(CameraError::ControlNotSupported {
            setting: control.setting(),
        })
    }

    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let running = self.running.as_mut().ok_or(CameraError::NotConfigured)?;
        let configuration = running.configuration;
        let expected = configuration.rows();
        let (bytes, meta) = match running.stream.next() {
            Ok(frame) => frame,
            Err(fault) if fault.kind() == std::io::ErrorKind::TimedOut => {
                return Err(CameraError::Timeout { expected, found: 0 });
            }
            Err(fault) => {
                eprintln!("warning: {}: {fault}", self.path.display());
                return Err(CameraError::ShortFrame { expected, found: 0 });
            }
        };
        let bytes = bytes.get(..meta.bytesused as usize).unwrap_or(bytes);
        for at in 0..expected {
            let start = at as usize * running.stride;
            match bytes.get(start..start + configuration.row_bytes()) {
                Some(row) => sink.band(at, row)?,
                None => {
                    return Err(CameraError::ShortFrame {
                        expected,
                        found: at,
                    });
                }
            }
        }
        Ok(())
    }
}
