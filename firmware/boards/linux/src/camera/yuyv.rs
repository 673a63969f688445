//! Raw frames from a file, YUV 4:2:2 in the order YUYV as V4L2 gives them, from the first again after the last.

use super::{Pace, Source};
use crate::Opened;
use pinhole_firmware::camera::{
    Camera, CameraError, Configuration, Control, FrameFormat, FrameSink, FrameSize,
};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

struct Raw {
    file: File,
    size: FrameSize,
    pace: Pace,
    configuration: Option<Configuration>,
}

pub(super) fn open(source: &Source<'_>, pace: Pace) -> Result<Opened, String> {
    let path = source.path.display();
    let configuration = Configuration {
        size: source.size,
        format: FrameFormat::YUYV,
    };
    if configuration.size.width % 2 == 1 {
        return Err(format!(
            "--camera: {path}: found a width of {}, expected an even one: pixels come in pairs",
            configuration.size.width
        ));
    }
    let file = File::open(source.path).map_err(|fault| format!("--camera: {path}: {fault}"))?;
    let found = file
        .metadata()
        .map_err(|fault| format!("--camera: {path}: {fault}"))?
        .len();
    let frame = configuration.row_bytes() as u64 * u64::from(configuration.rows());
    if found == 0 || found % frame != 0 {
        return Err(format!(
            "--camera: {path}: found {found} bytes, expected a multiple of {frame}, the bytes of a frame"
        ));
    }
    let camera = Raw {
        file,
        size: source.size,
        pace,
        configuration: None,
    };
    Ok((Box::new(camera), configuration))
}

impl Camera for Raw {
    fn configure(&mut self, configuration: Configuration) -> Result<(), CameraError> {
        self.configuration = None;
        let asked = configuration;
        if configuration.format != FrameFormat::YUYV {
            return Err(CameraError::FormatNotSupported { asked });
        }
        if configuration.size != self.size {
            return Err(CameraError::SizeNotSupported { asked });
        }
        let rewound = self.file.seek(SeekFrom::Start(0));
        rewound.map_err(|_| CameraError::NotConfigured)?;
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

    fn frame(&mut self, sink: &mut dyn FrameSink) -> Result<(), CameraError> {
        let configuration = self.configuration.ok_or(CameraError::NotConfigured)?;
        self.pace.wait();
        let mut row = vec![0; configuration.row_bytes()];
        let expected = configuration.rows();
        for found in 0..expected {
            if self.file.read_exact(&mut row).is_err() {
                // The file ended: at the start of a frame it begins anew.
                let again = found == 0
                    && self.file.seek(SeekFrom::Start(0)).is_ok()
                    && self.file.read_exact(&mut row).is_ok();
                if !again {
                    return Err(CameraError::ShortFrame { expected, found });
                }
            }
            sink.band(found, &row)?;
        }
        Ok(())
    }
}
